import { int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, fromNumbers, type TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { uniform } from '../compress/random.js';

/** How linear layers are stored: as floats, or as int8 that is multiplied by activations quantized in each run (as onnxruntime's `quantize_dynamic` writes it). */
export const linearFormats = ['float32', 'dynamic int8'] as const;
export type LinearFormat = (typeof linearFormats)[number];

type Dims = readonly number[];
type Attributes = Readonly<Record<string, Attribute>>;

/** Writes networks of linear layers, normalization and attention with random weights, as exporters write them. */
class BlockBuilder {
  private readonly nodes: OnnxNode[] = [];
  private readonly initializers = new Map<string, TensorValue>();
  private readonly next = uniform(1);
  /** What is quantized already, for several layers on the same values. */
  private readonly quantized = new Map<string, readonly string[]>();

  constructor(private readonly format: LinearFormat) {}

  add(op: string, inputs: readonly string[], attributes: Attributes = {}): string {
    const output = `${op}_${this.nodes.length}`;
    this.nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  }
  /** A node of several outputs. */
  private addAll(op: string, inputs: readonly string[], count: number): string[] {
    const outputs = Array.from({ length: count }, (_, i) => `${op}_${this.nodes.length}_${i}`);
    this.nodes.push({ name: outputs[0] ?? op, op, domain: '', inputs, outputs, attributes: new Map() });
    return outputs;
  }
  constant(value: TensorValue): string {
    const name = `constant_${this.initializers.size}`;
    this.initializers.set(name, value);
    return name;
  }
  weights(dims: Dims, scale = 1 / 8): string {
    return this.constant({ dtype: 'float32', dims, data: Float32Array.from({ length: elementCount(dims) }, () => (this.next() - 0.5) * scale) });
  }
  ints(...values: number[]): string {
    return this.constant(fromNumbers('int64', [values.length], values));
  }
  number(value: number): string {
    return this.constant({ dtype: 'float32', dims: [], data: Float32Array.of(value) });
  }
  reshape(x: string, ...dims: number[]): string {
    return this.add('Reshape', [x, this.ints(...dims)]);
  }
  transpose(x: string, ...perm: number[]): string {
    return this.add('Transpose', [x], { perm: ints(perm) });
  }
  slice(x: string, [start, end, step]: readonly [number, number, number], axis: number): string {
    return this.add('Slice', [x, this.ints(start), this.ints(end), this.ints(axis), this.ints(step)]);
  }
  concat(parts: readonly string[], axis: number): string {
    return this.add('Concat', parts, { axis: int(axis) });
  }
  normalize(x: string, width: number): string {
    return this.add('LayerNormalization', [x, this.weights([width]), this.weights([width])], { axis: int(-1) });
  }
  linear(x: string, from: number, to: number): string {
    return this.add('Add', [this.product(x, from, to), this.weights([to])]);
  }
  product(x: string, from: number, to: number): string {
    const bound = 1 / Math.sqrt(from);
    if (this.format === 'float32') return this.add('MatMul', [x, this.weights([from, to], bound)]);
    const codes = this.constant({ dtype: 'int8', dims: [from, to], data: Int8Array.from({ length: from * to }, () => Math.round((this.next() - 0.5) * 254)) });
    const [steps = '', scale = '', zero = ''] = this.quantized.get(x) ?? this.addAll('DynamicQuantizeLinear', [x], 3);
    this.quantized.set(x, [steps, scale, zero]);
    const sums = this.add('Cast', [this.add('MatMulInteger', [steps, codes, zero])], { to: int(1) });
    return this.add('Mul', [sums, this.add('Mul', [scale, this.number(bound / 254)])]);
  }
  /** Two linear layers with Gelu between. */
  mlp(x: string, width: number): string {
    return this.linear(this.add('Gelu', [this.linear(x, width, 4 * width)]), 4 * width, width);
  }
  conv(x: string, [outputs, inputs, kernel]: readonly [number, number, number], { stride = 1, group = 1 } = {}): string {
    const pad = stride === 1 ? (kernel - 1) >> 1 : 0;
    return this.add('Conv', [x, this.weights([outputs, inputs / group, kernel, kernel], kernel === 7 ? 1 / 8 : 1 / Math.sqrt(inputs)), this.weights([outputs])], {
      kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]), group: int(group),
    });
  }
  finish(name: string, input: readonly [string, Dims], output: readonly [string, Dims]): Uint8Array {
    const port = ([port, dims]: readonly [string, Dims]) => ({ name: port, dtype: 'float32' as const, dims });
    return serializeModel({
      irVersion: 9, producerName: 'sterna-bench', producerVersion: runtimeVersion, opsets: new Map([['', 20]]), metadata: new Map(),
      graph: { name, nodes: this.nodes, initializers: this.initializers, inputs: [port(input)], outputs: [port(output)], valueInfo: [] },
    });
  }
}

