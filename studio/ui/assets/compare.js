const { studio } = window,
  { keep, kept, toast } = studio;
const POCKET = { denoise: 15, guidance: 4 },
  OTHERS = { denoise: '', guidance: '' };
let known = { runs: [], files: [], bases: [] },
  job = null,
  at = { view: 'slider', prompt: 0, column: -1, split: 50 },
  chosen = [];
const looks = kept('compare', {}),
  form = {
    prompts: '',
    strengths: [0.5, 1],
    steps: [],
    seed: 900,
    negative: '',
    denoise: null,
    guidance: null,
    width: '',
    height: '',
    base: '',
    loras: [],
    ...looks,
  };
const remember = () => {
  for (const name of ['prompts', 'seed', 'negative', 'denoise', 'guidance', 'width', 'height', 'base']) form[name] = $(`.${name}`).value;
  form.loras = chosen;
  keep('compare', form);
};
const run_of = id => known.runs.find(run => run.id === id);

// What is drawn with.
function lora_row(lora, index) {
  const select = el(
    'select',
    {
      'aria-label': t('LoRA'),
      onchange: () => {
        const [kind, ...rest] = select.value.split(':'),
          name = rest.join(':');
        chosen[index] = { weight: chosen[index].weight, [kind]: name };
        if (!index) {
          form.steps = [];
          base_of();
        }
        paint_loras();
        remember();
        if (!index) gallery();
      },
    },
    el(
      'optgroup',
      { label: t('Runs') },
      known.runs.map(run =>
        el(
          'option',
          { value: `run:${run.id}`, selected: lora.run === run.id },
          `${run.name}${run.finished ? '' : ` (${t('step {step}', { step: run.steps.at(-1) })})`}`,
        ),
      ),
    ),
    known.files.length
      ? el(
          'optgroup',
          { label: t('Files') },
          known.files.map(file => el('option', { value: `file:${file}`, selected: lora.file === file }, file)),
        )
      : null,
  );
  const shown = el('output', { class: 'mono' }, String(lora.weight));
  return el(
    'div',
    { class: 'lora' },
    el(
      'label',
      { class: 'field' },
      el('span', { class: 'name' }, index ? t('and') : t('LoRA')),
      el(
        'span',
        { class: 'row' },
        select,
        index
          ? el(
              'button',
              {
                type: 'button',
                class: 'btn small',
                'aria-label': t('Take it out'),
                onclick: () => {
                  chosen.splice(index, 1);
                  paint_loras();
                  remember();
                },
              },
              '×',
            )
          : null,
      ),
    ),
    chosen.length > 1
      ? el(
          'div',
          { class: 'row' },
          el('small', {}, t('Weight')),
          el('input', {
            type: 'range',
            min: '-1',
            max: '2',
            step: '0.05',
            value: String(lora.weight),
            'aria-label': t('Weight of this LoRA'),
            oninput: event => {
              lora.weight = +event.target.value;
              shown.textContent = lora.weight;
              remember();
            },
          }),
          shown,
        )
      : null,
  );
}
function paint_loras() {
  $('.loras').replaceChildren(...chosen.map(lora_row));
  if (!chosen.length) $('.loras').append(el('p', { class: 'soft' }, t('There is no LoRA yet. Train one first.')));
  const run = run_of(chosen[0]?.run);
  $('.steps-box').hidden = !run || run.steps.length < 2;
  $('.steps').replaceChildren(
    ...(run?.steps || []).map(step =>
      el(
        'button',
        {
          type: 'button',
          class: 'chip',
          'aria-pressed': String(form.steps.includes(step)),
          onclick: () => {
            form.steps = form.steps.includes(step) ? form.steps.filter(other => other !== step) : [...form.steps, step].sort((a, b) => a - b);
            paint_loras();
            remember();
          },
        },
        String(step),
      ),
    ),
  );
  $('.go').disabled = !chosen.length;
}
function base_of() {
  const run = run_of(chosen[0]?.run);
  if (run) $('.base').value = run.base;
  const usual = $('.base').value === 'pocket' ? POCKET : OTHERS;
  $('.denoise').value = usual.denoise;
  $('.guidance').value = usual.guidance;
}
function strengths() {
  $('.chosen').replaceChildren(
    el('span', { class: 'chip', title: t('The base model, the LoRA switched off') }, '0'),
    ...form.strengths.map(value =>
      el(
        'button',
        {
          type: 'button',
          class: 'chip',
          'aria-label': t('Take out strength {value}', { value }),
          onclick: () => {
            form.strengths = form.strengths.filter(other => other !== value);
            strengths();
            remember();
          },
        },
        `${value} ×`,
      ),
    ),
  );
}
$('.strength').oninput = event => {
  $('.strengths output').textContent = event.target.value;
};
$('.add-strength').onclick = () => {
  const value = +$('.strength').value;
  if (value && !form.strengths.includes(value)) form.strengths = [...form.strengths, value].sort((a, b) => a - b);
  strengths();
  remember();
};
$('.add').onclick = () => {
  const other = known.runs.find(run => !chosen.some(lora => lora.run === run.id)) || known.runs[0];
  if (!other && !known.files.length) return;
  chosen.push(other ? { run: other.id, weight: 1 } : { file: known.files[0], weight: 1 });
  paint_loras();
  remember();
};
$('.dice').onclick = () => {
  $('.seed').value = crypto.getRandomValues(new Uint32Array(1))[0] % 1e6;
  remember();
};
for (const name of ['prompts', 'seed', 'negative', 'denoise', 'guidance', 'width', 'height', 'base'])
  $(`.${name}`).addEventListener('change', remember);

