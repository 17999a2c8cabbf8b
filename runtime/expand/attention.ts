import { floatAttribute, hasAttribute, intAttribute, misshapen, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { type Expansion, input, Notation } from './builder.js';

/** [batch, length, heads * size] as [batch, heads, length, size]; what has four axes is so already. */
export function byHead(m: Notation, node: Node, x: string, heads: number): string {
  const shape = m.shape(x);
  const [batch = 1, length = 1, width = 1] = shape;
  if (shape.length === 4) return x;
  if (shape.length !== 3 || !(heads >= 1) || width % heads !== 0) throw misshapen(node, `[${shape.join(', ')}] does not divide into ${heads} heads`);
  return m.transpose(m.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}

/** Every head `times` times, one after the other. */
export function repeated(m: Notation, x: string, times: number): string {
  if (times === 1) return x;
  const [batch = 1, heads = 1, length = 1, size = 1] = m.shape(x);
  return m.reshape(m.expand(m.reshape(x, [batch, heads, 1, length, size]), [batch, heads, times, length, size]), [batch, heads * times, length, size]);
}

/** 0 where a row may see a column, else -Infinity. */
function bias(m: Notation, node: Node, mask: string): string {
  if (m.dtype(mask) === 'bool') return m.where(mask, m.number(0), m.number(-Infinity));
  if (m.dtype(mask) !== 'float32') throw unsupported(node, `Expected a mask of booleans or floats but received ${m.dtype(mask)}`, 'attn_mask');
  return mask;
}

/** 0 for as many keys of each of the batch as count, else -Infinity. */
function padding(m: Notation, lengths: string, [batch, columns]: readonly [number, number]): string {
  const counts = m.op('Less', m.iota(columns, 1, 2), m.reshape(m.cast(lengths, 'int64'), [batch, 1]));
  return m.reshape(m.where(counts, m.number(0), m.number(-Infinity)), [batch, 1, 1, columns]);
}

/** Row i sees the columns up to i, counted after the past. */
export function causal(m: Notation, rows: number, columns: number, past: number): string {
  return m.where(m.op('LessOrEqual', m.iota(columns, 1, 2), m.iota(rows, 0, 2, past)), m.number(0), m.number(-Infinity));
}

const attention: Expansion = (b, node) => {
  const m = new Notation(b);
  const [q, k, v] = [byHead(m, node, input(node), intAttribute(node, 'q_num_heads', 0)), ...[1, 2].map((i) => byHead(m, node, input(node, i), intAttribute(node, 'kv_num_heads', 0)))] as [string, string, string];
  const [pastKey, pastValue] = [input(node, 4), input(node, 5)];
  const [keys, values] = [pastKey === '' ? k : m.concat([pastKey, k], 2), pastValue === '' ? v : m.concat([pastValue, v], 2)];
  const [batch = 1, heads = 1, rows = 1, size = 1] = m.shape(q);
  const [, keyHeads = 1, columns = 1] = m.shape(keys);
  if (heads % keyHeads !== 0) throw misshapen(node, `${heads} heads of queries do not share ${keyHeads} heads of keys`);
  const root = Math.sqrt(hasAttribute(node, 'scale') ? floatAttribute(node, 'scale', 1) : 1 / Math.sqrt(size));
  const turned = m.transpose(repeated(m, keys, heads / keyHeads), [0, 1, 3, 2]);
  const product = m.op('MatMul', m.scale(q, root), m.scale(turned, root));
  const masked = [
    ...(input(node, 3) === '' ? [] : [bias(m, node, input(node, 3))]),
    ...(input(node, 6) === '' ? [] : [padding(m, input(node, 6), [batch, columns])]),
    ...(intAttribute(node, 'is_causal', 0) === 0 ? [] : [causal(m, rows, columns, pastKey === '' ? 0 : (m.shape(pastKey)[2] ?? 0))]),
  ].reduce(m.add, product);
  const cap = floatAttribute(node, 'softcap', 0);
  if (cap !== 0 && masked !== product) throw unsupported(node, 'softcap together with a mask: implementations disagree on which comes first; write the attention out in the model', 'softcap');
  const capped = cap === 0 ? masked : m.scale(m.op('Tanh', m.scale(masked, 1 / cap)), cap);
  const shares = m.softmax(capped, 3);
  const y = m.op('MatMul', shares, repeated(m, values, heads / keyHeads));
  const result = m.shape(input(node)).length === 4 ? y : m.reshape(m.transpose(y, [0, 2, 1, 3]), [batch, rows, heads * (m.shape(y)[3] ?? 1)]);
  const shown = [product, masked, capped, shares][intAttribute(node, 'qk_matmul_output_mode', 0)];
  if (shown === undefined) throw unsupported(node, `Expected a mode of 0 to 3 but received ${intAttribute(node, 'qk_matmul_output_mode', 0)}`, 'qk_matmul_output_mode');
  return [result, keys, values, shown];
};

/** What a rotation takes: positions '' where the angles are given row by row. */
interface Rotation {
  readonly x: string;
  readonly cos: string;
  readonly sin: string;
  readonly position: string;
  /** Of x, where its axes do not show them. */
  readonly heads: number;
}

/** Pairs of numbers of each head are turned by an angle that its position gives. */
export function rotated(m: Notation, node: Node, { x, cos: cosines, sin: sines, position, heads: count }: Rotation): string {
  const given = m.shape(x);
  const flat = given.length === 3;
  const apart = flat ? byHead(m, node, x, count) : x;
  const [batch = 1, heads = 1, length = 1, size = 1] = m.shape(apart);
  const turning = intAttribute(node, 'rotary_embedding_dim', 0) || size;
  const half = turning / 2;
  if (!Number.isInteger(half) || turning < 2 || turning > size) throw misshapen(node, `${turning} of ${size} numbers of a head cannot be turned in pairs`);
  const angles = (table: string): string => m.reshape(position === '' ? table : m.gather(table, position, 0), [batch, 1, length, half]);
  const [cos, sin] = [angles(cosines), angles(sines)];
  const interleaved = intAttribute(node, 'interleaved', 0) !== 0;
  const turned = turning === size ? apart : m.slice(apart, 3, 0, turning);
  const pairs = m.reshape(turned, interleaved ? [batch, heads, length, half, 2] : [batch, heads, length, 2, half]);
  const axis = interleaved ? 4 : 3;
  const side = (i: number): string => m.reshape(m.slice(pairs, axis, i, i + 1), [batch, heads, length, half]);
  const [real, imaginary] = [side(0), side(1)];
  const parts = [m.sub(m.mul(cos, real), m.mul(sin, imaginary)), m.add(m.mul(sin, real), m.mul(cos, imaginary))];
  const raised = parts.map((part) => m.reshape(part, interleaved ? [batch, heads, length, half, 1] : [batch, heads, length, 1, half]));
  const y = m.reshape(m.concat(raised, axis), [batch, heads, length, turning]);
  const whole = turning === size ? y : m.concat([y, m.slice(apart, 3, turning, size)], 3);
  return flat ? m.reshape(m.transpose(whole, [0, 2, 1, 3]), given) : whole;
}

const rotaryEmbedding: Expansion = (b, node) =>
  [rotated(new Notation(b), node, { x: input(node), cos: input(node, 1), sin: input(node, 2), position: input(node, 3), heads: intAttribute(node, 'num_heads', 0) })];

export const attentions: Readonly<Record<string, Expansion>> = { Attention: attention, RotaryEmbedding: rotaryEmbedding };
