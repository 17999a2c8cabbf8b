import { floatAttribute, hasAttribute, intAttribute, intsAttribute, misshapen, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { byHead, causal, rotated } from './attention.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';
import { layerNormalization } from './contrib.js';
import { scaledProduct } from './quantized.js';

// Attention as onnxruntime's optimizer of transformers writes it, domain com.microsoft.

/** Queries, keys and values by head: [batch, heads, length, size]. */
type Operands = readonly [string, string, string];

/** What the operators have in common: operands by position, '' where they are absent. */
interface Extras {
  readonly mask: string;
  readonly bias: string;
  readonly past: number;
}

const filling = (node: Node): number => floatAttribute(node, 'mask_filter_value', -10_000);

/** 0 where a key counts, else the filling: by the number of keys that count, by where they end and begin, or by a 1 for each that does. */
function maskOf(m: Notation, node: Node, mask: string, [batch, rows, columns]: readonly [number, number, number]): string {
  const shape = m.shape(mask);
  const chosen = (counts: string): string => m.where(counts, m.number(0), m.number(filling(node)));
  const at = m.iota(columns, 1, 2);
  const bounds = (from: number): string => m.reshape(m.cast(shape[0] === batch ? mask : m.slice(mask, 0, from, from + batch), 'int64'), [batch, 1]);
  if (shape.length === 1 && (shape[0] === batch || shape[0] === 2 * batch)) {
    const before = m.op('Less', at, bounds(0));
    const counts = shape[0] === batch ? before : m.op('And', before, m.op('GreaterOrEqual', at, bounds(batch)));
    return m.reshape(chosen(counts), [batch, 1, 1, columns]);
  }
  const [, width] = shape;
  const matches = (shape.length === 2 && width === columns) || (shape.length === 3 && width === rows && shape[2] === columns);
  if (!matches || shape[0] !== batch) throw unsupported(node, `a mask of shape [${shape.join(', ')}]; expected [batch], [2 * batch], [batch, keys] or [batch, queries, keys]`, 'mask');
  return m.reshape(chosen(m.cast(mask, 'bool')), [batch, 1, shape.length === 2 ? 1 : rows, columns]);
}

/** softmax(scale q k' + masks) v, heads side by side again. */
function attended(m: Notation, node: Node, [q, k, v]: Operands, { mask, bias, past }: Extras): string {
  const [batch = 1, heads = 1, rows = 1, size = 1] = m.shape(q);
  const [, keyHeads, columns = 1] = m.shape(k);
  if (keyHeads !== heads) throw misshapen(node, `${heads} heads of queries and ${keyHeads} of keys`);
  const factor = floatAttribute(node, 'scale', 0) || 1 / Math.sqrt(size);
  const scores = m.scale(m.op('MatMul', q, m.transpose(k, [0, 1, 3, 2])), factor);
  const masked = [
    ...(mask === '' ? [] : [maskOf(m, node, mask, [batch, rows, columns])]),
    ...(intAttribute(node, 'unidirectional', 0) === 0 ? [] : [causal(m, rows, columns, past)]),
    ...(bias === '' ? [] : [bias]),
  ].reduce(m.add, scores);
  const y = m.op('MatMul', m.softmax(masked, 3), v);
  return m.reshape(m.transpose(y, [0, 2, 1, 3]), [batch, rows, heads * (m.shape(y)[3] ?? 1)]);
}

/** Widths of queries, keys and values that one product has side by side. */
function widths(node: Node, all: number): readonly number[] {
  const given = intsAttribute(node, 'qkv_hidden_sizes') ?? [all / 3, all / 3, all / 3];
  if (given.length !== 3 || given.some((width) => !Number.isInteger(width) || width < 1) || given.reduce((sum, width) => sum + width, 0) !== all) throw misshapen(node, `${all} columns are not those of queries, keys and values (${given.join(', ')})`);
  return given;
}

/** Attention of x, and the keys and values that the next run takes as its past. */
function selfAttention(b: Builder, node: Node, project: (column: number, width: number) => string, { past, ...extras }: Omit<Extras, 'past'> & { past: string }, columns: number): string[] {
  const m = new Notation(b);
  if (intAttribute(node, 'do_rotary', 0) !== 0) throw unsupported(node, 'rotary embeddings within the operator; write RotaryEmbedding before it', 'do_rotary');
  const heads = intAttribute(node, 'num_heads', 0);
  let column = 0;
  const [q = '', k = '', v = ''] = widths(node, columns).map((width) => {
    const part = byHead(m, node, project(column, width), heads);
    column += width;
    return part;
  });
  const earlier = (which: number): string => m.reshape(m.slice(past, 0, which, which + 1), m.shape(past).slice(1));
  const [keys, values] = past === '' ? [k, v] : [m.concat([earlier(0), k], 2), m.concat([earlier(1), v], 2)];
  const present = (): string => m.concat([keys, values].map((part) => m.reshape(part, [1, ...m.shape(part)])), 0);
  return [attended(m, node, [q, keys, values], { ...extras, past: past === '' ? 0 : (m.shape(past)[3] ?? 0) }), (node.outputs[1] ?? '') === '' ? '' : present()];
}

const attention: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, w, bias] = [input(node, 0), input(node, 1), input(node, 2)];
  const project = (from: number, width: number): string => {
    const y = m.op('MatMul', x, m.slice(w, 1, from, from + width));
    return bias === '' ? y : m.add(y, m.slice(bias, 0, from, from + width));
  };
  return selfAttention(b, node, project, { mask: input(node, 3), past: input(node, 4), bias: input(node, 5) }, m.shape(w)[1] ?? 0);
};

