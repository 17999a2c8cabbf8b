import { floatAttribute, intAttribute, ints, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOperand, optionalOutput, outputOf } from '../../graph/operands.js';
import { inverse } from '../../graph/permutation.js';
import { elementCount, float32s, fromNumbers, mapNumbers, reshaped, scalar, type Shape } from '../../graph/tensor-value.js';
import { reduceAttributes, unaryAttribute, viewAttributes } from '../../ops/core.js';
import { normalizeAxis } from '../../ops/op.js';
import { groupsOf, isNeighbour, isOneOrTwo, layerNormAxes, localResponseOf, meanVarianceAxes, meanVarianceEpsilon, normExponent, spatialAxes } from '../../ops/standardization.js';
import type { ReduceKind } from '../../ops/reduction.js';
import type { Unary } from '../../ops/unary-functions.js';
import type { Rewriter } from '../rewriter.js';
import { pointwise } from './linear.js';
import type { Canonical } from './types.js';

/** Emits core operators under one name. */
export class Arithmetic {
  constructor(private readonly editor: Rewriter, private readonly name: string) {}

  reduce(kind: ReduceKind, x: string, axes: readonly number[]): string {
    return this.editor.emit({ name: this.name, op: 'Reduce', inputs: [x], attributes: reduceAttributes(kind, axes) });
  }
  binary(op: 'Add' | 'Sub' | 'Mul' | 'Div' | 'Pow', a: string, b: string): string {
    return this.editor.emit({ name: this.name, op, inputs: [a, b] });
  }
  unary(kind: Unary['kind'], x: string, alpha = 0, beta = 0): string {
    return this.editor.emit({ name: this.name, op: 'Unary', inputs: [x], attributes: unaryAttribute({ kind, alpha, beta }) });
  }
  /** The same elements; constants stay constants. */
  view(x: string, shape: Shape): string {
    const constant = this.editor.constant(x);
    if (constant !== undefined) return this.editor.addConstant(x, reshaped(constant, shape));
    return this.editor.emit({ name: this.name, op: 'View', inputs: [x], attributes: viewAttributes(shape) });
  }
  transpose(x: string, perm: readonly number[]): string {
    return this.editor.emit({ name: this.name, op: 'Transpose', inputs: [x], attributes: { perm: ints(perm) } });
  }
  number(value: number): string {
    return this.editor.addConstant(`${this.name}.constant`, scalar('float32', value));
  }
  /** |x|^p */
  power(x: string, p: number): string {
    if (p === 2) return this.binary('Mul', x, x);
    const magnitude = this.unary('abs', x);
    return p === 1 ? magnitude : this.binary('Pow', magnitude, this.number(p));
  }
  /** x^(1/p), x >= 0 */
  root(x: string, p: number): string {
    if (p === 1) return x;
    return p === 2 ? this.unary('sqrt', x) : this.binary('Pow', x, this.number(1 / p));
  }
  norm(x: string, p: number, axes: readonly number[]): string {
    return p === 2 ? this.reduce('l2', x, axes) : this.root(this.reduce('sum', this.power(x, p), axes), p);
  }
}

/** x - mean, and the standard deviation, over `axes`. The variance is that of the centred data: E[x^2] - E[x]^2 would cancel. */
function centre(editor: Rewriter, math: Arithmetic, x: string, axes: readonly number[], epsilon: number): { mean: string; centred: string; deviation: string } {
  const { shape } = editor.type(x);
  const count = axes.reduce((product, axis) => product * (shape[axis] ?? 1), 1);
  const mean = math.reduce('mean', x, axes);
  const centred = math.binary('Sub', x, mean);
  const variance = math.unary('affine', math.reduce('sum_square', centred, axes), 1 / count, epsilon);
  return { mean, centred, deviation: math.unary('sqrt', variance) };
}

const epsilonOf = (node: Node): number => floatAttribute(node, 'epsilon', 1e-5);

/** The channels of [N, C, ..] as the last axis. */
const channelsLast = (rank: number): number[] => [0, ...spatialAxes(rank), 1];

const instanceNorm: Canonical = (editor, node) => {
  const [x, scale, bias] = [operand(node, 0), operand(node, 1), operand(node, 2)];
  const rank = editor.type(x).shape.length;
  const math = new Arithmetic(editor, node.name);
  const column = (value: string) => math.view(value, [elementCount(editor.type(value).shape), ...spatialAxes(rank).map(() => 1)]);
  const { centred, deviation } = centre(editor, math, x, spatialAxes(rank), epsilonOf(node));
  const factor = math.binary('Div', column(scale), deviation);
  editor.substitute(node, { op: 'Add', inputs: [math.binary('Mul', centred, factor), column(bias)] });
};

/** Lets `value` be what the node has made so far. */
function give(editor: Rewriter, output: string, value: string): void {
  editor.emitTo(output, { name: output, op: 'View', inputs: [value], attributes: viewAttributes(editor.type(value).shape) });
}

