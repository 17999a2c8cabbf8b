import { describe, expect, it } from 'vitest';
import { isas, refusal, run, runEveryWay, type Operand, type OpProgram } from './support/op-program.js';
import { f, randomIntegers, type Attribute } from './support/program-writer.js';
import { product } from './support/run-op.js';

// RecurrentF32, AttentionF32, NormalizeF32, MatMulS32 and ResampleF32: their arithmetic, padded pixels, threads, and what a hostile program may say.

const random = randomIntegers(78);
const floats = (n: number, low = -1, high = 1): Float32Array => Float32Array.from({ length: n }, () => low + ((high - low) * random(0, 10000)) / 10000);
const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => random(0, 255));

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const [steps, batch, hidden] = [5, 3, 18];
const kinds = { rnn: 0, gru: 1, lstm: 2 };

interface Lstm {
  readonly gates: Float32Array;
  readonly weights: Float32Array;
  readonly peephole: Float32Array;
  readonly lengths: Int32Array;
}

/** RecurrentF32 of program.h for an LSTM of one direction with peepholes, all rows and both states. */
function lstm({ gates, weights, peephole, lengths }: Lstm, reverse: boolean): number[] {
  const y = new Array<number>((steps + 2) * batch * hidden).fill(0);
  for (let b = 0; b < batch; b++) {
    let [h, c] = [new Array<number>(hidden).fill(0), new Array<number>(hidden).fill(0)];
    const length = lengths[b] ?? steps;
    for (let s = 0; s < length; s++) {
      const step = reverse ? length - 1 - s : s;
      const [before, cell] = [h, c];
      const gate = (g: number, j: number): number => {
        const row = g * hidden + j;
        const recurrent = before.reduce((sum, value, k) => sum + value * (weights[row * hidden + k] ?? 0), 0);
        return (gates[(step * batch + b) * 4 * hidden + row] ?? 0) + recurrent;
      };
      const peep = (g: number, j: number, state: readonly number[]): number => (peephole[g * hidden + j] ?? 0) * (state[j] ?? 0);
      const index = Array.from({ length: hidden }, (_, j) => j);
      c = index.map((j) => sigmoid(gate(2, j) + peep(2, j, cell)) * (cell[j] ?? 0) + sigmoid(gate(0, j) + peep(0, j, cell)) * Math.tanh(gate(3, j)));
      const next = c;
      h = index.map((j) => sigmoid(gate(1, j) + peep(1, j, next)) * Math.tanh(next[j] ?? 0));
      h.forEach((value, j) => (y[(step * batch + b) * hidden + j] = value));
    }
    h.forEach((value, j) => (y[(steps * batch + b) * hidden + j] = value));
    c.forEach((value, j) => (y[((steps + 1) * batch + b) * hidden + j] = value));
  }
  return y;
}

const recurrentAttributes = (kind: number, options: { reverse?: number; clip?: number; functions?: number[] } = {}): Attribute[] => {
  const { reverse = 0, clip = Infinity, functions = [3, 4, 4, 3, 4, 4] } = options;
  return [kind, reverse, 0, 0, f(clip), ...functions, ...new Array<Attribute>(12).fill(f(0))];
};

function recurrent(kind: keyof typeof kinds, changes: Partial<OpProgram> = {}): OpProgram {
  const width = { rnn: 1, gru: 3, lstm: 4 }[kind] * hidden;
  return {
    op: 'recurrentF32',
    operands: [{ dims: [steps, batch, 2 * width], data: floats(steps * batch * 2 * width) }, { dims: [2, width, hidden], data: floats(2 * width * hidden), constant: true }],
    attributes: recurrentAttributes(kinds[kind], { reverse: 2, functions: kind === 'rnn' ? [4, 0, 0, 4, 0, 0] : [3, 4, 4, 3, 4, 4] }),
    output: { type: 'f32', dims: [steps + (kind === 'lstm' ? 2 : 1), 2, batch, hidden] },
    ...changes,
  };
}

