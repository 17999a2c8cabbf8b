import uPlot from '/vendor/uPlot.esm.js';
import { byId, setText } from './dom.js';
import { number, time } from './format.js';

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** What each chart shows: element, unit, and its lines as [label, colour, field or function of a history point]. */
const CHARTS = [
  { id: 'chart-latency', unit: 'ms', lines: [['p50', '--series-1', (p) => p.p50_ms], ['p99', '--series-2', (p) => p.p99_ms]] },
  { id: 'chart-jitter', unit: 'ms', lines: [['RFC 3550', '--series-3', (p) => p.rfc3550_ms]] },
  { id: 'chart-power', unit: 'W', lines: [['power', '--series-4', (p) => p.watts]] },
  { id: 'chart-memory', unit: 'MB', lines: [['RSS', '--series-5', (p) => p.rss_bytes / 1e6]] },
];
const HEIGHT = 168;

/** The time series of the page. The plots are uPlot's; here is only what they show. */
export class Charts {
  #plots = new Map();
  #history = [];

  constructor() {
    const resize = new ResizeObserver(() => this.#resize());
    for (const { id } of CHARTS) resize.observe(byId(id));
    document.addEventListener('themechange', () => this.#rebuild());
    matchMedia('(prefers-color-scheme: light)').addEventListener('change', () => this.#rebuild());
  }

  show(history, notes) {
    this.#history = history;
    for (const chart of CHARTS) {
      setText(`${chart.id}-note`, notes[chart.id] ?? '');
      const data = dataOf(chart, history);
      const plot = this.#plots.get(chart.id);
      if (plot === undefined) this.#plots.set(chart.id, new uPlot(optionsOf(chart), data, byId(chart.id)));
      else plot.setData(data);
      const shown = this.#plots.get(chart.id);
      // The legend names the newest values until the pointer is over the plot.
      if (shown.cursor.left < 0 && history.length > 0) shown.setLegend({ idx: history.length - 1 });
    }
  }

  #rebuild() {
    for (const plot of this.#plots.values()) plot.destroy();
    this.#plots.clear();
    this.show(this.#history, Object.fromEntries(CHARTS.map(({ id }) => [id, byId(`${id}-note`).textContent])));
  }

  #resize() {
    for (const [id, plot] of this.#plots) {
      const { clientWidth } = byId(id);
      if (clientWidth > 0 && clientWidth !== plot.width) plot.setSize({ width: clientWidth, height: HEIGHT });
    }
  }
}

function dataOf({ lines }, history) {
  return [history.map((point) => point.end_ms / 1000), ...lines.map(([, , value]) => history.map((point) => value(point)))];
}

function optionsOf({ id, unit, lines }) {
  const axis = { stroke: colour('--muted'), font: '11px system-ui', grid: { stroke: colour('--grid'), width: 1 }, ticks: { show: false } };
  return {
    width: Math.max(120, byId(id).clientWidth),
    height: HEIGHT,
    padding: [8, 8, 0, 0],
    cursor: { y: false, points: { size: 6 } },
    legend: { live: true },
    scales: { y: { range: (_plot, _min, max) => [0, Math.max(max ?? 0, 1e-3) * 1.15] } },
    axes: [
      { ...axis, size: 26, space: 70, values: (_plot, ticks) => ticks.map((t) => time(t * 1000)) },
      { ...axis, size: 52, space: 34, values: (_plot, ticks) => ticks.map((t) => `${number(t, 2)} ${unit}`) },
    ],
    series: [
      { label: 'at', value: (_plot, t) => (t === null ? '–' : time(t * 1000)) },
      ...lines.map(([label, stroke]) => ({
        label, stroke: colour(stroke), width: 2, fill: `color-mix(in srgb, ${colour(stroke)} 12%, transparent)`, points: { show: false },
        value: (_plot, v) => (v === null || v === undefined ? '–' : `${number(v)} ${unit}`),
      })),
    ],
  };
}