async function load(prefer = kept('compare_run')) {
  const answer = await ask('sources');
  if (!answer) return;
  known = answer;
  $('#bases').replaceChildren(...known.bases.map(value => el('option', { value })));
  const wanted = run_of(prefer),
    still = form.loras.filter(lora => (lora.run ? run_of(lora.run) : known.files.includes(lora.file)));
  const fresh = wanted && still[0]?.run !== wanted.id;
  chosen = wanted
    ? [{ run: wanted.id, weight: still[0]?.run === wanted.id ? still[0].weight : 1 }, ...still.slice(1)]
    : still.length
      ? still
      : known.runs.length
        ? [{ run: known.runs[0].id, weight: 1 }]
        : [];
  keep('compare_run', null);
  for (const name of ['prompts', 'seed', 'negative', 'denoise', 'guidance', 'width', 'height', 'base'])
    if (form[name] != null && form[name] !== '') $(`.${name}`).value = form[name];
  if (fresh || !form.base) base_of();
  if (fresh) form.steps = [];
  paint_loras();
  strengths();
  gallery();
  if (chosen[0]?.run && (fresh || !$('.prompts').value.trim())) {
    const found = await ask('suggest', { run: chosen[0].run }, { quiet: true });
    if (found?.ok && found.prompts.length) $('.prompts').value = found.prompts.join('\n');
  }
  remember();
}
studio.on('compare_run', id => load(id));
studio.on('compare_files', async () => {
  known = (await ask('sources', {}, { quiet: true })) || known;
  paint_loras();
});

