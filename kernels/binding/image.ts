import type { Area } from './addon.js';
import { KernelError } from './errors.js';
import { everyCell, type CellMask } from './cell-mask.js';
import { loadAddon } from './load.js';

export type { CellMask };

/** A picture to read from: 8-bit RGB, row-major HWC. */
export interface ImageView {
  width: number;
  height: number;
  data: Uint8Array;
  /** Bytes from one row to the next; width * 3 when absent. */
  stride?: number;
}

/** A picture to write to: 8 bits, HWC, dense; one channel is luma (ITU-R BT.601), three are RGB. */
export interface Canvas {
  width: number;
  height: number;
  channels: 1 | 3;
  /** width * height * channels bytes. */
  data: Uint8Array;
}

/** A rectangle in pixels of a picture (0, 0 is the outer corner of the first pixel); may be fractional and reach beyond the borders. */
export interface Region {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** x' = a x + b y + c, y' = d x + e y + f, as [a, b, c, d, e, f], between pixel centres. */
export type AffineMatrix = readonly [number, number, number, number, number, number];

/** Where a letterboxed picture ended up: canvas = picture * scale + (dx, dy), in pixels. */
export interface Placement {
  scale: number;
  dx: number;
  dy: number;
}

/** What lies outside a picture: black, or its border pixels repeated. */
export type Border = 'black' | 'edge';

const maxSide = 1 << 16;
/** Bounds the tables of weights. */
const maxRegion = 1 << 18;
/** How far from the picture a region may start. */
const maxStart = 1e6;

/**
 * Resamples a region of `src` to fill `dst`. Each axis averages ceil(scale) equally spaced bilinear samples a canvas pixel, so
 * enlarging is bilinear with half-pixel centres and shrinking is an area average. All arithmetic is in float, rounded half to even.
 * @throws KernelError E_ARGUMENT
 */
export function cropResize(src: ImageView, region: Region, dst: Canvas, border: Border = 'black'): void {
  const stride = checkImage(src);
  checkCanvas(dst);
  const { x, y, width, height } = region;
  const bounded = (start: number, length: number): boolean => Math.abs(start) <= maxStart && length > 0 && length <= maxRegion;
  if (!bounded(x, width) || !bounded(y, height)) {
    throw expected(`a start within ${String(maxStart)} and sides of up to ${String(maxRegion)}, above 0,`, 'region', JSON.stringify(region));
  }
  const area = { left: 0, top: 0, width: dst.width, height: dst.height };
  loadAddon().image.resize(src.data, src.width, src.height, stride, x, y, width, height, dst.data, dst.width, dst.channels, area, border === 'edge');
}

/** Resamples the whole of `src` to fill `dst`, whatever that does to its aspect ratio. @throws KernelError E_ARGUMENT */
export function stretch(src: ImageView, dst: Canvas): void {
  cropResize(src, { x: 0, y: 0, width: src.width, height: src.height }, dst, 'edge');
}

/**
 * Fits all of `src` into `dst` at its own aspect ratio, centred on whole pixels, and fills the rest with `padColour` (R, G, B or,
 * on a grey canvas, its luma). Sampled as in `cropResize`.
 * @throws KernelError E_ARGUMENT
 */
export function letterbox(src: ImageView, dst: Canvas, options: { padColour?: readonly [number, number, number] } = {}): Placement {
  const stride = checkImage(src);
  checkCanvas(dst);
  const pad = options.padColour ?? [0, 0, 0];
  if (!pad.every((level) => Number.isInteger(level) && level >= 0 && level <= 255)) {
    throw expected('three integers of 0..255', 'padColour', JSON.stringify(pad));
  }
  const scale = Math.min(dst.width / src.width, dst.height / src.height);
  const width = Math.min(dst.width, Math.max(1, Math.round(src.width * scale)));
  const height = Math.min(dst.height, Math.max(1, Math.round(src.height * scale)));
  const area = { left: (dst.width - width) >> 1, top: (dst.height - height) >> 1, width, height };
  fillAround(dst, area, pad);
  loadAddon().image.resize(src.data, src.width, src.height, stride, 0, 0, width / scale, height / scale, dst.data, dst.width, dst.channels, area, true);
  return { scale, dx: area.left, dy: area.top };
}

/**
 * dst(x, y) = src(dstToSrc(x, y)), bilinear between pixel centres; black outside `src`.
 * @throws KernelError E_ARGUMENT
 */
export function warpAffine(src: ImageView, dstToSrc: AffineMatrix, dst: Canvas): void {
  const stride = checkImage(src);
  checkCanvas(dst);
  if (dstToSrc.length !== 6 || !dstToSrc.every((v) => Math.abs(v) <= 1e6)) {
    throw expected('six finite numbers of magnitude up to 1e6', 'dstToSrc', JSON.stringify(dstToSrc));
  }
  loadAddon().image.warp(src.data, src.width, src.height, stride, Float64Array.from(dstToSrc), dst.data, dst.width, dst.height, dst.channels);
}

/** Width and height of the grid that `greyCells` makes: cells that would be incomplete at the right and the bottom are left out. */
export function cellGrid(image: { width: number; height: number }, factor: number): { width: number; height: number } {
  return { width: Math.floor(image.width / factor), height: Math.floor(image.height / factor) };
}

/**
 * Mean luma (ITU-R BT.601, rounded half to even) of each factor x factor cell of `src`, factor 1..16: the picture a motion gate looks at.
 * `cells` holds cellGrid(src, factor) bytes, row-major. `rowStep`: only every so many rows of a cell are read, 1..factor, the first one and those that
 * follow, which takes so many times less.
 * @throws KernelError E_ARGUMENT
 */
export function greyCells(src: ImageView, factor: number, cells: Uint8Array, rowStep = 1): void {
  const stride = checkImage(src);
  if (!Number.isInteger(factor) || factor < 1 || factor > 16) throw expected('an integer of 1..16', 'factor', String(factor));
  if (!Number.isInteger(rowStep) || rowStep < 1 || rowStep > factor) throw expected(`an integer of 1..${String(factor)}`, 'rowStep', String(rowStep));
  const grid = cellGrid(src, factor);
  checkBytes(cells, grid.width * grid.height, 'cells');
  loadAddon().image.greyCells(src.data, src.width, src.height, stride, factor, rowStep, cells);
}

/** A change gate over a coarse grey picture with a slowly learned background. */
export class MotionGrid {
  readonly #factor: number;
  readonly #rowStep: number;
  readonly #learningRate: number;
  #cells = new Uint8Array(0);
  #background = new Float32Array(0);
  #mask: CellMask = { width: 0, height: 0, bits: new Uint8Array(0) };
  #size = '';

