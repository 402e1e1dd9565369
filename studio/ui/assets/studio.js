// What every part of the page uses: words, elements, questions to the server, what is kept in this browser. One global: window.studio.
(() => {
  const cookie = name => (document.cookie.match(new RegExp(`(?:^|; )${name}=([^;]*)`)) || [])[1];
  const remember = (name, value) => {
    document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=strict`;
  };
  if (!cookie('studio_session'))
    remember('studio_session', [...crypto.getRandomValues(new Uint8Array(12))].map(b => b.toString(16).padStart(2, '0')).join(''));
  const asked = new URLSearchParams(location.search).get('lang');
  if (asked) remember('studio_language', asked);
  const language = (asked || cookie('studio_language') || navigator.language || 'en').toLowerCase().startsWith('zh') ? 'zh' : 'en';
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';

  const words = window.STUDIO_WORDS[language] || {};
  const t = (sentence, values = {}) => (words[sentence] || sentence).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

  // Gradio makes its tabs in English, and anew when the window changes; here they get their names in the chosen language.
  const tabs = { Dataset: t('Dataset'), Presets: t('Presets'), Train: t('Train'), Compare: t('Compare'), Runs: t('Runs') };
  const name_tabs = () => {
    for (const tab of document.querySelectorAll('#tabs > .tab-wrapper button'))
      for (const text of tab.childNodes) if (text.nodeType === Node.TEXT_NODE && text.data.trim() in tabs) text.data = tabs[text.data.trim()];
  };
  if (language !== 'en') new MutationObserver(name_tabs).observe(document.documentElement, { childList: true, subtree: true });

  const el = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value == null || value === false) continue;
      if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
      else if (name === 'class') made.className = value;
      else if (name === 'style') made.style.cssText = value;
      else if (name in made && typeof value !== 'string') made[name] = value;
      else made.setAttribute(name, value === true ? '' : value);
    }
    made.append(...children.flat().filter(child => child != null && child !== false));
    return made;
  };

  const toast = (text, { fix = '', kind = '', action = null, seconds = kind === 'error' ? 12 : 5 } = {}) => {
    let box = document.querySelector('.toasts');
    if (!box) {
      box = el('div', { class: 'toasts', role: 'status', 'aria-live': 'polite' });
      document.body.append(box);
    }
    const made = el(
      'div',
      { class: `toast ${kind}`, role: kind === 'error' ? 'alert' : 'status' },
      el('b', {}, text),
      fix && el('small', {}, fix),
      action &&
        el(
          'button',
          {
            type: 'button',
            class: 'act',
            onclick: () => {
              made.remove();
              action.do();
            },
          },
          action.name,
        ),
      el('button', { type: 'button', class: 'shut', 'aria-label': t('Close'), onclick: () => made.remove() }, '×'),
    );
    while (box.childElementCount >= 4) box.firstChild.remove();
    box.append(made);
    setTimeout(() => made.remove(), seconds * 1000);
    return made;
  };

  // Kept in this browser, so that a reload finds everything as it was.
  const keep = (name, value) => {
    try {
      localStorage.setItem(`studio.${name}`, JSON.stringify(value));
    } catch {
      /* full or forbidden: then nothing is kept */
    }
  };
  const kept = (name, otherwise = null) => {
    try {
      return JSON.parse(localStorage.getItem(`studio.${name}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  };

  const listeners = {};
  const on = (name, listener) => {
    (listeners[name] ||= []).push(listener);
  };
  const emit = (name, value) => {
    for (const listener of listeners[name] || []) listener(value);
  };

  const tab = name =>
    document.querySelector(`#tabs [role=tab][data-tab-id="${name}"]`) ||
    [...document.querySelectorAll('#tabs .overflow-dropdown button')].find(found => found.textContent.trim() === (words[NAMES[name]] || NAMES[name]));
  const NAMES = { dataset: 'Dataset', presets: 'Presets', train: 'Train', compare: 'Compare', runs: 'Runs' };
  const show = name => {
    tab(name)?.click();
  };
  // The chosen tab stands in the address, so that a reload and a link lead to it.
  document.addEventListener('click', event => {
    const found = event.target.closest?.('#tabs [role=tab]');
    if (found) history.replaceState(null, '', `#${found.dataset.tabId}`);
  });
  const wanted_tab = location.hash.slice(1);
  if (wanted_tab in NAMES) {
    const waiting = setInterval(() => {
      if (tab(wanted_tab)) {
        clearInterval(waiting);
        show(wanted_tab);
      }
    }, 50);
  }

  const duration = seconds => {
    if (seconds == null || !isFinite(seconds)) return '–';
    const s = Math.round(seconds),
      two = n => String(n).padStart(2, '0');
    return s >= 3600 ? `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}` : `${Math.floor(s / 60)}:${two(s % 60)}`;
  };
  const time = seconds =>
    seconds ? new Date(seconds * 1000).toLocaleString(document.documentElement.lang, { dateStyle: 'short', timeStyle: 'short' }) : '';
  const number = (value, digits = 4) =>
    value == null ? '–' : (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) || value === 0 ? String(+value.toFixed(digits)) : value.toExponential(1);

  const visible = element => !document.hidden && element.isConnected && element.offsetParent !== null;

  // Calls `look` again and again while the element can be seen; it returns how many milliseconds to wait. A hidden tab costs no traffic.
  const poll = (element, look, otherwise = 1000) => {
    let timer = null,
      going = false;
    const again = async () => {
      clearTimeout(timer);
      if (going || !element.isConnected) return;
      going = true;
      let wait = otherwise;
      if (visible(element)) {
        try {
          wait = (await look()) ?? otherwise;
        } catch (error) {
          console.warn(error);
        }
      }
      going = false;
      timer = setTimeout(again, visible(element) ? wait : 400);
    };
    document.addEventListener('visibilitychange', again);
    again();
    return again;
  };

  // What a part's script gets: its own elements, and `ask(name, data)`, which asks the server and answers null when that failed and was said.
  const part = (element, server, upload) => {
    const $ = selector => element.querySelector(selector),
      $$ = selector => [...element.querySelectorAll(selector)];
    for (const found of $$('[data-t]')) found.textContent = t(found.textContent.trim());
    for (const name of ['title', 'label', 'placeholder'])
      for (const found of $$(`[data-t-${name}]`)) found.setAttribute(name === 'label' ? 'aria-label' : name, t(found.getAttribute(`data-t-${name}`)));
    const ask = async (name, data = {}, { quiet = false } = {}) => {
      const answer = await server[name](data).catch(() => undefined);
      if (answer?.ok) {
        if (lost) {
          lost = false;
          emit('connection', true);
        }
        return answer;
      }
      if (!answer) {
        if (!lost) {
          lost = true;
          emit('connection', false);
        }
        if (!quiet) toast(t('The studio does not answer.'), { kind: 'error', fix: t('It may have been stopped; the page goes on when it is back.') });
        return null;
      }
      if (!quiet) toast(answer.error, { kind: 'error', fix: answer.fix });
      return quiet ? answer : null;
    };
    // A task in the background, followed to its end.
    const follow = async (id, tell) => {
      for (;;) {
        const state = await ask('task', { task: id }, { quiet: true });
        if (!state?.ok) return null;
        tell(state);
        if (state.ended) {
          if (state.failed) toast(state.failed, { kind: 'error', fix: state.fix });
          return state.result;
        }
        await new Promise(go => setTimeout(go, 300));
      }
    };
    const upload_files = async files => {
      const done = [];
      for (const file of files) done.push({ name: file.name, path: (await upload(file)).path });
      return done;
    };
    return { t, el, $, $$, ask, follow, upload_files };
  };
  let lost = false;

  const dark = localStorage.getItem('studio.dark');
  const set_dark = value => {
    document.body.classList.toggle('dark', value);
    localStorage.setItem('studio.dark', value ? '1' : '0');
    emit('theme', value);
  };
  const apply_dark = () => {
    if (dark != null && !new URLSearchParams(location.search).get('__theme')) document.body.classList.toggle('dark', dark === '1');
  };
  document.body ? apply_dark() : document.addEventListener('DOMContentLoaded', apply_dark);

  const speak = code => {
    remember('studio_language', code);
    const url = new URL(location);
    url.searchParams.delete('lang');
    history.replaceState(null, '', url);
    location.reload();
  };

  // What a start would train: the settings of the Presets tab on the chosen dataset.
  const wanted = () => {
    const draft = kept('draft', {}),
      dataset = kept('dataset');
    return { ...(dataset ? { train_data_dir: dataset.folder } : {}), ...(draft.settings || {}) };
  };

  window.studio = {
    wanted,
    t,
    el,
    toast,
    keep,
    kept,
    on,
    emit,
    show,
    duration,
    time,
    number,
    visible,
    poll,
    part,
    set_dark,
    apply_dark,
    speak,
    language,
  };
})();