describe.each(isas)('RecurrentF32 on %s', (isa) => {
  it.each([false, true])('is an LSTM with peepholes and lengths, reversed: %s', async (reverse) => {
    const data = { gates: floats(steps * batch * 4 * hidden), weights: floats(4 * hidden * hidden, -0.3, 0.3), peephole: floats(3 * hidden), lengths: Int32Array.of(5, 2, 0) };
    const actual = await runEveryWay({
      op: 'recurrentF32',
      operands: [
        { dims: [steps, batch, 4 * hidden], data: data.gates }, { dims: [1, 4 * hidden, hidden], data: data.weights, constant: true }, undefined, undefined, undefined,
        { dims: [1, 3 * hidden], data: data.peephole, constant: true }, { dims: [batch], data: data.lengths },
      ],
      attributes: recurrentAttributes(kinds.lstm, { reverse: reverse ? 1 : 0 }),
      output: { type: 'f32', dims: [steps + 2, 1, batch, hidden] },
    }, isa);
    lstm(data, reverse).forEach((want, i) => expect(Math.abs((actual[i] ?? NaN) - want), `element ${i}`).toBeLessThanOrEqual(2e-6));
  });

  it.each(['rnn', 'gru', 'lstm'] as const)('gives the same bits with gaps, threads, and rows alone: %s', async (kind) => {
    const program = recurrent(kind);
    const together = await runEveryWay(program, isa);
    const lengths: Operand = { dims: [batch], data: Int32Array.from({ length: batch }, () => steps) };
    expect(await run({ ...program, operands: [...program.operands, undefined, undefined, undefined, undefined, lengths] }, isa)).toEqual(together);
  });

  it('refuses lengths that the sequence does not have, when it runs', async () => {
    const program = recurrent('gru');
    for (const bad of [-1, steps + 1, 2 ** 31 - 1]) {
      const lengths: Operand = { dims: [batch], data: Int32Array.of(1, bad, 2) };
      await expect(run({ ...program, operands: [...program.operands, undefined, undefined, undefined, undefined, lengths] }, isa)).rejects.toMatchObject({ code: 'E_ARGUMENT' });
    }
  });
});

describe('RecurrentF32 refuses', () => {
  const program = recurrent('lstm');
  const [gates, weights] = program.operands;
  it.each([
    ['an unknown kind', { attributes: recurrentAttributes(3) }, 'E_PROGRAM_OP'],
    ['an unknown function', { attributes: recurrentAttributes(2, { functions: [3, 4, 4, 3, 99, 4] }) }, 'E_PROGRAM_OP'],
    ['a bound that is not a number', { attributes: recurrentAttributes(2, { clip: NaN }) }, 'E_PROGRAM_OP'],
    ['weights that are not constant', { operands: [gates, { dims: [2, 4 * hidden, hidden], data: floats(8 * hidden * hidden) }] }, 'E_PROGRAM_OP'],
    ['three directions', { operands: [gates, { dims: [3, 4 * hidden, hidden], data: floats(12 * hidden * hidden), constant: true }] }, 'E_PROGRAM_OP'],
    ['gates of another width', { operands: [{ dims: [steps, batch, 7 * hidden], data: floats(steps * batch * 7 * hidden) }, weights] }, 'E_PROGRAM_SHAPE'],
    ['too many rows', { output: { type: 'f32', dims: [steps + 3, 2, batch, hidden] } }, 'E_PROGRAM_SHAPE'],
    ['too few rows', { output: { type: 'f32', dims: [steps - 1, 2, batch, hidden] } }, 'E_PROGRAM_SHAPE'],
    ['a state of another batch', { operands: [gates, weights, undefined, { dims: [2, batch + 1, hidden], data: floats(2 * (batch + 1) * hidden) }] }, 'E_PROGRAM_SHAPE'],
    ['short peepholes', { operands: [gates, weights, undefined, undefined, undefined, { dims: [2, hidden], data: floats(2 * hidden) }] }, 'E_PROGRAM_SHAPE'],
  ] as [string, Partial<OpProgram>, string][])('%s', (_name, changes, code) => {
    expect(refusal({ ...program, ...changes })).toBe(code);
  });
});

