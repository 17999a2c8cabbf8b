import { byId, fill, h, setText } from './dom.js';
import { nameOf } from './finding.js';
import { ms, percent } from './format.js';

/** Pieces of sound that the spectrogram and the strips show, and canvas pixels of each. */
const PIECES = 100;
const WIDTH = 10;
/** Classes that have a strip of their own. */
const ROWS = 6;
/** Pieces that the budget is the mean of: two seconds at ten a second. */
const BUDGET_PIECES = 20;
/** Level that is drawn as nothing, decibels below full scale, where a model shows no features. */
const QUIET_DB = -90;

/** From quiet to loud. The spectrogram has its own colours in both themes, as the picture has. */
const COLOURS = [[5, 8, 15], [18, 54, 95], [42, 127, 184], [111, 211, 193], [249, 226, 125], [255, 255, 255]];
/** What the budget is spent on: name, colour, and the stages that count for it. */
const PARTS = [
  ['Chunk', '--series-1', ['chunk']], ['Buffer', '--series-5', ['buffer']], ['Features', '--series-3', ['levels', 'features']],
  ['Inference', '--series-4', ['infer']], ['Smoothing', '--series-2', ['smooth']], ['Publish', '--muted', ['publish']],
];

/** What a device hears: a spectrogram, a strip for each class, and what the time from sound to event is spent on. */
export class SoundView {
  #pipeline = null;
  /** The chosen pipeline of the page; its sound comes first where several listen. */
  #wanted = null;
  #sequence = null;
  #pieces = [];
  #budget = [];
  #publish = null;
  #strips = new Map();

