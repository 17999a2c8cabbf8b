import { intAttribute } from '../../graph/attributes.js';
import { optionalOperand } from '../../graph/operands.js';
import { elementCount, type Shape } from '../../graph/tensor-value.js';
import { poolOf } from '../../ops/pooling.js';
import { windowOf } from '../../ops/spatial.js';
import { normExponent } from '../../ops/standardization.js';
import { transposedWindowOf } from '../../ops/transposed-convolution.js';
import { composed, noGradient, type Calculus, type GradientTable, type Rule, type Step } from '../rule.js';
import { correlated, spread, type Sliding } from '../windows.js';

/** The entries of the spatial axes that a node has: its window says H = 1 where there is one axis only. */
const last = (values: readonly number[], count: number): number[] => values.slice(values.length - count);

function checkRank({ node }: Step, shape: Shape): number {
  const rank = shape.length - 2;
  if (rank < 1 || rank > 2) throw noGradient(node, `there is a gradient for 1 or 2 spatial axes, and this has ${rank}`);
  return rank;
}

function slidingOf(step: Step): { sliding: Sliding; after: number[] } {
  const { node } = step;
  const rank = checkRank(step, step.shape());
  const window = windowOf(node, step.shape().slice(2), step.shape(1).slice(2));
  const [top, left, bottom, right] = window.pads;
  const sliding = { kernel: last(window.kernel, rank), strides: last(window.strides, rank), dilations: last(window.dilations, rank), before: last([top, left], rank), group: intAttribute(node, 'group', 1) };
  return { sliding, after: last([bottom, right], rank) };
}

const bias = (step: Step) => (optionalOperand(step.node, 2) === undefined ? undefined : () => step.m.sumByChannel(step.dy));

/** A factor for each channel of the gradient, as batch normalization has, goes to the weights and to their gradient, which are smaller than maps. */
const conv: Rule = (step) => {
  const { m, dy } = step;
  const { sliding, after } = slidingOf(step);
  const { x: given, factor } = m.scaledChannels(dy) ?? { x: dy, factor: undefined };
  const scaled = (weights: string): string => (factor === undefined ? weights : m.mul(weights, m.along(factor, 0, step.shape().length)));
  return [() => spread(m, given, scaled(step.x(1)), sliding, step.shape()), () => scaled(correlated(m, step.x(), given, sliding, after)), bias(step)];
};

/** Input and output change places. */
const convTranspose: Rule = (step) => {
  const { m, node, dy } = step;
  const rank = checkRank(step, step.shape());
  const [inputs, weights] = [step.shape(), step.shape(1)];
  const window = transposedWindowOf(node, inputs, weights);
  const sliding: Sliding = { kernel: last(window.kernel, rank), strides: last(window.strides, rank), dilations: last(window.dilations, rank), before: last(window.begins, rank), group: window.group };
  const outputs = last(window.output, rank);
  // Rows at the end that no tap reached, or that are missing for the last one.
  const after = outputs.map((size, i) => ((inputs[i + 2] ?? 1) - 1) * (sliding.strides[i] ?? 1) + ((sliding.kernel[i] ?? 1) - 1) * (sliding.dilations[i] ?? 1) + 1 - size - (sliding.before[i] ?? 0));
  const tight = (): string => after.reduce((so, pad, i) => (pad < 0 ? m.slice(so, i + 2, 0, (outputs[i] ?? 1) + pad) : so), dy);
  const pads = after.map((pad) => Math.max(0, pad));
  return [
    () => m.b.emit('Conv', [tight(), step.x(1)], {
      strides: { type: 'ints', value: sliding.strides }, dilations: { type: 'ints', value: sliding.dilations }, pads: { type: 'ints', value: [...sliding.before, ...pads] }, group: { type: 'int', value: sliding.group },
    }),
    () => correlated(m, tight(), step.x(), sliding, pads),
    bias(step),
  ];
};