interface IntegerProduct {
  readonly a: Operand;
  readonly b: Operand;
  readonly aZero: Operand | undefined;
  readonly bZero: Operand;
}

/** Sums of (a - a_zero) * (b - b_zero) for a [matrices, M, K] and b [K, N] or [matrices, K, N]. */
function integerProduct({ a, b, aZero, bZero }: IntegerProduct): number[] {
  const [matrices = 1, m = 1, k = 1] = a.dims;
  const n = b.dims.at(-1) ?? 1;
  return Array.from({ length: matrices * m * n }, (_, i) => {
    const [row, column] = [Math.floor(i / n), i % n];
    const first = b.dims.length === 3 ? Math.floor(row / m) * k : 0;
    let sum = 0;
    for (let d = 0; d < k; d++) {
      const left = (a.data[row * k + d] ?? 0) - (aZero?.data[0] ?? 0);
      sum += left * ((b.data[(first + d) * n + column] ?? 0) - (bZero.data[bZero.data.length === 1 ? 0 : column] ?? 0));
    }
    return sum;
  });
}

describe.each(isas)('MatMulS32 on %s', (isa) => {
  const [m, k, n] = [35, 515, 19];
  const scalar = (value: number, constant: boolean): Operand => ({ dims: [], data: Uint8Array.of(value), constant });
  const a: Operand = { dims: [2, m, k], data: bytes(2 * m * k) };
  const extreme: Operand = { dims: [1, 3, 512], data: new Uint8Array(3 * 512).fill(255) };
  it.each<[string, IntegerProduct]>([
    ['a constant', { a, b: { dims: [k, n], data: bytes(k * n), constant: true }, aZero: scalar(117, true), bZero: scalar(131, true) }],
    ['a constant with a zero-point for each column', { a, b: { dims: [k, n], data: bytes(k * n), constant: true }, aZero: scalar(0, false), bZero: { dims: [n], data: bytes(n), constant: true } }],
    ['an input', { a, b: { dims: [k, n], data: bytes(k * n) }, aZero: scalar(255, false), bZero: scalar(0, false) }],
    ['a stack', { a, b: { dims: [2, k, n], data: bytes(2 * k * n) }, aZero: scalar(9, true), bZero: scalar(200, true) }],
    ['the largest sums', { a: extreme, b: { dims: [512, 5], data: new Uint8Array(512 * 5).fill(255), constant: true }, aZero: scalar(0, true), bZero: scalar(0, true) }],
    ['whole floats', { a: { dims: [1, 4, 300], data: Float32Array.from({ length: 1200 }, () => random(-255, 255)) }, b: { dims: [300, n], data: bytes(300 * n), constant: true }, aZero: undefined, bZero: scalar(77, true) }],
  ])('multiplies by %s, exactly', async (_name, operands) => {
    const dims = [...operands.a.dims.slice(0, 2), operands.b.dims.at(-1) ?? 1];
    const program: OpProgram = { op: 'matMulS32', operands: [operands.a, operands.b, operands.aZero, operands.bZero], output: { type: 's32', dims } };
    expect(await runEveryWay(program, isa)).toEqual(integerProduct(operands));
  });
});

describe('MatMulS32 refuses', () => {
  const zero: Operand = { dims: [], data: Uint8Array.of(0), constant: true };
  const program: OpProgram = { op: 'matMulS32', operands: [{ dims: [2, 3], data: bytes(6) }, { dims: [3, 4], data: bytes(12) }, zero, zero], output: { type: 's32', dims: [2, 4] } };
  const [a, b] = program.operands;
  it.each([
    ['another depth', { operands: [a, { dims: [2, 4], data: bytes(8) }, zero, zero] }],
    ['a result of floats', { output: { type: 'f32', dims: [2, 4] } }],
    ['no zero-point for bytes', { operands: [a, b, undefined, zero] }],
    ['zero-points of another number', { operands: [a, b, zero, { dims: [3], data: bytes(3) }] }],
    ['batches that differ', { operands: [{ dims: [2, 2, 3], data: bytes(12) }, { dims: [3, 3, 4], data: bytes(36) }, zero, zero], output: { type: 's32', dims: [2, 2, 4] } }],
  ] as [string, Partial<OpProgram>][])('%s', (_name, changes) => {
    expect(refusal({ ...program, ...changes })).toBe('E_PROGRAM_SHAPE');
  });
});