  constructor() {
    document.addEventListener('themechange', () => this.#drawStrips());
  }

  clear() {
    byId('sound').hidden = true;
    this.#start(null);
  }

  want(pipeline) {
    this.#wanted = pipeline;
  }

  note(piece) {
    if (this.#pipeline !== piece.pipeline && (this.#pipeline === null || piece.pipeline === this.#wanted)) this.#start(piece.pipeline);
    if (this.#pipeline !== piece.pipeline) return;
    byId('sound').hidden = false;
    const lost = this.#sequence === null ? 0 : Math.min(PIECES, Math.max(0, piece.sequence - this.#sequence - 1));
    this.#sequence = piece.sequence;
    for (let i = 0; i < lost; i++) this.#push(null);
    this.#push(piece);
    this.#spend(piece);
    this.#describe(piece);
  }

  #start(pipeline) {
    this.#pipeline = pipeline;
    this.#sequence = null;
    this.#pieces = [];
    this.#budget = [];
    this.#publish = null;
    this.#strips.clear();
    const canvas = byId('spectrogram');
    canvas.getContext('2d').clearRect(0, 0, canvas.width, canvas.height);
    fill('sound-classes');
  }

  /** @param piece null for one that was lost: it leaves a gap */
  #push(piece) {
    this.#pieces.push(piece);
    if (this.#pieces.length > PIECES) this.#pieces.shift();
    drawPiece(byId('spectrogram'), piece);
    if (piece !== null) this.#drawStrips();
  }

  /** A strip for each of the classes that scored highest in what is shown, in the order of their names. */
  #drawStrips() {
    const best = new Map();
    for (const piece of this.#pieces) for (const { label, score } of piece?.scores ?? []) best.set(label, Math.max(score, best.get(label) ?? 0));
    const labels = [...best].sort(([, a], [, b]) => b - a).slice(0, ROWS).map(([label]) => label).sort();
    if (labels.join('\n') !== [...this.#strips.keys()].join('\n')) {
      this.#strips = new Map(labels.map((label) => [label, this.#strips.get(label) ?? stripRow(label)]));
      fill('sound-classes', [...this.#strips.values()].map(({ row }) => row));
    }
    const style = getComputedStyle(document.documentElement);
    const palette = { score: style.getPropertyValue('--series-1'), heard: style.getPropertyValue('--series-4') };
    for (const [label, strip] of this.#strips) paintStrip(label, strip, this.#pieces, palette);
  }

  #spend({ stages, exit, deadline_ms: deadline }) {
    this.#publish = stages.find(({ stage }) => stage === 'publish')?.ms ?? this.#publish;
    // A piece that the gate stopped says nothing of the model's time.
    if (exit === 'full' || this.#budget.length === 0) this.#budget.push(stages);
    if (this.#budget.length > BUDGET_PIECES) this.#budget.shift();
    const parts = PARTS.map(([name, colour, of]) => ({ name, colour, ms: name === 'Publish' ? this.#publish : mean(this.#budget.map((one) => sumOf(one, of))) }));
    const total = parts.reduce((sum, part) => sum + (part.ms ?? 0), 0);
    byId('budget').classList.toggle('over', total > deadline);
    setText('budget-total', `${ms(total)} of ${ms(deadline)}`);
    byId('budget-bar').setAttribute('aria-label', `From sound to event: ${ms(total)} of ${ms(deadline)}; ${parts.map((part) => `${part.name.toLowerCase()} ${ms(part.ms)}`).join(', ')}`);
    const whole = Math.max(total, deadline);
    fill('budget-bar', parts.map((part) => h('span', { style: { width: `${(100 * (part.ms ?? 0)) / whole}%`, background: `var(${part.colour})` } })),
      h('i', { class: 'budget-deadline', style: { left: `${(100 * deadline) / whole}%` } }));
    fill('budget-legend', parts.map((part) => h('li', {}, h('i', { class: 'dot', style: { background: `var(${part.colour})` } }), `${part.name} `, h('strong', {}, ms(part.ms)))));
  }

  #describe({ exit, level_db: level, floor_db: floor, late, findings }) {
    const heard = findings.map((finding) => `${nameOf(finding)} ${percent(finding.score)}`);
    const rest = exit === 'silence' ? 'silence, the model rests' : exit === 'late' ? 'dropped, because it would have been late' : 'nothing heard';
    setText('sound-note', `${this.#pipeline} · ${level.toFixed(0)} dB, floor ${floor.toFixed(0)} dB${late > 0 ? ` · ${late} late` : ''}`);
    setText('sound-heard', heard.join(', ') || rest);
    byId('sound-heard').classList.toggle('heard', heard.length > 0);
    byId('spectrogram').setAttribute('aria-label', `Spectrogram of the newest sound of ${this.#pipeline}: ${heard.join(', ') || rest}`);
  }
}

const sumOf = (stages, names) => stages.reduce((sum, { stage, ms: spent }) => sum + (names.includes(stage) ? spent : 0), 0);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** Moves what is there to the left, and draws a piece at the right edge: its features, or its level where the model shows none. */
function drawPiece(canvas, piece) {
  const { bands } = piece?.spectrum ?? { bands: canvas.height };
  if (canvas.height !== bands) Object.assign(canvas, { height: bands });
  const context = canvas.getContext('2d');
  context.drawImage(canvas, -WIDTH, 0);
  const from = canvas.width - WIDTH;
  context.clearRect(from, 0, WIDTH, canvas.height);
  if (piece === null) return;
  if (piece.spectrum === null) {
    const height = canvas.height * Math.max(0, Math.min(1, 1 - piece.level_db / QUIET_DB));
    context.fillStyle = `rgb(${COLOURS[2].join(' ')})`;
    context.fillRect(from, canvas.height - height, WIDTH - 1, height);
    return;
  }
  const bytes = Uint8Array.from(atob(piece.spectrum.rows), (letter) => letter.charCodeAt(0));
  const rows = Math.floor(bytes.length / bands);
  if (rows === 0) return;
  const image = context.createImageData(WIDTH, bands);
  for (let x = 0; x < WIDTH; x++) {
    const row = Math.floor((x * rows) / WIDTH);
    // High frequencies are above low ones.
    for (let band = 0; band < bands; band++) image.data.set([...colourOf(bytes[row * bands + band] / 255), 255], 4 * ((bands - 1 - band) * WIDTH + x));
  }
  context.putImageData(image, from, 0);
}

function colourOf(value) {
  const at = value * (COLOURS.length - 1);
  const index = Math.min(COLOURS.length - 2, Math.floor(at));
  return COLOURS[index].map((low, i) => Math.round(low + (at - index) * (COLOURS[index + 1][i] - low)));
}

function stripRow(label) {
  const canvas = h('canvas', { width: PIECES * WIDTH, height: 16, role: 'img' });
  const score = h('span', { class: 'sound-score' });
  return { canvas, score, row: h('li', { class: 'sound-class' }, canvas, h('span', { class: 'sound-label' }, label), score) };
}

/** As high as the score; in the colour of what is heard while it counts as heard. */
function paintStrip(label, { canvas, score }, pieces, { score: plain, heard }) {
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, canvas.width, canvas.height);
  for (const [index, piece] of pieces.entries()) {
    const value = scoreIn(piece, label);
    if (value === 0) continue;
    context.fillStyle = piece.findings.some((finding) => finding.label === label) ? heard : plain;
    context.fillRect(canvas.width - (pieces.length - index) * WIDTH, canvas.height * (1 - value), WIDTH, canvas.height * value);
  }
  const now = percent(scoreIn(pieces.at(-1), label));
  if (score.textContent !== now) score.textContent = now;
  canvas.setAttribute('aria-label', `${label}: ${now}`);
}

const scoreIn = (piece, label) => piece?.scores.find((one) => one.label === label)?.score ?? 0;
