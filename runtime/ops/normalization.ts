import { floatAttribute, intAttribute, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, mapNumbers, type Shape, type TensorValue, toNumbers } from '../graph/tensor-value.js';
import { expectType, inputValue, normalizeAxis, sharing, type OperatorRecord, type OpTable } from './op.js';

/** Factor and summand of each channel: y = x * mul + add. */
export interface ChannelAffine {
  readonly mul: Float64Array;
  readonly add: Float64Array;
}

/** BatchNormalization of inference as a factor and a summand, in double precision. */
export function batchNormAffine(node: Node, values: readonly ArrayLike<number>[]): ChannelAffine {
  const [scale = [], bias = [], mean = [], variance = []] = values;
  const epsilon = floatAttribute(node, 'epsilon', 1e-5);
  const mul = mapNumbers({ length: scale.length }, (_, c) => (scale[c] ?? 0) / Math.sqrt((variance[c] ?? 0) + epsilon));
  return { mul, add: mul.map((factor, c) => (bias[c] ?? 0) - (mean[c] ?? 0) * factor) };
}

const batchNorm: OperatorRecord = {
  infer(context) {
    if (intAttribute(context.node, 'training_mode', 0) !== 0) throw unsupported(context.node, 'training mode', 'training_mode');
    if (context.node.outputs.slice(1).some((output) => output !== '')) throw unsupported(context.node, 'the outputs of training mode are not available');
    return [expectType(context, 0, ['float32'])];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const { mul, add } = batchNormAffine(context.node, [1, 2, 3, 4].map((i) => toNumbers(inputValue(context, i))));
    const inner = elementCount(x.dims.slice(2));
    const channels = x.dims[1] ?? 1;
    return [fromNumbers('float32', x.dims, mapNumbers(toNumbers(x), (value, i) => {
      const c = Math.floor(i / inner) % channels;
      return value * (mul[c] ?? 0) + (add[c] ?? 0);
    }))];
  },
};

/**
 * What a Softmax normalizes: `size` elements, `inner` apart. Before operator set 13 everything from `axis` on is one
 * group; since then only the axis itself.
 */
export function softmaxGroups(node: Node, opset: number, shape: Shape): { size: number; inner: number } {
  const axis = normalizeAxis(node, intAttribute(node, 'axis', opset < 13 ? 1 : -1), Math.max(shape.length, 1));
  if (opset < 13) return { size: elementCount(shape.slice(axis)), inner: 1 };
  return { size: shape[axis] ?? 1, inner: elementCount(shape.slice(axis + 1)) };
}

/** What is made of the elements that are normalized together; `hard` is 1 at the first maximum and 0 elsewhere. */
export const softmaxModes = ['soft', 'log', 'hard'] as const;
export type SoftmaxMode = (typeof softmaxModes)[number];

const softmax = (mode: SoftmaxMode): OperatorRecord => ({
  infer: (context) => [expectType(context, 0, ['float32'])],
  evaluate(context) {
    const x = inputValue(context, 0);
    return [softmaxValue(x, softmaxGroups(context.node, context.opset, x.dims), mode)];
  },
});

export function softmaxValue(x: TensorValue, { size, inner }: { size: number; inner: number }, mode: SoftmaxMode): TensorValue {
  const out = Float64Array.from(toNumbers(x));
  for (let start = 0; start < out.length; start += size * inner) {
    for (let i = 0; i < inner; i++) normalize(out, { start: start + i, size, step: inner, mode });
  }
  return fromNumbers('float32', x.dims, out);
}

function normalize(data: Float64Array, { start, size, step, mode }: { start: number; size: number; step: number; mode: SoftmaxMode }): void {
  let at = 0;
  for (let i = 1; i < size; i++) if ((data[start + i * step] ?? 0) > (data[start + at * step] ?? 0)) at = i;
  const max = data[start + at * step] ?? 0;
  if (mode === 'hard') {
    for (let i = 0; i < size; i++) data[start + i * step] = i === at ? 1 : 0;
    return;
  }
  let sum = 0;
  for (let i = 0; i < size; i++) sum += Math.exp((data[start + i * step] ?? 0) - max);
  for (let i = 0; i < size; i++) {
    const x = (data[start + i * step] ?? 0) - max;
    data[start + i * step] = mode === 'log' ? x - Math.log(sum) : Math.exp(x) / sum;
  }
}

export const normalizationOps: OpTable = sharing({ linear: true }, {
  BatchNormalization: batchNorm, Softmax: softmax('soft'), LogSoftmax: softmax('log'), Hardmax: softmax('hard'),
});
