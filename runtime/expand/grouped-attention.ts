import { floatAttribute, int, intAttribute, misshapen, notConstant, unsupported } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { byHead, causal, repeated, rotated } from './attention.js';
import { type Expansion, input, Notation } from './builder.js';

// GroupQueryAttention of com.microsoft, as onnxruntime's model builder and exporters of language models write it.

/** How far the keys reach that were there before, and all of them together. */
interface Lengths {
  readonly batch: number;
  readonly rows: number;
  /** Of the buffer of keys that the node puts out. */
  readonly columns: number;
  /** The same number for the whole batch, or int64 [batch]. */
  readonly past: number | string;
}

/** The sum of a number or of int64 [batch] with int64 [1, n, 1] or the like, as [batch or 1, ...]. */
function after(m: Notation, past: Lengths['past'], offsets: string): string {
  const rank = m.shape(offsets).length;
  const from = typeof past === 'number' ? m.tensor('int64', [1], [past]) : past;
  return m.add(m.reshape(from, [m.shape(from)[0] ?? 1, ...Array.from({ length: rank - 1 }, () => 1)]), offsets);
}

/** Lengths by row are given as the last place that counts; onnxruntime takes a whole prompt for one without a past. */
function lengthsOf(m: Notation, node: Node, [batch, rows, buffered]: readonly [number, number, number]): Lengths {
  const total = m.b.known(input(node, 6))?.data[0];
  if (total === undefined) throw notConstant(node, 6, 'total_sequence_length');
  const columns = Math.max(Number(total), buffered);
  if (rows === Number(total)) return { batch, rows, columns, past: 0 };
  if (batch === 1 && buffered + rows === Number(total)) return { batch, rows, columns, past: buffered };
  const last = m.reshape(m.cast(input(node, 5), 'int64'), [batch]);
  return { batch, rows, columns, past: m.sub(last, m.number(rows - 1, 'int64')) };
}

/** What was there, and behind it what is new. */
function continued(m: Notation, old: string, fresh: string, { batch, rows, columns, past }: Lengths): string {
  const [, heads = 1, , size = 1] = m.shape(fresh);
  const buffered = old === '' ? 0 : (m.shape(old)[2] ?? 0);
  if (past === buffered && buffered + rows === columns) return buffered === 0 ? fresh : m.concat([old, fresh], 2);
  const all = buffered === 0 ? fresh : m.concat([old, fresh], 2);
  const at = m.iota(columns, 1, 2);
  const start = after(m, past, m.tensor('int64', [1, 1], [0]));
  const moved = m.clip(m.add(m.sub(at, start), m.number(buffered, 'int64')), 0, buffered + rows - 1);
  const from = m.where(m.op('Less', at, start), m.clip(at, 0, Math.max(buffered - 1, 0)), moved);
  const index = m.expand(m.reshape(from, [m.shape(from)[0] ?? 1, 1, columns, 1]), [batch, heads, columns, size]);
  return m.b.emit('GatherElements', [all, index], { axis: int(2) });
}

/** 0 where a row sees a key, else -Infinity: those up to itself, or the last of these. */
function visible(m: Notation, node: Node, { rows, columns, past }: Lengths): string {
  const window = intAttribute(node, 'local_window_size', -1);
  if (typeof past === 'number' && window < 0) return causal(m, rows, columns, past);
  const [own, at] = [after(m, past, m.iota(rows, 1, 3)), m.iota(columns, 2, 3)];
  const before = m.op('LessOrEqual', at, own);
  const seen = window < 0 ? before : m.op('And', before, m.op('GreaterOrEqual', at, m.sub(own, m.number(window - 1, 'int64'))));
  const [batch = 1] = m.shape(seen);
  return m.reshape(m.where(seen, m.number(0), m.number(-Infinity)), [batch, 1, rows, columns]);
}

