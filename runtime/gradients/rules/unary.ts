import { floatAttribute, stringAttribute } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { optionalOperand } from '../../graph/operands.js';
import { flat, noGradient, rules, type Calculus, type GradientTable, type Rule } from '../rule.js';

/** What a derivative is written with. */
interface Use {
  readonly m: Calculus;
  readonly x: string;
  readonly y: string;
  readonly node: Node;
}

const root2 = Math.SQRT2;
const rootPi = Math.sqrt(Math.PI);

/** x > 0 ? a : b. Functions that are not worth a faster form. */
const above = (m: Calculus, x: string, a: string, b: string): string => m.where(m.op('Greater', x, m.number(0)), a, b);

/** e^x where x < 0; 1 elsewhere, so that nothing overflows in the branch that is not taken. */
const decay = (m: Calculus, x: string): string => m.op('Exp', m.op('Min', x, m.number(0)));

function mish({ m, x }: Use): string {
  const t = m.op('Tanh', m.op('Softplus', x));
  return m.add(t, m.mul(m.mul(x, m.affine(m.square(t), -1, 1)), m.op('Sigmoid', x)));
}

function gelu({ m, x, node }: Use): string {
  if (stringAttribute(node, 'approximate', 'none') === 'tanh') {
    const k = Math.sqrt(2 / Math.PI);
    const squared = m.square(x);
    const t = m.op('Tanh', m.mul(x, m.affine(squared, k * 0.044715, k)));
    const slope = m.mul(m.affine(m.square(t), -1, 1), m.mul(x, m.affine(squared, 3 * k * 0.044715, k)));
    return m.affine(m.add(t, slope), 0.5, 0.5);
  }
  const share = m.affine(m.op('Erf', m.scale(x, 1 / root2)), 0.5, 0.5);
  return m.add(share, m.mul(x, m.scale(m.op('Exp', m.scale(m.square(x), -0.5)), 1 / (root2 * rootPi))));
}

/** 0 below -3, 1 above 3, x / 3 + 1 / 2 between. */
function hardSwish({ m, x }: Use): string {
  const gate = m.b.emit('HardSigmoid', [x], { alpha: { type: 'float', value: 1 / 6 }, beta: { type: 'float', value: 0.5 } });
  const inside = m.steep(m.op('Abs', x), -1, 3);
  return m.add(gate, m.mul(inside, m.scale(x, 1 / 6)));
}

const selu = { alpha: 1.6732632423543772, gamma: 1.0507009873554805 };

/** Derivative of each function of one operand, from x and y. */
const derivatives: Readonly<Record<string, (use: Use) => string>> = {
  Relu: ({ m, y }) => m.positive(y),
  Sigmoid: ({ m, y }) => m.mul(y, m.affine(y, -1, 1)),
  Tanh: ({ m, y }) => m.affine(m.square(y), -1, 1),
  Exp: ({ y }) => y,
  Log: ({ m, x }) => m.op('Reciprocal', x),
  Sqrt: ({ m, y }) => m.scale(m.op('Reciprocal', y), 0.5),
  Abs: ({ m, x }) => m.op('Sign', x),
  Neg: ({ m }) => m.number(-1),
  LeakyRelu: ({ m, x, node }) => {
    const alpha = floatAttribute(node, 'alpha', 0.01);
    return m.affine(m.positive(x), 1 - alpha, alpha);
  },
  Elu: ({ m, x, node }) => above(m, x, m.number(1), m.scale(decay(m, x), floatAttribute(node, 'alpha', 1))),
  Selu: ({ m, x, node }) => {
    const [alpha, gamma] = [floatAttribute(node, 'alpha', selu.alpha), floatAttribute(node, 'gamma', selu.gamma)];
    return above(m, x, m.number(gamma), m.scale(decay(m, x), alpha * gamma));
  },
  Celu: ({ m, x, node }) => above(m, x, m.number(1), decay(m, m.scale(x, 1 / floatAttribute(node, 'alpha', 1)))),
  ThresholdedRelu: ({ m, x, node }) => m.positive(m.affine(x, 1, -floatAttribute(node, 'alpha', 1))),
  Shrink: ({ m, x, node }) => m.positive(m.affine(m.op('Abs', x), 1, -floatAttribute(node, 'lambd', 0.5))),
  HardSigmoid: ({ m, y, node }) => m.scale(m.mul(m.positive(y), m.positive(m.affine(y, -1, 1))), floatAttribute(node, 'alpha', 0.2)),
  HardSwish: hardSwish,
  Gelu: gelu,
  Erf: ({ m, x }) => m.scale(m.op('Exp', m.op('Neg', m.square(x))), 2 / rootPi),
  Softplus: ({ m, x }) => m.op('Sigmoid', x),
  Softsign: ({ m, y }) => m.square(m.affine(m.op('Abs', y), -1, 1)),
  Mish: mish,
  Reciprocal: ({ m, y }) => m.op('Neg', m.square(y)),
  Sin: ({ m, x }) => m.op('Cos', x),
  Cos: ({ m, x }) => m.op('Neg', m.op('Sin', x)),
  Tan: ({ m, y }) => m.affine(m.square(y), 1, 1),
  Asin: ({ m, x }) => m.op('Reciprocal', m.op('Sqrt', m.affine(m.square(x), -1, 1))),
  Acos: ({ m, x }) => m.op('Neg', m.op('Reciprocal', m.op('Sqrt', m.affine(m.square(x), -1, 1)))),
  Atan: ({ m, x }) => m.op('Reciprocal', m.affine(m.square(x), 1, 1)),
  Sinh: ({ m, x }) => m.op('Cosh', x),
  Cosh: ({ m, x }) => m.op('Sinh', x),
  Asinh: ({ m, x }) => m.op('Reciprocal', m.op('Sqrt', m.affine(m.square(x), 1, 1))),
  Acosh: ({ m, x }) => m.op('Reciprocal', m.op('Sqrt', m.affine(m.square(x), 1, -1))),
  Atanh: ({ m, x }) => m.op('Reciprocal', m.affine(m.square(x), -1, 1)),
};

/** The derivative of the function that a node computes. */
export const derivativeOf = (op: string, use: Use): string => {
  const derivative = derivatives[op];
  if (derivative === undefined) throw noGradient(use.node, `there is no gradient for ${op}`);
  return derivative(use);
};

const throughFunction = (derivative: (use: Use) => string): Rule => (step) => {
  const { m, node, dy } = step;
  return [() => m.mul(dy, derivative({ m, node, x: step.x(), y: step.y() }))];
};

/** Inside the bounds the gradient passes; beyond a bound it is the bound's. */
const clip: Rule = (step) => {
  const { m, node, dy } = step;
  const x = step.x();
  const [low, high] = [optionalOperand(node, 1), optionalOperand(node, 2)];
  const inside = (): string => {
    const mask = m.between(x, low, high);
    return mask === undefined ? dy : m.mul(dy, mask);
  };
  const beyond = (limit: string | undefined, mask: (limit: string) => string) => (limit === undefined ? undefined : () => m.unbroadcast(m.mul(dy, m.positive(mask(limit))), m.shape(limit)));
  return [inside, beyond(low, (limit) => m.sub(limit, x)), beyond(high, (limit) => m.sub(x, limit))];
};

export const unaryGradients: GradientTable = {
  ...rules(Object.fromEntries(Object.entries(derivatives).map(([op, derivative]) => [op, throughFunction(derivative)]))),
  ...rules({ Clip: clip }),
  ...flat('Floor', 'Ceil', 'Round', 'Sign'),
};
