const { studio } = window,
  { keep, kept, toast, duration, number } = studio;
const chart = studio.chart($('.plot'), { empty: t('No run yet. Choose a dataset and start.'), label: t('Training loss') });
const LIVE = ['running', 'preparing', 'stopping'];
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
let current = kept('run'),
  seen = {},
  list = [],
  status = null,
  overlays = kept('overlays', []),
  queue_shown = '';

// What a start would train.
function plan() {
  const wanted = studio.wanted(),
    dataset = kept('dataset'),
    draft = kept('draft', {});
  const facts = [
    [t('Dataset'), dataset?.folder === wanted.train_data_dir ? dataset?.name : wanted.train_data_dir],
    [t('Preset'), draft.advice ? t('Recommended') : draft.preset],
    [t('Base model'), wanted.base_model],
    [t('Rank'), wanted.lora_rank],
    [t('Learning rate'), wanted.learning_rate],
    [t('Steps'), wanted.max_steps],
    [t('Epochs'), wanted.max_steps ? null : wanted.epochs],
    [t('Batch'), wanted.batch_size],
    [t('Resolution'), wanted.resolution],
  ];
  $('.facts').replaceChildren(
    ...facts
      .filter(([, value]) => value != null && value !== '')
      .flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value).split('/').slice(-2).join('/'))]),
  );
  if (!$('.facts').childElementCount) $('.facts').append(el('dt', {}, t('Nothing is chosen yet.')));
}
for (const name of ['dataset', 'draft']) studio.on(name, plan);
$('.to-dataset').onclick = () => studio.show('dataset');
$('.to-presets').onclick = () => studio.show('presets');
for (const [field, name] of [
  ['.purpose', 'purpose'],
  ['.name-field', 'name'],
]) {
  $(field).value = kept(name, '');
  $(field).addEventListener('input', event => keep(name, event.target.value));
}

$('.start').onclick = async () => {
  const button = $('.start');
  button.disabled = true;
  button.textContent = t('Preparing…');
  $('.faults').hidden = true;
  const answer = await ask('start', { settings: studio.wanted(), purpose: $('.purpose').value, name: $('.name-field').value });
  button.disabled = false;
  button.textContent = t('Start training');
  if (!answer) return;
  if (answer.faults) {
    $('.faults').replaceChildren(
      ...Object.entries(answer.faults).map(([key, text]) => el('div', {}, key ? el('b', {}, `${key}: `) : '', text)),
      el('button', { type: 'button', class: 'btn small', onclick: () => studio.show('presets') }, t('Go to the settings')),
    );
    $('.faults').hidden = false;
    return;
  }
  if (answer.zero) trigger('zero', { run: answer.run.id });
  view(answer.run.id);
  await fill();
  again();
};
$('.stop').onclick = async () => {
  $('.stop').disabled = true;
  $('.state').textContent = NAMES.stopping;
  await ask('stop', { run: current });
  again();
};
$('.resume').onclick = async () => {
  $('.resume').disabled = true;
  const answer = await ask('resume', { run: current });
  if (answer?.zero) trigger('zero', { run: current });
  again();
};
$('.compare').onclick = () => {
  keep('compare_run', current);
  studio.emit('compare_run', current);
  studio.show('compare');
};
$('.board').onclick = async () => {
  const button = $('.board'),
    page = window.open('about:blank', '_blank');
  button.disabled = true;
  button.textContent = t('Starting…');
  const answer = await ask('board', { runs: [...chart.runs.keys()] });
  button.disabled = false;
  button.textContent = t('TensorBoard');
  if (answer && page) page.location = new URL(answer.url, document.baseURI);
  else page?.close();
};

// The run in view.
function view(id) {
  if (id === current && seen.id === id) return;
  if (current) chart.remove(current);
  current = id;
  seen = {};
  status = null;
  keep('run', id);
  for (const part of ['.log', '.shots']) $(part).replaceChildren();
  if (overlays.includes(id)) {
    overlays = overlays.filter(other => other !== id);
    keep('overlays', overlays);
  }
  chart.remove(id);
}
studio.on('run', id => {
  if (id !== current) {
    view(id);
    fill().then(again);
  }
});
$('.which').onchange = event => {
  view(event.target.value);
  again();
};
async function fill() {
  const answer = await ask('runs', {}, { quiet: true });
  if (!answer?.ok) return;
  list = answer.runs;
  const name = run => `${run.id}${run.name !== run.id ? `  ${run.name}` : ''}  ·  ${NAMES[run.status]}`;
  $('.which').replaceChildren(...list.map(run => el('option', { value: run.id, selected: run.id === current }, name(run))));
  $('.which').hidden = !list.length;
  $('.overlay').replaceChildren(
    el('option', { value: '' }, t('Compare with…')),
    ...list.filter(run => run.id !== current && !overlays.includes(run.id)).map(run => el('option', { value: run.id }, run.name)),
  );
  $('.overlay').hidden = list.length < 2;
}