/** One layer of a transformer's encoder: attention of `heads` heads, then two linear layers with Gelu between. */
export function encoder(length: number, width: number, heads: number, format: LinearFormat = 'float32'): Uint8Array {
  const net = new BlockBuilder(format);
  const head = (x: string, ...perm: number[]): string => net.transpose(net.reshape(net.linear(x, width, width), 1, length, heads, width / heads), ...perm);
  const normal = net.normalize('x', width);
  const [q, k, v] = [head(normal, 0, 2, 1, 3), head(normal, 0, 2, 3, 1), head(normal, 0, 2, 1, 3)];
  const shares = net.add('Softmax', [net.add('Mul', [net.add('MatMul', [q, k]), net.number(Math.sqrt(heads / width))])], { axis: int(-1) });
  const joined = net.reshape(net.transpose(net.add('MatMul', [shares, v]), 0, 2, 1, 3), 1, length, width);
  const attended = net.add('Add', ['x', net.linear(joined, width, width)]);
  const y = net.add('Add', [attended, net.mlp(net.normalize(attended, width), width)]);
  return net.finish('encoder', ['x', [1, length, width]], [y, [1, length, width]]);
}

/** Sides of the windows within which Swin attends. */
const window = 7;

/** Rows and columns moved around by `by`, what leaves on one side coming in on the other. */
function roll(net: BlockBuilder, x: string, by: number, size: number): string {
  return [1, 2].reduce((value, axis) => {
    const at = (by + size) % size;
    return net.concat([net.slice(value, [size - at, size, 1], axis), net.slice(value, [0, size - at, 1], axis)], axis);
  }, x);
}

/** Attention within windows, with a bias for each pair of places; where the windows are shifted, a mask keeps apart what is no neighbour. */
function windowAttention(net: BlockBuilder, x: string, { size, width, heads, shifted }: { size: number; width: number; heads: number; shifted: boolean }): string {
  const [across, area, depth] = [size / window, window * window, width / heads];
  const count = across * across;
  const map = net.reshape(x, 1, size, size, width);
  const moved = shifted ? roll(net, map, -3, size) : map;
  const windows = net.reshape(net.transpose(net.reshape(moved, 1, across, window, across, window, width), 0, 1, 3, 2, 4, 5), count, area, width);
  const joint = net.transpose(net.reshape(net.linear(windows, width, 3 * width), count, area, 3, heads, depth), 2, 0, 3, 1, 4);
  const part = (i: number): string => net.add('Gather', [joint, net.constant(fromNumbers('int64', [], [i]))], { axis: int(0) });
  const scores = net.add('MatMul', [net.add('Mul', [part(0), net.number(1 / Math.sqrt(depth))]), net.transpose(part(1), 0, 1, 3, 2)]);
  const biased = net.add('Add', [scores, net.weights([1, heads, area, area])]);
  const mask = (): string => net.constant({ dtype: 'float32', dims: [1, count, 1, area, area], data: Float32Array.from({ length: count * area * area }, (_, i) => (Math.floor(i / (area * area)) % across === across - 1 && i % 7 > 3 ? -100 : 0)) });
  const masked = shifted ? net.reshape(net.add('Add', [net.reshape(biased, 1, count, heads, area, area), mask()]), count, heads, area, area) : biased;
  const mixed = net.add('MatMul', [net.add('Softmax', [masked], { axis: int(-1) }), part(2)]);
  const y = net.linear(net.reshape(net.transpose(mixed, 0, 2, 1, 3), count, area, width), width, width);
  const joined = net.reshape(net.transpose(net.reshape(y, 1, across, across, window, window, width), 0, 1, 3, 2, 4, 5), 1, size, size, width);
  return net.reshape(shifted ? roll(net, joined, 3, size) : joined, 1, size * size, width);
}

