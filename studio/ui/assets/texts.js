// Texts: conversations as a list to read and edit. The server searches and hands out rows by the page, as the end of the list comes near.
const PAGE = 40;
const PARTS = {
  prompt: t('the prompt'),
  response: t('the response'),
  input: t('more of the prompt'),
  system: t('the system message'),
  text: t('a plain text'),
  messages: t('a list of messages'),
};
const SIDES = { system: t('system'), user: t('user'), assistant: t('assistant'), text: t('text') };
let talks = [],
  found_texts = 0,
  all_texts = 0,
  editable = false,
  fetching = null,
  asking = 0,
  made_edits = [];
const place_of = row => `${row.file}:${row.line}`,
  sides = written => (written.messages ? written.messages.map(m => [m.role, m.content]) : [['text', written.text]]);

function show_as(texts) {
  textual = texts;
  $('.work').classList.toggle('of-texts', texts);
  $('.more').textContent = texts ? t('Add texts') : t('Add pictures');
  $('.search').placeholder = texts ? t('Search texts ( / )') : t('Search captions ( / )');
  $('.search').setAttribute('aria-label', texts ? t('Search texts') : t('Search captions'));
  if (!texts) $('.copy-it').hidden = true;
}
function forget_texts() {
  textual = false;
  talks = [];
  made_edits = [];
  $('.talks').replaceChildren();
}

// Rows.
const wanted_texts = () => {
  const marked = [...problems].filter(([, found]) => found.some(p => p.kind === filter.problem)).map(([place]) => place);
  return { name: dataset.name, search: $('.search').value.trim(), only: marked.length ? marked : null };
};
async function fetch_texts(begin, count, known = null) {
  const answer = await ask('text_rows', { ...wanted_texts(), begin, count, stamp: known });
  if (!answer || answer.same) return answer ? [] : null;
  stamp = answer.stamp;
  found_texts = answer.found;
  all_texts = answer.total;
  editable = answer.editable;
  return answer.rows.map(([file, line, form, written]) => ({ file, line, form, written }));
}
async function load_texts() {
  const before = stamp,
    turn = ++asking,
    fresh = await fetch_texts(0, Math.max(PAGE, talks.length), stamp);
  if (!fresh || turn !== asking || (before && before === stamp)) return;
  $('.undo').disabled = !made_edits.length;
  $('.copy-it').hidden = editable;
  show_texts(fresh);
  examine_texts();
}
async function search_texts() {
  keep('search', { search: $('.search').value, ...filter });
  const turn = ++asking,
    fresh = await fetch_texts(0, PAGE);
  if (fresh && turn === asking) show_texts(fresh);
}
function show_texts(rows) {
  talks = rows;
  $('.talks').replaceChildren(...rows.map(talk));
  if (!rows.length) $('.talks').append(el('p', { class: 'empty soft' }, t('Nothing here.')));
  count_texts();
}
function count_texts() {
  $('.count').textContent = `${found_texts} / ${all_texts}`;
  end.unobserve($('.end'));
  if (talks.length < found_texts) end.observe($('.end'));
}
async function more_texts() {
  if (fetching || talks.length >= found_texts) return;
  const turn = asking;
  fetching = fetch_texts(talks.length, PAGE);
  const fresh = await fetching;
  fetching = null;
  if (fresh && turn === asking) {
    talks.push(...fresh);
    $('.talks').append(...fresh.map(talk));
  }
  if (fresh) count_texts(); // also behind a search that came between: the end was watched in vain
}

// Cards.
function talk(row) {
  return el('article', { class: 'talk', role: 'listitem', 'data-place': place_of(row) }, inside_of(row));
}
function inside_of(row) {
  const found = problems.get(place_of(row)) || [],
    turns = sides(row.written),
    length = turns.reduce((sum, [, content]) => sum + content.length, 0);
  return [
    el(
      'header',
      { class: 'mono soft' },
      el('span', {}, editable ? row.line : place_of(row)),
      el('span', {}, t('{count} characters', { count: length })),
      found.length
        ? el('span', { class: 'why', title: found.map(p => p.fix).join('\n') }, `▲ ${found.map(p => p.message).join(' ')}`)
        : null,
      el('span', { class: 'grow' }),
      editable
        ? el(
            'button',
            { type: 'button', class: 'btn bare small out', 'aria-label': t('Take row {line} out', { line: row.line }), title: t('Take out') },
            '×',
          )
        : null,
    ),
    ...turns.map(([side, content], index) => turn_of(row, side, content, index)),
  ];
}
function turn_of(row, side, content, index) {
  return el(
    'div',
    { class: `turn ${side}` },
    el('span', { class: 'side' }, SIDES[side]),
    el(
      'div',
      {
        class: 'said',
        'data-index': String(index),
        'data-empty': t('nothing'),
        tabIndex: 0,
        ...(editable ? { role: 'textbox', 'aria-multiline': 'true' } : {}),
        'aria-label': t('{side}, row {line}', { side: SIDES[side], line: row.line }),
        spellcheck: false,
      },
      content,
    ),
  );
}
const row_at = place => talks.find(row => place_of(row) === place),
  card_of = row => [...$('.talks').children].find(card => card.dataset.place === place_of(row)),
  renew = row => card_of(row)?.replaceChildren(...inside_of(row).filter(Boolean));