// Earlier runs over it.
$('.overlay').onchange = event => {
  if (!event.target.value) return;
  overlays = [...overlays.slice(-4), event.target.value];
  keep('overlays', overlays);
  lay_over();
  fill();
};
async function lay_over() {
  for (const id of overlays) {
    if (id === current || chart.runs.has(id)) continue;
    const answer = await ask('curve', { run: id }, { quiet: true });
    if (!answer?.ok) {
      overlays = overlays.filter(other => other !== id);
      keep('overlays', overlays);
      continue;
    }
    chart.run(id, { name: answer.name, marks: answer.curve.marks || [] });
    chart.put(id, { loss: answer.curve.loss, validation: answer.curve.validation });
  }
  legend();
}
function legend() {
  $('.legend').replaceChildren(
    ...[...chart.runs.values()].flatMap(run => [
      el(
        'button',
        {
          type: 'button',
          class: 'key',
          'aria-pressed': String(run.on),
          style: `--key:${run.colour()}`,
          onclick: () => {
            run.on = !run.on;
            chart.draw();
            legend();
          },
        },
        run.name,
      ),
      ...(run.main
        ? []
        : [
            el(
              'button',
              {
                type: 'button',
                class: 'btn small bare',
                'aria-label': t('Take {name} out of the plot', { name: run.name }),
                onclick: () => {
                  overlays = overlays.filter(id => id !== run.id);
                  keep('overlays', overlays);
                  chart.remove(run.id);
                  legend();
                  fill();
                },
              },
              '×',
            ),
          ]),
    ]),
  );
}
studio.on('theme', legend);

// How the plot looks.
const looks = kept('plot', { ema: 0.9, log: false });
$('.ema').value = looks.ema;
$('.log-scale').checked = looks.log;
const apply = () => {
  const now = { ema: +$('.ema').value, log: $('.log-scale').checked };
  $('.ema-value').textContent = now.ema.toFixed(3);
  chart.set(now);
  keep('plot', now);
};
$('.ema').addEventListener('input', apply);
$('.log-scale').addEventListener('change', apply);
apply();
$('.png').onclick = () => el('a', { href: chart.png(t('Loss')), download: `${current || 'loss'}.png` }).click();

