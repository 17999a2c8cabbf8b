import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { floats, node, randomInts, randomTensor } from '../support/models.js';
import type { Case } from './cases.js';
import { contribCase } from './contrib-attention-cases.js';

// GroupQueryAttention, and operators of com.microsoft that are rare.

type Values = Readonly<Record<string, TensorValue>>;
type Attributes = Parameters<typeof node>[3];

const [heads, keyHeads, size] = [4, 2, 16];
const whole = (...values: number[]): TensorValue => fromNumbers('int32', [values.length], values);
const tables: Values = { cos: randomTensor([16, size / 2], 21), sin: randomTensor([16, size / 2], 22) };

interface Lengths {
  readonly batch?: number;
  readonly rows: number;
  readonly past?: number;
  /** The last place of each row that counts; default: the last of all. */
  readonly last?: readonly number[];
  readonly total?: number;
  readonly packed?: boolean;
}

/** One node over fresh keys and values, behind those that were there. */
function grouped(name: string, { batch = 2, rows, past = 0, total = past + rows, last = Array.from({ length: batch }, () => total - 1), packed = false }: Lengths, attributes: Attributes = {}, extras: Values = {}): Case {
  const feeds: Values = {
    q: randomTensor([batch, rows, (packed ? heads + 2 * keyHeads : heads) * size], 1),
    ...(packed ? {} : { k: randomTensor([batch, rows, keyHeads * size], 2), v: randomTensor([batch, rows, keyHeads * size], 3) }),
    ...(past === 0 ? {} : { pk: randomTensor([batch, keyHeads, past, size], 4), pv: randomTensor([batch, keyHeads, past, size], 5) }),
    last: whole(...last),
  };
  const has = (operand: string): string => (Object.hasOwn(feeds, operand) || Object.hasOwn(extras, operand) ? operand : '');
  return contribCase(`GroupQueryAttention ${name}`, 'GroupQueryAttention', feeds, {
    constants: { total: whole(total), ...tables, ...extras }, outputs: ['y', 'keys', 'values'], attributes: { num_heads: heads, kv_num_heads: keyHeads, ...attributes },
    operands: ['q', has('k'), has('v'), has('pk'), has('pv'), 'last', 'total', 'cos', 'sin', has('position'), has('bias'), has('sink')],
  });
}

/** Keys and values that do not count are whatever they are. */
const firstOf = (each: Case): Case => ({ ...each, spec: { ...each.spec, outputs: ['y'] } });

const attentions: readonly Case[] = [
  grouped('of a prompt', { rows: 3 }),
  grouped('with a past', { rows: 1, past: 4 }),
  grouped('turned, of a prompt', { rows: 3 }, { do_rotary: 1 }),
  grouped('turned, with a past', { rows: 1, past: 4 }, { do_rotary: 1 }),
  grouped('turned in neighbours', { rows: 1, past: 4 }, { do_rotary: 1, rotary_interleaved: 1 }),
  grouped('of several rows behind a past', { batch: 1, rows: 3, past: 4 }, { do_rotary: 1 }),
  grouped('in one operand', { rows: 3, packed: true }, { do_rotary: 1 }),
  grouped('within a window', { rows: 5 }, { local_window_size: 2 }),
  grouped('within a window, with a past', { rows: 1, past: 6 }, { local_window_size: 3 }),
  grouped('with a cap and a scale', { rows: 3 }, { softcap: { float: 2 }, scale: { float: 0.5 } }),
  grouped('whose shares add up to less', { rows: 3 }, { smooth_softmax: 1 }),
  grouped('with a sink for each head', { rows: 3 }, {}, { sink: randomTensor([heads], 6) }),
  grouped('with what is added', { batch: 1, rows: 3 }, {}, { bias: randomTensor([1, heads, 3, 3], 7) }),
  grouped('at places that are given', { batch: 1, rows: 2 }, { do_rotary: 1 }, { position: fromNumbers('int64', [1, 2], [3, 4]) }),
  firstOf(grouped('with a past that is shorter in some rows', { rows: 1, past: 5, last: [5, 3] }, { do_rotary: 1 })),
  firstOf(grouped('in a buffer for more', { rows: 1, past: 8, total: 6, last: [5, 3] }, { do_rotary: 1 })),
];

const images = randomTensor([1, 2, 5, 5], 1);
const fours = (seed: number): Values => ({ codes: randomInts('uint8', [128], seed, 0, 255), largest: randomTensor([16], seed, 0.1, 1) });

const others: readonly Case[] = [
  contribCase('TransposeMatMul', 'TransposeMatMul', { a: randomTensor([2, 4, 5], 1), b: randomTensor([2, 4, 3], 2) }, { attributes: { transA: 1, alpha: { float: 0.5 } } }),
  contribCase('ExpandDims', 'ExpandDims', { x: randomTensor([2, 3], 1) }, { constants: { axis: whole(-1) } }),
  ...['euclidean', 'sqeuclidean'].map((metric) => contribCase(`CDist ${metric}`, 'CDist', { a: randomTensor([5, 8], 1), b: randomTensor([3, 8], 2) }, { attributes: { metric } })),
  ...[0, 1].map((type) => contribCase(`MatMulBnb4 of type ${type}`, 'MatMulBnb4', { a: randomTensor([2, 32], 1) }, { constants: fours(2), attributes: { K: 32, N: 8, block_size: 16, quant_type: type } })),
  contribCase('GatherND', 'GatherND', { x: randomTensor([3, 4], 1) }, { constants: { at: fromNumbers('int64', [2, 2], [0, 1, 2, 3]) } }),
  contribCase('GridSample', 'GridSample', { x: images, grid: randomTensor([1, 3, 3, 2], 2) }),
  contribCase('GridSample of operator set 20', 'GridSample', { x: images, grid: randomTensor([1, 3, 3, 2], 2) }, { opset: 20, attributes: { padding_mode: 'border', align_corners: 1 } }),
  contribCase('Range', 'Range', {}, { constants: { from: floats([], 1), to: floats([], 6) } }),
];

export const contribOtherCases: readonly Case[] = [...attentions, ...others];
