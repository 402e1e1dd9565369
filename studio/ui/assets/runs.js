const { studio } = window,
  { keep, kept, toast, duration, number, time } = studio;
const NAMES = {
  queued: t('Waiting'),
  preparing: t('Preparing'),
  running: t('Training'),
  stopping: t('Saving, then stopping'),
  finished: t('Finished'),
  stopped: t('Stopped'),
  failed: t('Failed'),
  interrupted: t('Interrupted'),
};
const COLUMNS = [
  ['id', t('Run')],
  ['status', t('Status')],
  ['purpose', t('Purpose')],
  ['data', t('Data')],
  ['base', t('Base model')],
  ['rank', t('Rank'), 1],
  ['rate', t('Learning rate'), 1],
  ['batch', t('Batch'), 1],
  ['step', t('Step'), 1],
  ['final', t('Validation loss'), 1],
  ['best', t('Best'), 1],
  ['took', t('Time'), 1],
  ['created', t('Made')],
];
const chart = studio.chart($('.plot'), { empty: t('Choose runs in the table.'), label: t('Loss') });
let rows = [],
  picked = new Set(kept('picked', [])),
  sorted = kept('sorted', { by: 'created', down: true }),
  open = null;
const size = bytes =>
  bytes > 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : bytes > 1e6 ? `${(bytes / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(bytes / 1e3))} kB`;
const url = (run, name) => `studio/runs/${run}/${name.split('/').map(encodeURIComponent).join('/')}`;

function cell(row, key, numeric) {
  const value =
    {
      status: () => el('span', { class: `pill ${row.status}` }, NAMES[row.status]),
      rate: () => number(row.rate, 6),
      step: () => (row.steps ? `${row.step} / ${row.steps}` : '–'),
      final: () => number(row.final),
      best: () => (row.best == null ? '–' : el('span', { title: t('at step {step}', { step: row.best_step }) }, number(row.best))),
      took: () => duration(row.took),
      created: () => time(row.created),
      id: () =>
        el(
          'button',
          { type: 'button', class: 'name', onclick: () => detail(row.id) },
          row.name,
          row.name === row.id ? null : el('small', {}, row.id),
        ),
    }[key]?.() ?? String(row[key] ?? '');
  return el('td', { class: `${numeric ? 'number' : ''} ${key}` }, value);
}
function paint() {
  const words = $('.search').value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const shown = rows
    .filter(row => {
      const all = Object.values(row).join(' ').toLowerCase() + NAMES[row.status].toLowerCase();
      return words.every(word => all.includes(word));
    })
    .sort((a, b) => {
      const x = a[sorted.by],
        y = b[sorted.by];
      return (x == null) - (y == null) || (typeof x === 'string' ? x.localeCompare(y) : x - y) * (sorted.down ? -1 : 1);
    });
  $('thead tr').replaceChildren(
    el('th', {}, el('span', { class: 'sr' }, t('Choose'))),
    ...COLUMNS.map(([key, name, numeric]) =>
      el(
        'th',
        { class: numeric ? 'number' : '', 'aria-sort': sorted.by === key ? (sorted.down ? 'descending' : 'ascending') : null },
        el(
          'button',
          {
            type: 'button',
            onclick: () => {
              sorted = { by: key, down: sorted.by === key ? !sorted.down : true };
              keep('sorted', sorted);
              paint();
            },
          },
          `${name}${sorted.by === key ? (sorted.down ? ' ↓' : ' ↑') : ''}`,
        ),
      ),
    ),
  );
  $('.table.card tbody').replaceChildren(
    ...shown.map(row =>
      el(
        'tr',
        { 'aria-selected': String(picked.has(row.id)) },
        el(
          'td',
          {},
          el('input', {
            type: 'checkbox',
            checked: picked.has(row.id),
            'aria-label': t('Choose {name}', { name: row.name }),
            onchange: event => {
              event.target.checked ? picked.add(row.id) : picked.delete(row.id);
              keep('picked', [...picked]);
              paint();
              together();
            },
          }),
        ),
        ...COLUMNS.map(([key, , numeric]) => cell(row, key, numeric)),
      ),
    ),
  );
  $('.count').textContent = `${shown.length} / ${rows.length}`;
  $('.table.card .empty').hidden = rows.length > 0;
  $('.table.card table').hidden = !rows.length;
  $('.delete').disabled = $('.board').disabled = !picked.size;
}
async function load() {
  const answer = await ask('rows', {}, { quiet: true });
  if (!answer?.ok) return;
  const changed = JSON.stringify(answer.rows) !== JSON.stringify(rows);
  rows = answer.rows;
  picked = new Set([...picked].filter(id => rows.some(row => row.id === id)));
  $('.trash').hidden = !answer.trash;
  $('.trash').textContent = `${t('Trash')} (${answer.trash})`;
  if (changed || !$('thead tr').childElementCount) paint();
  return rows.some(row => ['running', 'preparing', 'queued'].includes(row.status)) ? 3000 : 6000;
}
async function together() {
  const ids = [...picked].slice(0, 12);
  for (const id of [...chart.runs.keys()]) if (!picked.has(id)) chart.remove(id);
  $('.together').hidden = !ids.length;
  if (!ids.length) return;
  const answer = await ask('chosen', { runs: ids, missing: ids.filter(id => !chart.runs.has(id)) });
  if (!answer) return;
  for (const [id, curve] of Object.entries(answer.curves)) {
    chart.run(id, { name: curve.name, marks: curve.marks || [] });
    chart.put(id, { loss: curve.loss, validation: curve.validation });
  }
  $('.legend').replaceChildren(...[...chart.runs.values()].map(run => el('span', { style: `--key:${run.colour()}` }, run.name)));
  const names = ids.map(id => rows.find(row => row.id === id)?.name || id);
  $('.differences').replaceChildren(
    ...(ids.length < 2
      ? []
      : answer.differences.length
        ? [
            el(
              'table',
              {},
              el(
                'thead',
                {},
                el(
                  'tr',
                  {},
                  el('th', {}, t('What differs')),
                  names.map(name => el('th', {}, name)),
                ),
              ),
              el(
                'tbody',
                {},
                answer.differences.map(([key, values]) =>
                  el(
                    'tr',
                    {},
                    el('th', { scope: 'row' }, key),
                    values.map(value => el('td', {}, value)),
                  ),
                ),
              ),
            ),
          ]
        : [el('p', { class: 'soft' }, t('Their settings are the same.'))]),
  );
}
const looks = kept('runs_plot', { ema: 0.9, log: false, what: 'both' });
$('.ema').value = looks.ema;
$('.log-scale').checked = looks.log;
$('.what').value = looks.what;
const apply = () => {
  const now = { ema: +$('.ema').value, log: $('.log-scale').checked, what: $('.what').value };
  chart.set(now);
  keep('runs_plot', now);
};
for (const name of ['.ema', '.log-scale', '.what']) $(name).addEventListener('input', apply);
apply();

