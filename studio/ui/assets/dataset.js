const { studio } = window,
  { keep, kept, toast } = studio;
const CHUNK = 60,
  MOST_TAGS = 24;
let rows = [],
  by_name = new Map(),
  shown = [],
  stamp = null,
  dataset = kept('dataset'),
  problems = new Map(),
  general = [],
  filter = { tag: '', problem: '' },
  described = null,
  textual = false;
const grid = $('.grid'),
  tags_of = text =>
    text
      .split(',')
      .map(word => word.trim())
      .filter(Boolean),
  row_of = name => by_name.get(name);
const image = (name, whole) =>
  `studio/dataset/${encodeURIComponent(dataset.name)}/${name.split('/').map(encodeURIComponent).join('/')}${whole ? '?whole' : ''}`;

// Cards.
function footer(row) {
  const count = tags_of(row.caption).length,
    found = problems.get(row.name) || [];
  return [
    el('span', { title: row.name }, `${row.name} · ${count === 1 ? t('1 tag') : t('{count} tags', { count })}`),
    row.machine ? el('span', { class: 'soft', title: t('Written by {name}, not looked at yet', { name: row.machine }) }, '✎') : null,
    found.length
      ? el(
          'span',
          {
            class: `mark ${found.some(p => p.severity === 'error') ? 'error' : ''}`,
            tabIndex: 0,
            role: 'note',
            title: found.map(p => `${p.message}\n${p.fix}`).join('\n'),
            'aria-label': found.map(p => p.message).join(' '),
          },
          `▲ ${found.length}`,
        )
      : null,
  ].filter(Boolean);
}
function unseen(event) {
  event.target.replaceWith(el('span', { class: 'unseen soft' }, t('unreadable')));
}
function card(row) {
  return el(
    'article',
    { class: 'picture', role: 'listitem', 'data-name': row.name },
    el(
      'button',
      { type: 'button', class: 'shot', 'aria-label': t('Enlarge {name}', { name: row.name }), onclick: () => enlarge(row) },
      el('img', { src: image(row.name), alt: '', loading: 'lazy', decoding: 'async', width: 320, height: 168, onerror: unseen }),
    ),
    el(
      'div',
      {
        class: 'caption',
        tabIndex: 0,
        role: 'textbox',
        'aria-multiline': 'true',
        'aria-label': t('Caption of {name}', { name: row.name }),
        'data-empty': t('no caption'),
        spellcheck: false,
      },
      row.caption,
    ),
    el('footer', {}, footer(row)),
  );
}
function enlarge(row) {
  const box = $('dialog.large');
  box.querySelector('img').src = image(row.name, true);
  box.querySelector('img').alt = row.caption;
  box.querySelector('p').textContent = `${row.name} · ${row.caption}`;
  box.showModal();
}
function paint() {
  if (textual) return search_texts();
  const wanted = $('.search').value.trim().toLowerCase();
  shown = rows.filter(
    row =>
      (!wanted || row.caption.toLowerCase().includes(wanted) || row.name.toLowerCase().includes(wanted)) &&
      (!filter.tag || tags_of(row.caption).includes(filter.tag)) &&
      (!filter.problem || (problems.get(row.name) || []).some(p => p.kind === filter.problem)),
  );
  if (filter.problem) {
    // In the order of the findings: the worst first, pictures that are alike side by side.
    const place = row => problems.get(row.name).find(p => p.kind === filter.problem).place;
    shown.sort((one, other) => place(one) - place(other));
  }
  grid.replaceChildren();
  more();
  $('.count').textContent = `${shown.length} / ${rows.length}`;
  keep('search', { search: $('.search').value, ...filter });
}
// Cards are made as the end of the grid comes near: ten thousand of them would take seconds and half a gigabyte.
function more() {
  if (textual) return more_texts();
  const made = grid.children.length;
  grid.append(...shown.slice(made, made + CHUNK).map(card));
  end.unobserve($('.end'));
  if (grid.children.length < shown.length) end.observe($('.end'));
}
const end = new IntersectionObserver(seen => seen.some(one => one.isIntersecting) && more(), { rootMargin: '1500px' });
const chip = (text, on, act, kind = '') => el('button', { type: 'button', class: `chip ${kind}`, 'aria-pressed': String(on), onclick: act }, text);
function cloud() {
  const counts = new Map();
  for (const row of rows) for (const tag of new Set(tags_of(row.caption))) counts.set(tag, (counts.get(tag) || 0) + 1);
  const most = [...counts]
    .filter(([tag]) => tag.length < 30)
    .sort((a, b) => b[1] - a[1])
    .slice(0, MOST_TAGS);
  if (filter.tag && !most.some(([tag]) => tag === filter.tag)) most.unshift([filter.tag, counts.get(filter.tag) || 0]);
  $('.tags').replaceChildren(
    ...most.map(([tag, count]) =>
      chip(`${tag} ${count}`, filter.tag === tag, () => {
        filter.tag = filter.tag === tag ? '' : tag;
        cloud();
        paint();
      }),
    ),
  );
}
const KINDS = {
  'no-caption': t('no caption'),
  small: t('small'),
  'long-caption': t('too long'),
  unreadable: t('unreadable'),
  picture: t('unreadable'),
  disagreement: t('two captions'),
  animated: t('animated'),
  orphan: t('text without a picture'),
  format: t('line'),
  'no-picture': t('no picture'),
  vague: t('says nothing specific'),
  'no-trigger': t('without the trigger'),
  'fused-tag': t('always with the trigger'),
  'same-caption': t('the same caption'),
  'duplicate-row': t('the same row twice'),
  'near-row': t('nearly the same row'),
  'same-answer': t('one answer for many prompts'),
  'empty-answer': t('empty answer'),
  'empty-prompt': t('empty prompt'),
  'empty-row': t('empty'),
  'long-row': t('too long'),
  'no-answer': t('no answer'),
  'open-end': t('ends with a question'),
  order: t('messages out of order'),
  mixed: t('chats and plain texts'),
  few: t('too few'),
  'near-duplicate': t('nearly the same picture'),
  blurred: t('blurred'),
  watermark: t('a constant mark'),
  duplicate: t('the same picture twice'),
  misfit: t('may not fit'),
  outlier: t('unlike the others'),
};
function faults() {
  const counts = new Map();
  for (const found of problems.values())
    for (const p of found) {
      const known = counts.get(p.kind) || { count: 0, severity: p.severity };
      known.count++;
      counts.set(p.kind, known);
    }
  $('.problems').replaceChildren(
    ...[...counts].map(([kind, { count, severity }]) =>
      chip(
        `▲ ${KINDS[kind] || kind} ${count}`,
        filter.problem === kind,
        () => {
          filter.problem = filter.problem === kind ? '' : kind;
          faults();
          paint();
        },
        severity,
      ),
    ),
  );
  $('.general').hidden = !general.length;
  $('.general').textContent =
    general
      .slice(0, 12)
      .map(p => `${p.file === dataset.folder ? '' : `${p.file}${p.line ? `:${p.line}` : ''}: `}${p.message}${p.fix ? ` ${p.fix}` : ''}`)
      .join('\n') + (general.length > 12 ? `\n${t('… and {count} more', { count: general.length - 12 })}` : '');
}