const vectors = (...dims: number[]): Operand => ({ dims, data: floats(product(dims)) });

describe('AttentionF32 refuses', () => {
  const order = (...perm: number[]): number[] => [...perm, 0, 0, 0].slice(0, 6);
  const plain = order(0, 1, 2);
  const attributes = (changes: Partial<Record<'q' | 'k' | 'v' | 'y', number[]>> = {}, scale = 0.5): Attribute[] => [f(scale), ...(changes.q ?? plain), ...(changes.k ?? plain), ...(changes.v ?? plain), ...(changes.y ?? plain)];
  const [q, k, v] = [vectors(2, 5, 4), vectors(2, 7, 4), vectors(2, 7, 3)];
  const program: OpProgram = { op: 'attentionF32', operands: [q, k, v], attributes: attributes(), output: { type: 'f32', dims: [2, 5, 3] } };
  it('nothing of what the others change', () => { expect(refusal(program)).toBe('loaded'); });
  it.each([
    ['an axis that does not exist', { attributes: attributes({ k: order(0, 1, 3) }) }, 'E_PROGRAM_SHAPE'],
    ['a negative axis', { attributes: attributes({ v: order(0, -1, 2) }) }, 'E_PROGRAM_SHAPE'],
    ['an axis twice', { attributes: attributes({ q: order(0, 2, 2) }) }, 'E_PROGRAM_SHAPE'],
    ['queries whose elements lie apart', { operands: [vectors(2, 4, 5), k, v], attributes: attributes({ q: order(0, 2, 1) }) }, 'E_PROGRAM_SHAPE'],
    ['a factor that is not finite', { attributes: attributes({}, Infinity) }, 'E_PROGRAM_OP'],
    ['keys of another depth', { operands: [q, vectors(2, 7, 5), v] }, 'E_PROGRAM_SHAPE'],
    ['values of another number', { operands: [q, k, vectors(2, 6, 3)] }, 'E_PROGRAM_SHAPE'],
    ['batches that differ', { operands: [q, vectors(1, 7, 4), v] }, 'E_PROGRAM_SHAPE'],
    ['a mask that does not broadcast', { operands: [q, k, v, vectors(5, 6)] }, 'E_PROGRAM_SHAPE'],
    ['a mask of more axes', { operands: [q, k, v, vectors(1, 2, 5, 7)] }, 'E_PROGRAM_SHAPE'],
    ['a mask of bytes', { operands: [q, k, v, { dims: [5, 7], data: bytes(35) }] }, 'E_PROGRAM_SHAPE'],
    ['matrices without a batch', { operands: [vectors(5, 4), vectors(7, 4), vectors(7, 3)], output: { type: 'f32', dims: [5, 3] } }, 'E_PROGRAM_SHAPE'],
  ] as [string, Partial<OpProgram>, string][])('%s', (_name, changes, code) => {
    expect(refusal({ ...program, ...changes })).toBe(code);
  });
});

describe('NormalizeF32 refuses', () => {
  const program: OpProgram = { op: 'normalizeF32', operands: [vectors(3, 8), vectors(8), vectors(8)], attributes: [f(1e-5)], output: { type: 'f32', dims: [3, 8] } };
  it.each([
    ['a factor for another number of channels', { operands: [vectors(3, 8), vectors(7), vectors(8)] }, 'E_PROGRAM_SHAPE'],
    ['a summand of bytes', { operands: [vectors(3, 8), vectors(8), { dims: [8], data: bytes(8) }] }, 'E_PROGRAM_SHAPE'],
    ['a result of another shape', { output: { type: 'f32', dims: [8, 3] } }, 'E_PROGRAM_SHAPE'],
    ['an epsilon that is no number', { attributes: [f(NaN)] }, 'E_PROGRAM_OP'],
  ] as [string, Partial<OpProgram>, string][])('%s', (_name, changes, code) => {
    expect(refusal({ ...program, ...changes })).toBe(code);
  });
});