  /**
   * `factor`: pixels a cell side, 1..16. `learningRate`: share of the difference that the background takes over each frame. Every second row of a cell is
   * read: the mean of 32 pixels is as good as that of 64 where ten grey levels count, and half of the picture stays out of the cache.
   */
  constructor(options: { factor?: number; learningRate?: number } = {}) {
    this.#factor = options.factor ?? 8;
    this.#rowStep = Math.min(2, this.#factor);
    this.#learningRate = options.learningRate ?? 0.05;
    if (!(this.#learningRate >= 0 && this.#learningRate <= 1)) throw expected('a number of 0..1', 'learningRate', String(this.#learningRate));
  }

  /** The cells of the last frame, row-major; overwritten by the next `update`. */
  get cells(): Uint8Array {
    return this.#cells;
  }

  /** The cells that the last `update` counted; overwritten by the next one. */
  get mask(): CellMask {
    return this.#mask;
  }

  /**
   * Number of cells that differ from the background by more than `threshold` grey levels, after the whole picture's change of
   * brightness is taken out; all cells for the first frame and whenever the size changes. The background then moves towards the frame.
   * @throws KernelError E_ARGUMENT
   */
  update(src: ImageView, threshold: number): number {
    if (!(threshold >= 0)) throw expected('a number of at least 0', 'threshold', String(threshold));
    const size = `${String(src.width)} x ${String(src.height)}`;
    if (size !== this.#size) {
      const grid = cellGrid(src, this.#factor);
      const cells = new Uint8Array(grid.width * grid.height);
      greyCells(src, this.#factor, cells, this.#rowStep);
      this.#cells = cells;
      this.#background = Float32Array.from(cells);
      this.#mask = { ...grid, bits: everyCell(cells.length) };
      this.#size = size;
      return cells.length;
    }
    greyCells(src, this.#factor, this.#cells, this.#rowStep);
    return loadAddon().image.updateBackground(this.#cells, this.#background, threshold, this.#learningRate, this.#mask.bits);
  }
}

function expected(what: string, argument: string, received: string): KernelError {
  return new KernelError('E_ARGUMENT', `Expected ${what} for ${argument} but received ${received}`, { details: { argument } });
}

function checkSide(value: number, argument: string): void {
  if (!Number.isInteger(value) || value < 1 || value > maxSide) throw expected(`an integer of 1..${String(maxSide)}`, argument, String(value));
}

function checkBytes(data: Uint8Array, bytes: number, argument: string): void {
  if (!(data instanceof Uint8Array) || data.byteLength < bytes) {
    throw expected(`at least ${String(bytes)} bytes`, argument, data instanceof Uint8Array ? String(data.byteLength) : typeof data);
  }
}

/** Returns the stride. */
function checkImage(src: ImageView): number {
  checkSide(src.width, 'src.width');
  checkSide(src.height, 'src.height');
  const stride = src.stride ?? src.width * 3;
  if (!Number.isInteger(stride) || stride < src.width * 3 || stride > 0x7fffffff) throw expected('at least width * 3', 'src.stride', String(stride));
  checkBytes(src.data, (src.height - 1) * stride + src.width * 3, 'src.data');
  return stride;
}

function checkCanvas(dst: Canvas): void {
  checkSide(dst.width, 'dst.width');
  checkSide(dst.height, 'dst.height');
  if (dst.channels !== 1 && dst.channels !== 3) throw expected('1 or 3', 'dst.channels', String(dst.channels));
  checkBytes(dst.data, dst.width * dst.height * dst.channels, 'dst.data');
}

/** Paints everything of the canvas but `area`. */
function fillAround(dst: Canvas, area: Area, [r, g, b]: readonly [number, number, number]): void {
  const row = new Uint8Array(dst.width * dst.channels);
  const grey = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
  for (let i = 0; i < row.length; i++) row[i] = dst.channels === 1 ? grey : ([r, g, b][i % 3] ?? 0);
  const left = area.left * dst.channels;
  const right = (area.left + area.width) * dst.channels;
  for (let y = 0; y < dst.height; y++) {
    const at = y * row.length;
    if (y < area.top || y >= area.top + area.height) {
      dst.data.set(row, at);
    } else {
      dst.data.set(row.subarray(0, left), at);
      dst.data.set(row.subarray(right), at + right);
    }
  }
}