// Opening.
async function open(chosen) {
  dataset = chosen;
  rows = [];
  stamp = null;
  problems = new Map();
  general = [];
  keep('dataset', chosen);
  studio.emit('dataset', chosen);
  described = null;
  $('.report-open').disabled = true;
  $('.undo').disabled = true;
  $('.saved').textContent = '';
  forget_texts();
  await load();
  await list();
}
async function load() {
  $('.welcome').hidden = !!dataset;
  $('.work').hidden = !dataset;
  if (!dataset) return;
  if (textual) return load_texts();
  const answer = await ask('rows', { name: dataset.name, stamp });
  if (!answer) {
    if (!rows.length) {
      dataset = null;
      keep('dataset', null);
      studio.emit('dataset', null);
      await load();
    }
    return;
  }
  show_as(!!answer.texts);
  if (textual) return load_texts();
  $('.undo').disabled = !answer.undoable;
  if (answer.same) return;
  rows = answer.rows.map(([name, caption, machine]) => ({ name, caption, machine }));
  by_name = new Map(rows.map(row => [row.name, row]));
  stamp = answer.stamp;
  cloud();
  faults();
  paint();
  examine();
}
async function list() {
  const answer = await ask('known', {}, { quiet: true });
  if (!answer?.ok) return;
  $('.which').replaceChildren(
    ...answer.datasets.map(one => el('option', { value: one.name, selected: one.name === dataset?.name }, one.name)),
    el('option', { value: '' }, t('Start page…')),
  );
  $('.samples').replaceChildren(
    ...answer.samples.map(sample =>
      el(
        'button',
        {
          type: 'button',
          class: 'chip',
          onclick: async () => {
            const found = await ask('choose', { sample });
            if (found) open(found);
          },
        },
        sample,
      ),
    ),
  );
  $('.known').replaceChildren(...answer.datasets.map(one => el('button', { type: 'button', class: 'chip', onclick: () => open(one) }, one.name)));
  $('.known-box').hidden = !answer.datasets.length;
}
$('.which').onchange = async event => {
  if (!event.target.value) {
    dataset = null;
    $('.welcome').hidden = false;
    $('.work').hidden = true;
    list();
    return;
  }
  const found = await ask('choose', { name: event.target.value });
  if (found) open(found);
};

