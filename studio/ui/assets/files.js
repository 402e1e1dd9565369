const { studio } = window,
  { keep, kept, toast } = studio;
const VERBS = { look: t('Look into it'), merge: t('Merge'), resize: t('Make smaller'), extract: t('Extract') };
let known = { runs: [], files: [], bases: [] },
  pane = kept('files_pane', 'look'),
  parts = [],
  uploads = [],
  busy = false;
const size = bytes =>
  bytes > 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : bytes > 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
const meant = value => {
  const [kind, ...rest] = value.split(':');
  return value ? { [kind]: rest.join(':') } : null;
};

// What there is to choose from.
function options(chosen = '') {
  const option = (value, name) => el('option', { value, selected: value === chosen }, name);
  const group = (label, inside) => (inside.length ? [el('optgroup', { label }, inside)] : []);
  return [
    ...group(
      t('Chosen here'),
      uploads.map(file => option(`upload:${file.path}`, file.name)),
    ),
    ...group(
      t('Runs'),
      known.runs.filter(run => run.finished).map(run => option(`run:${run.id}`, run.name)),
    ),
    ...group(
      t('Files'),
      known.files.map(name => option(`file:${name}`, name)),
    ),
  ];
}
function paint_parts() {
  $('.parts').replaceChildren(
    ...parts.map((one, index) =>
      el(
        'div',
        { class: 'row part' },
        el('select', { class: 'grow', 'aria-label': t('LoRA file'), onchange: event => (one.value = event.target.value) }, options(one.value)),
        el('input', {
          type: 'number',
          min: '-2',
          max: '2',
          step: '0.05',
          value: String(one.weight),
          'aria-label': t('Strength'),
          oninput: event => (one.weight = event.target.value),
        }),
        parts.length > 2 &&
          el(
            'button',
            {
              type: 'button',
              class: 'btn small',
              'aria-label': t('Take it out'),
              onclick: () => {
                parts.splice(index, 1);
                paint_parts();
              },
            },
            '×',
          ),
      ),
    ),
  );
}
function show_pane() {
  for (const button of $$('[data-pane]')) button.setAttribute('aria-pressed', String(button.dataset.pane === pane));
  for (const box of $$('[data-of]')) box.hidden = box.dataset.of !== pane;
  $('.making').hidden = pane === 'look';
  $('.keep-of').hidden = pane !== 'resize';
  $('.beside-of').hidden = pane === 'extract';
  $('.rank').placeholder = pane === 'merge' ? t('exact') : '';
  $('.go').textContent = VERBS[pane];
  $('.fault').hidden = $('.made').hidden = true;
  if (pane !== 'look') $('.found').hidden = true;
}
for (const button of $$('[data-pane]'))
  button.onclick = () => {
    pane = button.dataset.pane;
    keep('files_pane', pane);
    show_pane();
  };
async function load() {
  const answer = await ask('sources', {}, { quiet: true });
  if (!answer?.ok || JSON.stringify(answer) === JSON.stringify(known)) return;
  known = answer;
  for (const select of $$('.one')) select.replaceChildren(...options(select.value));
  $('#file-models').replaceChildren(...known.bases.map(value => el('option', { value })));
  const first = options().flatMap(group => [...group.children].map(option => option.value));
  while (parts.length < 2 && first.length) parts.push({ value: first[Math.min(parts.length, first.length - 1)], weight: 1 });
  paint_parts();
}
$('.another').onclick = () => {
  parts.push({ value: parts[0]?.value || '', weight: 1 });
  paint_parts();
};
$('.pick').onclick = () => $('.chosen-file').click();
$('.chosen-file').onchange = async event => {
  const files = [...event.target.files];
  event.target.value = '';
  if (!files.length) return;
  const sent = await upload_files(files).catch(() => null);
  if (!sent) {
    toast(t('The upload failed.'), { kind: 'error', fix: t('The files may be too large, or the connection was lost.') });
    return;
  }
  uploads = [...sent, ...uploads];
  for (const select of $$('.one')) select.replaceChildren(...options(`upload:${sent[0].path}`));
  paint_parts();
  $('.go').click();
};