/** Queries, keys and values by head, from three operands or from one that has them side by side. */
function operands(m: Notation, node: Node, heads: number, keyHeads: number): readonly [string, string, string] {
  const [x, key, value] = [input(node, 0), input(node, 1), input(node, 2)];
  if (key !== '' && value !== '') return [byHead(m, node, x, heads), byHead(m, node, key, keyHeads), byHead(m, node, value, keyHeads)];
  const size = (m.shape(x)[2] ?? 0) / (heads + 2 * keyHeads);
  if (!Number.isInteger(size) || size < 1) throw misshapen(node, `${m.shape(x)[2] ?? 0} columns do not divide into ${heads} heads of queries and ${keyHeads} of keys and of values`);
  const part = (from: number, count: number): string => byHead(m, node, m.slice(x, 2, from * size, (from + count) * size), count);
  return [part(0, heads), part(heads, keyHeads), part(heads + keyHeads, keyHeads)];
}

/** q and k turned by the angles of their places. */
function turned(m: Notation, node: Node, values: readonly string[], lengths: Lengths): string[] {
  if (intAttribute(node, 'do_rotary', 0) === 0) return [...values];
  const [cos, sin, given] = [input(node, 7), input(node, 8), input(node, 9)];
  if (cos === '' || sin === '') throw misshapen(node, 'do_rotary without cos_cache and sin_cache');
  const position = given === '' ? m.expand(after(m, lengths.past, m.iota(lengths.rows, 1, 2)), [lengths.batch, lengths.rows]) : given;
  const turning: Node = { ...node, attributes: new Map([['interleaved', int(intAttribute(node, 'rotary_interleaved', 0))], ['rotary_embedding_dim', int(2 * (m.shape(cos)[1] ?? 0))]]) };
  return values.map((x) => rotated(m, turning, { x, cos, sin, position, heads: m.shape(x)[1] ?? 1 }));
}

/** Shares of the keys; a sink takes part of each sum and gives nothing. */
function shares(m: Notation, node: Node, scores: string): string {
  const sink = input(node, 11);
  if (sink === '' && intAttribute(node, 'smooth_softmax', 0) <= 0) return m.softmax(scores, 3);
  const [batch = 1, heads = 1, rows = 1, columns = 1] = m.shape(scores);
  const extra = m.expand(sink === '' ? m.number(0) : m.reshape(sink, [1, heads, 1, 1]), [batch, heads, rows, 1]);
  return m.slice(m.softmax(m.concat([scores, extra], 3), 3), 3, 0, columns);
}

export const groupQueryAttention: Expansion = (b, node) => {
  const m = new Notation(b);
  const [heads, keyHeads] = [intAttribute(node, 'num_heads', 0), intAttribute(node, 'kv_num_heads', 0)];
  if (!(keyHeads >= 1) || heads % keyHeads !== 0) throw misshapen(node, `${heads} heads of queries do not share ${keyHeads} heads of keys`);
  if (intAttribute(node, 'qk_output', 0) !== 0) throw unsupported(node, 'scores as an output; leave qk_output out', 'qk_output');
  if (node.attributes.has('k_quant_type') || node.inputs.length > 12) throw unsupported(node, 'keys and values in whole numbers; export them as floats', 'k_quant_type');
  const [query, key, value] = operands(m, node, heads, keyHeads);
  const [pastKey, pastValue] = [input(node, 3), input(node, 4)];
  const [batch = 1, , rows = 1, size = 1] = m.shape(query);
  const lengths = lengthsOf(m, node, [batch, rows, pastKey === '' ? 0 : (m.shape(pastKey)[2] ?? 0)]);
  const [q = '', k = ''] = turned(m, node, [query, key], lengths);
  const [keys, values] = [continued(m, pastKey, k, lengths), continued(m, pastValue, value, lengths)];
  const all = repeated(m, keys, heads / keyHeads);
  const product = m.scale(m.op('MatMul', q, m.transpose(all, [0, 1, 3, 2])), floatAttribute(node, 'scale', 0) || 1 / Math.sqrt(size));
  const cap = floatAttribute(node, 'softcap', 0);
  const capped = cap === 0 ? product : m.scale(m.op('Tanh', m.scale(product, 1 / cap)), cap);
  const biased = input(node, 10) === '' ? capped : m.add(capped, input(node, 10));
  const y = m.op('MatMul', shares(m, node, m.add(biased, visible(m, node, lengths))), repeated(m, values, heads / keyHeads));
  return [m.reshape(m.transpose(y, [0, 2, 1, 3]), [batch, rows, heads * (m.shape(y)[3] ?? 1)]), keys, values];
};