// How far a task in the background is.
const fill = (box, state) => {
  box.querySelector('.progress > i').style.transform = `scaleX(${state.total ? state.done / state.total : 0})`;
  box.querySelector('span').textContent = `${state.what}${state.total ? ` ${state.done} / ${state.total}` : ''}`;
};
const found_of = rows => rows.map(([file, line, message, fix, severity, kind, also], place) => ({ file, line, message, fix, severity, kind, also, place }));
let examined = 0;
async function examine() {
  if (textual) return examine_texts();
  const turn = ++examined,
    begun = await ask('check', { name: dataset.name, resolution: +studio.wanted().resolution || null }, { quiet: true });
  if (!begun?.ok) return;
  const late = setTimeout(() => {
    if (turn === examined) $('.looking').hidden = false;
  }, 700);
  const result = await follow(begun.task, state => {
    if (turn === examined) fill($('.looking'), state);
  });
  clearTimeout(late);
  if (turn !== examined) return;
  $('.looking').hidden = true;
  if (!result) return;
  described = result;
  $('.report-open').disabled = false;
  const names = new Set(rows.map(row => row.name));
  problems = new Map();
  general = [];
  for (const p of found_of(result.problems)) {
    const here = [p.file, ...p.also].filter(name => names.has(name));
    for (const name of here) problems.set(name, [...(problems.get(name) || []), p]);
    if (!here.length) general.push(p);
  }
  faults();
  if (filter.problem) paint();
  else
    for (const made of grid.children) {
      const row = row_of(made.dataset.name);
      if (row) made.querySelector('footer').replaceChildren(...footer(row));
    }
}

// Editing. A save says what it replaces; what somebody else changed meanwhile is shown, not overwritten.
let saving = Promise.resolve(),
  rechecking = 0;
const save = edits =>
  (saving = saving.then(async () => {
    if (!edits.length) return;
    $('.saved').textContent = t('saving…');
    const answer = await ask('save', { name: dataset.name, edits });
    $('.saved').textContent = !answer ? t('NOT saved') : answer.conflicts.length ? t('changed elsewhere') : t('saved');
    if (!answer) return;
    stamp = answer.stamp;
    for (const [name, mine, theirs] of answer.conflicts) clash(name, mine, theirs);
    clearTimeout(rechecking);
    rechecking = setTimeout(examine, 1500);
  }));
