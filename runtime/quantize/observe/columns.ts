import { elementCount } from '../../graph/tensor-value.js';
import { typeOf, type Graph } from '../../graph/graph.js';
import { convGeometry } from '../../ops/convolution.js';
import { weightOperands, type Layer } from '../prepare/plan.js';
import { operand } from '../../graph/operands.js';

/**
 * A weighted layer as products of a matrix with columns: y[o] = sum_k w[o][k] * column[g * depth + k], with g the group of output o. The
 * columns of a convolution are its windows (im2col), those of a matrix product its rows.
 */
export interface ColumnLayout {
  groups: number;
  /** Weights of one output. */
  depth: number;
  outputs: number;
  /** Columns in one sample. */
  positions: number;
  /** Writes column number `position` of the layer's input to `column`, which holds groups * depth values. */
  gather(input: Float32Array, position: number, column: Float32Array): void;
}

function convolutionLayout(graph: Graph, { node }: Pick<Layer, 'node'>, dims: readonly number[], group: number): ColumnLayout {
  const { shape } = typeOf(graph, operand(node, 0));
  const [batch = 1, channels = 1, height = 1, width = 1] = shape;
  const { kernel: [rows, columns], strides, dilations, pads, output: [outRows, outColumns] } = convGeometry(node, shape, dims);
  const gather = (input: Float32Array, position: number, column: Float32Array): void => {
    const top = (Math.floor(position / outColumns) % outRows) * strides[0] - pads[0];
    const left = (position % outColumns) * strides[1] - pads[1];
    let plane = Math.floor(position / (outRows * outColumns)) * channels * height * width;
    let k = 0;
    for (let channel = 0; channel < channels; channel++, plane += height * width) {
      for (let row = 0, y = top; row < rows; row++, y += dilations[0]) {
        for (let tap = 0, x = left; tap < columns; tap++, x += dilations[1]) {
          column[k++] = y >= 0 && y < height && x >= 0 && x < width ? (input[plane + y * width + x] ?? 0) : 0;
        }
      }
    }
  };
  return { groups: group, depth: elementCount(dims.slice(1)), outputs: dims[0] ?? 1, positions: batch * outRows * outColumns, gather };
}

/** Columns of a weighted layer of an inferred graph; undefined for any other layer. */
export function columnLayout(graph: Graph, layer: Pick<Layer, 'node'>): ColumnLayout | undefined {
  const operands = weightOperands(graph, layer.node);
  const dims = operands === undefined ? undefined : graph.constants.get(operands.weights)?.dims;
  if (operands === undefined || dims === undefined) return undefined;
  if (layer.node.op === 'Conv') return convolutionLayout(graph, layer, dims, operands.group);
  const [depth = 1, outputs = 1] = operands.axis === 1 ? dims : [...dims].reverse();
  const gather = (input: Float32Array, position: number, column: Float32Array): void => column.set(input.subarray(position * depth, (position + 1) * depth));
  return { groups: 1, depth, outputs, positions: elementCount(typeOf(graph, operand(layer.node, 0)).shape) / depth, gather };
}

/** Multiply-adds of a layer in one run of the model. */
export const layerMacs = ({ outputs, depth, positions }: ColumnLayout): number => outputs * depth * positions;

/** Weights as rows [outputs][depth], whatever the axis of the outputs; `fromRows` is the way back. */
export function toRows(data: ArrayLike<number>, outputs: number, axis: number): Float32Array {
  const depth = data.length / outputs;
  return Float32Array.from({ length: data.length }, (_, i) => data[axis === 0 ? i : (i % depth) * outputs + Math.floor(i / depth)] ?? 0);
}

export function fromRows(rows: Int8Array, outputs: number, axis: number): Int8Array {
  const depth = rows.length / outputs;
  return axis === 0 ? rows : Int8Array.from(rows, (_, i) => rows[(i % outputs) * depth + Math.floor(i / outputs)] ?? 0);
}

/** Columns of a layer over many samples, at most `capacity` of them: [count][groups * depth]. */
export class ColumnSample {
  readonly values: Float32Array;
  count = 0;
  readonly #width: number;

  constructor(readonly layout: ColumnLayout, readonly capacity: number) {
    this.#width = layout.groups * layout.depth;
    this.values = new Float32Array(capacity * this.#width);
  }

  /** The same columns with each value changed. */
  map(change: (value: number) => number): ColumnSample {
    const result = new ColumnSample(this.layout, this.capacity);
    const { length } = this.values;
    for (let i = 0; i < length; i++) result.values[i] = change(this.values[i] ?? 0);
    result.count = this.count;
    return result;
  }

  /**
   * Takes at most `limit` columns of one sample, evenly spread; where the first one lies varies with `index`, so that the samples do not
   * all contribute the same places. The same index takes the same places.
   */
  add(input: Float32Array, index: number, limit: number): void {
    const { positions, gather } = this.layout;
    const taken = Math.min(limit, positions, this.capacity - this.count);
    // Multiples of the golden ratio fall evenly into [0, 1), however many there are.
    const start = (index * 0.6180339887498949) % 1;
    for (let i = 0; i < taken; i++, this.count++) {
      const position = Math.min(positions - 1, Math.floor(((i + start) * positions) / taken));
      gather(input, position, this.values.subarray(this.count * this.#width, (this.count + 1) * this.#width));
    }
  }
}
