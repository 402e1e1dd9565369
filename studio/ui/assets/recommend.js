// A form filled from the pictures, the base model and the machine, with the reason under each value. It is kept with the draft.
let asking = false;
const advice = () => draft?.advice?.said?.[studio.language];
function show_advice() {
  const said = advice();
  $('.recommend').disabled = asking || !draft;
  $('.advice .cancel').hidden = $('.advice .progress').hidden = !asking;
  $('.advice').classList.toggle('taken', !!said && !asking);
  if (asking) return;
  $('.advice .about').textContent =
    said?.about || t('Every setting from your pictures, the base model and this machine, with its reason, and what earlier runs taught.');
  $('.advice .besides').hidden = !said?.besides.length;
  $('.advice .besides').replaceChildren(...(said?.besides || []).map(text => el('li', {}, text)));
}
$('.recommend').onclick = async () => {
  const { base_model, metadata_path, train_data_dir } = draft.settings,
    folder = train_data_dir || kept('dataset')?.folder,
    begun = await ask('recommend', { base_model, metadata_path, folder });
  if (!begun) return;
  asking = true;
  show_advice();
  $('.advice .cancel').onclick = () => ask('cancel', { task: begun.task });
  const result = await follow(begun.task, state => {
    $('.advice .about').textContent = `${state.what}${state.total ? ` ${state.done} / ${state.total}` : ''}`;
    $('.advice .progress > i').style.transform = `scaleX(${state.total ? state.done / state.total : 0})`;
  });
  asking = false;
  if (result) {
    const stays = Object.fromEntries(
      ['base_model', 'train_data_dir', 'metadata_path', 'output_dir'].filter(key => key in draft.settings).map(key => [key, draft.settings[key]]),
    );
    draft = { preset: '', settings: { base_model: 'pocket', ...stays, ...result.values }, advice: result };
    gallery();
    fill();
    changed();
    set_view('form');
    toast(t('{count} settings are filled in, each with its reason.', { count: Object.keys(result.values).length }));
    $('.form-side').scrollIntoView();
  }
  show_advice();
};
show_advice();