function clash(name, mine, theirs) {
  const row = row_of(name),
    made = [...grid.children].find(child => child.dataset.name === name);
  if (row) row.caption = theirs;
  if (!made) {
    toast(t('{name} was changed elsewhere; your text was not saved.', { name }), { kind: 'warning', fix: mine });
    return;
  }
  made.classList.add('clash');
  made.querySelector('.caption').textContent = theirs;
  made.querySelector('.both')?.remove();
  const done = text => {
    made.classList.remove('clash');
    made.querySelector('.both').remove();
    made.querySelector('.caption').textContent = text;
    if (text !== theirs) {
      row.caption = text;
      save([[name, theirs, text]]);
    }
  };
  made.append(
    el(
      'div',
      { class: 'both', role: 'alert' },
      el('b', {}, t('Somebody else changed this caption.')),
      el('div', {}, `${t('Theirs')}: `, theirs),
      el('div', {}, `${t('Yours')}: `, mine),
      el(
        'div',
        { class: 'row' },
        el('button', { type: 'button', class: 'btn small', onclick: () => done(theirs) }, t('Take theirs')),
        el('button', { type: 'button', class: 'btn small', onclick: () => done(mine) }, t('Keep mine')),
      ),
    ),
  );
}
function change(edits) {
  const real = edits.filter(([, before, after]) => before !== after);
  if (!real.length) return;
  $('.undo').disabled = false;
  for (const [name, , after] of real) Object.assign(row_of(name), { caption: after, machine: '' });
  cloud();
  return save(real);
}
grid.addEventListener('focusin', event => {
  const field = event.target.closest('.caption');
  if (field) field.contentEditable = 'plaintext-only';
});
const commit = field => {
  const row = row_of(field.parentNode.dataset.name),
    text = field.textContent.replace(/\s+/g, ' ').trim();
  if (!row) return;
  const before = row.caption;
  if (text !== before) {
    change([[row.name, before, text]]);
    field.parentNode.querySelector('footer').replaceChildren(...footer(row));
  }
};
grid.addEventListener('focusout', event => {
  const field = event.target.closest('.caption');
  if (field) {
    field.contentEditable = 'inherit';
    commit(field);
  }
});
const go = (from, by) => {
  if (from === grid.lastElementChild && by > 0) more();
  const to = by > 0 ? from.nextElementSibling : from.previousElementSibling;
  if (to) {
    to.querySelector('.caption').focus();
    to.scrollIntoView({ block: 'nearest' });
  }
};
element.addEventListener('keydown', event => {
  const field = event.target.closest?.('.caption');
  if ((event.ctrlKey || event.metaKey) && event.key === 's') {
    event.preventDefault();
    if (field) commit(field);
  } else if (field && event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    go(field.parentNode, 1);
  } else if (field && event.key === 'Escape') {
    field.textContent = row_of(field.parentNode.dataset.name)?.caption ?? '';
    field.blur();
  } else if (field && event.altKey && ['ArrowDown', 'ArrowRight'].includes(event.key)) {
    event.preventDefault();
    go(field.parentNode, 1);
  } else if (field && event.altKey && ['ArrowUp', 'ArrowLeft'].includes(event.key)) {
    event.preventDefault();
    go(field.parentNode, -1);
  }
});
document.addEventListener('keydown', event => {
  if (event.key === '/' && studio.visible(element) && !event.target.closest('input, textarea, select, .caption, .said, dialog')) {
    event.preventDefault();
    $('.search').focus();
  }
});
let typing = 0;
$('.search').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(searched, 60);
});
function searched() {
  clearTimeout(typing);
  if (typing) paint();
  typing = 0;
}

