const { studio } = window,
  { keep, kept, toast, number } = studio;
const DEFAULT = 'pocket',
  STAYS = ['train_data_dir', 'metadata_path', 'prior_data_dir', 'output_dir', 'base_model', 'sample_prompts'];
let presets = [],
  groups = [],
  bases = [],
  draft = kept('draft'),
  controls = {},
  view = kept('presets_view', 'form'),
  all = kept('presets_all', false),
  turn = 0;
const preset = () => presets.find(one => one.name === draft.preset),
  text_of = value =>
    value == null
      ? ''
      : Array.isArray(value)
        ? value.join('\n')
        : typeof value === 'object'
          ? Object.entries(value)
              .map(pair => pair.join(': '))
              .join('\n')
          : typeof value === 'number' && value !== 0 && Math.abs(value) < 1e-3
            ? value.toExponential().replace('e-', 'e-')
            : String(value);
const same = (a, b) =>
  text_of(a) === text_of(b) ||
  (a !== '' && b !== '' && !isNaN(a) && !isNaN(b) && Number(a) === Number(b) && typeof a !== 'boolean' && typeof b !== 'boolean');

function choose(name) {
  const chosen = presets.find(one => one.name === name),
    before = draft?.settings || {};
  const stays = Object.fromEntries(
    STAYS.filter(key => key in before && !(key === 'base_model' && before[key] === 'pocket')).map(key => [key, before[key]]),
  );
  draft = { preset: name, settings: { base_model: 'pocket', ...stays, ...chosen.values } };
  if (stays.base_model && !('base_model' in chosen.values)) draft.settings.base_model = stays.base_model;
  gallery();
  fill();
  changed();
}
function gallery() {
  $('.gallery').replaceChildren(
    ...presets
      .filter(one => !one.memory)
      .map(one =>
      el(
        'button',
        { type: 'button', class: 'preset', 'aria-pressed': String(one.name === draft.preset), onclick: () => choose(one.name) },
        el('b', {}, one.title, one.own ? el('span', { class: 'mine' }, t('mine')) : null),
        el('span', { class: 'soft' }, one.about),
        el('span', { class: 'mono' }, one.told.map(([name, value]) => `${name} ${text_of(value)}`).join(' · ')),
      ),
    ),
  );
  sizes();
  $('.delete').hidden = !preset()?.own;
  $('.share').disabled = !preset();
}
// Presets for a card's memory: one row for each kind of model.
function sizes() {
  const sized = presets.filter(one => one.memory),
    kind = one => one.title.split(/, |，/)[0],
    chosen = sized.find(one => one.name === draft.preset);
  $('.sizes .kinds').replaceChildren(
    ...[...new Set(sized.map(kind))].map(name =>
      el(
        'div',
        { class: 'kind' },
        el('span', {}, name),
        el(
          'div',
          { class: 'seg', role: 'group', 'aria-label': name },
          sized
            .filter(one => kind(one) === name)
            .map(one =>
              el(
                'button',
                { type: 'button', 'aria-pressed': String(one === chosen), title: one.about, onclick: () => choose(one.name) },
                `${one.memory} GB`,
              ),
            ),
        ),
      ),
    ),
  );
  $('.sizes .told').replaceChildren(
    chosen ? `${chosen.about} ${chosen.told.map(([name, value]) => `${name} ${text_of(value)}`).join(' · ')}` : '',
  );
  $('.sizes .told').hidden = !chosen;
}

