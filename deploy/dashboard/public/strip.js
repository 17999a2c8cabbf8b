import { byId, fill, h } from './dom.js';
import { EXITS } from './exits.js';
import { percent } from './format.js';

/** Frames of a camera that the strip shows. */
const FRAMES = 200;
const REDRAW_MS = 200;

/** A strip for each camera: one column a frame, coloured by how far the frame went; frames that are checked in full in the background have a mark. */
export class ExitStrips {
  #frames = new Map();
  #rows = new Map();
  #timer = null;
  #onPick;

  /** @param onPick called with the name of a pipeline whose strip was chosen */
  constructor(onPick) {
    this.#onPick = onPick;
    document.addEventListener('themechange', () => this.#soon());
  }

  clear() {
    this.#frames.clear();
    this.#rows.clear();
    fill('strips');
    fill('strips-legend');
  }

  note({ pipeline, exit, audit }) {
    const frames = this.#frames.get(pipeline) ?? [];
    frames.push({ exit, audit: audit === true });
    if (frames.length > FRAMES) frames.shift();
    this.#frames.set(pipeline, frames);
    this.#soon();
  }

  #soon() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      this.#draw();
    }, REDRAW_MS);
  }

  #draw() {
    const names = [...this.#frames.keys()].sort();
    for (const name of names) if (!this.#rows.has(name)) this.#rows.set(name, this.#row(name));
    const rows = names.map((name) => this.#rows.get(name));
    const list = byId('strips');
    if (list.children.length !== rows.length) fill(list, rows);
    const palette = paletteOf(getComputedStyle(document.documentElement));
    for (const name of names) this.#paint(name, palette);
    const shown = [...this.#frames.values()].flat();
    const seen = new Set(shown.map(({ exit }) => exit));
    const entries = Object.entries(EXITS).filter(([exit]) => seen.has(exit)).map(([, { name, colour }]) => h('li', {}, h('i', { class: 'dot', style: { background: `var(${colour})` } }), name));
    if (shown.some(({ audit }) => audit)) entries.push(h('li', {}, h('i', { class: 'mark' }), 'Checked in full in the background'));
    fill('strips-legend', entries);
  }

  #row(name) {
    return h('li', { class: 'strip' },
      h('button', { type: 'button', class: 'strip-name', onclick: () => this.#onPick(name) }, name),
      h('canvas', { width: FRAMES * 3, height: 24, role: 'img' }));
  }

  #paint(name, { exits, other, mark }) {
    const frames = this.#frames.get(name) ?? [];
    const canvas = this.#rows.get(name).querySelector('canvas');
    const context = canvas.getContext('2d');
    const width = canvas.width / FRAMES;
    context.clearRect(0, 0, canvas.width, canvas.height);
    for (const [index, { exit, audit }] of frames.entries()) {
      const x = canvas.width - (frames.length - index) * width;
      context.fillStyle = exits[exit] ?? other;
      context.fillRect(x, 0, width, canvas.height);
      if (!audit) continue;
      context.fillStyle = mark;
      context.fillRect(x, canvas.height - 5, width, 5);
    }
    const counts = Object.entries(EXITS).map(([exit, { name: text }]) => [text, frames.filter((frame) => frame.exit === exit).length]).filter(([, n]) => n > 0);
    const checked = frames.filter(({ audit }) => audit).length;
    canvas.setAttribute('aria-label', `${name}, last ${frames.length} frames: ${counts.map(([text, n]) => `${text} ${percent(n / frames.length)}`).join(', ')}${checked > 0 ? `; checked in full: ${checked}` : ''}`);
  }
}

/** The colours of the theme, read once for all columns. */
function paletteOf(style) {
  return {
    exits: Object.fromEntries(Object.entries(EXITS).map(([exit, { colour }]) => [exit, style.getPropertyValue(colour)])),
    other: style.getPropertyValue('--muted'), mark: style.getPropertyValue('--text'),
  };
}
