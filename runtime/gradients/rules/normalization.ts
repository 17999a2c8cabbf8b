import { rms } from '../../expand/elementwise.js';
import { floatAttribute, intAttribute } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { optionalOperand } from '../../graph/operands.js';
import { elementCount } from '../../graph/tensor-value.js';
import { normalizeAxis } from '../../ops/op.js';
import { groupsOf, isOneOrTwo, layerNormAxes, meanVarianceAxes, meanVarianceEpsilon, normExponent, spatialAxes } from '../../ops/standardization.js';
import { composed, type Calculus, type GradientEntry, type GradientTable, type Rule, type Step } from '../rule.js';

const x = (node: Node): string => node.inputs[0] ?? '';

/** x less its mean over the axes, the mean, and 1 / sqrt(variance + epsilon). */
function standardized(m: Calculus, value: string, axes: readonly number[], epsilon: number): { normal: string; mean: string; inverse: string } {
  const mean = m.reduce('ReduceMean', value, axes);
  const centred = m.sub(value, mean);
  const inverse = m.op('Reciprocal', m.op('Sqrt', m.affine(m.reduce('ReduceMean', m.square(centred), axes), 1, epsilon)));
  return { normal: m.mul(centred, inverse), mean, inverse };
}

/** value * scale + bias, where operands 1 and 2 have one number for each channel. */
function byChannel(m: Calculus, node: Node, value: string): string {
  const rank = m.shape(value).length;
  const [scale, bias] = [node.inputs[1] ?? '', node.inputs[2] ?? ''];
  return m.add(m.mul(value, m.along(scale, 1, rank)), m.along(bias, 1, rank));
}

const epsilonOf = (node: Node): number => floatAttribute(node, 'epsilon', 1e-5);

function layerNorm(m: Calculus, node: Node): readonly string[] {
  const { normal, mean, inverse } = standardized(m, x(node), layerNormAxes(node, m.shape(x(node)).length), epsilonOf(node));
  const scaled = m.mul(normal, node.inputs[1] ?? '');
  const bias = optionalOperand(node, 2);
  return [bias === undefined ? scaled : m.add(scaled, bias), mean, inverse];
}

function instanceNorm(m: Calculus, node: Node): readonly string[] {
  return [byChannel(m, node, standardized(m, x(node), spatialAxes(m.shape(x(node)).length), epsilonOf(node)).normal)];
}

/** One scale for each group before operator set 21, for each channel since. */
function groupNorm(m: Calculus, node: Node): readonly string[] {
  const shape = m.shape(x(node));
  const [n = 1, channels = 1] = shape;
  const groups = groupsOf(node, shape);
  const grouped = m.reshape(x(node), [n, groups, elementCount(shape) / (n * groups)]);
  const normal = standardized(m, grouped, [2], epsilonOf(node)).normal;
  const perGroup = elementCount(m.shape(node.inputs[1] ?? '')) === groups && groups !== channels;
  return [perGroup ? m.reshape(byChannel(m, node, normal), shape) : byChannel(m, node, m.reshape(normal, shape))];
}

function meanVariance(m: Calculus, node: Node): readonly string[] {
  const axes = meanVarianceAxes(node, m.shape(x(node)).length);
  const centred = m.sub(x(node), m.reduce('ReduceMean', x(node), axes));
  return [m.div(centred, m.affine(m.op('Sqrt', m.reduce('ReduceMean', m.square(centred), axes)), 1, meanVarianceEpsilon))];
}

const lpNorm = (m: Calculus, value: string, axes: readonly number[], p: number): string => {
  if (p === 2) return m.op('Sqrt', m.reduce('ReduceSum', m.square(value), axes));
  const powers = m.reduce('ReduceSum', p === 1 ? m.op('Abs', value) : m.op('Pow', m.op('Abs', value), m.number(p)), axes);
  return p === 1 ? powers : m.op('Pow', powers, m.number(1 / p));
};

function lpNormalization(m: Calculus, node: Node): readonly string[] {
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), m.shape(x(node)).length);
  return [m.div(x(node), lpNorm(m, x(node), [axis], normExponent(node, isOneOrTwo)))];
}