/** Four neighbours become one place of twice the width. */
function mergePatches(net: BlockBuilder, x: string, size: number, width: number): string {
  const map = net.reshape(x, 1, size, size, width);
  const parts = [[0, 0], [1, 0], [0, 1], [1, 1]].map(([row = 0, column = 0]) => net.slice(net.slice(map, [row, size, 2], 1), [column, size, 2], 2));
  return net.product(net.normalize(net.reshape(net.concat(parts, 3), 1, (size * size) / 4, 4 * width), 4 * width), 4 * width, 2 * width);
}

/** Swin-T (Liu et al., arXiv 2103.14030, table 7) with two blocks in each stage, 224 x 224. */
export function swin(format: LinearFormat = 'float32'): Uint8Array {
  const net = new BlockBuilder(format);
  let [x, size, width, heads] = [net.transpose(net.reshape(net.conv('x', [96, 3, 4], { stride: 4 }), 1, 96, 56 * 56), 0, 2, 1), 56, 96, 3];
  x = net.normalize(x, width);
  for (let stage = 0; stage < 4; stage++) {
    if (stage > 0) [x, size, width, heads] = [mergePatches(net, x, size, width), size / 2, 2 * width, 2 * heads];
    for (const shifted of [false, true]) {
      x = net.add('Add', [x, windowAttention(net, net.normalize(x, width), { size, width, heads, shifted: shifted && size > window })]);
      x = net.add('Add', [x, net.mlp(net.normalize(x, width), width)]);
    }
  }
  return net.finish('swin', ['x', [1, 3, 224, 224]], [net.normalize(x, width), [1, size * size, width]]);
}

/** ConvNeXt-T (Liu et al., arXiv 2201.03545) with one block in each stage and two in the third, 224 x 224. */
export function convNext(format: LinearFormat = 'float32'): Uint8Array {
  const net = new BlockBuilder(format);
  const last = (x: string): string => net.transpose(x, 0, 2, 3, 1);
  const first = (x: string): string => net.transpose(x, 0, 3, 1, 2);
  let [x, size, width] = ['x', 56, 96];
  [1, 1, 2, 1].forEach((blocks, stage) => {
    if (stage === 0) x = first(net.normalize(last(net.conv(x, [96, 3, 4], { stride: 4 })), width));
    else [x, size, width] = [net.conv(first(net.normalize(last(x), width)), [2 * width, width, 2], { stride: 2 }), size / 2, 2 * width];
    for (let block = 0; block < blocks; block++) {
      const y = net.mlp(net.normalize(last(net.conv(x, [width, width, 7], { group: width })), width), width);
      x = net.add('Add', [x, first(net.add('Mul', [y, net.weights([width], 1)]))]);
    }
  });
  return net.finish('convnext', ['x', [1, 3, 224, 224]], [x, [1, width, size, size]]);
}

/** Shapes of networks on which attention, normalization and linear layers are judged, with random weights. */
export const blockModels: Readonly<Record<string, (format?: LinearFormat) => Uint8Array>> = {
  'ViT-tiny': (format) => encoder(197, 192, 3, format),
  wav2vec2: (format) => encoder(149, 768, 12, format),
  'Whisper-tiny': (format) => encoder(1500, 384, 6, format),
  Swin: swin,
  ConvNeXt: convNext,
};
