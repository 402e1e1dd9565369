// What the data is like, what is wrong with it, and what only a person knows of it.
const MOST_BARS = 12;
function bars(title, counts, note = '') {
  const entries = Array.isArray(counts) ? counts : Object.entries(counts),
    most = Math.max(...entries.map(([, count]) => count));
  if (!entries.length) return null;
  return el(
    'section',
    {},
    el('h3', {}, title),
    note ? el('small', { class: 'soft' }, note) : null,
    ...entries.map(([label, count]) => {
      const bar = el('i', {});
      bar.style.inlineSize = `${(100 * count) / most}%`;
      return el(
        'div',
        { class: 'bar' },
        el('span', { class: 'mono' }, label),
        el('span', { class: 'track' }, bar),
        el('b', { class: 'mono' }, String(count)),
      );
    }),
  );
}
function finding(kind, found) {
  const here = [...problems.values()].some(one => found.some(p => one.includes(p)));
  return el(
    'div',
    { class: `notice ${found.some(p => p.severity === 'error') ? 'error' : 'warning'} row` },
    el(
      'div',
      { class: 'grow' },
      el('b', {}, `${KINDS[kind] || kind} · ${found.length}`),
      el('div', {}, found[0].message),
      el('div', { class: 'soft' }, found[0].fix),
    ),
    here
      ? el(
          'button',
          {
            type: 'button',
            class: 'btn small',
            onclick: () => {
              $('.report').close();
              filter.problem = kind;
              faults();
              paint();
            },
          },
          t('Show'),
        )
      : null,
  );
}
function charts_of_pictures(about) {
  const cropped = about.buckets.reduce((sum, bucket) => sum + bucket.cropped.length, 0);
  return [
    bars(t('Shorter side, pixels'), about.sides),
    bars(t('Aspect ratio'), about.aspects),
    bars(
      t('Buckets: what each crop keeps'),
      about.buckets.map(b => [`${b.width} × ${b.height} · ${Math.round(100 * b.kept)} %`, b.count]),
      cropped ? t('{count} pictures lose more than a quarter.', { count: cropped }) : '',
    ),
    bars(t('Tokens in a caption'), about.tokens, about.tokens['>77'] ? t('What is beyond 77 is not read.') : ''),
    bars(t('Frequent words'), about.words.slice(0, MOST_BARS)),
    about.tags.length > 1 ? bars(t('Frequent tags'), about.tags.slice(0, MOST_BARS)) : null,
  ];
}
$('.report-open').onclick = () => {
  if (!described) return;
  const { about, usable, pictures, captions } = described,
    kinds = new Map();
  $('.report').classList.toggle('of-texts', textual);
  for (const p of new Set([...[...problems.values()].flat(), ...general])) kinds.set(p.kind, [...(kinds.get(p.kind) || []), p]);
  $('.sums').textContent = textual
    ? sums_of_texts(described)
    : t('{pictures} pictures, {captions} with a caption, {usable} to train on.', { pictures, captions, usable });
  const severe = ([, found]) => (found.some(p => p.severity === 'error') ? 0 : 1);
  $('.findings').replaceChildren(
    ...(kinds.size
      ? [...kinds].sort((one, other) => severe(one) - severe(other)).map(([kind, found]) => finding(kind, found))
      : [el('div', { class: 'soft' }, t('Nothing is wrong.'))]),
  );
  for (const input of $$('.facts input')) {
    input.value = about.facts[input.name];
    if (input.name === 'captioning' && about.guessed) input.placeholder = about.guessed;
  }
  $('.charts').replaceChildren(...(textual ? charts_of_texts(about) : charts_of_pictures(about)).filter(Boolean));
  const sheet = $('.sheet');
  URL.revokeObjectURL(sheet.href);
  sheet.href = URL.createObjectURL(new Blob([about.markdown], { type: 'text/markdown' }));
  $('.report').showModal();
};
$('.fit').onclick = async () => {
  $('.report').close();
  const begun = await ask('fit', { name: dataset.name });
  if (!begun) return;
  const box = $('.copying');
  box.hidden = false;
  box.querySelector('.cancel').onclick = () => ask('cancel', { task: begun.task });
  const result = await follow(begun.task, state => fill(box, state));
  box.hidden = true;
  if (!result) return;
  for (const [name, found] of problems)
    problems.set(
      name,
      found.filter(p => p.kind !== 'misfit' && p.kind !== 'outlier'),
    );
  for (const p of found_of(result.problems)) problems.set(p.file, [...(problems.get(p.file) || []), p]);
  faults();
  paint();
  toast(t('{count} findings', { count: result.problems.length }), {
    fix: t('{name} knows the words of {judged} of {total} captions; it says nothing of the others.', {
      name: result.by,
      judged: result.judged,
      total: result.total,
    }),
  });
};
$('.facts').addEventListener('change', async () => {
  const said = Object.fromEntries($$('.facts input').map(input => [input.name, input.value]));
  if (await ask('say_of', { name: dataset.name, ...said })) {
    described.about.facts = said;
    examine();
  }
});

// The set out again, as other trainers read it.
$('.export').onclick = () => {
  $('.export-form').dispatchEvent(new Event('input'));
  $('.exporting').showModal();
};
$('.export-form').addEventListener('input', () => {
  $('.for-kohya').hidden = $('.export-form').value !== 'kohya';
});
$('.export-go').onclick = async () => {
  $('.exporting').close();
  await saving;
  const begun = await ask('export', { name: dataset.name, form: $('.export-form').value, repeats: +$('.export-repeats').value });
  if (!begun) return;
  const box = $('.copying');
  box.hidden = false;
  box.querySelector('.cancel').onclick = () => ask('cancel', { task: begun.task });
  const result = await follow(begun.task, state => fill(box, state));
  box.hidden = true;
  if (!result) return;
  el('a', { href: result.url, download: '' }).click();
  toast(t('{count} pictures packed', { count: result.pictures }), result.renamed.length ? { fix: result.renamed.join('\n'), seconds: 12 } : {});
};
