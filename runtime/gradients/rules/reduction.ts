import { intAttribute } from '../../graph/attributes.js';
import { elementCount } from '../../graph/tensor-value.js';
import { normalizeAxis } from '../../ops/op.js';
import { reducedAxes, reducedShape } from '../../ops/reduction.js';
import { spatialAxes } from '../../ops/standardization.js';
import { composed, flat, rules, type Calculus, type GradientTable, type Rule, type Step } from '../rule.js';

/** What the rules of reductions have in common: results in the shape that broadcasts over the operand. */
interface Reduced {
  readonly m: Calculus;
  readonly x: string;
  readonly axes: readonly number[];
  /** Elements that one result is made of. */
  readonly count: number;
  readonly dy: string;
  readonly y: string;
}

function reduced(step: Step): Reduced {
  const { m, node } = step;
  const shape = step.shape();
  const given = m.b.known(node.inputs[1]);
  const axes = reducedAxes(node, shape.length, given === undefined ? undefined : Array.from(given.data, Number));
  const kept = reducedShape(shape, axes, true);
  return { m, x: step.x(), axes, count: elementCount(shape) / Math.max(1, elementCount(kept)), dy: m.reshape(step.dy, kept), y: m.reshape(step.y(), kept) };
}

const through = (gradient: (reduced: Reduced) => string): Rule => (step) => [() => {
  const written = gradient(reduced(step));
  return step.m.shape(written).join() === step.shape().join() ? written : step.m.expand(written, step.shape());
}];

/** The elements that are the extreme share the gradient. */
const extreme = ({ m, x, y, dy, axes }: Reduced): string => {
  const hit = m.cast(m.op('Equal', x, y), 'float32');
  return m.mul(hit, m.div(dy, m.reduce('ReduceSum', hit, axes)));
};

/** The product of the others: where one factor is zero only its own gradient is not, and with two zeros none. */
const product = ({ m, x, dy, axes }: Reduced): string => {
  const zero = m.op('Equal', x, m.number(0));
  const others = m.where(zero, m.number(1), x);
  const rest = m.reduce('ReduceProd', others, axes);
  const zeros = m.reduce('ReduceSum', m.cast(zero, 'float32'), axes);
  const is = (count: number): string => m.mul(rest, m.cast(m.op('Equal', zeros, m.number(count)), 'float32'));
  return m.mul(dy, m.where(zero, is(1), m.div(is(0), others)));
};

const softmax: Rule = (step) => {
  const { m, node, dy } = step;
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), step.shape().length);
  const weighted = m.mul(dy, step.y());
  return [() => m.sub(weighted, m.mul(step.y(), m.reduce('ReduceSum', weighted, [axis])))];
};

const logSoftmax: Rule = (step) => {
  const { m, node, dy } = step;
  const axis = normalizeAxis(node, intAttribute(node, 'axis', -1), step.shape().length);
  return [() => m.sub(dy, m.mul(m.op('Exp', step.y()), m.reduce('ReduceSum', dy, [axis])))];
};

export const reductionGradients: GradientTable = {
  ...rules({
    ReduceSum: through(({ dy }) => dy),
    ReduceMean: through(({ m, dy, count }) => m.scale(dy, 1 / count)),
    ReduceSumSquare: through(({ m, x, dy }) => m.mul(m.scale(dy, 2), x)),
    ReduceL1: through(({ m, x, dy }) => m.mul(dy, m.op('Sign', x))),
    ReduceL2: through(({ m, x, y, dy }) => m.mul(m.div(dy, y), x)),
    ReduceLogSum: through(({ m, y, dy }) => m.div(dy, m.op('Exp', y))),
    ReduceLogSumExp: through(({ m, x, y, dy }) => m.mul(dy, m.op('Exp', m.sub(x, y)))),
    ReduceMax: through(extreme), ReduceMin: through(extreme), ReduceProd: through(product),
    Softmax: softmax, LogSoftmax: logSoftmax,
  }),
  ...composed({
    GlobalMaxPool: (m, node) => [m.reduce('ReduceMax', node.inputs[0] ?? '', spatialAxes(m.shape(node.inputs[0] ?? '').length))],
    GlobalAveragePool: (m, node) => [m.reduce('ReduceMean', node.inputs[0] ?? '', spatialAxes(m.shape(node.inputs[0] ?? '').length))],
  }),
  ...flat('Hardmax', 'ArgMax', 'ArgMin'),
};