// One run.
async function detail(id) {
  const answer = await ask('about', { run: id }),
    row = rows.find(one => one.id === id),
    box = $('.detail');
  if (!answer || !row) return;
  open = id;
  box.hidden = false;
  box.querySelector('h2').textContent = row.name;
  box.querySelector('.pill').className = `pill ${row.status}`;
  box.querySelector('.pill').textContent = NAMES[row.status];
  $('.fault').hidden = !row.error;
  $('.fault').textContent = row.error;
  $('.downloads').replaceChildren(
    ...answer.downloads.map(name =>
      el(
        'a',
        { class: 'btn small', href: url(id, name), download: name.split('/').pop() },
        `↓ ${name.endsWith('.zip') ? t('pack to give away') : name.startsWith('exports/') ? t('for A1111, ComfyUI') : t('for diffusers')}`,
      ),
    ),
  );
  if (!answer.downloads.length) $('.downloads').append(el('span', { class: 'soft' }, t('Not finished: there is no file yet.')));
  $('.loads').hidden = !answer.loads.length;
  $('.loads').replaceChildren(
    `${t('Will it load?')} `,
    ...answer.loads.flatMap(([program, share, why], index) => [
      index ? ' · ' : '',
      el('span', { class: why ? 'less' : '', title: why, tabIndex: why ? 0 : null }, `${program} ${share}`),
    ]),
  );
  $('.exporting').replaceChildren(
    ...(answer.checkpoints.length
      ? [
          el('small', {}, t('Write the files anew from step')),
          el(
            'select',
            { class: 'step', 'aria-label': t('Checkpoint') },
            answer.checkpoints.map(step => el('option', { value: String(step), selected: step === answer.checkpoints.at(-1) }, String(step))),
          ),
          el(
            'select',
            { class: 'format', 'aria-label': t('Names for') },
            el('option', { value: '' }, t('diffusers, A1111, ComfyUI')),
            el('option', { value: 'all' }, t('and PEFT')),
          ),
          el(
            'select',
            { class: 'precision', 'aria-label': t('Precision') },
            ['fp32', 'fp16', 'bf16'].map(name => el('option', {}, name)),
          ),
          el('button', { type: 'button', class: 'btn small', onclick: event => write(event.target, id, 'export') }, t('Export')),
          el('span', { class: 'break' }),
          el('small', {}, t('Or a zip with picture, settings and model card')),
          el('label', { class: 'check soft' }, el('input', { type: 'checkbox', class: 'private' }), t('with the folder and tags of the pictures')),
          el('button', { type: 'button', class: 'btn small', onclick: event => write(event.target, id, 'pack') }, t('Pack')),
          el('span', { class: 'break' }),
          el('button', { type: 'button', class: 'btn small', onclick: event => send(event.target, id) }, t('Send to WebUI / ComfyUI')),
          el(
            'button',
            {
              type: 'button',
              class: 'btn small',
              title: t('The base model with the LoRA in its weights, in the folder for models'),
              onclick: event => write(event.target, id, 'merged'),
            },
            t('Write merged model'),
          ),
        ]
      : []),
  );
  $('.notes').value = answer.notes;
  $('.kept-notes').textContent = '';
  $('.folder').textContent = answer.folder;
  $('.files').replaceChildren(
    ...answer.files.map(([name, bytes, sort]) =>
      sort
        ? el('button', { type: 'button', onclick: () => read(id, name, sort) }, el('span', {}, name), el('span', {}, size(bytes)))
        : el('a', { href: url(id, name), download: name.split('/').pop() }, el('span', {}, name), el('span', {}, size(bytes))),
    ),
  );
  $('.again').onclick = () => {
    keep('draft', { preset: '', settings: answer.settings });
    studio.emit('draft_from', answer.settings);
    studio.emit('draft', null);
    studio.show('presets');
  };
  box.scrollIntoView({ block: 'nearest', behavior: 'smooth' });
}
async function write(button, id, what, more = {}) {
  button.disabled = true;
  const begun = await ask(what, {
    run: id,
    step: +$('.step').value,
    format: $('.format').value,
    precision: $('.precision').value,
    private: $('.private').checked,
    ...more,
  });
  button.disabled = false;
  if (!begun?.task) return begun;
  button.disabled = true;
  for (let state = begun; state && !state.ended; ) {
    await new Promise(go => setTimeout(go, 400));
    state = await ask('task', { task: begun.task });
    if (state?.failed) toast(state.failed, { kind: 'error', fix: state.fix });
    if (state?.ended && !state.failed) {
      toast(t('Written.'), { fix: (state.result?.sent || []).join('\n') });
      detail(id);
    }
  }
  button.disabled = false;
}
async function send(button, id) {
  const answer = await write(button, id, 'send');
  if (!answer?.folder) return;
  const folder = prompt(t('Folder of A1111, Forge or ComfyUI, or the one for LoRA in it. It is kept.'));
  if (folder) write(button, id, 'send', { folder });
}
async function read(id, name, sort) {
  const box = $('.reader'),
    picture = box.querySelector('img'),
    text = box.querySelector('pre');
  box.querySelector('h2').textContent = name;
  picture.hidden = sort !== 'picture';
  text.hidden = sort === 'picture';
  if (sort === 'picture') picture.src = url(id, name);
  else {
    text.textContent = t('Opening…');
    fetch(`${url(id, name)}?text`)
      .then(answer => (answer.ok ? answer.text() : Promise.reject()))
      .then(found => {
        text.textContent = found;
      })
      .catch(() => {
        text.textContent = t('It can’t be read.');
      });
  }
  box.showModal();
}
$('.keep').onclick = async () => {
  if (await ask('note', { run: open, text: $('.notes').value })) $('.kept-notes').textContent = t('saved');
};
$('.shut').onclick = () => {
  $('.detail').hidden = true;
  open = null;
};
$('.show-train').onclick = () => {
  keep('run', open);
  studio.emit('run', open);
  studio.show('train');
};
$('.show-compare').onclick = () => {
  keep('compare_run', open);
  studio.emit('compare_run', open);
  studio.show('compare');
};
$('.board').onclick = async () => {
  const button = $('.board'),
    page = window.open('about:blank', '_blank');
  button.disabled = true;
  button.textContent = t('Starting…');
  const answer = await ask('board', { runs: [...picked] });
  button.disabled = false;
  button.textContent = t('TensorBoard');
  if (answer && page) page.location = new URL(answer.url, document.baseURI);
  else page?.close();
};

