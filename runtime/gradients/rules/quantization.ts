import { intAttribute } from '../../graph/attributes.js';
import { optionalOperand } from '../../graph/operands.js';
import { normalizeAxis } from '../../ops/op.js';
import { rangeOf } from '../../ops/quantization.js';
import { noGradient, rules, type GradientTable, type Rule, type Step } from '../rule.js';

/** Scale or zero-point as it broadcasts over the data, as float32. */
function parameter({ m, node }: Step, value: string, shape: readonly number[]): string {
  if (intAttribute(node, 'block_size', 0) !== 0) throw noGradient(node, 'there is no gradient for scales in blocks');
  const numbers = m.cast(value, 'float32');
  return m.shape(numbers).length === 0 || m.shape(numbers).every((dim) => dim === 1) ? m.reshape(numbers, []) : m.along(numbers, normalizeAxis(node, intAttribute(node, 'axis', 1), shape.length), shape.length);
}

/** Sums a gradient that has the shape of the data to that of a scale or zero-point. */
function sumFor(step: Step, gradient: string, value: string): string {
  const { m } = step;
  const broadcast = m.shape(parameter(step, value, m.shape(gradient)));
  return m.reshape(m.unbroadcast(gradient, broadcast), m.shape(value));
}

const narrowRanges = { uint16: [0, 65535], int16: [-32768, 32767] } as const;

/** Smallest and largest code. Those of 16 bits are held as int32, and the zero-point says so. */
function codesOf({ m, node }: Step, zero: string | undefined): readonly [number, number] {
  const narrow = m.b.known(zero)?.narrow;
  return narrow === undefined ? rangeOf(m.dtype(node.outputs[0] ?? '')) : narrowRanges[narrow];
}

/**
 * Straight through (Bengio et al., arXiv 1308.3432): rounding counts as the identity, and what is outside the codes gets no gradient.
 * Together with the rule of DequantizeLinear, the gradient by the scale is that of LSQ (Esser et al., arXiv 1902.08153): rounded less
 * exact inside the range, the code outside. Gradients of codes are in codes.
 */
const quantize: Rule = (step) => {
  const { m, node, dy } = step;
  const shape = step.shape();
  const scale = parameter(step, step.x(1), shape);
  const zero = optionalOperand(node, 2);
  const [low, high] = codesOf(step, zero);
  const steps = m.div(step.x(), scale);
  const code = zero === undefined ? steps : m.add(steps, parameter(step, zero, shape));
  const inside = m.between(code, m.number(low - 0.5), m.number(high + 0.5)) ?? m.number(1);
  const passed = m.mul(dy, inside);
  return [
    () => m.div(passed, scale),
    () => sumFor(step, m.op('Neg', m.mul(passed, m.div(steps, scale))), step.x(1)),
    zero === undefined ? undefined : () => sumFor(step, passed, zero),
  ];
};

const dequantize: Rule = (step) => {
  const { m, node, dy } = step;
  const shape = step.shape();
  const scale = parameter(step, step.x(1), shape);
  const zero = optionalOperand(node, 2);
  const codes = (): string => {
    const numbers = m.cast(step.x(), 'float32');
    return zero === undefined ? numbers : m.sub(numbers, parameter(step, zero, shape));
  };
  return [
    () => m.mul(dy, scale),
    () => sumFor(step, m.mul(dy, codes()), step.x(1)),
    zero === undefined ? undefined : () => sumFor(step, m.op('Neg', m.mul(dy, scale)), zero),
  ];
};

export const quantizationGradients: GradientTable = rules({ QuantizeLinear: quantize, DequantizeLinear: dequantize });
