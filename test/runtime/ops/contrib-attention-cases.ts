import { fromNumbers, scalar, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, ints64, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import type { Case } from './cases.js';

// Attention as onnxruntime's optimizer of transformers writes it.

type Values = Readonly<Record<string, TensorValue>>;
type Attributes = Parameters<typeof node>[3];

const [batch, rows, width, heads] = [2, 5, 16, 2];
const size = width / heads;
const normal = (seed: number, ...dims: number[]): TensorValue => randomTensor(dims, seed);

interface Options extends Partial<ModelSpec> {
  /** Operands in order; absent: those that are fed and then the constants. */
  readonly operands?: readonly string[];
  readonly attributes?: Attributes;
}

/** Floats unless `options` say otherwise. */
export function contribCase(name: string, op: string, feeds: Values, { operands, attributes, ...options }: Options = {}): Case {
  const { constants = {}, outputs = ['y'] } = options;
  return {
    name: `com.microsoft ${name}`, feeds,
    spec: {
      opset: 17, domains: { 'com.microsoft': 1 }, ...options, outputs, outputTypes: { ...Object.fromEntries(outputs.map((output) => [output, 'float32'])), ...options.outputTypes },
      inputs: Object.fromEntries(Object.entries(feeds).map(([input, { dims }]) => [input, dims])), types: Object.fromEntries(Object.entries(feeds).map(([input, { dtype }]) => [input, dtype])),
      nodes: [{ ...node(op, operands ?? [...Object.keys(feeds), ...Object.keys(constants)], outputs, attributes), domain: 'com.microsoft' }],
    },
  };
}

const x = normal(1, batch, rows, width);
const projection: Values = { w: normal(2, width, 3 * width), b: normal(3, 3 * width) };
const attention = (name: string, feeds: Values, operands: readonly string[], attributes: Attributes = {}, options: Options = {}): Case =>
  contribCase(`Attention ${name}`, 'Attention', { x, ...feeds }, { constants: projection, operands: ['x', 'w', 'b', ...operands], attributes: { num_heads: heads, ...attributes }, ...options });
const whole = (dims: readonly number[], ...values: number[]): TensorValue => fromNumbers('int32', dims, values);
const past = { past: normal(4, 2, batch, heads, 3, size) };

const attentions: readonly Case[] = [
  attention('without a mask', {}, []),
  attention('that is causal', {}, [], { unidirectional: 1 }),
  attention('by the number of keys', { m: whole([2], 3, 5) }, ['m']),
  attention('by ends and beginnings', { m: whole([4], 3, 5, 1, 0) }, ['m']),
  attention('by a mask of keys', { m: whole([2, 5], 1, 1, 1, 0, 0, 1, 0, 1, 1, 1) }, ['m'], { mask_filter_value: { float: -5 } }),
  attention('by a mask of pairs', { m: randomInts('int32', [2, 5, 5], 8, 0, 1) }, ['m'], { mask_filter_value: { float: -50 } }),
  attention('with what is added', { a: normal(5, 1, heads, rows, rows) }, ['', '', 'a'], { scale: { float: 0.2 } }),
  attention('with a past', past, ['', 'past'], { unidirectional: 1 }, { outputs: ['y', 'present'] }),
  attention('of values of another width', {}, [], { qkv_hidden_sizes: [16, 16, 8] }, { constants: { w: normal(2, width, 40), b: normal(3, 40) } }),
];

const cross: Values = { q: normal(1, batch, 3, width), k: normal(2, batch, rows, width), v: normal(3, batch, rows, width) };
const multi = (name: string, feeds: Values, operands: readonly string[], options: Options = {}): Case =>
  contribCase(`MultiHeadAttention ${name}`, 'MultiHeadAttention', feeds, { operands, ...options, attributes: { num_heads: heads, ...options.attributes } });
const pasts: Values = { pk: normal(5, batch, heads, 4, size), pv: normal(6, batch, heads, 4, size) };

const multiHead: readonly Case[] = [
  multi('of three', cross, ['q', 'k', 'v']),
  multi('with a bias', cross, ['q', 'k', 'v', 'b'], { constants: { b: normal(4, 3 * width) } }),
  multi('with a mask and what is added', { ...cross, m: whole([2, 5], 1, 1, 0, 1, 1, 1, 1, 1, 0, 0), a: normal(7, batch, heads, 3, rows) }, ['q', 'k', 'v', '', 'm', 'a']),
  multi('of keys by head', { q: normal(1, batch, 3, width), k: normal(2, batch, heads, rows, size), v: normal(3, batch, heads, rows, size) }, ['q', 'k', 'v']),
  multi('with a past', { ...cross, ...pasts }, ['q', 'k', 'v', '', '', '', 'pk', 'pv'], { outputs: ['y', 'keys', 'values'] }),
  multi('that is causal', { q: x, k: normal(2, batch, rows, width), v: normal(3, batch, rows, width) }, ['q', 'k', 'v'], { attributes: { unidirectional: 1 } }),
];

const embedded: Values = { i: randomInts('int32', [2, 4], 1, 0, 9), s: randomInts('int32', [2, 4], 2, 0, 1) };
const tables: Values = { words: normal(3, 10, 8), places: normal(4, 6, 8), kinds: normal(5, 2, 8), g: normal(6, 8), h: normal(7, 8) };
const embedding = (name: string, feeds: Values, operands: readonly string[], options: Options = {}): Case =>
  contribCase(`EmbedLayerNormalization ${name}`, 'EmbedLayerNormalization', feeds, { constants: tables, operands, outputs: ['y', 'n'], outputTypes: { n: 'int32' }, attributes: { epsilon: { float: 1e-5 } }, ...options });

const turning: Values = { cos: normal(2, 9, 4), sin: normal(3, 9, 4) };
const rotary = (name: string, input: TensorValue, position: TensorValue, attributes: Attributes = {}): Case =>
  contribCase(`RotaryEmbedding ${name}`, 'RotaryEmbedding', { x: input, p: position }, { constants: turning, attributes });

const bytes: Values = { w: randomInts('int8', [width, 3 * width], 2, -127, 127), b: normal(3, 3 * width), xs: floats([], 0.01), ws: floats([], 0.01), xz: scalar('uint8', 120), wz: scalar('int8', 3) };
const embeddings: readonly Case[] = [
  embedding('with a mask', { ...embedded, m: whole([2, 4], 1, 1, 0, 0, 1, 1, 1, 0) }, ['i', 's', 'words', 'places', 'kinds', 'g', 'h', 'm']),
  embedding('of words and positions', { i: embedded['i'] ?? x, p: randomInts('int32', [2, 4], 3, 0, 5) }, ['i', '', 'words', 'places', '', 'g', 'h', '', 'p'], { outputs: ['y', 'n', 'sum'] }),
  rotary('by position', normal(1, 2, 3, 16), randomInts('int64', [2, 3], 4, 0, 8)),
  rotary('from a position, interleaved', normal(1, 2, 3, 16), ints64(2), { interleaved: 1 }),
  rotary('by head', normal(1, 2, 2, 3, 8), ints64(0)),
  rotary('of a part', normal(1, 2, 3, 24), ints64(1), { num_heads: 2, rotary_embedding_dim: 8 }),
  contribCase('GatherBlockQuantized', 'GatherBlockQuantized', { i: ints64(1, 3, 1) }, {
    opset: 21, constants: { w: randomInts('uint4', [5, 32], 1, 0, 15), s: normal(2, 5, 2), z: randomInts('uint4', [5, 2], 3, 0, 15) }, operands: ['w', 'i', 's', 'z'], attributes: { block_size: 16, gather_axis: 0, quantize_axis: 1 },
  }),
  contribCase('QAttention', 'QAttention', { x: randomInts('uint8', [2, 5, width], 1, 0, 255), m: whole([2], 3, 5) }, { constants: bytes, operands: ['x', 'w', 'b', 'xs', 'ws', 'm', 'xz', 'wz'], attributes: { num_heads: heads } }),
  contribCase('QLinearConv, channels last', 'QLinearConv', { x: randomInts('uint8', [1, 5, 6, 3], 1, 0, 255) }, {
    constants: { xs: floats([], 0.02), xz: scalar('uint8', 120), w: randomInts('int8', [4, 3, 3, 3], 2, -127, 127), ws: floats([4], 0.01, 0.02, 0.01, 0.03), wz: fromNumbers('int8', [4], [0, 0, 0, 0]), ys: floats([], 0.3), yz: scalar('uint8', 100) },
    outputTypes: { y: 'uint8' }, attributes: { channels_last: 1, kernel_shape: [3, 3], strides: [1, 2] },
  }),
];

export const contribAttentionCases: readonly Case[] = [...attentions, ...multiHead, ...embeddings];

const lstm: Values = { w: randomInts('int8', [2, 4, 12], 2, -127, 127), r: randomInts('int8', [2, 3, 12], 3, -127, 127), b: normal(4, 2, 24), ws: floats([2], 0.01, 0.008), wz: fromNumbers('int8', [2], [0, 3]), rs: floats([2], 0.01, 0.012), rz: fromNumbers('int8', [2], [0, 0]) };
/** onnxruntime rounds what it is fed to 8 bits, step by step; here the products are those of floats. */
export const dynamicLstm = contribCase('DynamicQuantizeLSTM', 'DynamicQuantizeLSTM', { x: normal(1, 6, 1, 4) }, {
  constants: lstm, operands: ['x', 'w', 'r', 'b', '', '', '', '', 'ws', 'wz', 'rs', 'rz'], outputs: ['y', 'last', 'state'], attributes: { hidden_size: 3, direction: 'bidirectional' },
});