// The trash.
$('.delete').onclick = async () => {
  const ids = [...picked];
  if (!(await ask('delete', { runs: ids }))) {
    load();
    return;
  }
  picked.clear();
  keep('picked', []);
  if (ids.includes(open)) $('.shut').click();
  await load();
  paint();
  together();
  toast(ids.length === 1 ? t('{id} is in the trash.', { id: ids[0] }) : t('{count} runs are in the trash.', { count: ids.length }), {
    seconds: 12,
    action: {
      name: t('Undo'),
      do: async () => {
        await ask('restore', { runs: ids });
        load();
      },
    },
  });
};
$('.trash').onclick = async () => {
  const box = $('.bin'),
    answer = await ask('deleted');
  if (!answer) return;
  const act = (name, question, run) => async () => {
    if (question && !confirm(question)) return;
    if (await ask(name, { runs: [run.id] })) {
      await load();
      answer.deleted = answer.deleted.filter(one => one !== run);
      fill();
    }
  };
  const fill = () =>
    box
      .querySelector('tbody')
      .replaceChildren(
        ...answer.deleted.map(run =>
          el(
            'tr',
            {},
            el('td', {}, run.name),
            el('td', {}, time(run.time)),
            el('td', {}, size(run.size)),
            el('td', {}, el('button', { type: 'button', class: 'btn small', onclick: act('restore', '', run) }, t('Restore'))),
            el(
              'td',
              {},
              el(
                'button',
                { type: 'button', class: 'btn small danger', onclick: act('purge', t('Delete {name} for good?', { name: run.name }), run) },
                t('Delete for good'),
              ),
            ),
          ),
        ),
      );
  fill();
  box.showModal();
};
$('.search').addEventListener('input', paint);
studio.poll(element, load, 6000);
load().then(together);