const [taps, size] = [3, 7];
const tables = (length: number): [Operand, Operand] => [
  { dims: [size, taps], data: Int32Array.from({ length: size * taps }, () => random(0, length - 1)), constant: true },
  { dims: [size, taps], data: floats(size * taps), constant: true },
];

describe('ResampleF32', () => {
  it.each([0, 1, 2, 3])('sums up by tables along axis %i', async (axis) => {
    const dims = [3, 5, 4, 6];
    const [indices, weights] = tables(dims[axis] ?? 1);
    const x = floats(product(dims));
    const yDims = dims.map((dim, i) => (i === axis ? size : dim));
    const inner = product(dims.slice(axis + 1));
    const actual = await runEveryWay({ op: 'resampleF32', operands: [{ dims, data: x }, indices, weights], attributes: [axis], output: { type: 'f32', dims: yDims } }, 'ref');
    actual.forEach((value, i) => {
      const [c, o, outer] = [i % inner, Math.floor(i / inner) % size, Math.floor(i / (inner * size))];
      let want = 0;
      for (let t = 0; t < taps; t++) want += (weights.data[o * taps + t] ?? 0) * (x[(outer * (dims[axis] ?? 1) + (indices.data[o * taps + t] ?? 0)) * inner + c] ?? 0);
      expect(Math.abs(value - want), `element ${i}`).toBeLessThanOrEqual(1e-6);
    });
  });

  const [indices, weights] = tables(5);
  const program: OpProgram = { op: 'resampleF32', operands: [{ dims: [2, 5, 3], data: floats(30) }, indices, weights], attributes: [1], output: { type: 'f32', dims: [2, size, 3] } };
  const [x] = program.operands;
  const wild = (index: number): Operand => ({ ...indices, data: Int32Array.from(indices.data, (value, i) => (i === 4 ? index : value)) });
  it.each([
    ['an index beyond the axis', { operands: [x, wild(5), weights] }, 'E_PROGRAM_SHAPE'],
    ['a negative index', { operands: [x, wild(-1), weights] }, 'E_PROGRAM_SHAPE'],
    ['an axis beyond the rank', { attributes: [3] }, 'E_PROGRAM_OP'],
    ['tables that are computed', { operands: [x, indices, { dims: [size, taps], data: floats(size * taps) }] }, 'E_PROGRAM_OP'],
    ['tables of another size', { output: { type: 'f32', dims: [2, size + 1, 3] } }, 'E_PROGRAM_SHAPE'],
    ['another size of the other axes', { output: { type: 'f32', dims: [2, size, 4] } }, 'E_PROGRAM_SHAPE'],
  ] as [string, Partial<OpProgram>, string][])('refuses %s', (_name, changes, code) => {
    expect(refusal({ ...program, ...changes })).toBe(code);
  });
});

describe('SoftmaxF32 in its hard mode', () => {
  it('marks the first of the largest', async () => {
    const x = Float32Array.of(1, 3, 3, -2, -2, -5, 0, 0, 0);
    const y = await runEveryWay({ op: 'softmaxF32', operands: [{ dims: [3, 3], data: x }], attributes: [1, 2], output: { type: 'f32', dims: [3, 3] } }, 'ref');
    expect(y).toEqual([0, 1, 0, 1, 0, 0, 1, 0, 0]);
  });
  it('refuses a mode that it does not have', () => {
    expect(refusal({ op: 'softmaxF32', operands: [{ dims: [2, 3], data: floats(6) }], attributes: [1, 3], output: { type: 'f32', dims: [2, 3] } })).toBe('E_PROGRAM_OP');
  });
});
