// Loss curves on one canvas: raw and smoothed, validation as marked points, hover and arrow keys. 100,000 steps are drawn as one stroke per pixel column.
window.studio.chart = (host, { empty = '', label = '' } = {}) => {
  const { el, number, t } = window.studio;
  const canvas = el('canvas', { tabIndex: 0, role: 'img', style: 'width:100%;height:100%;display:block;touch-action:pan-y' });
  host.replaceChildren(canvas);
  const runs = new Map(),
    COLOURS = ['--curve-1', '--curve-2', '--curve-3', '--curve-4', '--curve-5', '--curve-6'];
  const look = { ema: 0.97, log: false, what: 'both' };
  let hover = null,
    frame = 0,
    area = null;
  const colour = name => getComputedStyle(host).getPropertyValue(name).trim();
  const draw = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      paint();
    });
  };

  // The mean weights recent steps; dividing by the weights' sum makes its beginning honest. Only new points are worked out.
  const smooth = run => {
    if (run.ema !== look.ema) Object.assign(run, { ema: look.ema, smooth: [], total: 0, weight: 0 });
    for (let i = run.smooth.length; i < run.y.length; i++) {
      if (run.y[i] != null) {
        run.total = run.ema * run.total + (1 - run.ema) * run.y[i];
        run.weight = run.ema * run.weight + (1 - run.ema);
      }
      run.smooth.push(run.weight ? run.total / run.weight : null);
    }
    return run.smooth;
  };
  const stroke = (pen, first, ys, X, Y, columns) => {
    pen.beginPath();
    let open = false;
    const to = (x, y) => {
      open ? pen.lineTo(x, y) : pen.moveTo(x, y);
      open = true;
    };
    if (ys.length <= 2 * columns)
      ys.forEach((y, i) => {
        if (y == null) open = false;
        else to(X(first + i), Y(y));
      });
    else
      for (let column = 0; column < columns; column++) {
        const from = Math.floor((column * ys.length) / columns),
          till = Math.floor(((column + 1) * ys.length) / columns);
        let low = Infinity,
          high = -Infinity;
        for (let i = from; i < till; i++)
          if (ys[i] != null) {
            if (ys[i] < low) low = ys[i];
            if (ys[i] > high) high = ys[i];
          }
        if (low <= high) {
          to(X(first + from), Y(low));
          to(X(first + from), Y(high));
        }
      }
    pen.stroke();
  };
  const ticks = (low, high, count) => {
    const rough = (high - low) / count,
      power = 10 ** Math.floor(Math.log10(rough)),
      step = [1, 2, 2.5, 5, 10].map(k => k * power).find(k => k >= rough) || power,
      found = [];
    for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) found.push(v);
    return found;
  };
  const bounds = shown => {
    const scale = look.log ? v => Math.log10(Math.max(v, 1e-8)) : v => v,
      tops = [];
    let low = Infinity,
      first = Infinity,
      last = -Infinity;
    for (const run of shown) {
      first = Math.min(first, run.first, ...run.validation.slice(0, 1).map(p => p[0]));
      last = Math.max(last, run.first + run.y.length - 1, run.end || 0, ...run.validation.slice(-1).map(p => p[0]));
      if (look.what !== 'validation') {
        const skip = Math.ceil(run.y.length / 1500);
        run.y.forEach((y, i) => {
          if (y != null) {
            const v = scale(y);
            if (v < low) low = v;
            if (i % skip === 0) tops.push(v);
          }
        });
      }
      if (look.what !== 'loss')
        for (const [, y] of run.validation) {
          const v = scale(y);
          if (v < low) low = v;
          tops.push(v);
        }
    }
    tops.sort((a, b) => a - b);
    let high = tops[Math.floor(tops.length * 0.995)] ?? tops[tops.length - 1]; // one spike must not flatten the curve
    if (!(high > low)) high = low + (Math.abs(low) || 1) * 0.1;
    return { scale, low: low - (high - low) * 0.03, high: high + (high - low) * 0.06, first, last: Math.max(last, first + 1) };
  };
  function paint(pen = null, size = null) {
    const box = size || host.getBoundingClientRect(),
      ratio = size ? 2 : devicePixelRatio || 1;
    if (box.width < 40) return;
    if (!pen) {
      const width = Math.round(box.width * ratio),
        height = Math.round(box.height * ratio);
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
      pen = canvas.getContext('2d');
    }
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    pen.clearRect(0, 0, box.width, box.height);
    const mono = colour('--font-mono') || 'monospace',
      top = size ? 40 : 12,
      left = 58,
      columns = Math.floor(box.width - left - 16),
      height = box.height - top - 30;
    if (size) {
      pen.fillStyle = colour('--card');
      pen.fillRect(0, 0, box.width, box.height);
      pen.fillStyle = colour('--ink');
      pen.font = `bold 15px ${mono}`;
      pen.fillText(size.title, left, 24);
    }
    pen.font = `12px ${mono}`;
    pen.textBaseline = 'middle';
    const shown = [...runs.values()].filter(run => run.on && (run.y.length || run.validation.length));
    if (!shown.length) {
      pen.fillStyle = colour('--ink-soft');
      pen.textAlign = 'center';
      pen.font = `14px ${colour('--font') || 'sans-serif'}`;
      pen.fillText(empty, box.width / 2, box.height / 2);
      area = null;
      canvas.setAttribute('aria-label', empty);
      return;
    }
    const { scale, low, high, first, last } = bounds(shown);
    const X = step => left + ((step - first) / (last - first)) * columns,
      Y = value => top + ((high - Math.min(scale(value), high)) / (high - low)) * height;
    pen.lineWidth = 1;
    pen.strokeStyle = colour('--line');
    pen.fillStyle = colour('--ink-soft');
    pen.textAlign = 'right';
    for (const v of ticks(low, high, 5)) {
      const y = Math.round(top + ((high - v) / (high - low)) * height) + 0.5;
      pen.beginPath();
      pen.moveTo(left, y);
      pen.lineTo(left + columns, y);
      pen.stroke();
      pen.fillText(number(look.log ? 10 ** v : v), left - 8, y);
    }
    pen.textAlign = 'center';
    for (const v of ticks(first, last, Math.max(2, columns / 130)))
      if (Number.isInteger(v)) pen.fillText(v >= 1e4 ? `${v / 1e3}k` : v, Math.min(X(v), box.width - 18), top + height + 16);
    pen.save();
    pen.beginPath();
    pen.rect(left - 4, top - 4, columns + 8, height + 8);
    pen.clip();
    for (const run of shown)
      if (run.live && run.end) {
        pen.fillStyle = colour('--wash');
        pen.fillRect(X(run.first + run.y.length - 1), top, left + columns - X(run.first + run.y.length - 1), height);
      }
    pen.lineJoin = 'round';
    if (look.what !== 'validation') {
      for (const run of shown) {
        pen.strokeStyle = run.colour();
        pen.globalAlpha = run.live ? 0.3 : 0.16;
        pen.lineWidth = 1;
        stroke(pen, run.first, run.y, X, Y, columns);
      }
      pen.globalAlpha = 1;
      for (const run of shown) {
        pen.strokeStyle = run.colour();
        pen.lineWidth = run.live ? 2.4 : 1.8;
        stroke(pen, run.first, smooth(run), X, Y, columns);
      }
      for (const run of shown)
        for (const mark of run.marks) {
          const at = smooth(run)[mark - 1 - run.first];
          if (at == null) continue;
          pen.beginPath();
          pen.arc(X(mark - 1), Y(at), 3.6, 0, 7);
          pen.fillStyle = run.colour();
          pen.fill();
          pen.strokeStyle = colour('--card');
          pen.lineWidth = 1.5;
          pen.stroke();
        }
    }
    if (look.what !== 'loss')
      for (const run of shown) {
        pen.strokeStyle = pen.fillStyle = run.colour();
        pen.lineWidth = 1.6;
        pen.setLineDash([5, 4]);
        pen.beginPath();
        run.validation.forEach(([step, y], i) => (i ? pen.lineTo(X(step), Y(y)) : pen.moveTo(X(step), Y(y))));
        pen.stroke();
        pen.setLineDash([]);
        for (const [step, y] of run.validation) {
          pen.beginPath();
          pen.rect(X(step) - 3, Y(y) - 3, 6, 6);
          pen.fill();
        }
      }
    pen.restore();
    area = { X, first, last, left, columns };
    if (hover != null && !size) point_out(pen, shown, X, top, height, left + columns, mono);
    const main = shown.find(run => run.live) || shown[shown.length - 1];
    canvas.setAttribute(
      'aria-label',
      `${label} ${main.name}: ${number(smooth(main).at(-1) ?? main.validation.at(-1)?.[1])}, ${t('step {step}', { step: main.first + main.y.length })}`,
    );
  }
  function point_out(pen, shown, X, top, height, right, mono) {
    const step = Math.round(hover),
      lines = [[t('step {step}', { step: step + 1 })]];
    for (const run of shown) {
      const i = step - run.first;
      if (look.what !== 'validation' && i >= 0 && i < run.y.length) lines.push([`${run.name}  ${number(run.smooth[i])}  (${number(run.y[i])})`, run]);
      const near = look.what !== 'loss' && run.validation.filter(([at]) => at <= step + 1).at(-1);
      if (near) lines.push([`${run.name}  ${t('validation')} ${number(near[1])}`, run]);
    }
    pen.strokeStyle = colour('--ink-soft');
    pen.setLineDash([3, 3]);
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(X(step), top);
    pen.lineTo(X(step), top + height);
    pen.stroke();
    pen.setLineDash([]);
    pen.font = `12px ${mono}`;
    const width = Math.max(...lines.map(([text]) => pen.measureText(text).width)) + 36,
      tall = 20 * lines.length + 10;
    let x = X(step) + 12;
    if (x + width > right) x = Math.max(4, X(step) - width - 12);
    pen.fillStyle = colour('--card');
    pen.strokeStyle = colour('--line');
    pen.beginPath();
    pen.roundRect(x, top + 6, width, tall, 8);
    pen.fill();
    pen.stroke();
    pen.textAlign = 'left';
    lines.forEach(([text, run], k) => {
      pen.fillStyle = colour('--ink');
      pen.fillText(text, x + (run ? 25 : 10), top + 21 + 20 * k);
      if (run) {
        pen.fillStyle = run.colour();
        pen.fillRect(x + 10, top + 17 + 20 * k, 8, 8);
      }
    });
  }
  const point = event => {
    if (!area) return;
    const box = canvas.getBoundingClientRect(),
      part = (event.clientX - box.left - area.left) / area.columns;
    hover = part < 0 || part > 1 ? null : area.first + part * (area.last - area.first);
    draw();
  };
  canvas.addEventListener('pointermove', point);
  canvas.addEventListener('pointerdown', point);
  canvas.addEventListener('pointerleave', () => {
    hover = null;
    draw();
  });
  canvas.addEventListener('keydown', event => {
    if (!area) return;
    const step = Math.max(1, (area.last - area.first) / 100);
    if (event.key === 'ArrowRight') hover = Math.min(area.last, (hover ?? area.first) + step);
    else if (event.key === 'ArrowLeft') hover = Math.max(area.first, (hover ?? area.last) - step);
    else if (event.key === 'Escape') hover = null;
    else return;
    event.preventDefault();
    draw();
  });
  new ResizeObserver(draw).observe(host);
  window.studio.on('theme', draw);
  return {
    runs,
    draw,
    run(id, facts = {}) {
      let run = runs.get(id);
      if (!run) {
        const taken = new Set([...runs.values()].map(other => other.own)),
          own = COLOURS.find(name => !taken.has(name)) || COLOURS[runs.size % COLOURS.length];
        run = {
          id,
          own,
          name: id,
          first: 0,
          y: [],
          smooth: [],
          validation: [],
          marks: [],
          on: true,
          colour() {
            return colour(this.main ? '--live' : this.own);
          },
        };
        runs.set(id, run);
      }
      return Object.assign(run, facts);
    },
    // `loss` begins at step `from`; `validation` is whole.
    put(id, { from = 0, loss = [], validation = null }) {
      const run = this.run(id);
      if (from < run.y.length) {
        run.y.length = from;
        run.ema = null;
      }
      run.y.push(...loss);
      if (validation) run.validation = validation;
      draw();
    },
    smoothed(id) {
      return smooth(this.run(id)).at(-1);
    },
    remove(id) {
      runs.delete(id);
      draw();
    },
    set(changes) {
      Object.assign(look, changes);
      draw();
    },
    png(title) {
      const width = 1280,
        height = 640,
        page = document.createElement('canvas');
      page.width = 2 * width;
      page.height = 2 * height;
      const names = [...runs.values()]
        .filter(run => run.on)
        .map(run => run.name)
        .join(', ');
      paint(page.getContext('2d'), { width, height, title: `${title}: ${names}`.slice(0, 120) });
      draw();
      return page.toDataURL('image/png');
    },
  };
};