// Drawing.
$('.go').onclick = async () => {
  remember();
  $('.go').disabled = true;
  const answer = await ask('draw', {
    loras: chosen,
    prompts: $('.prompts').value,
    strengths: form.strengths,
    steps_of: form.steps,
    base: $('.base').value,
    seed: $('.seed').value,
    negative: $('.negative').value,
    steps: $('.denoise').value,
    guidance: $('.guidance').value,
    width: $('.width').value,
    height: $('.height').value,
    run: chosen[0]?.run,
  });
  $('.go').disabled = false;
  if (!answer) return;
  if (answer.zero) trigger('zero', { job: answer.job });
  keep('job', answer.job);
  at.prompt = 0;
  at.column = -1;
  job = null;
  again();
};
$('.cancel').onclick = async () => {
  $('.cancel').disabled = true;
  await ask('cancel', { job: kept('job') });
};
const again = studio.poll(element, async () => {
  const id = kept('job');
  if (!id || (job?.id === id && job.ended)) return 1500;
  const answer = await ask('look', { job: id }, { quiet: true });
  if (!answer) return 2000;
  if (!answer.ok) {
    keep('job', null);
    job = null;
    paint();
    return 1500;
  }
  const before = job;
  job = answer.job;
  const working = !job.ended;
  $('.cancel').hidden = !working;
  if (!working) $('.cancel').disabled = false;
  $('.go').textContent = working ? t('Drawing…') : t('Generate');
  $('.working').hidden = !working;
  const done = job.images.length + (working ? job.part : 0);
  $('.working .soft').textContent = job.waits || `${job.images.length} / ${job.total}`;
  $('.working .progress > i').style.transform = `scaleX(${job.total ? Math.min(1, done / job.total) : 0})`;
  if (before?.id !== job.id || before.images.length !== job.images.length || before.ended !== job.ended) paint();
  if (job.ended && before && !before.ended && job.error) toast(job.error, { kind: 'error', fix: job.fix });
  return working ? 350 : 1500;
});

// Looking.
const number = (prompt, column) => prompt * job.columns.length + column;
const src = (prompt, column) => (job.images.includes(number(prompt, column)) ? `studio/compare/${job.id}/${number(prompt, column)}.png` : null);
const title = column => (job.columns[column] === '0' ? t('Before') : `LoRA ${job.columns[column]}`);
const shape = image =>
  image.addEventListener('load', () => {
    const box = image.closest('.wipe, .sheet-grid');
    box?.style.setProperty('--shape', `${image.naturalWidth} / ${image.naturalHeight}`);
    $('.stage').classList.toggle('small', image.naturalWidth <= 128);
  });
