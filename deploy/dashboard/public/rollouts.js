import { operatorOnly } from './account.js';
import { getJson, sendJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { bytes, duration, NONE, time } from './format.js';

const BUSY_MS = 2000;
const IDLE_MS = 15_000;
const GROUPS = ['succeeded', 'running', 'failed', 'away', 'returned', 'waiting'];
const LABELS = { succeeded: 'succeeded', running: 'under way', failed: 'failed', away: 'away or superseded', returned: 'returned', waiting: 'waiting' };
const PHASES = { running: 'running', paused: 'paused', halted: 'halted', aborting: 'being taken back', aborted: 'aborted', complete: 'complete' };
const ASK = {
  pause: ['Pause', 'No further device starts. Devices that were told already go on.'],
  resume: ['Resume', 'Devices start again. After a halt, the failures so far are accepted: only new ones halt it again.'],
  abort: ['Abort', 'Devices that run the package are commanded to run their previous one, and those that are installing it stop. This cannot be undone.'],
};
const devicesText = (n) => `${n} ${n === 1 ? 'device' : 'devices'}`;
const percent = (value) => `${Math.round(value * 10) / 10} %`;

/** The roll-outs of the fleet: a picture of each wave, why one halted, and the buttons of an operator. */
export class RolloutsView {
  #rollouts = [];
  #timer = null;
  /** Id of the roll-out whose devices are listed, and those. */
  #open = null;
  #devices = null;
  #asked = null;

  constructor() {
    byId('confirm-cancel').addEventListener('click', () => byId('confirm').close());
    byId('rollouts-list').addEventListener('click', (event) => {
      const group = event.target.closest('[data-compare]')?.dataset.compare;
      if (group === undefined) return;
      event.preventDefault();
      this.onCompare(group);
    });
    byId('confirm-ok').addEventListener('click', () => void this.#request());
    void this.load();
  }

  async load() {
    clearTimeout(this.#timer);
    try {
      const { rollouts, now_ms: now } = await getJson('/api/rollouts');
      this.#rollouts = rollouts;
      const shown = rollouts.find(({ id }) => id === this.#open);
      this.#devices = shown === undefined ? null : await getJson(`/api/rollouts/${encodeURIComponent(shown.id)}`);
      this.#render(now);
    } catch (error) {
      setText('rollouts-note', `They cannot be read: ${error.message}`);
    }
    const busy = this.#rollouts.some(({ finished }) => !finished);
    this.#timer = setTimeout(() => void this.load(), busy ? BUSY_MS : IDLE_MS);
  }

  #render(now) {
    byId('rollouts').hidden = this.#rollouts.length === 0;
    const active = this.#rollouts.filter(({ finished }) => !finished);
    // The finished ones below the others: the newest as a picture, the older ones as a line.
    const pictured = active.length > 0 ? active : this.#rollouts.slice(0, 1);
    const older = this.#rollouts.filter((rollout) => !pictured.includes(rollout)).slice(0, 8);
    setText('rollouts-note', active.length === 0 ? 'none is under way' : `${active.length} under way`);
    fill('rollouts-list', pictured.map((rollout) => this.#picture(rollout, now)));
    fill('rollouts-older', older.map(({ id, package: pack, phase, size, created_ms: at }) => h('li', {}, h('strong', {}, `${pack.name} ${pack.version}`), ` to ${devicesText(size)}: ${PHASES[phase] ?? phase}`, h('span', { class: 'muted' }, ` · ${id} · begun ${duration(now - at)} ago`))));
  }

  #picture(rollout, now) {
    const { id, package: pack, phase, size, waves, halt, log, finished, requested } = rollout;
    return h('article', { class: `rollout rollout-${phase}`, 'data-rollout': id, 'aria-label': `Roll-out ${id}` },
      h('div', { class: 'rollout-head' },
        h('div', {}, h('strong', {}, `${pack.name} ${pack.version}`), ` to ${devicesText(size)} of ${rollout.fleet} `, h('span', { class: `pill pill-${phase}` }, PHASES[phase] ?? phase),
          h('p', { class: 'note' }, `${id} · ${bytes(pack.size_bytes)} · begun by ${rollout.created_by} ${duration(now - rollout.created_ms)} ago${requested === null ? '' : ` · ${requested} was requested by ${rollout.requested_by}`}`)),
        h('div', { class: 'rollout-buttons' }, h('a', { class: 'button quiet', href: `?${new URLSearchParams({ b: `package:${pack.name} ${pack.version}` })}#compare`, 'data-compare': `package:${pack.name} ${pack.version}` }, 'Compare'), finished ? null : buttonsOf(phase).map((kind) => h('button', { type: 'button', class: kind === 'abort' ? 'danger' : 'quiet', 'data-kind': kind, ...operatorOnly(), onclick: () => this.#ask(rollout, kind) }, `${ASK[kind][0]}…`)))),
      h('ol', { class: 'waves' }, waves.map((wave, i) => waveRow(wave, i, rollout, now))),
      h('ul', { class: 'legend' }, GROUPS.filter((group) => waves.some((wave) => wave.groups[group] > 0)).map((group) => h('li', {}, h('span', { class: `swatch group-${group}` }), LABELS[group])),
        h('li', { class: 'muted' }, h('span', { class: 'swatch-line' }), `needed: ${rollout.rules.min_success_percent} %`)),
      halt === null ? null : h('div', { class: 'halt', role: 'alert' }, h('p', {}, h('strong', {}, 'Halted. '), halt.text), h('ul', {}, halt.devices.slice(0, 8).map(({ device, code, message }) => h('li', {}, h('strong', {}, device), ' ', h('code', {}, code), ` ${message}`)))),
      h('details', { class: 'rollout-log' }, h('summary', {}, 'What happened'), h('ol', {}, log.slice(-12).map(({ time_ms: at, text }) => h('li', {}, h('time', { class: 'muted', datetime: new Date(at).toISOString() }, time(at)), ` ${text}`)))),
      this.#deviceList(rollout));
  }

  #deviceList({ id }) {
    const open = this.#open === id;
    const found = open && this.#devices?.id === id ? this.#devices : null;
    const details = h('details', { class: 'rollout-devices', open }, h('summary', {}, 'Devices'), found === null ? null : h('div', { class: 'table-wrap' }, h('table', {},
      h('thead', {}, h('tr', {}, ['Device', 'Wave', 'State', 'Before', 'Error'].map((title) => h('th', { scope: 'col' }, title)))),
      h('tbody', {}, found.devices.map((device) => h('tr', {}, h('th', { scope: 'row' }, device.device), h('td', {}, String(device.wave + 1)), h('td', {}, h('span', { class: `swatch group-${device.group}` }), ` ${device.phase}`), h('td', {}, device.before ?? NONE), h('td', {}, device.error === null ? NONE : `${device.error.code}: ${device.error.message}`)))))),
    found !== null && found.devices_total > found.devices.length ? h('p', { class: 'note' }, `${found.devices.length} of ${found.devices_total} are listed`) : null);
    details.addEventListener('toggle', () => {
      if (details.open === (this.#open === id)) return;
      this.#open = details.open ? id : null;
      void this.load();
    });
    return details;
  }

  #ask(rollout, kind) {
    this.#asked = { id: rollout.id, kind };
    setText('confirm-title', `${ASK[kind][0]} ${rollout.package.name} ${rollout.package.version}?`);
    setText('confirm-text', ASK[kind][1]);
    setText('confirm-message', '');
    byId('confirm-ok').className = kind === 'abort' ? 'danger' : '';
    setText('confirm-ok', ASK[kind][0]);
    byId('confirm').showModal();
  }

  async #request() {
    const { id, kind } = this.#asked;
    try {
      await sendJson(`/api/rollouts/${encodeURIComponent(id)}/${kind}`, 'POST');
      byId('confirm').close();
      await this.load();
    } catch (error) {
      setText('confirm-message', error.message);
    }
  }
}

function buttonsOf(phase) {
  if (phase === 'running') return ['pause', 'abort'];
  return phase === 'paused' || phase === 'halted' ? ['resume', 'abort'] : [];
}

function waveRow(wave, i, { rules, wave: newest, phase }, now) {
  const counts = GROUPS.filter((group) => wave.groups[group] > 0).map((group) => `${wave.groups[group]} ${LABELS[group]}`).join(', ') || 'no devices';
  const state = wave.opened_ms === null ? 'not opened' : wave.passed_ms !== null ? 'passed' : 'open';
  const next = wave.passed_ms !== null && i === newest && phase === 'running' && wave.passed_ms + rules.soak_ms > now ? `, next wave in ${duration(wave.passed_ms + rules.soak_ms - now)}` : '';
  const errors = wave.error_percent === null ? '' : `failures ${percent(wave.error_percent)} of ${wave.samples} results, at most ${rules.max_error_percent} %`;
  const bar = h('div', { class: 'wave-bar', role: 'img', 'aria-label': `Wave ${i + 1}, ${wave.name}: ${counts}` },
    GROUPS.map((group) => (wave.groups[group] === 0 ? null : h('span', { class: `group-${group}`, style: { 'flex-grow': String(wave.groups[group]) } }))),
    wave.size === 0 ? null : h('i', { class: 'wave-needed', style: { left: `${rules.min_success_percent}%` } }));
  return h('li', { class: `wave wave-${state.replace(' ', '-')}`, style: { 'flex-grow': String(Math.max(1, Math.sqrt(wave.size))) } },
    h('div', { class: 'wave-name' }, h('strong', {}, `${i + 1}`), ` ${wave.name}`, h('span', { class: 'muted' }, ` · ${devicesText(wave.size)} · ${state}${next}`)), bar,
    h('div', { class: 'wave-counts' }, counts), errors === '' ? null : h('div', { class: `wave-errors${wave.error_percent > rules.max_error_percent ? ' over' : ''}` }, errors));
}