const layerNorm: Canonical = (editor, node) => {
  const [x, scale, bias] = [operand(node, 0), operand(node, 1), optionalOperand(node, 2)];
  const [y, meanOutput, inverseOutput] = [outputOf(node), optionalOutput(node, 1), optionalOutput(node, 2)];
  const math = new Arithmetic(editor, node.name);
  const axes = layerNormAxes(node, editor.type(x).shape.length);
  const { mean, centred, deviation } = centre(editor, math, x, axes, epsilonOf(node));
  const scaled = { name: node.name, op: 'Mul', inputs: [math.binary('Div', centred, deviation), scale] };
  editor.remove(node);
  if (meanOutput !== undefined) give(editor, meanOutput, mean);
  if (inverseOutput !== undefined) editor.emitTo(inverseOutput, { name: inverseOutput, op: 'Unary', inputs: [deviation], attributes: unaryAttribute({ kind: 'reciprocal', alpha: 0, beta: 0 }) });
  if (bias === undefined) editor.emitTo(y, scaled);
  else editor.emitTo(y, { name: node.name, op: 'Add', inputs: [editor.emit(scaled), bias] });
};

/** Over [N, pixels, groups, channels of a group]: channels last, as the convolutions around it have them. */
const groupNorm: Canonical = (editor, node) => {
  const [x, scale, bias] = [operand(node, 0), operand(node, 1), operand(node, 2)];
  const { shape } = editor.type(x);
  const groups = groupsOf(node, shape);
  const [n = 1, c = 1] = shape;
  const math = new Arithmetic(editor, node.name);
  const perm = channelsLast(shape.length);
  const last = math.transpose(x, perm);
  const grouped = math.view(last, [n, elementCount(shape.slice(2)), groups, c / groups]);
  const row = (value: string) => math.view(value, [groups, elementCount(editor.type(value).shape) / groups]);
  const { centred, deviation } = centre(editor, math, grouped, [1, 3], epsilonOf(node));
  const y = math.binary('Add', math.binary('Mul', centred, math.binary('Div', row(scale), deviation)), row(bias));
  editor.substitute(node, { op: 'Transpose', inputs: [math.view(y, editor.type(last).shape)], attributes: { perm: ints(inverse(perm)) } });
};

const meanVarianceNorm: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const math = new Arithmetic(editor, node.name);
  const { centred, deviation } = centre(editor, math, x, meanVarianceAxes(node, editor.type(x).shape.length), 0);
  editor.substitute(node, { op: 'Div', inputs: [centred, math.unary('affine', deviation, 1, meanVarianceEpsilon)] });
};

/** Norms below this are those of zeros, which stay zero: the smallest normal float32. */
const smallestNorm = 2 ** -126;

const lpNorm: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const math = new Arithmetic(editor, node.name);
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), editor.type(x).shape.length);
  const norm = math.norm(x, normExponent(node, isOneOrTwo), [axis]);
  editor.substitute(node, { op: 'Div', inputs: [x, math.unary('clip', norm, smallestNorm, Infinity)] });
};

const globalLpPool: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const math = new Arithmetic(editor, node.name);
  const axes = spatialAxes(editor.type(x).shape.length);
  give(editor, replaced(editor, node), math.norm(x, normExponent(node, (p) => p >= 1), axes));
};

/** Removes a node; returns the value that has to be made in its place. */
function replaced(editor: Rewriter, node: Node): string {
  editor.remove(node);
  return outputOf(node);
}

/** Channels above which the sums over neighbours, a product with a band matrix, would cost too much: 16 MiB of weights. */
const maximumResponseChannels = 2048;

/** The sum over neighbouring channels is a convolution of 1x1 by a matrix with a band of ones. */
const localResponseNorm: Canonical = (editor, node) => {
  const x = operand(node, 0);
  const { shape } = editor.type(x);
  const channels = shape[1] ?? 1;
  if (channels > maximumResponseChannels) throw unsupported(node, `${channels} channels, more than ${maximumResponseChannels}`);
  const response = localResponseOf(node);
  const math = new Arithmetic(editor, node.name);
  const perm = channelsLast(shape.length);
  const last = math.transpose(x, perm);
  const factor = response.alpha / response.size;
  const band = mapNumbers({ length: channels * channels }, (_, i) => (isNeighbour(Math.floor(i / channels), i % channels, response) ? factor : 0));
  const weights = editor.addConstant(`${node.name}.band`, fromNumbers('float32', [channels, 1, 1, channels], band));
  const bias = editor.addConstant(`${node.name}.bias`, float32s(new Array<number>(channels).fill(response.bias)));
  const base = editor.emit({ name: node.name, op: 'NhwcConv', inputs: [math.binary('Mul', last, last), weights, bias], attributes: pointwise });
  const y = math.binary('Mul', last, math.binary('Pow', base, math.number(-response.beta)));
  editor.substitute(node, { op: 'Transpose', inputs: [y], attributes: { perm: ints(inverse(perm)) } });
};

export const canonicalNormalization: Readonly<Record<string, Canonical>> = {
  InstanceNormalization: instanceNorm, LayerNormalization: layerNorm, GroupNormalization: groupNorm, MeanVarianceNormalization: meanVarianceNorm,
  LpNormalization: lpNorm, GlobalLpPool: globalLpPool, LRN: localResponseNorm,
};