const pic = (prompt, column, kind = '') => {
  const image = el('img', { class: kind, src: src(prompt, column), alt: `${job.prompts[prompt]}, ${title(column)}`, draggable: false });
  shape(image);
  return image;
};
const waits = () => el('p', { class: 'empty' }, job.ended ? t('This picture was not drawn.') : t('Being drawn…'));
function enlarge(prompt, column) {
  const box = $('dialog.large');
  box.querySelector('img').src = src(prompt, column);
  box.querySelector('img').alt = job.prompts[prompt];
  box.querySelector('p').textContent = `${job.prompts[prompt]} · ${title(column)}`;
  box.showModal();
}
const VIEWS = {
  slider() {
    if (!src(at.prompt, 0) || !src(at.prompt, at.column)) return [waits()];
    const box = el(
      'div',
      { class: 'wipe', style: `--at:${at.split}%; aspect-ratio: var(--shape, 1)` },
      pic(at.prompt, 0),
      pic(at.prompt, at.column, 'after'),
      el('span', { class: 'line' }),
      el('span', { class: 'tag left' }, title(0)),
      el('span', { class: 'tag right' }, title(at.column)),
    );
    box.append(
      el('input', {
        type: 'range',
        min: '0',
        max: '100',
        step: '0.5',
        value: String(at.split),
        'aria-label': t('Before and after'),
        oninput: event => {
          at.split = +event.target.value;
          box.style.setProperty('--at', `${at.split}%`);
        },
      }),
    );
    return [box];
  },
  side() {
    return [
      el(
        'div',
        { class: 'side' },
        [0, at.column].map(column =>
          el(
            'figure',
            {},
            src(at.prompt, column) ? Object.assign(pic(at.prompt, column), { onclick: () => enlarge(at.prompt, column) }) : waits(),
            el('figcaption', {}, title(column)),
          ),
        ),
      ),
    ];
  },
  grid() {
    return [
      el(
        'div',
        { class: 'sheet-grid', style: `--n:${job.columns.length}` },
        el('span'),
        job.columns.map((name, column) => el('span', { class: `top ${column === at.column ? 'on' : ''}` }, name === '0' ? t('0 base') : name)),
        job.prompts.flatMap((prompt, row) => [
          el('span', { class: 'left' }, prompt),
          ...job.columns.map((_, column) =>
            src(row, column)
              ? el(
                  'button',
                  {
                    type: 'button',
                    class: `cell ${row === at.prompt && column === at.column ? 'on' : ''}`,
                    onclick: () => {
                      at.prompt = row;
                      if (column) at.column = column;
                      set_view('slider');
                    },
                  },
                  pic(row, column),
                )
              : el('span', { class: `cell ${job.ended ? '' : 'wait'}` }),
          ),
        ]),
      ),
    ];
  },
};
function paint() {
  const stage = $('.stage');
  $('.under').hidden = !job || !job.images.length;
  for (const button of $$('.seg button')) button.setAttribute('aria-pressed', String(button.dataset.view === at.view));
  $('.prompt').hidden = $('.columns-of').hidden = !job || at.view === 'grid';
  if (!job) {
    stage.replaceChildren(el('p', { class: 'empty' }, t('Press Generate to see your LoRA beside the base model.')));
    return;
  }
  if (at.column < 1 || at.column >= job.columns.length) at.column = job.columns.length - 1;
  if (at.prompt >= job.prompts.length) at.prompt = 0;
  stage.replaceChildren(...VIEWS[at.view]());
  $('.prompt').replaceChildren(...job.prompts.map((prompt, i) => el('option', { value: String(i), selected: i === at.prompt }, prompt)));
  $('.columns-of').replaceChildren(
    ...job.columns
      .map((name, i) =>
        i
          ? el(
              'button',
              {
                type: 'button',
                class: 'btn small',
                'aria-pressed': String(i === at.column),
                onclick: () => {
                  at.column = i;
                  paint();
                },
              },
              name,
            )
          : null,
      )
      .filter(Boolean),
  );
  const { base_model, seed, steps, guidance } = job.about;
  $('.about').textContent = [
    base_model.split('/').pop(),
    t('seed {seed}', { seed }),
    steps != null && t('{steps} steps', { steps }),
    guidance != null && t('guidance {value}', { value: guidance }),
  ]
    .filter(Boolean)
    .join(' · ');
  $('.sheet').href = `studio/compare/${job.id}/sheet.png`;
  $('.sheet').hidden = job.images.length < job.total;
  $('.verdict').hidden = !job.about.run || at.view === 'grid' || !src(at.prompt, at.column);
}
function set_view(view) {
  at.view = view;
  keep('view', view);
  paint();
}
for (const button of $$('.seg button')) button.onclick = () => set_view(button.dataset.view);
$('.prompt').onchange = event => {
  at.prompt = +event.target.value;
  paint();
};
element.addEventListener('keydown', event => {
  if (event.target.closest('input, select, textarea')) return;
  const view = { 1: 'slider', 2: 'side', 3: 'grid' }[event.key];
  if (view) set_view(view);
});

// Keeping.
for (const button of $$('[data-verdict]'))
  button.onclick = async () => {
    const answer = await ask('keep', {
      job: job.id,
      number: number(at.prompt, at.column),
      run: job.about.run,
      verdict: button.dataset.verdict,
      note: $('.note').value,
    });
    if (answer) {
      $('.note').value = '';
      toast(t('Kept with the run.'));
      gallery();
    }
  };
const WORDS = { good: t('Good'), 'so-so': t('So-so'), bad: t('Bad') };
async function gallery() {
  const run = chosen[0]?.run,
    answer = run && (await ask('kept', { run }, { quiet: true }));
  $('.kept-box').hidden = !answer?.kept?.length;
  if (answer?.ok)
    $('.kept').replaceChildren(
      ...answer.kept.map(one =>
        el(
          'figure',
          {},
          el('img', { src: `studio/compare/kept/${run}/${one.number}.png`, alt: one.picture.prompt, loading: 'lazy' }),
          el(
            'figcaption',
            {},
            el('b', {}, WORDS[one.verdict]),
            ` · ${one.picture.prompt} · ${one.picture.column}`,
            one.note ? el('div', { class: 'soft' }, one.note) : null,
          ),
        ),
      ),
    );
}
at.view = kept('view', 'slider');
paint();
load();