/** How many elements each mean of an AveragePool is over, and its window. */
function averaged(step: Step): { sliding: Sliding; shares: Float64Array } {
  const { node } = step;
  const rank = checkRank(step, step.shape());
  const [, channels = 1, ...spatial] = step.shape();
  const pool = poolOf(node, step.shape());
  const before = last(pool.pads.slice(0, 2), rank);
  const [kernel, strides, dilations, output] = [last(pool.kernel, rank), last(pool.strides, rank), last(pool.dilations, rank), last(pool.output, rank)];
  const after = last(pool.pads.slice(2), rank);
  const counted = output.map((size, i) => Array.from({ length: size }, (_, o) => {
    const [low, high] = pool.includePad ? [-(before[i] ?? 0), (spatial[i] ?? 1) + (after[i] ?? 0)] : [0, spatial[i] ?? 1];
    return Array.from({ length: kernel[i] ?? 1 }, (__, k) => o * (strides[i] ?? 1) + k * (dilations[i] ?? 1) - (before[i] ?? 0)).filter((position) => position >= low && position < high).length;
  }));
  const counts = counted.reduce((products, list) => products.flatMap((product) => list.map((count) => product * count)), [1]);
  return { sliding: { kernel, strides, dilations, before, group: channels }, shares: Float64Array.from(counts, (count) => 1 / Math.max(1, count)) };
}

const averagePool: Rule = (step) => {
  const { m, dy } = step;
  const { sliding, shares } = averaged(step);
  const [, channels = 1] = step.shape();
  return [() => {
    const shared = m.mul(dy, m.tensor('float32', [1, 1, ...m.shape(dy).slice(2)], shares));
    const weights = m.tensor('float32', [channels, 1, ...sliding.kernel], new Float64Array(channels * elementCount(sliding.kernel)).fill(1));
    return spread(m, shared, weights, sliding, step.shape());
  }];
};

/** The pool says where its maxima are, and each gradient goes there. */
const maxPool: GradientTable[string] = {
  augment: (b, node) => ({ output: 1, type: { dtype: 'int64', shape: b.type(node.outputs[0] ?? '').shape } }),
  rule(step) {
    const { m, dy } = step;
    checkRank(step, step.shape());
    if (intAttribute(step.node, 'storage_order', 0) !== 0) throw noGradient(step.node, 'there is a gradient for the storage_order 0 only');
    const [size, count] = [elementCount(step.shape()), elementCount(m.shape(dy))];
    return [() => m.reshape(m.scatterAdd(m.filled([size]), m.reshape(step.y(1), [count]), m.reshape(dy, [count]), 0), step.shape())];
  },
};

/** (sum of |x|^p)^(1 / p), the sum as a convolution by ones. */
function lpPool(m: Calculus, node: Parameters<typeof poolOf>[0]): readonly string[] {
  const x = node.inputs[0] ?? '';
  const [, channels = 1, ...spatial] = m.shape(x);
  const pool = poolOf(node, m.shape(x));
  const p = normExponent(node, (exponent) => exponent >= 1);
  const rank = spatial.length;
  const kernel = last(pool.kernel, rank);
  const weights = m.tensor('float32', [channels, 1, ...kernel], new Float64Array(channels * elementCount(kernel)).fill(1));
  const [top, left, bottom, right] = pool.pads;
  const sums = m.b.emit('Conv', [m.op('Pow', m.op('Abs', x), m.number(p)), weights], {
    group: { type: 'int', value: channels }, strides: { type: 'ints', value: last(pool.strides, rank) }, dilations: { type: 'ints', value: last(pool.dilations, rank) },
    pads: { type: 'ints', value: [...last([top, left], rank), ...last([bottom + pool.hang[0], right + pool.hang[1]], rank)] },
  });
  return [m.op('Pow', sums, m.number(1 / p))];
}

export const convolutionGradients: GradientTable = {
  Conv: { rule: conv }, ConvTranspose: { rule: convTranspose }, AveragePool: { rule: averagePool }, MaxPool: maxPool,
  ...composed({ LpPool: lpPool }),
};