// Editing. As with captions: a save says what it replaces, and what somebody else changed meanwhile is shown.
const changed = (written, index, text) =>
  written.messages ? { messages: written.messages.map((m, at) => (at === index ? { ...m, content: text } : m)) } : { text };
const save_texts = edits =>
  (saving = saving.then(async () => {
    $('.saved').textContent = t('saving…');
    const answer = await ask('save_texts', { name: dataset.name, edits });
    $('.saved').textContent = !answer ? t('NOT saved') : answer.conflicts.length ? t('changed elsewhere') : t('saved');
    if (!answer) return false;
    found_texts += answer.total - all_texts;
    all_texts = answer.total;
    stamp = answer.stamp;
    count_texts();
    for (const [line, mine, theirs] of answer.conflicts) clash_of_texts(line, mine, theirs);
    clearTimeout(rechecking);
    rechecking = setTimeout(examine_texts, 1500);
    return !answer.conflicts.length;
  }));
function remember_edit(edit) {
  made_edits.push(edit);
  $('.undo').disabled = false;
}
function commit_said(field) {
  const row = row_at(field.closest('.talk').dataset.place),
    index = +field.dataset.index;
  if (!row) return;
  const before = row.written,
    was = sides(before)[index][1];
  let text = field.textContent;
  if (text.endsWith('\n') && !was.endsWith('\n')) text = text.slice(0, -1); // the editor's own, where the caret stands in an empty last line
  if (text === was) return;
  row.written = changed(before, index, text);
  remember_edit([row.line, before, row.written]);
  save_texts([[row.line, before, row.written]]);
}
async function take_out(row) {
  const card = card_of(row);
  talks = talks.filter(one => one !== row);
  for (const one of talks) if (one.file === row.file && one.line > row.line) move(one, -1);
  card?.remove();
  remember_edit([row.line, row.written, null]);
  const done = await save_texts([[row.line, row.written, null]]);
  if (done) toast(t('Row {line} was taken out', { line: row.line }), { action: { name: t('Undo'), do: undo_text } });
}
function move(row, by) {
  const card = card_of(row);
  row.line += by;
  if (card) {
    card.dataset.place = place_of(row);
    card.querySelector('header span').textContent = row.line;
  }
}
async function undo_text() {
  const last = made_edits.pop();
  $('.undo').disabled = !made_edits.length;
  if (!last) return;
  const [line, before, after] = last;
  await saving;
  await save_texts([[line, after, before]]);
  stamp = null;
  await load_texts();
}
// What one row says and the other doesn't.
const told = (mine, theirs = { messages: [] }) => {
  const known = new Set(sides(theirs).map(([, content]) => content));
  return sides(mine)
    .map(([, content]) => content)
    .filter(content => !known.has(content))
    .join('\n');
};
function clash_of_texts(line, mine, theirs) {
  const row = talks.find(one => one.line === line),
    card = row && card_of(row);
  made_edits = made_edits.filter(([at]) => at !== line);
  $('.undo').disabled = !made_edits.length;
  if (!card || !theirs || !mine) {
    toast(t('Row {line} was changed elsewhere; your change was not saved.', { line }), { kind: 'warning', fix: mine ? told(mine) : '' });
    stamp = null;
    load_texts();
    return;
  }
  row.written = theirs;
  renew(row);
  card.classList.add('clash');
  const done = written => {
    card.classList.remove('clash');
    row.written = written;
    renew(row);
    if (written !== theirs) save_texts([[row.line, theirs, written]]);
  };
  card.append(
    el(
      'div',
      { class: 'both', role: 'alert' },
      el('b', {}, t('Somebody else changed this row. What is shown is theirs.')),
      el('div', {}, `${t('Yours')}: `, told(mine, theirs)),
      el(
        'div',
        { class: 'row' },
        el('button', { type: 'button', class: 'btn small', onclick: () => done(theirs) }, t('Take theirs')),
        el('button', { type: 'button', class: 'btn small', onclick: () => done(mine) }, t('Keep mine')),
      ),
    ),
  );
}
$('.talks').addEventListener('focusin', event => {
  const field = event.target.closest('.said');
  if (field && editable) field.contentEditable = 'plaintext-only';
});
$('.talks').addEventListener('focusout', event => {
  const field = event.target.closest('.said');
  if (field && editable) {
    field.contentEditable = 'inherit';
    commit_said(field);
  }
});
$('.talks').addEventListener('click', event => {
  const row = event.target.closest('.out') && row_at(event.target.closest('.talk').dataset.place);
  if (row) take_out(row);
});
$('.talks').addEventListener('keydown', event => {
  const field = event.target.closest('.said');
  if (!field) return;
  if ((event.ctrlKey || event.metaKey) && event.key === 's') {
    event.preventDefault();
    commit_said(field);
  } else if (event.key === 'Escape') {
    field.textContent = sides(row_at(field.closest('.talk').dataset.place).written)[+field.dataset.index][1];
    field.blur();
  } else if (event.altKey && ['ArrowDown', 'ArrowUp'].includes(event.key)) {
    event.preventDefault();
    const fields = [...$('.talks').querySelectorAll('.said')],
      to = fields[fields.indexOf(field) + (event.key === 'ArrowDown' ? 1 : -1)];
    if (to) {
      to.focus();
      to.scrollIntoView({ block: 'nearest' });
    }
  }
});
window.addEventListener('beforeunload', () => {
  const field = element.querySelector('.said:focus');
  if (field && editable) commit_said(field);
});
const undo_caption = $('.undo').onclick;
$('.undo').onclick = event => {
  element.querySelector('.said:focus')?.blur();
  return textual ? undo_text() : undo_caption(event);
};
$('.copy-it button').onclick = () => open_folder(dataset.folder, {});

