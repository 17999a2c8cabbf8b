import { floatAttribute, hasAttribute, intAttribute, misshapen, requiredInts, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, toNumbers, type DType } from '../graph/tensor-value.js';
import { dtypeOfWire, nameOfWireType } from '../onnx/tensor-data.js';
import { expectType, inputType, inputValue, outputType, sharing, type InferContext, type OperatorRecord, type OpTable } from './op.js';

const words = 624;

/** The next words of the Mersenne Twister's state, in place (Matsumoto and Nishimura 1998). */
function twist(state: Uint32Array): void {
  for (let i = 0; i < words; i++) {
    const joined = ((state[i] ?? 0) & 0x80000000) | ((state[(i + 1) % words] ?? 0) & 0x7fffffff);
    state[i] = (state[(i + 397) % words] ?? 0) ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
  }
}

/**
 * Numbers in [0, 1) of 53 bits from the Mersenne Twister MT19937, as numpy's RandomState gives them: ONNX's reference implementation draws from that, so equal
 * seeds give equal numbers.
 */
export function mersenne(seed: number): () => number {
  const state = new Uint32Array(words);
  state[0] = seed;
  for (let i = 1; i < words; i++) {
    const last = state[i - 1] ?? 0;
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i;
  }
  let at = words;
  const word = (): number => {
    if (at === words) {
      twist(state);
      at = 0;
    }
    let y = state[at++] ?? 0;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  };
  return () => {
    const high = word() >>> 5;
    return (high * 2 ** 26 + (word() >>> 6)) / 2 ** 53;
  };
}

/** Of mean 0 and deviation 1, two at a time (Marsaglia's polar method, in numpy's order). */
export function normal(uniform: () => number): () => number {
  let kept: number | undefined;
  return () => {
    if (kept !== undefined) {
      const value = kept;
      kept = undefined;
      return value;
    }
    for (;;) {
      const [a, b] = [2 * uniform() - 1, 2 * uniform() - 1];
      const square = a * a + b * b;
      if (square >= 1 || square === 0) continue;
      const factor = Math.sqrt((-2 * Math.log(square)) / square);
      kept = factor * a;
      return factor * b;
    }
  };
}

/** A generator for one evaluation of a node: without a seed it is another one each time. */
function generatorOf(node: Node): () => number {
  const attribute = node.attributes.get('seed');
  // Dropout's seed is a whole number, all others are floats.
  const seed = attribute?.type === 'int' ? attribute.value : hasAttribute(node, 'seed') ? floatAttribute(node, 'seed', 0) : Math.floor(Math.random() * 2 ** 32);
  return mersenne(seed);
}

function typeAttribute(node: Node, fallback: DType): DType {
  const code = intAttribute(node, 'dtype', 0);
  const dtype = code === 0 ? fallback : dtypeOfWire(code);
  if (dtype === undefined) throw unsupported(node, `type ${nameOfWireType(code)}`, 'dtype');
  return dtype;
}

function floatType(node: Node, fallback: DType): DType {
  const dtype = typeAttribute(node, fallback);
  if (dtype !== 'float32') throw unsupported(node, `Expected a type of floats but received ${dtype}`, 'dtype');
  return dtype;
}

type Draw = (node: Node) => () => number;

const uniformDraw: Draw = (node) => {
  const [next, low, high] = [generatorOf(node), floatAttribute(node, 'low', 0), floatAttribute(node, 'high', 1)];
  return () => low + (high - low) * next();
};
const normalDraw: Draw = (node) => {
  const [next, mean, scale] = [normal(generatorOf(node)), floatAttribute(node, 'mean', 0), floatAttribute(node, 'scale', 1)];
  return () => mean + scale * next();
};

const drawing = (draw: Draw, infer: OperatorRecord['infer']): OperatorRecord => ({
  infer,
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const next = draw(context.node);
    return [fromNumbers(dtype, shape, Float64Array.from({ length: elementCount(shape) }, next))];
  },
});

const ofShape = ({ node }: InferContext) => [{ dtype: floatType(node, 'float32'), shape: requiredInts(node, 'shape') }];
const likeInput = (context: InferContext) => [{ dtype: floatType(context.node, inputType(context, 0).dtype), shape: inputType(context, 0).shape }];

/** Whole numbers of a row's unnormalized log-probabilities. */
const multinomial: OperatorRecord = {
  infer(context) {
    const { shape } = expectType(context, 0, ['float32']);
    const [rows = 0, classes = 0] = shape;
    if (shape.length !== 2 || classes === 0) throw misshapen(context.node, `Expected rows of classes but received [${shape.join(', ')}]`);
    const dtype = typeAttribute(context.node, 'int32');
    if (dtype !== 'int32' && dtype !== 'int64') throw unsupported(context.node, `Expected int32 or int64 but received ${dtype}`, 'dtype');
    return [{ dtype, shape: [rows, intAttribute(context.node, 'sample_size', 1)] }];
  },
  evaluate(context) {
    const { dtype, shape } = outputType(context);
    const x = inputValue(context, 0);
    const [classes, numbers, next] = [x.dims[1] ?? 1, toNumbers(x), generatorOf(context.node)];
    const samples = new Float64Array(elementCount(shape));
    for (let i = 0; i < samples.length; i++) {
      const start = Math.floor(i / (shape[1] ?? 1)) * classes;
      const row = numbers.subarray(start, start + classes);
      samples[i] = chosen(row, next());
    }
    return [fromNumbers(dtype, shape, samples)];
  },
};

/** The class in whose share of the sum `at` (0..1) lies. */
function chosen(logits: ArrayLike<number>, at: number): number {
  let largest = -Infinity;
  for (let i = 0; i < logits.length; i++) largest = Math.max(largest, logits[i] ?? 0);
  const shares = Array.from(logits, (logit) => Math.exp(logit - largest));
  let left = at * shares.reduce((sum, share) => sum + share, 0);
  const found = shares.findIndex((share) => (left -= share) < 0);
  return found < 0 ? logits.length - 1 : found;
}

/** A node with a seed draws the same numbers in every run, one without draws others in each. */
export const randomOps: OpTable = sharing({ linear: true, volatile: true }, {
  RandomUniform: drawing(uniformDraw, ofShape), RandomUniformLike: drawing(uniformDraw, likeInput),
  RandomNormal: drawing(normalDraw, ofShape), RandomNormalLike: drawing(normalDraw, likeInput),
  Multinomial: multinomial,
});