/** x / (bias + alpha / size * sum of squares over neighboring channels)^beta, the sum as a product with a band of ones. */
function localResponse(m: Calculus, node: Node): readonly string[] {
  const [n = 1, channels = 1, ...spatial] = m.shape(x(node));
  const size = intAttribute(node, 'size', 1);
  const [below, above] = [Math.floor((size - 1) / 2), Math.ceil((size - 1) / 2)];
  const band = Float64Array.from({ length: channels * channels }, (_, i) => {
    const distance = (i % channels) - Math.floor(i / channels);
    return distance >= -below && distance <= above ? 1 : 0;
  });
  const squares = m.reshape(m.square(x(node)), [n, channels, elementCount(spatial)]);
  const sums = m.reshape(m.op('MatMul', m.tensor('float32', [channels, channels], band), squares), m.shape(x(node)));
  const base = m.affine(sums, floatAttribute(node, 'alpha', 1e-4) / size, floatAttribute(node, 'bias', 1));
  return [m.div(x(node), m.op('Pow', base, m.number(floatAttribute(node, 'beta', 0.75))))];
}

/** x / root of the mean of squares over the last axes. */
function rmsNorm(m: Calculus, node: Node): readonly string[] {
  const [axis = 0] = layerNormAxes(node, m.shape(x(node)).length);
  return [m.mul(m.mul(x(node), rms(m, x(node), axis, epsilonOf(node))), node.inputs[1] ?? '')];
}

/** (x - mean) / sqrt(variance + epsilon) * scale + bias by fixed statistics. */
function fixedBatchNorm(m: Calculus, node: Node): readonly string[] {
  const rank = m.shape(x(node)).length;
  const [mean = '', variance = ''] = node.inputs.slice(3, 5);
  const inverse = m.op('Reciprocal', m.op('Sqrt', m.affine(variance, 1, epsilonOf(node))));
  const factor = m.mul(node.inputs[1] ?? '', inverse);
  const summand = m.sub(node.inputs[2] ?? '', m.mul(mean, factor));
  return [m.add(m.mul(x(node), m.along(factor, 1, rank)), m.along(summand, 1, rank))];
}

/**
 * Mean and variance of the batch. With a momentum of 0 they are outputs of the operator, which can be read when they are outputs of the graph, too: others
 * are written by onnxruntime over the operands with the running ones, and over all equal constants with them. Otherwise they are computed again, in two
 * steps that are fast.
 */
function batchStatistics(step: Step): { mean: string; variance: string } {
  const { m, node } = step;
  const [x, shape] = [step.x(), step.shape()];
  const [, mean = '', variance = ''] = node.outputs;
  if (floatAttribute(node, 'momentum', 0.9) === 0 && m.isOutput(mean) && m.isOutput(variance)) return { mean, variance };
  const share = (shape[1] ?? 1) / elementCount(shape);
  const own = m.scale(m.sumByChannel(x), share);
  return { mean: own, variance: m.scale(m.sumByChannel(m.square(m.sub(x, m.along(own, 1, shape.length)))), share) };
}

/**
 * By the statistics of the batch, which change with x, too (Ioffe and Szegedy, arXiv 1502.03167, section 3): each channel's gradient is a multiple of dy,
 * plus a multiple of x, plus a number. The centred x is not computed, since each pass over all elements counts: its product with dy is the product
 * with x, less the mean times the sum of dy. That rounds as the operator itself does, which takes x * factor + summand.
 */
const trainedBatchNorm: Rule = (step) => {
  const { m, node, dy } = step;
  const share = (step.shape()[1] ?? 1) / elementCount(step.shape());
  const { mean, variance } = batchStatistics(step);
  const inverse = m.op('Reciprocal', m.op('Sqrt', m.affine(variance, 1, epsilonOf(node))));
  const sum = m.sumByChannel(dy);
  const dScale = m.mul(m.sub(m.sumByChannel(m.mul(dy, step.x())), m.mul(mean, sum)), inverse);
  // factor * (dy + slope * x + shift): the factor comes last, since a convolution takes it into its weights.
  const byX = (): string => {
    const slope = m.mul(inverse, m.scale(dScale, -share));
    const shift = m.sub(m.scale(sum, -share), m.mul(slope, mean));
    return m.scaleChannels(m.add(dy, m.affineChannels(step.x(), slope, shift)), m.mul(step.x(1), inverse));
  };
  return [byX, () => dScale, () => sum];
};

export const normalizationGradients: GradientTable = {
  ...composed({
    LayerNormalization: layerNorm, InstanceNormalization: instanceNorm, GroupNormalization: groupNorm, MeanVarianceNormalization: meanVariance,
    LpNormalization: lpNormalization, LRN: localResponse, RMSNormalization: rmsNorm,
    GlobalLpPool: (m, node) => [lpNorm(m, x(node), spatialAxes(m.shape(x(node)).length), normExponent(node, (p) => p >= 1))],
  }),
};

/** Its two forms have different gradients. */
export const batchNormGradient = (node: Node): GradientEntry => (intAttribute(node, 'training_mode', 0) !== 0 ? { rule: trainedBatchNorm } : { compose: fixedBatchNorm });
