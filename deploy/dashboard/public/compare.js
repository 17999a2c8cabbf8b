import { getJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { celsius, count, ms, NONE, number } from './format.js';

const DAY = 86_400_000;
const RANGES = [['last day', DAY], ['last 7 days', 7 * DAY], ['last 30 days', 30 * DAY], ['last 90 days', 90 * DAY]];
const mj = (value) => (value === null || value === undefined ? NONE : `${number(value)} mJ`);
const share = (value) => (value === null || value === undefined ? NONE : `${number(value * 100)} %`);
/** Title, value of a side, how it is shown, and whether the difference in percent says anything. */
const ROWS = [
  ['Devices', (s) => s.devices, count, false],
  ['Windows', (s) => s.windows ?? 0, count, false],
  ['Frames', (s) => s.frames ?? 0, count, false],
  ['Latency p50', (s) => s.p50_ms, ms, true],
  ['Latency p95', (s) => s.p95_ms, ms, true],
  ['Latency p99', (s) => s.p99_ms, ms, true],
  ['Energy of an inference', (s) => s.inference_millijoules, mj, true],
  ['… above the idle power', (s) => s.net_millijoules, mj, true],
  ['Energy of a frame', (s) => s.frame_millijoules, mj, true],
  ['Heat, mean', (s) => s.celsius, celsius, false],
  ['Lost frames', (s) => (s.frames > 0 ? s.dropped / (s.frames + s.dropped) : null), share, false],
  ['Missed by the gates', (s) => s.audit?.miss_rate, share, false],
  ['… at most, with 95 % confidence', (s) => s.audit?.miss_rate_upper, share, false],
  ['… audits', (s) => s.audit?.audits, (value) => (value === undefined ? NONE : count(value)), false],
];
const titleOf = (group) => group.replace(/^(package|label|device):/, '');

/** Two packages, or two groups of devices, side by side. The address of the page names them (?a=GROUP&b=GROUP), so that it can be sent to somebody. */
export class CompareView {
  #open = false;

  constructor() {
    byId('compare-log').addEventListener('toggle', () => { if (byId('compare-log').open && !this.#open) void this.#begin(); });
    byId('compare-form').addEventListener('submit', (event) => { event.preventDefault(); void this.#compare(); });
    byId('compare-form').addEventListener('change', () => void this.#compare());
    const asked = new URLSearchParams(location.search);
    if (asked.has('a') || asked.has('b')) void this.open(asked.get('a'), asked.get('b'));
  }

  /** @param a, b groups; null: a package that goes with the other */
  async open(a, b) {
    this.#open = true;
    byId('compare-log').open = true;
    await this.#begin(a, b);
    byId('compare').scrollIntoView({ block: 'start' });
  }

  /** Asks for what can be chosen. */
  async #begin(a = null, b = null) {
    this.#open = true;
    try {
      const { choices, pipeline } = await getJson('/api/compare');
      const packages = choices.packages.map((name) => `package:${name}`);
      const groups = [...new Set([...packages, ...choices.labels.map((label) => `label:${label}`), ...[a, b].filter((one) => one !== null)])];
      const options = () => groups.map((group) => h('option', { value: group }, `${group.startsWith('label:') ? 'label ' : group.startsWith('device:') ? 'device ' : ''}${titleOf(group)}`));
      fill('compare-a', options());
      fill('compare-b', options());
      fill('compare-pipeline', choices.pipelines.map((name) => h('option', { value: name }, name)));
      fill('compare-range', RANGES.map(([text, range]) => h('option', { value: range, selected: range === 7 * DAY }, text)));
      byId('compare-pipeline').parentElement.hidden = choices.pipelines.length < 2;
      byId('compare-pipeline').value = pipeline;
      byId('compare-form').hidden = groups.length === 0;
      if (groups.length === 0) return setText('compare-note', 'No device has sent any window yet');
      const right = b ?? packages.filter((name) => name !== a).at(-1) ?? groups.at(-1);
      const alike = packages.filter((name) => name !== right && name.split(' ')[0] === right.split(' ')[0]);
      byId('compare-a').value = a ?? alike.at(-1) ?? groups.find((group) => group !== right) ?? right;
      byId('compare-b').value = right;
      await this.#compare();
    } catch (error) {
      setText('compare-note', `It cannot be read (${error.code ?? 'no answer'}): ${error.message}`);
    }
  }

  async #compare() {
    const [a, b, pipeline] = ['a', 'b', 'pipeline'].map((name) => byId(`compare-${name}`).value);
    const query = new URLSearchParams({ a, b });
    history.replaceState(null, '', `?${query}${location.hash}`);
    const to = Date.now();
    setText('compare-note', 'Reading…');
    try {
      const { sides } = await getJson(`/api/compare?${new URLSearchParams({ a, b, pipeline, from: String(to - Number(byId('compare-range').value)), to: String(to) })}`);
      this.#render(sides);
    } catch (error) {
      setText('compare-note', `It cannot be read (${error.code ?? 'no answer'}): ${error.message}`);
    }
  }

  #render([a, b]) {
    setText('compare-note', a.devices === 0 || b.devices === 0 ? 'One of them has no window in this time' : 'all histograms merged; a quantile is that of all frames');
    fill('compare-head', h('tr', {}, h('th', { scope: 'col' }, 'Figure'), [a, b].map(({ group }) => h('th', { scope: 'col', class: 'num' }, titleOf(group))), h('th', { scope: 'col', class: 'num' }, 'Difference')));
    fill('compare-rows', ROWS.map(([title, value, show, relative]) => h('tr', {}, h('th', { scope: 'row' }, title), [a, b].map((side) => h('td', { class: 'num' }, show(value(side)))),
      h('td', { class: 'num muted' }, relative && value(a) > 0 && value(b) !== null && value(b) !== undefined ? difference(value(b) / value(a)) : ''))));
    byId('compare-table').hidden = false;
  }
}

function difference(ratio) {
  const percent = (ratio - 1) * 100;
  return `${percent > 0 ? '+' : percent < 0 ? '−' : '±'}${Math.abs(percent).toFixed(1)} %`;
}