// The form.
function control(field) {
  const id = `set-${field.name}`,
    label = { id, 'aria-describedby': `${id}-help` };
  let input,
    read,
    write,
    extra = null;
  if (field.kind === 'switch') {
    input = el('input', { ...label, type: 'checkbox' });
    read = () => input.checked;
    write = value => {
      input.checked = !!value;
    };
  } else if (field.kind === 'choice') {
    input = el(
      'select',
      label,
      field.default == null && !field.required ? el('option', { value: '' }, t('automatic')) : null,
      field.choices.map(choice => el('option', { value: choice }, choice)),
    );
    read = () => input.value;
    write = value => {
      input.value = text_of(value);
    };
  } else if (field.kind === 'list') {
    input = el('textarea', { ...label, rows: '3', placeholder: t('one a line') });
    read = () =>
      input.value
        .split('\n')
        .map(line => line.trim())
        .filter(Boolean);
    write = value => {
      input.value = text_of(value);
    };
  } else if (field.kind === 'mapping') {
    input = el('textarea', { ...label, rows: '2', placeholder: `mid_block: 32` });
    read = () => input.value.trim();
    write = value => {
      input.value = text_of(value);
    };
  } else {
    input = el('input', {
      ...label,
      type: 'text',
      inputmode: field.kind === 'number' ? 'decimal' : null,
      placeholder: field.default == null ? (field.required ? '' : t('automatic')) : text_of(field.default),
      list: field.name === 'base_model' ? 'known-bases' : null,
      autocomplete: 'off',
    });
    read = () => input.value.trim();
    write = value => {
      input.value = text_of(value);
      if (extra) extra.value = value ?? field.default ?? field.slider[0];
    };
    if (field.slider) {
      extra = el('input', {
        type: 'range',
        min: String(field.slider[0]),
        max: String(field.slider[1]),
        step: '1',
        'aria-label': field.title,
        tabIndex: -1,
      });
      extra.oninput = () => {
        input.value = extra.value;
        input.dispatchEvent(new Event('input', { bubbles: true }));
      };
    }
  }
  const box = el(
    'div',
    { class: `field ${field.kind}`, 'data-name': field.name, 'data-words': `${field.name} ${field.title} ${field.help}`.toLowerCase() },
    el('label', { class: 'name', for: id }, field.kind === 'switch' ? input : null, field.title, el('code', {}, field.name)),
    field.kind === 'switch' ? null : extra ? el('div', { class: 'row' }, input, extra) : input,
    el('small', { id: `${id}-help` }, field.help),
    el('div', { class: 'said', 'aria-live': 'polite' }),
  );
  input.addEventListener(['switch', 'choice'].includes(field.kind) ? 'change' : 'input', () => {
    const value = read(),
      back = same(value, field.default) || (Array.isArray(value) && !value.length && !field.default?.length);
    if (value === '' || (back && !(field.name in (preset()?.values || {})))) delete draft.settings[field.name];
    else draft.settings[field.name] = value;
    if (extra) extra.value = value || field.default;
    if (field.name === 'base_model' && 'family' in draft.settings) {
      delete draft.settings.family; // the model's own files tell
      fill();
    }
    if (field.name === 'train_data_dir' && value === kept('dataset')?.folder) delete draft.settings.train_data_dir;
    changed();
  });
  controls[field.name] = { field, box, write };
  return box;
}
function form() {
  controls = {};
  $('.groups').replaceChildren(
    ...groups.map(group =>
      el('section', { class: 'card group' }, el('header', {}, el('h2', {}, group.title)), el('div', { class: 'fields' }, group.fields.map(control))),
    ),
    el(
      'datalist',
      { id: 'known-bases' },
      bases.map(value => el('option', { value })),
    ),
  );
  sift();
}
const shown_value = field =>
  field.name in draft.settings
    ? draft.settings[field.name]
    : field.name === 'train_data_dir'
      ? (kept('dataset')?.folder ?? '')
      : ['switch', 'choice'].includes(field.kind)
        ? field.default
        : '';
const fill = () => {
  for (const { field, write } of Object.values(controls)) write(shown_value(field));
};
function sift() {
  const wanted = $('.search').value.trim().toLowerCase();
  for (const { field, box } of Object.values(controls))
    box.hidden = box.classList.contains('idle')
      ? !(field.name in draft.settings)
      : wanted
        ? !box.dataset.words.includes(wanted)
        : !(all || field.plain || field.name in draft.settings || box.classList.contains('wrong'));
  for (const group of $$('.group')) group.hidden = [...group.querySelectorAll('.field')].every(box => box.hidden);
}

