import { deviceHash, deviceKey, getJson } from './api.js';
import { byId, fill, h, setText } from './dom.js';
import { COLUMNS, labelsOf, LEVELS, noteOf } from './fleet-columns.js';
import { count } from './format.js';

/** Height of a row, as in style.css. Only the rows in view are in the document. */
const ROW_PX = 38;
const SPARE_ROWS = 8;
const REFRESH_MS = 3000;
/** The browser tells when it painted the first row, as with the row that the document brings (Element Timing); whichever of both it painted first counts. */
const TIMED = { elementtiming: 'first-row' };
const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/**
 * All devices of the fleet: searched, filtered and sorted here, so that each key that is pressed costs no request. The document brings the first rows
 * as markup, which is painted before this module is asked for, and as data (`#fleet-first`), which lets them be searched and sorted until all of them are here.
 */
class FleetTableView {
  #rows = new Map();
  /** Sorted, then those that pass the search. */
  #sorted = [];
  #shown = [];
  #instance = null;
  #revision = 0;
  #now = Date.now();
  #sort = { id: 'health', reverse: false };
  #level = null;
  #selected = null;
  /** Devices of the whole fleet, and of each health, while only the first rows are here; null later. */
  #awaited = null;
  #connected = null;
  /** Called with the address of a device that was chosen. A choice before the rest of the page is there waits for it in the address. */
  onPick = (address) => history.replaceState(null, '', deviceHash(address));

  constructor() {
    byId('fleet-search').addEventListener('input', () => this.#filter());
    byId('fleet-body').addEventListener('scroll', () => this.#paint(), { passive: true });
    byId('fleet-body').addEventListener('click', (event) => this.#pick(event.target.closest('[data-key]')));
    byId('fleet-body').addEventListener('keydown', (event) => { if (event.key === 'Enter') this.#pick(event.target.closest('[data-key]')); });
    new ResizeObserver(() => this.#paint()).observe(byId('fleet-body'));
    this.#heads();
    this.#first();
    void this.load();
  }

  /** Takes over what came with the document. */
  #first() {
    const answer = JSON.parse(byId('fleet-first')?.textContent || 'null');
    if (answer === null) return;
    this.#awaited = { size: answer.size, levels: answer.levels };
    byId('fleet-rows').classList.remove('as-sent');
    this.#take(answer);
  }

  /** Marks the device that the rest of the page shows. */
  select(address) {
    this.#selected = deviceKey(address);
    this.#paint();
  }

  async load() {
    try {
      const answer = await getJson(`/api/table?since=${this.#revision}&instance=${this.#instance ?? ''}&connected=${this.#connected}`);
      if (answer.complete) this.#rows.clear();
      this.#connected = answer.broker_connected;
      this.#instance = answer.instance;
      this.#revision = answer.revision;
      this.#awaited = null;
      this.#take(answer);
    } catch {
      // The banner of the page says that the fleet side does not answer.
    }
    setTimeout(() => void this.load(), REFRESH_MS);
  }

  #take({ now_ms, rows }) {
    this.#now = now_ms;
    for (const row of rows) this.#rows.set(deviceKey(row), { ...row, text: [row.fleet, row.device, row.state, row.version ?? '', ...row.packages, ...row.alarms, ...labelsOf(row)].join(' ').toLowerCase() });
    byId('fleet').hidden = this.#rows.size < 2;
    byId('fleet-body').setAttribute('aria-busy', String(this.#awaited !== null));
    if (rows.length > 0) this.#resort();
    else this.#paint();
  }

  #resort() {
    const { key } = COLUMNS.find(({ id }) => id === this.#sort.id);
    const sign = this.#sort.reverse ? -1 : 1;
    const keyed = [...this.#rows.values()].map((row) => [key(row), row]);
    keyed.sort(([a, x], [b, y]) => sign * compare(a, b) || compare(x.device, y.device));
    this.#sorted = keyed.map(([, row]) => row);
    this.#chips();
    this.#filter();
  }

  /** Every word must be somewhere in the row. */
  #filter() {
    const started = performance.now();
    const words = byId('fleet-search').value.toLowerCase().split(/\s+/).filter(Boolean);
    this.#shown = this.#sorted.filter((row) => (this.#level === null || row.health === this.#level) && words.every((word) => row.text.includes(word)));
    const size = this.#awaited?.size ?? this.#rows.size;
    setText('fleet-note', noteOf(this.#shown.length, size, this.#awaited !== null));
    this.#paint();
    performance.measure('fleet:filter', { start: started, end: performance.now() });
  }

  #chips() {
    const counts = new Map(Object.entries(this.#awaited?.levels ?? {}));
    if (this.#awaited === null) for (const { health } of this.#rows.values()) counts.set(health, (counts.get(health) ?? 0) + 1);
    fill('fleet-levels', Object.entries(LEVELS).filter(([level]) => counts.has(level) || level === this.#level).map(([level, [title]]) => h('button', {
      type: 'button', class: 'switch', 'aria-pressed': String(this.#level === level), 'data-level': level,
      onclick: () => { this.#level = this.#level === level ? null : level; this.#chips(); this.#filter(); },
    }, h('span', { class: `dot level-${level}` }), ` ${title} ${count(counts.get(level) ?? 0)}`)));
  }

  #heads() {
    fill('fleet-head', COLUMNS.map(({ id, title }) => h('button', {
      type: 'button', role: 'columnheader', class: `fleet-${id}`, 'data-sort': id, 'aria-sort': this.#sort.id === id ? (this.#sort.reverse ? 'descending' : 'ascending') : 'none',
      onclick: () => { this.#sort = { id, reverse: this.#sort.id === id && !this.#sort.reverse }; this.#heads(); this.#resort(); },
    }, title, this.#sort.id === id ? (this.#sort.reverse ? ' ▴' : ' ▾') : '')));
  }

  /** The rows in view, and some on both sides. */
  #paint() {
    const body = byId('fleet-body');
    const rows = byId('fleet-rows');
    rows.style.setProperty('height', `${this.#shown.length * ROW_PX}px`);
    const first = Math.max(0, Math.floor(body.scrollTop / ROW_PX) - SPARE_ROWS);
    const last = Math.min(this.#shown.length, Math.ceil((body.scrollTop + body.clientHeight) / ROW_PX) + SPARE_ROWS);
    body.setAttribute('aria-rowcount', String(this.#shown.length));
    fill(rows, this.#shown.slice(first, last).map((row, i) => h('div', {
      role: 'row', class: 'fleet-row', tabindex: '0', 'data-key': deviceKey(row), 'aria-rowindex': String(first + i + 1), 'aria-selected': String(deviceKey(row) === this.#selected), style: { top: `${(first + i) * ROW_PX}px` },
    }, COLUMNS.map(({ id, text }) => h('span', { role: 'cell', class: `fleet-${id}`, ...(first + i === 0 && id === 'device' ? TIMED : {}) }, ...(id === 'health' ? [h('span', { class: `dot level-${row.health}` }), ' '] : []), text(row, this.#now))))),
    this.#shown.length === 0 ? h('p', { class: 'empty' }, 'No device matches.') : null);
  }

  #pick(element) {
    const row = element === null ? undefined : this.#rows.get(element.dataset.key);
    if (row !== undefined) this.onPick({ fleet: row.fleet, device: row.device });
  }
}

export const table = new FleetTableView();
