/** Small networks made here, for checks of the kernels and for loads of which the work is known. */
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import type { Tensor } from '../../runtime/index.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { Attribute, OnnxNode } from '../../runtime/onnx/types.js';

/** Number formats that a network can have: a convolution in 8 bits, and one in single precision. */
export type NetworkFormat = 'int8' | 'float32';

const node = (op: string, inputs: string[], output: string, attributes: [string, Attribute][] = []): OnnxNode =>
  ({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(attributes) });
/** Numbers whose pattern repeats late, so that a kernel which mixes up lanes gives another result. */
const pattern = (count: number, range: number): number[] => Array.from({ length: count }, (_, i) => ((i * 7919 + 17) % 251) % range);
const scalar = (dtype: 'float32' | 'uint8' | 'int8', value: number): TensorValue =>
  ({ dtype, dims: [], data: dtype === 'float32' ? Float32Array.of(value) : dtype === 'uint8' ? Uint8Array.of(value) : Int8Array.of(value) });

/** A square picture with as many channels before the convolution as after it. */
export interface NetworkSize {
  channels: number;
  side: number;
}

/** One 3x3 convolution for each format, side by side: `bytes` to `bytes_out` in 8 bits, `floats` to `floats_out` in single precision. */
export function convolutionModel({ channels, side }: NetworkSize, formats: readonly NetworkFormat[]): Uint8Array {
  const dims = [channels, channels, 3, 3];
  const weights = pattern(channels * channels * 9, 251).map((value) => value - 125);
  const shape = [1, channels, side, side];
  const pads: [string, Attribute][] = [['pads', { type: 'ints', value: [1, 1, 1, 1] }]];
  const parts = { int8: ['bytes', 'uint8'], float32: ['floats', 'float32'] } as const;
  const nodes: Record<NetworkFormat, OnnxNode> = {
    int8: node('QLinearConv', ['bytes', 'x_scale', 'x_zero', 'w_bytes', 'w_scale', 'w_zero', 'y_scale', 'y_zero'], 'bytes_out', pads),
    float32: node('Conv', ['floats', 'w_floats'], 'floats_out', pads),
  };
  const initializers = new Map<string, TensorValue>([
    ['x_scale', scalar('float32', 0.02)], ['x_zero', scalar('uint8', 128)], ['w_scale', scalar('float32', 0.01)], ['w_zero', scalar('int8', 0)],
    ['y_scale', scalar('float32', 0.5)], ['y_zero', scalar('uint8', 120)],
    ['w_bytes', { dtype: 'int8', dims, data: Int8Array.from(weights) }], ['w_floats', { dtype: 'float32', dims, data: Float32Array.from(weights, (w) => w / 128) }],
  ]);
  const used = new Set(formats.flatMap((format) => nodes[format].inputs));
  return serializeModel({
    irVersion: 8, producerName: 'sterna', producerVersion: '', opsets: new Map([['', 13]]), metadata: new Map(),
    graph: {
      name: 'convolutions', valueInfo: [], nodes: formats.map((format) => nodes[format]),
      initializers: new Map([...initializers].filter(([name]) => used.has(name))),
      inputs: formats.map((format) => ({ name: parts[format][0], dtype: parts[format][1], dims: shape })),
      outputs: formats.map((format) => ({ name: `${parts[format][0]}_out`, dtype: parts[format][1], dims: shape })),
    },
  });
}

/** A picture of a fixed pattern for each format. */
export function convolutionFeeds({ channels, side }: NetworkSize, formats: readonly NetworkFormat[]): Record<string, Tensor> {
  const dims = [1, channels, side, side];
  const values = pattern(channels * side * side, 251);
  return {
    ...(formats.includes('int8') ? { bytes: { type: 'uint8' as const, dims, data: Uint8Array.from(values) } } : {}),
    ...(formats.includes('float32') ? { floats: { type: 'float32' as const, dims, data: Float32Array.from(values, (value) => value / 64 - 2) } } : {}),
  };
}