// Doing it.
const WANTED = {
  look: () => ['inspect', { file: meant($('[data-of=look] .one').value) }],
  merge: () => ['merge', { files: parts.map(one => ({ ...meant(one.value), weight: one.weight })), base: $('.beside').value }],
  resize: () => [
    'resize',
    {
      file: meant($('[data-of=resize] .one').value),
      keep: $('.keep').value === '' ? '' : $('.keep').value / 100,
      base: $('.beside').value,
    },
  ],
  extract: () => ['extract', { tuned: $('.tuned').value, base: $('.base').value }],
};
async function go() {
  if (busy) return;
  const [name, data] = WANTED[pane](),
    of = pane;
  $('.fault').hidden = $('.made').hidden = true;
  const begun = await ask(name, {
    ...data,
    name: $('.new-name').value,
    rank: $('.rank').value,
    format: $('.format').value,
    precision: $('.precision').value,
  });
  if (!begun) return;
  busy = true;
  $('.go').disabled = true;
  $('.working').hidden = false;
  $('.cancel').onclick = () => ask('cancel', { task: begun.task });
  for (let wait = 60; ; wait = Math.min(400, wait * 1.6)) {
    const state = await ask('task', { task: begun.task }, { quiet: true });
    if (!state?.ok) break;
    $('.working .soft').textContent = state.what;
    $('.working .progress > i').style.transform = `scaleX(${state.total ? state.done / state.total : 0})`;
    if (state.ended) {
      if (state.failed) fault(state.failed, state.fix);
      else if (state.result) of === 'look' ? found(state.result) : made(state.result);
      break;
    }
    await new Promise(next => setTimeout(next, wait));
  }
  busy = false;
  $('.go').disabled = false;
  $('.working').hidden = true;
}
$('.go').onclick = go;
function fault(what, fix) {
  const box = $('.fault');
  box.replaceChildren(el('b', {}, what), fix ? el('div', {}, fix) : '');
  box.hidden = false;
  if (pane === 'look') $('.found').hidden = true;
}
function made(result) {
  const box = $('.made');
  box.replaceChildren(
    el('p', {}, result.said.join(' ')),
    el(
      'div',
      { class: 'row' },
      result.files.map(([name, bytes]) =>
        el('a', { class: 'btn small', href: `studio/files/${encodeURIComponent(name)}`, download: name }, `↓ ${name} · ${size(bytes)}`),
      ),
    ),
    el('small', {}, t('It lies in the folder for models, and can be chosen above.')),
  );
  box.hidden = false;
  studio.emit('compare_files');
  load();
}

// What was found.
function found(result) {
  $('.title').textContent = result.file;
  $('.facts tbody').replaceChildren(...result.facts.map(([name, value]) => el('tr', {}, el('th', { scope: 'row' }, name), el('td', {}, value))));
  $('.loads').hidden = !result.programs.length;
  $('.programs tbody').replaceChildren(
    ...result.programs.map(([program, share, why]) =>
      el('tr', {}, el('th', { scope: 'row' }, program), el('td', { class: why ? 'less' : 'whole' }, share), el('td', {}, why)),
    ),
  );
  const most = Math.max(...result.norms.map(([, norm]) => norm), 1e-12);
  $('.norms').replaceChildren(
    ...result.norms.map(([name, norm]) =>
      el(
        'div',
        { class: name.startsWith('text') ? 'norm text' : 'norm', style: `--part: ${(norm / most).toFixed(4)}` },
        el('span', { class: 'mono', title: name }, name),
        el('i', {}),
        el('span', { class: 'mono value' }, studio.number(norm, 3)),
      ),
    ),
  );
  $('.norms').classList.toggle('many', result.norms.length > 16);
  if (!result.norms.length)
    $('.norms').append(el('p', { class: 'soft' }, t('It can’t be told without the base model, or there is no number to tell it from.')));
  $('.groups thead').replaceChildren(
    el(
      'tr',
      {},
      [t('Layers'), '', t('Rank'), t('Alpha')].map(name => el('th', {}, name)),
    ),
  );
  const few = values => values.slice(0, 4).map(value => +value.toFixed(3)).join(', ') + (values.length > 4 ? ' …' : '');
  $('.groups tbody').replaceChildren(
    ...result.groups.map(group =>
      el('tr', {}, el('td', {}, `${group.name} ${group.sort}`), el('td', {}, `${group.layers} ×`), el('td', {}, few(group.ranks)), el('td', {}, few(group.alphas))),
    ),
  );
  const box = $('.fault');
  box.replaceChildren(...result.notes.map(note => el('div', {}, note)));
  box.hidden = !result.notes.length;
  $('.found').hidden = false;
}

show_pane();
studio.poll(element, load, 15000);