// What is wrong.
async function examine_texts() {
  const turn = ++examined,
    begun = await ask('check_texts', { name: dataset.name }, { quiet: true });
  if (!begun?.ok) return;
  const result = await follow(begun.task, () => {});
  if (turn !== examined || !result || !textual) return;
  described = result;
  $('.report-open').disabled = false;
  problems = new Map();
  general = [];
  for (const [file, line, message, fix, severity, kind, also] of result.problems) {
    const p = { file, line, message, fix, severity, kind };
    if (line && severity !== 'error') for (const place of [place_of(p), ...also]) problems.set(place, [...(problems.get(place) || []), p]);
    else general.push(p);
  }
  const narrowed = !!filter.problem;
  if (!result.problems.some(p => p[5] === filter.problem)) filter.problem = '';
  faults();
  if (narrowed) search_texts();
  else for (const row of talks) if (!card_of(row)?.matches(':focus-within, .clash')) renew(row);
}
const sums_of_texts = ({ rows, about }) =>
  t('{rows} rows, {words} words; half of the answers have at most {middle} words.', { rows, words: about.words.total, middle: about.answers.middle });
const charts_of_texts = about => [
  bars(t('Words in an answer'), about.answers.counts),
  bars(t('Words in a row'), about.words.counts),
  bars(t('Characters in a row'), about.characters.counts),
  bars(t('Messages in a row'), about.turns),
  bars(t('Roles'), about.roles),
];

// Which column holds what.
function ask_columns({ file, columns }, go_on) {
  const box = $('.columns-of'),
    texts = columns.filter(([, samples]) => samples.length && isNaN(samples[0])),
    guess = texts.length === 1 ? { [texts[0][0]]: 'text' } : texts.length === 2 ? { [texts[0][0]]: 'prompt', [texts[1][0]]: 'response' } : {};
  box.querySelector('.about').textContent = t('{file}: the names of its columns do not say it.', { file });
  const chosen = () => Object.fromEntries([...box.querySelectorAll('.list select')].filter(one => one.value).map(one => [one.value, one.name]));
  const sample = name => columns.find(([column]) => column === name)?.[1][0] || '';
  const look_at = () => {
    const parts = chosen(),
      taken = [...box.querySelectorAll('.list select')].filter(one => one.value),
      once = taken.length === Object.keys(parts).length,
      names = Object.keys(parts).sort().join(' '),
      fits = once && /^((input )?prompt response( system)?|messages( system)?|text)$/.test(names);
    box.querySelector('.take').disabled = !fits;
    const needed = once ? t('A prompt and a response, or a plain text, or a list of messages.') : t('Each can be one column only.');
    box.querySelector('.needed').textContent = fits ? '' : needed;
    const turns = fits
      ? [
          ['system', sample(parts.system)],
          ['user', [sample(parts.prompt), sample(parts.input)].filter(Boolean).join('\n\n')],
          ['assistant', sample(parts.response)],
          ['text', sample(parts.text || parts.messages)],
        ].filter(([, text]) => text)
      : [];
    const shown_as = ([side, text]) =>
      el('div', { class: `turn ${side}` }, el('span', { class: 'side' }, SIDES[side]), el('div', { class: 'said' }, text));
    box.querySelector('.example').replaceChildren(...turns.map(shown_as));
  };
  box.querySelector('.list').replaceChildren(
    ...columns.map(([name, samples]) =>
      el(
        'label',
        { class: 'column' },
        el('b', { class: 'mono' }, name),
        el('span', { class: 'soft' }, samples.join(' · ') || t('empty')),
        el(
          'select',
          { name, onchange: look_at },
          el('option', { value: '' }, t('not used')),
          ...Object.entries(PARTS).map(([part, title]) => el('option', { value: part, selected: guess[name] === part }, title)),
        ),
      ),
    ),
  );
  box.querySelector('.take').onclick = () => {
    box.close();
    go_on(chosen());
  };
  look_at();
  box.showModal();
}
