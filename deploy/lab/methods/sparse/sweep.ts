/**
 * SparseGPT (Frantar and Alistarh, arXiv 2301.00774): weights are set to zero, and rounded, one column after the other, and those behind make up for what
 * that does to the outputs of the layer. The order and its feedback are those of GPTQ (runtime/quantize/round/gptq.ts).
 */
import { float16ToNumber, numberToFloat16 } from '../../../../runtime/onnx/float16.js';
import { clippedScale } from '../../../../runtime/quantize/ranges/clip-search.js';
import { dot, type RoundingOrder } from '../../../../runtime/quantize/round/gptq.js';

/** Which weights become zero: a share of them anywhere, or so many of each few neighbours that one output reads. */
export type Sparsity = { readonly kind: 'share'; readonly share: number } | { readonly kind: 'pattern'; readonly zeros: number; readonly of: number };

/** Integers that stand for the weights: -largest .. largest times a scale for each output, or for each `group` neighbours. */
export interface WeightGrid {
  readonly largest: number;
  readonly group?: number | undefined;
}

export interface SweepSettings {
  readonly sparsity?: Sparsity | undefined;
  readonly grid?: WeightGrid | undefined;
  /** Columns that a share of zeros is chosen among at once; left out: by the size of the layer. */
  readonly block?: number | undefined;
}

/** Rows of weights as they are afterwards, and the integers and scales that they are made of. */
export interface Swept {
  readonly rows: Float32Array;
  readonly codes?: Int8Array;
  /** [outputs][groups] */
  readonly scales?: Float32Array;
}

/** Columns that zeros are chosen among at once: those after them see what the former cost. 128 of a large layer, as published; fewer of a small one. */
const blockOf = (depth: number): number => Math.min(128, Math.max(16, Math.floor(depth / 16)));

/** The numbers of the `count` least scores. */
function leastOf(scores: Float64Array, count: number): Int32Array {
  return Int32Array.from(scores.keys()).sort((a, b) => (scores[a] ?? 0) - (scores[b] ?? 0) || a - b).subarray(0, count);
}

/** One layer on its way through the sweep. */
class Sweep {
  private readonly outputs: number;
  private readonly depth: number;
  private readonly groups: number;
  private readonly errors: Float64Array;
  private readonly kept: Uint8Array;
  readonly result: Float32Array;
  readonly codes: Int8Array;
  readonly scales: Float32Array;

  constructor(private readonly rows: Float32Array, private readonly order: RoundingOrder, private readonly settings: SweepSettings) {
    this.depth = order.order.length;
    this.outputs = rows.length / this.depth;
    this.groups = Math.ceil(this.depth / (settings.grid?.group ?? this.depth));
    this.errors = new Float64Array(rows.length);
    this.kept = new Uint8Array(rows.length).fill(1);
    this.result = new Float32Array(rows.length);
    this.codes = new Int8Array(rows.length);
    this.scales = new Float32Array(this.outputs * this.groups);
  }

  /** What weight j of an output would be if it made up for all that was done to those before it, as far as `until`. */
  private target(output: number, j: number, until: number): number {
    const row = output * this.depth;
    return (this.rows[row + j] ?? 0) + dot(this.errors, row, this.order.feedback, j * this.depth, until);
  }

  /** Zeros of the columns `start` .. `end` - 1 of one output, or of all: those that cost the outputs of the layer least. */
  private choose(first: number, last: number, [start, end]: readonly [number, number], count: number): void {
    const width = end - start;
    const scores = new Float64Array((last - first) * width);
    for (let i = 0; i < scores.length; i++) {
      const j = start + (i % width);
      scores[i] = (this.target(first + Math.floor(i / width), j, start) * (this.order.pivots[j] ?? 0)) ** 2;
    }
    for (const i of leastOf(scores, count)) this.kept[(first + Math.floor(i / width)) * this.depth + start + (i % width)] = 0;
  }

  private chooseAt(j: number): void {
    const { sparsity } = this.settings;
    if (sparsity === undefined) return;
    const size = sparsity.kind === 'share' ? (this.settings.block ?? blockOf(this.depth)) : sparsity.of;
    if (j % size !== 0) return;
    const range = [j, Math.min(this.depth, j + size)] as const;
    if (sparsity.kind === 'share') this.choose(0, this.outputs, range, Math.round(sparsity.share * this.outputs * (range[1] - j)));
    else if (range[1] - j === size) for (let output = 0; output < this.outputs; output++) this.choose(output, output + 1, range, sparsity.zeros);
  }

  /** Scales of the group that begins at column j. */
  private scaleAt(j: number, { largest, group = this.depth }: WeightGrid): void {
    if (j % group !== 0) return;
    const end = Math.min(this.depth, j + group);
    const importance = this.order.diagonal.subarray(j, end);
    for (let output = 0; output < this.outputs; output++) {
      const now = Float32Array.from({ length: end - j }, (_, i) => this.target(output, j + i, j) * (this.settings.sparsity?.kind === 'share' ? (this.kept[output * this.depth + j + i] ?? 1) : 1));
      const scale = clippedScale(now, importance, largest);
      // The engine's kernels take scales of groups in binary16.
      this.scales[output * this.groups + j / group] = (this.groups === 1 ? Math.fround(scale) : float16ToNumber(numberToFloat16(scale))) || 1;
    }
  }

  run(): void {
    const { grid } = this.settings;
    for (let j = 0; j < this.depth; j++) {
      this.chooseAt(j);
      if (grid !== undefined) this.scaleAt(j, grid);
      const at = Math.floor(j / (grid?.group ?? this.depth));
      for (let output = 0; output < this.outputs; output++) {
        const k = output * this.depth + j;
        let value = this.kept[k] === 1 ? this.target(output, j, j) : 0;
        if (grid !== undefined) {
          const scale = this.scales[output * this.groups + at] ?? 1;
          this.codes[k] = Math.max(-grid.largest, Math.min(grid.largest, Math.round(value / scale)));
          value = (this.codes[k] ?? 0) * scale;
        }
        this.result[k] = value;
        this.errors[k] = (this.rows[k] ?? 0) - (this.result[k] ?? 0);
      }
    }
  }
}

/**
 * @param rows [outputs][depth]
 * @param order with the columns in their own order, since patterns are of neighbours
 */
export function sweep(rows: Float32Array, order: RoundingOrder, settings: SweepSettings): Swept {
  const layer = new Sweep(rows, order, settings);
  layer.run();
  return { rows: layer.result, ...(settings.grid === undefined ? {} : { codes: layer.codes, scales: layer.scales }) };
}

/** What a sweep does where columns have nothing to do with each other and are all alike: the smallest weights go, and nothing makes up for them. */
export function unaware(depth: number): RoundingOrder {
  return { order: Int32Array.from({ length: depth }, (_, i) => i), feedback: new Float64Array(depth * depth), diagonal: new Float64Array(depth).fill(1), pivots: new Float64Array(depth).fill(1) };
}