/** x and weights of 8 bits, each with a scale and a zero-point. */
const quantizedAttention: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, w, bias] = [input(node, 0), input(node, 1), input(node, 2)];
  const zero = (at: number, like: string): string => (input(node, at) === '' ? m.number(0, m.dtype(like)) : input(node, at));
  const y = scaledProduct(b, [x, w, m.reshape(zero(6, x), []), zero(7, w)], m.mul(input(node, 3), input(node, 4)), bias);
  return selfAttention(b, node, (from, width) => m.slice(y, 2, from, from + width), { mask: input(node, 5), past: input(node, 8), bias: '' }, m.shape(w)[1] ?? 0);
};

/** [batch, length, heads, parts, size] as its parts by head. */
function unpacked(m: Notation, x: string): string[] {
  const [batch = 1, length = 1, heads = 1, parts = 1, size = 1] = m.shape(x);
  return Array.from({ length: parts }, (_, i) => m.transpose(m.reshape(m.slice(x, 3, i, i + 1), [batch, length, heads, size]), [0, 2, 1, 3]));
}

const multiHeadAttention: Expansion = (b, node) => {
  const m = new Notation(b);
  const heads = intAttribute(node, 'num_heads', 0);
  const [query, key, value, bias, mask, added, pastKey, pastValue] = Array.from({ length: 8 }, (_, i) => input(node, i)) as [string, string, string, string, string, string, string, string];
  if (input(node, 8) !== '') throw unsupported(node, 'a past within a longer buffer; give the keys and values that count', 'past_sequence_length');
  let from = 0;
  const projected = (x: string): string => {
    if (m.shape(x).length !== 3) return byHead(m, node, x, heads);
    const width = m.shape(x)[2] ?? 0;
    from += width;
    return byHead(m, node, bias === '' ? x : m.add(x, m.slice(bias, 0, from - width, from)), heads);
  };
  if (bias !== '' && [query, key, value].some((x) => x !== '' && m.shape(x).length === 5)) throw unsupported(node, 'a bias of packed operands', 'bias');
  const operands = [query, key, value].flatMap((x) => (x === '' ? [] : m.shape(x).length === 5 ? unpacked(m, x) : [projected(x)]));
  const [q, k, v] = operands;
  if (q === undefined || k === undefined || v === undefined || operands.length !== 3) throw misshapen(node, `Expected queries, keys and values but received ${operands.length} operands`);
  const [keys, values] = [pastKey === '' ? k : m.concat([pastKey, k], 2), pastValue === '' ? v : m.concat([pastValue, v], 2)];
  return [attended(m, node, [q, keys, values], { mask, bias: added, past: pastKey === '' ? 0 : (m.shape(pastKey)[2] ?? 0) }), keys, values];
};

/** Words, positions and segments as vectors, their normalized sum, and how many words of each row count. */
const embedLayerNormalization: Expansion = (b, node) => {
  const m = new Notation(b);
  const [ids, segments, words, positions, kinds, scale, shift, mask, places] = Array.from({ length: 9 }, (_, i) => input(node, i)) as [string, string, string, string, string, string, string, string, string];
  const [batch = 1, length = 1] = m.shape(ids);
  const place = places === '' ? m.slice(positions, 0, 0, length) : m.gather(positions, places, 0);
  const spoken = m.add(m.gather(words, ids, 0), place);
  const sum = segments === '' || kinds === '' ? spoken : m.add(spoken, m.gather(kinds, segments, 0));
  const counted = mask === '' ? m.tensor('int32', [batch], new Float64Array(batch)) : m.reduce('ReduceSum', m.cast(m.cast(mask, 'bool'), 'int32'), [1], false);
  return [layerNormalization(b, sum, scale, shift, floatAttribute(node, 'epsilon', 1e-12)), counted, sum];
};