const say_step = run => {
  const b = $('.v-step');
  b.replaceChildren(
    run.steps ? `${run.step.toLocaleString()} / ${run.steps.toLocaleString()}` : '–',
    run.epoch != null ? el('small', {}, `  ${t('epoch {number}', { number: run.epoch.toFixed(1) })}`) : '',
  );
};
function show(run) {
  const live = LIVE.includes(run.status),
    stuck = ['stopped', 'failed', 'interrupted'].includes(run.status);
  $('.columns').classList.toggle('live', live); // on a phone what happens stands before what could be started
  chart.run(run.id, {
    name: list.find(one => one.id === run.id)?.name || run.id,
    live,
    main: true,
    end: run.steps,
    ...(run.curve.marks ? { marks: run.curve.marks } : {}),
  });
  if (run.curve.loss.length || run.curve.validation || run.curve.from < chart.runs.get(run.id).y.length) chart.put(run.id, run.curve);
  if (seen.id !== run.id) {
    legend();
    lay_over();
  }
  const samples = run.samples.flat().join();
  if ($('.shots').dataset.shown !== `${run.id} ${samples}`) {
    $('.shots').dataset.shown = `${run.id} ${samples}`;
    shots(run);
  }
  tell(run);
  seen = { id: run.id, reset: run.curve.reset, loss: run.curve.from + run.curve.loss.length, few: run.curve.few, told: run.lines };
  const part = run.before ? (run.before.total ? run.before.done / run.before.total : 0) : run.steps ? run.step / run.steps : 0;
  $('.progress > i').style.transform = `scaleX(${part})`;
  $('.progress').setAttribute('aria-valuenow', Math.floor(100 * part));
  $('.percent').textContent = run.steps || run.before ? `${Math.floor(100 * part)}%` : '';
  $('.doing').hidden = !run.before;
  $('.doing').textContent = run.before ? `${run.before.what}${run.before.total ? `: ${run.before.done} / ${run.before.total}` : ''}` : '';
  say_step(run);
  $('.v-loss').textContent = number(chart.smoothed(run.id) ?? run.loss);
  $('.v-val').textContent = number(run.final);
  $('.n-val').textContent = t('Validation loss');
  $('.n-val').title = run.shared
    ? t('Measured on pictures that are trained on: there are too few to hold any out.')
    : t('On pictures that are not trained on, with the same noise each time.');
  $('.v-rate').textContent = number(run.rate, 6);
  $('.v-speed').textContent = run.speed ? number(1 / run.speed, 2) : '–';
  $('.n-left').textContent = run.left != null ? t('Time left') : t('Time taken');
  $('.v-left').textContent = duration(run.left ?? run.took);
  $('.v-memory').textContent = run.memory ? (run.memory / 1e9).toFixed(1) : '–';
  $('.fault').hidden = !run.error;
  $('.fault').textContent = [run.error, run.fix].filter(Boolean).join('\n');
  document.title = live && run.steps ? `${Math.floor(100 * part)}% · LoRA Studio` : 'LoRA Studio';
  if (run.status === status) return;
  const first = status === null;
  status = run.status;
  element.querySelector('.pill').className = `pill ${status}`;
  $('.state').textContent = NAMES[status];
  $('.stop').hidden = !live && status !== 'queued';
  $('.stop').disabled = status === 'stopping';
  $('.stop').textContent = status === 'queued' ? t('Take out of the queue') : t('Stop');
  $('.resume').hidden = !stuck;
  $('.resume').disabled = false;
  $('.compare').hidden = status !== 'finished' && !run.curve.few;
  if (!first && status === 'finished')
    toast(t('Finished: your LoRA is ready.'), { action: { name: t('Compare before and after'), do: () => $('.compare').click() }, seconds: 15 });
  fill();
}
function shots(run) {
  $('.shots').replaceChildren(
    ...run.samples.flatMap(([step, count]) =>
      Array.from({ length: count }, (_, i) => {
        const src = `studio/train/${run.id}/${step}/${i}.png`,
          name = t('Sample {number} at step {step}', { number: i + 1, step });
        return el(
          'button',
          {
            type: 'button',
            title: name,
            onclick: () => {
              const box = $('.large-picture');
              box.querySelector('img').src = src;
              box.querySelector('img').alt = name;
              box.querySelector('p').textContent = name;
              box.showModal();
            },
          },
          el('img', { src, alt: name, loading: 'lazy' }),
          String(step),
        );
      }),
    ),
  );
  if (!run.samples.length) $('.shots').append(el('p', { class: 'soft' }, t('Set sample_prompts to see pictures while it learns.')));
  $('.shots').scrollLeft = $('.shots').scrollWidth;
}
function tell(run) {
  const log = $('.log'),
    end = log.scrollTop + log.clientHeight > log.scrollHeight - 24;
  if (seen.id !== run.id || seen.reset !== run.curve.reset) log.replaceChildren();
  for (const line of run.told)
    log.append(
      el('div', { class: line.kind }, el('time', {}, new Date(line.time * 1000).toLocaleTimeString(document.documentElement.lang)), line.text),
    );
  if (run.told.length && end) log.scrollTop = log.scrollHeight;
}
function show_queue(ids) {
  if (queue_shown === ids.join()) return;
  queue_shown = ids.join();
  $('.queue').hidden = !ids.length;
  $('.waits').replaceChildren(
    ...ids.map(id =>
      el(
        'li',
        {},
        el(
          'span',
          { class: 'row' },
          el('span', { class: 'grow mono' }, id),
          el(
            'button',
            {
              type: 'button',
              class: 'btn small',
              onclick: async () => {
                await ask('stop', { run: id });
                again();
              },
            },
            t('Take out'),
          ),
        ),
      ),
    ),
  );
}

const again = studio.poll(element, async () => {
  const answer = await ask('look', { run: current, ...seen }, { quiet: true });
  if (!answer?.ok) return 2000;
  show_queue(answer.queue);
  if (!answer.run) {
    if (current) {
      view(null);
      return 0;
    }
    chart.draw();
    return 3000;
  }
  if (!current) {
    view(answer.run.id);
    await fill();
  }
  if (answer.run.id === current) show(answer.run);
  return LIVE.includes(answer.run.status) ? answer.every : answer.queue.length ? 1500 : 3000;
});
plan();
fill();
