import { flat, rules, type Adjoint, type GradientTable, type Rule, type Step } from '../rule.js';

/** The gradient by operand `index`, summed over the axes along which it was broadcast. */
const to = ({ m, node }: Step, index: number, gradient: () => string): Adjoint => () => m.unbroadcast(gradient(), m.shape(node.inputs[index] ?? ''));

const add: Rule = (step) => [to(step, 0, () => step.dy), to(step, 1, () => step.dy)];
const sub: Rule = (step) => [to(step, 0, () => step.dy), to(step, 1, () => step.m.op('Neg', step.dy))];
const mul: Rule = (step) => [to(step, 0, () => step.m.mul(step.dy, step.x(1))), to(step, 1, () => step.m.mul(step.dy, step.x(0)))];

const div: Rule = (step) => {
  const { m, dy } = step;
  return [to(step, 0, () => m.div(dy, step.x(1))), to(step, 1, () => m.op('Neg', m.div(m.mul(dy, step.y()), step.x(1))))];
};

/** By the exponent only where the base is positive. */
const pow: Rule = (step) => {
  const { m, dy } = step;
  const [base, exponent] = [step.x(0), m.cast(step.x(1), 'float32')];
  return [
    to(step, 0, () => m.mul(dy, m.mul(exponent, m.op('Pow', base, m.sub(exponent, m.number(1)))))),
    to(step, 1, () => m.mul(dy, m.mul(step.y(), m.op('Log', base)))),
  ];
};

const prelu: Rule = (step) => {
  const { m, dy } = step;
  const [x, slope] = [step.x(0), step.x(1)];
  return [
    to(step, 0, () => {
      const mask = m.positive(x);
      return m.mul(dy, m.add(mask, m.mul(slope, m.affine(mask, -1, 1))));
    }),
    to(step, 1, () => m.mul(dy, m.op('Min', x, m.number(0)))),
  ];
};

/** Operands that are equal share the gradient. */
const extreme: Rule = (step) => {
  const { m, node, dy } = step;
  const hits = node.inputs.map((x) => m.cast(m.op('Equal', x, step.y()), 'float32'));
  const count = hits.reduce(m.add);
  return hits.map((hit, i) => to(step, i, () => m.mul(dy, m.div(hit, count))));
};

const sum: Rule = (step) => step.node.inputs.map((_, i) => to(step, i, () => step.dy));
const mean: Rule = (step) => step.node.inputs.map((_, i) => to(step, i, () => step.m.scale(step.dy, 1 / step.node.inputs.length)));

const where: Rule = (step) => {
  const { m, dy } = step;
  const [condition, zero] = [step.x(0), m.number(0)];
  return [undefined, to(step, 1, () => m.where(condition, dy, zero)), to(step, 2, () => m.where(condition, zero, dy))];
};

export const elementwiseGradients: GradientTable = {
  ...rules({ Add: add, Sub: sub, Mul: mul, Div: div, Pow: pow, PRelu: prelu, Min: extreme, Max: extreme, Sum: sum, Mean: mean, Where: where }),
  ...flat('Equal', 'Less', 'Greater', 'LessOrEqual', 'GreaterOrEqual', 'And', 'Or', 'Xor', 'Not'),
};
