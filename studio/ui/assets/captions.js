// Many captions at once. The server makes the change and keeps it, so that it can be taken back after a reload too.
const whole = () => shown.length === rows.length,
  names_of = () => {
    searched(); // what was typed a moment ago counts
    return whole() ? null : shown.map(row => row.name);
  };
async function reload() {
  stamp = null;
  await load();
}
function difference(before, after) {
  let start = 0,
    end = 0;
  while (start < Math.min(before.length, after.length) && before[start] === after[start]) start++;
  while (end < Math.min(before.length, after.length) - start && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  return [
    before.slice(0, start),
    el('del', {}, before.slice(start, before.length - end)),
    ' ',
    el('ins', {}, after.slice(start, after.length - end)),
    before.slice(before.length - end),
  ];
}
async function change_many(changes) {
  await saving;
  const answer = await ask('change', { name: dataset.name, changes, only: names_of() });
  if (!answer) return;
  $('.saved').textContent = t('saved');
  toast(t('{count} captions changed', { count: answer.count }));
  await reload();
  for (const [name, mine, theirs] of answer.conflicts) clash(name, mine, theirs);
}
let looked = 0;
async function look(changes) {
  const box = $('.preview'),
    turn = ++looked;
  box.querySelector('.apply').disabled = true; // until it is known what would change
  const answer = changes ? await ask('preview', { name: dataset.name, changes, only: names_of() }, { quiet: true }) : { ok: true, count: 0, edits: [] };
  if (turn !== looked || !answer) return;
  box.querySelector('h2').textContent = !answer.ok
    ? `${answer.error} ${answer.fix}`
    : answer.count
      ? t('{count} captions will change', { count: answer.count })
      : changes
        ? t('Nothing here would change.')
        : '';
  box
    .querySelector('.list')
    .replaceChildren(
      ...(answer.edits || []).map(([name, before, after]) => el('div', {}, el('small', {}, name), el('div', {}, difference(before, after)))),
    );
  box.querySelector('.apply').disabled = !answer.count;
  box.querySelector('.apply').onclick = () => {
    box.close();
    change_many(changes);
  };
}
$('.undo').onclick = async () => {
  const field = element.querySelector('.caption:focus');
  if (field) field.blur();
  await saving;
  const answer = await ask('undo', { name: dataset.name });
  if (!answer) return;
  await reload();
  toast(
    t('Taken back: {what}', { what: answer.what }),
    answer.left ? { fix: t('{count} captions were changed since and stay.', { count: answer.left }) } : {},
  );
};
$('.first').onclick = () => {
  const word = $('.trigger').value.trim();
  if (word) change_many([`trigger=${word}`]);
  else $('.trigger').focus();
};
$('.regex').onclick = event => event.target.setAttribute('aria-pressed', String(event.target.getAttribute('aria-pressed') !== 'true'));
$('.replace').onclick = () => {
  const find = $('.find').value;
  if (!find) {
    $('.find').focus();
    return;
  }
  const kind = $('.regex').getAttribute('aria-pressed') === 'true' ? 'regex' : 'replace';
  $('.preview .choice').hidden = true;
  look([`${kind}=${find}=>${$('.with').value}`]);
  $('.preview').showModal();
};
let offered = null;
const offer = async () => (offered ||= await ask('writers'));
const asked_for = () => {
  const chosen = offered.changes.find(change => change.name === $('.which-change').value),
    value = $('.preview .value').value;
  $('.preview .with-value').hidden = !chosen.needs;
  $('.preview .value').placeholder = chosen.needs;
  return chosen.needs ? (value.trim() ? [`${chosen.name}=${value}`] : null) : [chosen.name];
};
$('.changes').onclick = async () => {
  if (!(await offer())) return;
  if (!$('.which-change').options.length)
    $('.which-change').replaceChildren(...offered.changes.map(change => el('option', { value: change.name }, change.about)));
  $('.preview .choice').hidden = false;
  look(asked_for());
  $('.preview').showModal();
};
let thinking = 0;
for (const input of [$('.which-change'), $('.preview .value')])
  input.addEventListener('input', () => {
    clearTimeout(thinking);
    thinking = setTimeout(() => look(asked_for()), 200);
  });

// Captions by a captioner.
const overwrite = () => $('.overwrite [aria-pressed="true"]')?.value || 'none',
  meant = row => !row.caption || overwrite() === 'all' || (overwrite() === 'auto' && row.machine);
function describe() {
  const chosen = offered.writers.find(writer => writer.name === $('.writer').value),
    count = shown.filter(meant).length;
  $('.writing .about').textContent = chosen.about + (chosen.ready ? '' : ` ${t('Not here yet: it is downloaded first.')}`);
  $('.for-wd').hidden = chosen.name !== 'wd';
  $('.for-template').hidden = chosen.name !== 'template';
  $('.amount').textContent = whole()
    ? t('{count} of {total} pictures', { count, total: rows.length })
    : t('{count} of the {total} pictures in view', { count, total: shown.length });
  $('.begin').disabled = !count;
  keep('writing', { writer: chosen.name, prefix: $('.prefix').value, template: $('.template').value, without: $('.without').value });
}
$('.writers').onclick = async () => {
  if (!(await offer())) return;
  const last = kept('writing', {}),
    writers = offered.writers;
  const usual =
    writers.find(writer => writer.name === last.writer) ||
    writers.find(writer => writer.name === 'blip' && writer.ready) ||
    writers.find(writer => writer.name === 'pocket') ||
    writers[0];
  $('.writer').replaceChildren(...writers.map(writer => el('option', { value: writer.name, selected: writer === usual }, writer.title)));
  for (const name of ['prefix', 'template', 'without']) if (last[name]) $(`.${name}`).value = last[name];
  press(rows.some(row => !row.caption) ? 'none' : 'auto');
  $('.writing').showModal();
};
function press(value) {
  for (const button of $$('.overwrite button')) button.setAttribute('aria-pressed', String(button.value === value));
  describe();
}
for (const button of $$('.overwrite button')) button.onclick = () => press(button.value);
$('.writing').addEventListener('input', describe);
$('.begin').onclick = async () => {
  $('.writing').close();
  await saving;
  const begun = await ask('caption', {
    name: dataset.name,
    captioner: $('.writer').value,
    overwrite: overwrite(),
    prefix: $('.prefix').value,
    template: $('.template').value,
    threshold: +$('.threshold').value,
    without: $('.without').value,
    only: names_of(),
  });
  if (begun) await written(begun.task);
};
async function written(task) {
  const box = $('.copying');
  box.hidden = false;
  box.querySelector('.cancel').onclick = () => ask('cancel', { task });
  const result = await follow(task, state => fill(box, state.done ? { ...state, what: t('Writing captions') } : state));
  box.hidden = true;
  await reload();
  if (result)
    toast(t('{count} captions written', { count: result.written }), {
      fix: result.problems.join('\n') || (result.speed ? t('{speed} pictures a second', { speed: studio.number(result.speed) }) : ''),
    });
}
