/** The unary functions of the engine (UnaryKind in program.h), and their definition in double precision. */
export type UnaryKind =
  | 'identity' | 'relu' | 'clip' | 'sigmoid' | 'tanh' | 'exp' | 'log' | 'sqrt' | 'abs' | 'neg' | 'leaky_relu' | 'elu'
  | 'hard_sigmoid' | 'hard_swish' | 'gelu' | 'erf' | 'softplus' | 'mish' | 'reciprocal' | 'floor' | 'ceil' | 'round'
  | 'sin' | 'cos' | 'silu' | 'sign'
  | 'selu' | 'celu' | 'thresholded_relu' | 'softsign' | 'shrink' | 'tan' | 'asin' | 'acos' | 'atan' | 'sinh' | 'cosh' | 'asinh' | 'acosh'
  | 'atanh' | 'gelu_tanh' | 'affine' | 'scaled_tanh';

export interface Unary {
  readonly kind: UnaryKind;
  readonly alpha: number;
  readonly beta: number;
}

export const identity: Unary = { kind: 'identity', alpha: 0, beta: 0 };

const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);
const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const softplus = (x: number): number => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));

/** To the nearest integer, ties to even: the rounding of ONNX and of the engine. */
export function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Error function: its Maclaurin series near 0, the continued fraction of erfc (Abramowitz & Stegun 7.1.14) beyond. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = a;
    let sum = a;
    for (let n = 1; Math.abs(term) > 1e-17 * sum; n++) {
      term *= (-a * a) / n;
      sum += term / (2 * n + 1);
    }
    return (Math.sign(x) * 2 * sum) / Math.sqrt(Math.PI);
  }
  let fraction = a;
  for (let n = 60; n > 0; n--) fraction = a + n / 2 / fraction;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * fraction));
}

const functions: Readonly<Record<UnaryKind, (x: number, alpha: number, beta: number) => number>> = {
  identity: (x) => x,
  relu: (x) => Math.max(x, 0),
  clip: clamp,
  sigmoid,
  tanh: Math.tanh,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  abs: Math.abs,
  neg: (x) => -x,
  leaky_relu: (x, alpha) => (x < 0 ? alpha * x : x),
  elu: (x, alpha) => (x < 0 ? alpha * Math.expm1(x) : x),
  hard_sigmoid: (x, alpha, beta) => clamp(alpha * x + beta, 0, 1),
  hard_swish: (x) => x * clamp(x / 6 + 0.5, 0, 1),
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  erf,
  softplus,
  mish: (x) => x * Math.tanh(softplus(x)),
  reciprocal: (x) => 1 / x,
  floor: Math.floor,
  ceil: Math.ceil,
  round: roundHalfEven,
  sin: Math.sin,
  cos: Math.cos,
  silu: (x) => x * sigmoid(x),
  sign: Math.sign,
  selu: (x, alpha, gamma) => gamma * (x > 0 ? x : alpha * Math.expm1(x)),
  celu: (x, alpha) => (x < 0 ? alpha * Math.expm1(x / alpha) : x),
  thresholded_relu: (x, alpha) => (x <= alpha ? 0 : x),
  softsign: (x) => x / (1 + Math.abs(x)),
  shrink: (x, bias, lambda) => (x < -lambda ? x + bias : x <= lambda ? 0 : x - bias),
  tan: Math.tan,
  asin: Math.asin,
  acos: Math.acos,
  atan: Math.atan,
  sinh: Math.sinh,
  cosh: Math.cosh,
  asinh: Math.asinh,
  acosh: Math.acosh,
  atanh: Math.atanh,
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  affine: (x, alpha, beta) => alpha * x + beta,
  scaled_tanh: (x, alpha, beta) => alpha * Math.tanh(beta * x),
};

export function applyUnary({ kind, alpha, beta }: Unary, x: number): number {
  return functions[kind](x, alpha, beta);
}

export const isUnaryKind = (kind: string): kind is UnaryKind => Object.hasOwn(functions, kind);
