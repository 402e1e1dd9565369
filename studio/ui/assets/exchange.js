// Presets come and go as files, and are laid side by side.
const LARGEST = 1_000_000;
async function take(text, name) {
  const answer = await ask('read', { text, name });
  if (!answer) return;
  const edited = !name && answer.program === 'LoRA Studio',
    stays = Object.fromEntries(STAYS.filter(key => key in draft.settings).map(key => [key, draft.settings[key]]));
  draft = edited ? { preset: draft.preset, settings: answer.values } : { preset: '', settings: { base_model: 'pocket', ...stays, ...answer.values } };
  if (!edited) {
    $('.title').value = answer.title;
    $('.about').value = answer.about;
  }
  gallery();
  fill();
  changed();
  set_view('form');
  tell(answer);
}
async function take_file(event) {
  const [file] = event.target.files;
  if (file) await take(await file.slice(0, LARGEST + 1).text(), file.name);
  event.target.value = '';
}
function tell(answer) {
  const count = t('{count} settings taken over.', { count: Object.keys(answer.values).length });
  $('.imported').hidden = !(answer.adapted.length || answer.left_out.length);
  if ($('.imported').hidden) return toast(count);
  $('.imported h2').textContent = t('Imported from {program}', { program: answer.program });
  $('.imported .counted').textContent = `${count} ${t('They are in the form; keep them as a preset when they suit you.')}`;
  for (const [name, notes] of [
    ['.adapted', answer.adapted],
    ['.left-out', answer.left_out],
  ]) {
    const reasons = [...new Set(notes.map(note => note.reason))];
    $(`.imported ${name}`).hidden = !notes.length;
    $(`.imported ${name} .notes`).replaceChildren(
      ...reasons.map(reason =>
        el(
          'div',
          { class: 'note-of' },
          el('div', {}, reason),
          notes.filter(note => note.reason === reason).map(note => el('code', {}, note.value ? `${note.key} = ${note.value}` : note.key)),
        ),
      ),
    );
  }
  $('.imported').scrollIntoView({ block: 'nearest' });
}
$('.import').onclick = () => $('.foreign').click();
$('.foreign').onchange = take_file;
$('.imported .shut').onclick = () => ($('.imported').hidden = true);

$('.share').onclick = async () => {
  const answer = await ask('share', { name: draft.preset });
  if (!answer) return;
  const url = URL.createObjectURL(new Blob([answer.text], { type: 'text/yaml' }));
  el('a', { href: url, download: answer.name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
};

async function lay_side_by_side() {
  const answer = await ask('differ', { a: $('.two .a').value, b: $('.two .b').value });
  if (!answer) return;
  const named = name => presets.find(one => one.name === $(`.two ${name}`).value).title,
    row = ([key, title, a, b]) => el('tr', {}, el('th', { scope: 'row', title: key }, title), el('td', {}, a), el('td', {}, b));
  $('.two .rows').replaceChildren(
    answer.rows.length
      ? el(
          'table',
          {},
          el('thead', {}, el('tr', {}, el('th', {}, t('What differs')), el('th', {}, named('.a')), el('th', {}, named('.b')))),
          el('tbody', {}, answer.rows.map(row)),
        )
      : el('p', { class: 'soft' }, t('Their settings are the same.')),
  );
}
$('.compare-two').onclick = async () => {
  const chosen = preset()?.name || presets[0].name,
    other = presets.find(one => one.name !== chosen).name;
  for (const [name, value] of [
    ['.a', chosen],
    ['.b', other],
  ]) {
    const select = $(`.two ${name}`);
    select.replaceChildren(...presets.map(one => el('option', { value: one.name }, one.title)));
    select.value = value;
    select.onchange = lay_side_by_side;
  }
  await lay_side_by_side();
  $('.two').showModal();
};
