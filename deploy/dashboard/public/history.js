import uPlot from '/vendor/uPlot.esm.js';
import { devicePath, getJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { count, duration, ms, number, time } from './format.js';

const [MINUTE, HOUR, DAY] = [60_000, 3_600_000, 86_400_000];
const RANGES = [['15 min', 15 * MINUTE], ['1 h', HOUR], ['6 h', 6 * HOUR], ['1 d', DAY], ['7 d', 7 * DAY], ['30 d', 30 * DAY], ['90 d', 90 * DAY], ['1 y', 365 * DAY]];
const [LEAST_MS, MOST_MS] = [MINUTE, 3 * 365 * DAY];
/** What each chart shows: place, unit, digits, and its lines as [label, colour, value of a point]. */
const CHARTS = [
  { id: 'history-latency', unit: 'ms', lines: [['p50', '--series-1', (p) => p.p50_ms], ['p99', '--series-2', (p) => p.p99_ms]] },
  { id: 'history-heat', unit: '°C', lines: [['mean', '--series-4', (p) => p.celsius], ['highest', '--series-5', (p) => p.celsius_max]] },
  { id: 'history-energy', unit: 'mJ', lines: [['of an inference', '--series-3', (p) => p.net_millijoules ?? p.inference_millijoules]] },
  { id: 'history-power', unit: 'W', lines: [['power', '--series-4', (p) => p.watts]] },
  { id: 'history-frames', unit: '/s', lines: [['frames', '--series-1', (p) => p.frames_per_second]] },
  { id: 'history-dropped', unit: '', least: 1, lines: [['lost frames', '--series-5', (p) => p.dropped]] },
];
const HEIGHT = 150;
const REFRESH_MS = 15_000;
const WHEEL_STEP = 1.25;
/** Pixels that a finger moves before it means anything. */
const TOUCH_SLOP = 8;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** One device over minutes to months. Each point and the figures of the whole range are of merged histograms, which the server merges. */
export class HistoryView {
  #address = null;
  #pipeline = null;
  #rangeMs = 6 * HOUR;
  /** End of what is shown; null: now. */
  #toMs = null;
  #answer = null;
  #plots = new Map();
  #timer = null;
  /** Of the newest request: an older answer that comes later is not shown. */
  #asked = 0;

  constructor() {
    const resize = new ResizeObserver(() => this.#resize());
    for (const { id } of CHARTS) {
      resize.observe(byId(id));
      this.#gestures(byId(id));
    }
    document.addEventListener('themechange', () => this.#rebuild());
    matchMedia('(prefers-color-scheme: light)').addEventListener('change', () => this.#rebuild());
    byId('history-ranges').addEventListener('click', ({ target }) => {
      const { range, go } = target.closest('button')?.dataset ?? {};
      if (range !== undefined) this.#look(Number(range), null);
      if (go === 'in' || go === 'out') this.#zoom(go === 'in' ? 0.5 : 2, 0.5);
      if (go === 'earlier' || go === 'later') this.#look(this.#rangeMs, this.#to() + (go === 'later' ? 0.5 : -0.5) * this.#rangeMs);
      if (go === 'now') this.#look(this.#rangeMs, null);
    });
    this.#buttons();
  }

  /** @param pipeline its name */
  show(address, pipeline) {
    const same = this.#address?.fleet === address.fleet && this.#address.device === address.device && this.#pipeline === pipeline;
    if (same) return;
    [this.#address, this.#pipeline, this.#answer] = [{ fleet: address.fleet, device: address.device }, pipeline, null];
    void this.#load();
  }

  #to() {
    return this.#toMs ?? Date.now();
  }

  /** Shows another part of the past; an end in the future is now. */
  #look(rangeMs, toMs) {
    this.#rangeMs = Math.min(MOST_MS, Math.max(LEAST_MS, rangeMs));
    this.#toMs = toMs === null || toMs >= Date.now() ? null : Math.max(this.#rangeMs, toMs);
    this.#buttons();
    for (const plot of this.#plots.values()) plot.setData(plot.data);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), 120); // a turn of the wheel is many steps
  }

  /** @param factor below 1: closer. @param at what stays where it is, as a share of the width */
  #zoom(factor, at) {
    const from = this.#to() - this.#rangeMs;
    const range = Math.min(MOST_MS, Math.max(LEAST_MS, this.#rangeMs * factor));
    this.#look(range, from + at * this.#rangeMs + (1 - at) * range);
  }

  async #load() {
    clearTimeout(this.#timer);
    const asked = ++this.#asked;
    const to = Math.ceil(this.#to());
    try {
      const answer = await getJson(`${devicePath(this.#address)}/history?pipeline=${encodeURIComponent(this.#pipeline)}&from=${Math.floor(to - this.#rangeMs)}&to=${to}`);
      if (asked !== this.#asked) return;
      this.#answer = answer;
      this.#render();
    } catch (error) {
      if (asked !== this.#asked) return;
      setText('history-note', `It cannot be read (${error.code ?? 'no answer'}): ${error.message}`);
    }
    if (this.#toMs === null) this.#timer = setTimeout(() => void this.#load(), document.visibilityState === 'visible' ? REFRESH_MS : 4 * REFRESH_MS);
  }

  #render() {
    const { points, total, step_ms: step, oldest_ms: oldest } = this.#answer;
    const known = oldest === null ? 'nothing yet' : `since ${dateOf(oldest)}`;
    setText('history-note', total === null ? `no windows in this range; ${known}` : `p50 ${ms(total.p50_ms)}, p99 ${ms(total.p99_ms)} of ${count(total.frames)} frames, ${count(total.dropped)} lost · a point is ${duration(step)} · ${known}`);
    const shown = withGaps(points);
    for (const chart of CHARTS) {
      const data = [shown.map(({ t_ms: t }) => t / 1000), ...chart.lines.map(([, , value]) => shown.map((point) => (point.gap ? null : value(point))))];
      const plot = this.#plots.get(chart.id);
      if (plot === undefined) this.#plots.set(chart.id, new uPlot(this.#options(chart), data, byId(chart.id)));
      else plot.setData(data);
      const now = this.#plots.get(chart.id);
      // A plot that is new is ready in a microtask.
      queueMicrotask(() => { if (now.cursor.left < 0 && shown.length > 0) now.setLegend({ idx: shown.length - 1 }); });
    }
    byId('history').dataset.points = String(points.length);
    byId('history').setAttribute('aria-busy', 'false');
  }

  #buttons() {
    const button = (text, data, pressed, label) => h('button', { type: 'button', class: 'switch', ...data, ...(pressed === null ? {} : { 'aria-pressed': String(pressed) }), ...(label === undefined ? {} : { 'aria-label': label }) }, text);
    fill('history-ranges', RANGES.map(([text, range]) => button(text, { 'data-range': range }, this.#rangeMs === range && this.#toMs === null)),
      button('◂', { 'data-go': 'earlier' }, null, 'Earlier'), button('▸', { 'data-go': 'later' }, null, 'Later'), button('+', { 'data-go': 'in' }, null, 'Zoom in'), button('−', { 'data-go': 'out' }, null, 'Zoom out'),
      this.#toMs === null ? null : button('now', { 'data-go': 'now' }, null, 'To the newest'));
    Object.assign(byId('history').dataset, { range: String(Math.round(this.#rangeMs)), to: this.#toMs === null ? 'now' : String(Math.round(this.#toMs)) });
  }

  /** The wheel with Ctrl (what browsers make of a pinch on a touchpad, too), two fingers, and one that pulls sideways. The page scrolls as ever otherwise. */
  #gestures(element) {
    // Of the part with the lines, beside the axis.
    const shareOf = (x) => { const { left, width } = (element.querySelector('.u-over') ?? element).getBoundingClientRect(); return Math.min(1, Math.max(0, (x - left) / width)); };
    element.addEventListener('wheel', (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#zoom(event.deltaY < 0 ? 1 / WHEEL_STEP : WHEEL_STEP, shareOf(event.clientX));
    }, { passive: false });
    element.addEventListener('dblclick', () => this.#zoom(2, 0.5));
    let touch = null;
    const begin = ({ touches }) => { touch = touches.length === 0 ? null : { ...fingersOf(touches), fingers: touches.length, range: this.#rangeMs, to: this.#to(), sideways: touches.length > 1 ? true : null }; };
    for (const type of ['touchstart', 'touchend', 'touchcancel']) element.addEventListener(type, begin, { passive: true });
    element.addEventListener('touchmove', (event) => {
      if (touch === null || event.touches.length !== touch.fingers) return;
      const { x, y, apart } = fingersOf(event.touches);
      // The first few pixels say whether one finger scrolls the page; it goes on doing so, however crooked its way is.
      if (touch.sideways === null && Math.max(Math.abs(x - touch.x), Math.abs(y - touch.y)) >= TOUCH_SLOP) touch.sideways = Math.abs(x - touch.x) > Math.abs(y - touch.y);
      if (touch.sideways !== true) return;
      const at = shareOf(touch.x);
      const range = touch.fingers > 1 && touch.apart > 0 && apart > 0 ? Math.min(MOST_MS, Math.max(LEAST_MS, touch.range * touch.apart / apart)) : touch.range;
      // What was below the fingers stays below them.
      this.#look(range, touch.to - touch.range + at * touch.range + (1 - shareOf(x)) * range);
    }, { passive: true });
  }

  #options({ id, unit, lines, least = 1e-3 }) {
    const axis = { stroke: colour('--muted'), font: '11px system-ui', grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false } };
    return {
      width: Math.max(120, byId(id).clientWidth),
      height: HEIGHT,
      padding: [8, 8, 0, 0],
      cursor: { y: false, points: { size: 6 }, sync: { key: 'history', filters: { pub: (type) => type === 'mousemove' || type === 'mouseleave' } }, drag: { x: true, y: false, setScale: false }, bind: { dblclick: () => null } },
      hooks: { setSelect: [(plot) => this.#selected(plot)] },
      scales: { x: { range: () => [(this.#to() - this.#rangeMs) / 1000, this.#to() / 1000] }, y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, least) * 1.15] } },
      axes: [
        { ...axis, size: 26, space: 78, values: (_plot, ticks) => ticks.map((t) => (this.#rangeMs > 3 * DAY ? dateOf(t * 1000) : time(t * 1000).slice(0, 5))) },
        { ...axis, size: 56, space: 34, values: (_plot, ticks) => ticks.map((t) => `${number(t, 2)} ${unit}`) },
      ],
      series: [
        { label: 'at', value: (_plot, t) => (t === null ? '–' : `${dateOf(t * 1000)} ${time(t * 1000)}`) },
        ...lines.map(([label, stroke]) => ({ label, stroke: colour(stroke), width: 2, points: { size: 4 }, value: (_plot, v) => (v === null || v === undefined ? '–' : `${number(v)} ${unit}`) })),
      ],
    };
  }

  /** What was dragged over becomes the range. */
  #selected(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    const [from, to] = [plot.posToVal(left, 'x') * 1000, plot.posToVal(left + width, 'x') * 1000];
    plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#look(to - from, to);
  }

  #rebuild() {
    for (const plot of this.#plots.values()) plot.destroy();
    this.#plots.clear();
    if (this.#answer !== null) this.#render();
  }

  #resize() {
    for (const [id, plot] of this.#plots) {
      const { clientWidth } = byId(id);
      if (clientWidth > 0 && clientWidth !== plot.width) plot.setSize({ width: clientWidth, height: HEIGHT });
    }
  }
}

const dateOf = (epochMs) => new Date(epochMs).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });

/** Middle of the fingers, and how far apart two of them are. */
function fingersOf([a, b]) {
  return b === undefined ? { x: a.clientX, y: a.clientY, apart: 0 } : { x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2, apart: Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY) };
}

/** A line over hours without a window would be invented. */
function withGaps(points) {
  return points.flatMap((point, i) => {
    const before = points[i - 1];
    return before !== undefined && point.t_ms - before.t_ms > 2.5 * Math.max(before.length_ms, point.length_ms) ? [{ t_ms: before.t_ms + before.length_ms, gap: true }, point] : [point];
  });
}