/** Positions are a list for each row, or the first of all. */
const rotaryEmbedding: Expansion = (b, node) => {
  const m = new Notation(b);
  const [x, position, cos, sin] = [input(node, 0), input(node, 1), input(node, 2), input(node, 3)];
  const shape = m.shape(x);
  const [batch = 1, length = 1] = shape.length === 4 ? [shape[0], shape[2]] : shape;
  if (floatAttribute(node, 'scale', 1) !== 1) throw unsupported(node, 'a scale; onnxruntime has none on CPUs', 'scale');
  const size = 2 * (m.shape(cos)[1] ?? 1);
  const heads = intAttribute(node, 'num_heads', 0) || (shape[2] ?? 1) / (hasAttribute(node, 'rotary_embedding_dim') ? intAttribute(node, 'rotary_embedding_dim', 0) || size : size);
  const places = m.shape(position).length === 2 ? position : m.expand(m.add(m.iota(length, 1, 2), m.reshape(position, [1, 1])), [batch, length]);
  return [rotated(m, node, { x, cos, sin, position: places, heads })];
};

/** Rows of a table of few bits. */
const gatherBlockQuantized: Expansion = (b, node) => {
  const m = new Notation(b);
  const [data, indices, scales, zero] = [input(node, 0), input(node, 1), input(node, 2), input(node, 3)];
  const bytes = m.dtype(data) === 'uint8';
  if (bytes && intAttribute(node, 'bits', 4) !== 8) throw unsupported(node, 'codes of 4 bits in bytes; expected tensors of int4 or uint4, or 8 bits', 'bits');
  const axis = { type: 'int', value: intAttribute(node, 'quantize_axis', 1) } as const;
  const middle = zero === '' && bytes ? b.constant({ dtype: 'uint8', dims: [...m.shape(scales)], data: new Uint8Array(m.shape(scales).reduce((n, dim) => n * dim, 1)).fill(128) }) : zero;
  const table = b.emit('DequantizeLinear', middle === '' ? [data, scales] : [data, scales, middle], { axis, block_size: { type: 'int', value: intAttribute(node, 'block_size', 128) } });
  return [m.gather(table, indices, intAttribute(node, 'gather_axis', 0))];
};

/** In floats, by weights as they are stored: [directions, inputs, gates]. */
const quantizedLstm: Expansion = (b, node) => {
  const m = new Notation(b);
  const weights = (at: number, scaleAt: number): string => {
    const [w, scale, zero] = [input(node, at), input(node, scaleAt), input(node, scaleAt + 1)];
    const [directions = 1, , gates = 1] = m.shape(w);
    const spread = (x: string): string => m.reshape(x, m.shape(x).reduce((n, dim) => n * dim, 1) === directions ? [directions, 1, 1] : [directions, 1, gates]);
    const centred = zero === '' ? m.cast(w, 'float32') : m.sub(m.cast(w, 'float32'), m.cast(spread(zero), 'float32'));
    return m.transpose(m.mul(centred, spread(scale)), [0, 2, 1]);
  };
  const outputs = node.outputs.length;
  return b.emitAll('LSTM', [input(node, 0), weights(1, 8), weights(2, 10), ...[3, 4, 5, 6, 7].map((i) => input(node, i))], outputs, Object.fromEntries(node.attributes));
};

/** A convolution of whole numbers whose channels may be the last axis. */
const qlinearConv: Expansion = (b, node) => {
  const m = new Notation(b);
  const { channels_last: last, ...attributes } = Object.fromEntries(node.attributes);
  if (last === undefined || last.type !== 'int' || last.value === 0) return [b.emit('QLinearConv', node.inputs, attributes)];
  const rank = m.shape(input(node)).length;
  const spatial = Array.from({ length: rank - 2 }, (_, i) => i);
  const y = b.emit('QLinearConv', [m.transpose(input(node), [0, rank - 1, ...spatial.map((i) => i + 1)]), ...node.inputs.slice(1)], attributes);
  return [m.transpose(y, [0, ...spatial.map((i) => i + 2), 1])];
};

export const contribAttention: Readonly<Record<string, Expansion>> = {
  Attention: attention, QAttention: quantizedAttention, MultiHeadAttention: multiHeadAttention, EmbedLayerNormalization: embedLayerNormalization,
  RotaryEmbedding: rotaryEmbedding, GatherBlockQuantized: gatherBlockQuantized, DynamicQuantizeLSTM: quantizedLstm, QLinearConv: qlinearConv,
};