// What follows from it.
const CLIPPED = value => text_of(value).replaceAll('\n', ', ').slice(0, 60) || '–';
function mark(answer) {
  const advised = draft.advice?.values,
    base = advised || preset()?.values || {},
    reasons = advice()?.reasons || {},
    differing = [];
  for (const { field, box } of Object.values(controls)) {
    const mine = field.name in draft.settings ? draft.settings[field.name] : field.default,
      its = field.name in base ? base[field.name] : field.default;
    const differs =
        !['base_model', 'train_data_dir', 'metadata_path', 'prior_data_dir', 'output_dir', 'init_lora'].includes(field.name) &&
        !same(mine, its) &&
        !(mine == null && its == null),
      fault = answer?.faults[field.name],
      note = answer?.follows.notes?.[field.name];
    if (differs) differing.push([field, its, mine]);
    box.classList.toggle('changed', differs);
    box.classList.toggle('wrong', !!fault);
    if (answer) box.classList.toggle('idle', answer.idle.includes(field.name));
    box.querySelector('[id]').setAttribute('aria-invalid', String(!!fault));
    box.querySelector('.said').replaceChildren(
      ...[
        fault && el('div', { class: 'fault' }, fault),
        note && !fault && el('div', { class: 'note' }, note),
        reasons[field.name] && el('div', { class: 'reason' }, reasons[field.name]),
        differs &&
          el(
            'div',
            { class: 'was' },
            `${advised ? t('Recommended') : t('Preset')}: ${CLIPPED(its)}`,
            el(
              'button',
              {
                type: 'button',
                onclick: () => {
                  if (field.name in base) draft.settings[field.name] = base[field.name];
                  else delete draft.settings[field.name];
                  fill();
                  changed();
                },
              },
              t('Set back'),
            ),
          ),
      ].filter(Boolean),
    );
  }
  $('.differs').replaceChildren(
    ...(differing.length ? [el('h3', {}, advised ? t('Other than recommended') : t('Other than the preset'))] : []),
    ...differing.map(([field, its, mine]) =>
      el('div', {}, field.title, ' ', el('span', { class: 'mono' }, el('del', {}, CLIPPED(its)), ' → ', CLIPPED(mine))),
    ),
  );
  if (!answer) return;
  const f = answer.follows,
    facts = [
      [t('Pictures'), f.pictures != null ? (f.trained < f.pictures ? `${f.trained} + ${f.pictures - f.trained}` : f.pictures) : null],
      [t('Steps'), f.steps?.toLocaleString()],
      [t('Epochs'), f.epochs != null ? +f.epochs.toFixed(1) : null],
      [t('Pictures a step'), f.batch],
      [t('Learning scale'), f.scale != null ? number(f.scale, 3) : null],
    ];
  $('.follows').replaceChildren(
    ...facts.filter(([, value]) => value != null).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]),
  );
  const rest = Object.entries(answer.faults).filter(([key]) => !controls[key]);
  $('.whole').hidden = !rest.length;
  $('.whole').textContent = rest.map(([key, text]) => (key ? `${key}: ${text}` : text)).join('\n');
  if (answer.yaml && document.activeElement !== $('textarea.text')) $('textarea.text').value = answer.yaml;
  $('.download').href = URL.createObjectURL(new Blob([$('textarea.text').value], { type: 'text/yaml' }));
  sift();
}
let late = 0;
function changed() {
  show_advice();
  keep('draft', draft);
  studio.emit('draft', draft);
  mark(null);
  clearTimeout(late);
  late = setTimeout(check, 200);
}
async function check() {
  const mine = ++turn,
    answer = await ask('check', { settings: draft.settings, folder: kept('dataset')?.folder, complete: $('.complete').checked }, { quiet: true });
  if (answer?.ok && mine === turn) mark(answer);
}

// YAML.
const set_view = to => {
  view = to;
  keep('presets_view', to);
  for (const button of $$('.seg button')) button.setAttribute('aria-pressed', String(button.dataset.view === to));
  $('.groups').hidden = $('.all-of').hidden = $('.search').hidden = to === 'yaml';
  $('.yaml').hidden = to !== 'yaml';
  if (to === 'yaml') check();
};
for (const button of $$('.seg button')) button.onclick = () => set_view(button.dataset.view);
$('.complete').onchange = check;
$('.copy').onclick = async () => {
  try {
    await navigator.clipboard.writeText($('textarea.text').value);
  } catch {
    $('textarea.text').select();
    document.execCommand('copy');
  }
  toast(t('Copied.'));
};
$('.take').onclick = () => take($('textarea.text').value, '');
$('.upload').onclick = () => $('.file').click();
$('.file').onchange = take_file;

// Presets of one's own.
$('.save').onclick = async () => {
  const send = over => ask('save', { title: $('.title').value, about: $('.about').value, settings: draft.settings, over });
  const taken = presets.find(one => one.own && one.title === $('.title').value.trim());
  if (taken && !confirm(t('Replace your preset {name}?', { name: taken.title }))) return;
  const answer = await send(!!taken);
  if (!answer) return;
  draft.preset = answer.preset.name;
  keep('draft', draft);
  await load();
  toast(t('Saved.'));
};
$('.delete').onclick = async () => {
  if (!confirm(t('Delete your preset {name}?', { name: preset().title }))) return;
  if (await ask('delete', { name: draft.preset })) {
    draft.preset = DEFAULT;
    keep('draft', draft);
    load();
  }
};
$('.next').onclick = () => studio.show('train');
$('.search').addEventListener('input', sift);
$('.everything').checked = all;
$('.everything').onchange = event => {
  all = event.target.checked;
  keep('presets_all', all);
  sift();
};

async function load() {
  const answer = await ask('listing');
  if (!answer) return;
  ({ presets, groups, bases } = answer);
  if (!draft?.settings) {
    const first = presets.find(one => one.name === DEFAULT);
    draft = { preset: first.name, settings: { base_model: 'pocket', ...first.values } };
  }
  gallery();
  form();
  fill();
  changed();
  set_view(view);
}
studio.on('dataset', () => {
  if (controls.train_data_dir) {
    fill();
    check();
  }
});
studio.on('draft_from', settings => {
  draft = { preset: '', settings };
  gallery();
  fill();
  changed();
});
load();