// Bringing pictures and texts in.
async function bring(files, into) {
  if (!files.length) return;
  const box = $('.copying');
  box.hidden = false;
  fill(box, { what: t('Uploading'), done: 0, total: files.length });
  const sent = await upload_files([...files]).catch(() => null);
  if (!sent) {
    box.hidden = true;
    toast(t('The upload failed.'), { kind: 'error', fix: t('The files may be too large, or the connection was lost.') });
    return;
  }
  await take(sent, into, {});
}
function tell_left_out(lines) {
  if (!lines.length) return;
  toast(t('{count} files or lines were left out', { count: lines.length }), { kind: 'warning', fix: lines.join('\n'), seconds: 12 });
}
async function take(files, into, columns) {
  const box = $('.copying'),
    begun = await ask('bring', { files, into, columns });
  box.hidden = !begun;
  if (!begun) return;
  box.querySelector('.cancel').onclick = () => ask('cancel', { task: begun.task });
  const result = await follow(begun.task, state => fill(box, state));
  box.hidden = true;
  if (!result) return;
  if (result.unknown) return ask_columns(result.unknown, chosen => take(files, into, chosen));
  tell_left_out(result.left_out);
  stamp = null;
  open({ name: result.name, folder: result.folder });
}
let adding = '';
$('.pick').onclick = () => {
  adding = '';
  $('.files').click();
};
$('.more').onclick = () => {
  adding = dataset.name;
  $('.files').click();
};
$('.files').onchange = event => {
  bring([...event.target.files], adding);
  event.target.value = '';
};
let dragging = 0;
const carries = event => [...(event.dataTransfer?.types || [])].includes('Files') && studio.visible(element);
document.addEventListener('dragenter', event => {
  if (carries(event)) {
    dragging++;
    $('.drop').hidden = false;
  }
});
document.addEventListener('dragleave', event => {
  if (carries(event) && --dragging <= 0) {
    dragging = 0;
    $('.drop').hidden = true;
  }
});
document.addEventListener('dragover', event => {
  if (carries(event)) event.preventDefault();
});
document.addEventListener('drop', event => {
  if (!carries(event)) return;
  event.preventDefault();
  dragging = 0;
  $('.drop').hidden = true;
  const files = [...event.dataTransfer.files],
    fits = files.every(file => /\.(jsonl|ndjson|json|csv|txt)$/i.test(file.name)) === textual;
  bring(files, $('.work').hidden || !fits ? '' : dataset?.name || '');
});

// Choosing a folder.
async function browse(at) {
  const answer = await ask('folders', { at }),
    box = $('.folder');
  if (!answer) return;
  if (answer.at) box.querySelector('.at').value = answer.at;
  const line = (path, name) => el('button', { type: 'button', class: 'btn bare', onclick: () => browse(path) }, name);
  box
    .querySelector('.list')
    .replaceChildren(
      ...(answer.up || answer.at ? [line(answer.up, '↑ ..')] : []),
      ...answer.folders.map(path => line(path, answer.at ? path.split('/').pop() : path)),
    );
  const inside = !answer.pictures && answer.texts ? t('{count} files of texts in this folder', { count: answer.texts }) : null;
  box.querySelector('.pictures').textContent = answer.at ? inside || t('{count} pictures in this folder', { count: answer.pictures }) : '';
  box.querySelector('.choose').disabled = !answer.at;
}
for (const button of $$('.open'))
  button.onclick = () => {
    browse('');
    $('.folder').showModal();
  };
$('.folder .go').onclick = () => browse($('.folder .at').value);
$('.folder .at').addEventListener('keydown', event => {
  if (event.key === 'Enter') {
    event.preventDefault();
    browse(event.target.value);
  }
});
async function open_folder(folder, columns) {
  const found = await ask('choose', { folder, columns });
  if (!found) return;
  $('.folder').close();
  if (found.unknown) return ask_columns(found.unknown, chosen => open_folder(folder, chosen));
  tell_left_out(found.left_out || []);
  open({ name: found.name, folder: found.folder });
}
$('.folder .choose').onclick = () => open_folder($('.folder .at').value, {});

$('.try').onclick = async event => {
  const button = event.target;
  button.disabled = true;
  button.textContent = t('Preparing…');
  const begun = await ask('try_it'),
    result = begun && (await follow(begun.task, () => {}));
  button.disabled = false;
  button.textContent = t('Try it in two minutes');
  if (!result) return;
  await open(result.dataset);
  keep('run', result.run);
  studio.emit('run', result.run);
  studio.show('train');
};
$('.next').onclick = () => studio.show('presets');
window.addEventListener('focus', () => {
  if (dataset && studio.visible(element) && !element.querySelector('.caption:focus, .said:focus')) load();
});
window.addEventListener('beforeunload', () => {
  const field = element.querySelector('.caption:focus');
  if (field) commit(field);
});
const before = kept('search', {});
$('.search').value = before.search || '';
filter = { tag: before.tag || '', problem: before.problem || '' };
load().then(list);
