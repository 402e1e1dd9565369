const { studio } = window,
  dark = $('.dark-switch'),
  speak = $('.speak');
const name_dark = () => {
  dark.textContent = document.body.classList.contains('dark') ? t('Light') : t('Dark');
};
studio.apply_dark();
name_dark();
dark.onclick = () => {
  studio.set_dark(!document.body.classList.contains('dark'));
  name_dark();
};
if (studio.language === 'zh') {
  speak.textContent = 'English';
  speak.lang = 'en';
}
speak.onclick = () => studio.speak(studio.language === 'zh' ? 'en' : 'zh');
studio.on('connection', there => {
  $('.lost').hidden = there;
});
ask('about', {}, { quiet: true }).then(answer => {
  $('.notices').replaceChildren(...(answer?.notices || []).map(text => el('p', { class: 'notice warning' }, text)));
});
