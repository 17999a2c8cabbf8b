import { describe, expect, it } from 'vitest';
import { isas, refusal, run, runEveryWay, type Operand, type OpProgram } from './support/op-program.js';
import { randomIntegers } from './support/program-writer.js';

// RangeF32, RangeScale, QuantizeBy and MatMulQ8F32: their arithmetic, padded pixels, threads, and what a hostile program may say.

const random = randomIntegers(79);
const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => random(0, 255));
const floats = (n: number, low: number, high: number): Float32Array => Float32Array.from({ length: n }, () => low + ((high - low) * random(0, 10000)) / 10000);

const number = (value: number): Operand => ({ dims: [], data: Float32Array.of(value) });
const byte = (value: number, constant = false): Operand => ({ dims: [], data: Uint8Array.of(value), constant });
const range = (...ends: number[]): Operand => ({ dims: [ends.length / 2, 2], data: Float32Array.from(ends), dense: true });

describe.each(isas)('quantization by the data on %s', (isa) => {
  it('finds the range of each part, with 0', async () => {
    const x = floats(7 * 33, -3, 5);
    x.fill(2, 0, 66);
    const y = await runEveryWay({ op: 'rangeF32', operands: [{ dims: [7, 33], data: x }], output: { type: 'f32', dims: [3, 2], dense: true } }, isa);
    const part = (from: number, to: number): number[] => [Math.min(0, ...x.subarray(from * 33, to * 33)), Math.max(0, ...x.subarray(from * 33, to * 33))];
    expect(y).toEqual([...part(0, 2), ...part(2, 4), ...part(4, 7)]);
    expect(y.slice(0, 2)).toEqual([0, 2]);
  });

  it('makes both ends NaN for a NaN', async () => {
    const x = floats(40, -1, 1);
    x[23] = NaN;
    expect(await runEveryWay({ op: 'rangeF32', operands: [{ dims: [2, 20], data: x }], output: { type: 'f32', dims: [2, 2], dense: true } }, isa)).toEqual([Math.min(...x.subarray(0, 20)), Math.max(...x.subarray(0, 20)), NaN, NaN]);
  });

  it.each<[string, number[], number, number]>([
    ['a range', [-1, 2, 0, 4], Math.fround(5 / 255), 51], ['numbers above 0', [0, 2.55], Math.fround(Math.fround(2.55) / 255), 0], ['numbers below 0', [-3, 0], Math.fround(3 / 255), 255],
    ['zeros', [0, 0], 1, 0], ['the least numbers', [0, 1e-40], 2 ** -126, 0], ['infinity', [0, Infinity], Infinity, 0], ['minus infinity', [-Infinity, 1], Infinity, 0], ['NaN', [NaN, NaN, 0, 1], NaN, 0],
  ])('has the scale and the zero-point of %s', async (_name, ends, scale, zero) => {
    expect(await run({ op: 'rangeScale', operands: [range(...ends)], output: { type: 'f32', dims: [] } }, isa)).toEqual([scale]);
    expect(await run({ op: 'rangeScale', operands: [range(...ends)], output: { type: 'u8', dims: [] } }, isa)).toEqual([zero]);
  });

  it('rounds half to even and saturates', async () => {
    const x = Float32Array.of(0.25, 0.75, 1.25, -0.25, -0.75, 1000, -1000, 0, NaN);
    expect(await runEveryWay({ op: 'quantizeBy', operands: [{ dims: [1, 9], data: x }, number(0.5), byte(10)], output: { type: 'u8', dims: [1, 9] } }, isa)).toEqual([10, 12, 12, 10, 8, 255, 0, 10, 0]);
  });
});

interface Layer {
  readonly m: number;
  readonly k: number;
  readonly n: number;
  readonly b: Uint8Array;
  readonly bZero: Operand;
  readonly scale: Operand;
  readonly bias?: Operand;
}

describe.each(isas)('MatMulQ8F32 on %s', (isa) => {
  const columns = (n: number, low: number, high: number): Operand => ({ dims: [n], data: floats(n, low, high), constant: true });
  const constant = (value: number): Operand => ({ ...number(value), constant: true });
  it.each<[string, Layer]>([
    ['weights that fit 7 bits and a sign', { m: 35, k: 64, n: 19, b: bytes(64 * 19).map((v) => Math.max(v, 1)), bZero: byte(128, true), scale: constant(0.01), bias: columns(19, -2, 2) }],
    ['a scale for each column, no bias', { m: 3, k: 70, n: 130, b: bytes(70 * 130), bZero: byte(128, true), scale: columns(130, -0.02, 0.02) }],
    ['weights of 9 bits', { m: 130, k: 33, n: 5, b: bytes(33 * 5), bZero: byte(0, true), scale: constant(0.1), bias: columns(5, -2, 2) }],
    ['zero-points of columns', { m: 2, k: 33, n: 9, b: bytes(33 * 9), bZero: { dims: [9], data: bytes(9), constant: true }, scale: constant(0.1) }],
    ['the largest sums', { m: 1, k: 33000, n: 2, b: new Uint8Array(66000).fill(255), bZero: byte(0, true), scale: constant(1) }],
  ])('multiplies by %s', async (_name, { m, k, n, b, bZero, scale, bias }) => {
    const [a, aScale, aZero] = [bytes(m * k), 0.037, 17];
    if (k === 33000) a.fill(255);
    const program: OpProgram = {
      op: 'matMulQ8F32', output: { type: 'f32', dims: [1, m, n] },
      operands: [{ dims: [1, m, k], data: a }, { dims: [k, n], data: b, constant: true }, number(aScale), byte(aZero), bZero, scale, bias],
    };
    const at = ({ data }: Operand, column: number): number => data[data.length === 1 ? 0 : column] ?? 0;
    const expected = Array.from({ length: m * n }, (_, i) => {
      const [row, column] = [Math.floor(i / n), i % n];
      let sum = 0;
      for (let d = 0; d < k; d++) sum += ((a[row * k + d] ?? 0) - aZero) * ((b[d * n + column] ?? 0) - at(bZero, column));
      const scaled = Math.fround(Math.fround(sum) * Math.fround(Math.fround(aScale) * at(scale, column)));
      return bias === undefined ? scaled : Math.fround(scaled + at(bias, column));
    });
    expect(await runEveryWay(program, isa)).toEqual(expected);
  });
});

describe('quantization by the data refuses', () => {
  const x: Operand = { dims: [2, 8], data: floats(16, -1, 1) };
  const [a, b, scale]: Operand[] = [{ dims: [2, 3], data: bytes(6) }, { dims: [3, 4], data: bytes(12), constant: true }, { ...number(0.5), constant: true }];
  const layer: OpProgram = { op: 'matMulQ8F32', operands: [a, b, number(0.5), byte(3), byte(9, true), scale], output: { type: 'f32', dims: [2, 4] } };
  const withOperand = (index: number, operand: Operand): OpProgram => ({ ...layer, operands: layer.operands.map((own, i) => (i === index ? operand : own)) });
  it('nothing of what the others change', () => { expect(refusal(layer)).toBe('loaded'); });
  it.each<[string, OpProgram]>([
    ['a range of bytes', { op: 'rangeF32', operands: [{ dims: [2, 8], data: bytes(16) }], output: { type: 'f32', dims: [1, 2], dense: true } }],
    ['a range of three ends', { op: 'rangeF32', operands: [x], output: { type: 'f32', dims: [1, 3], dense: true } }],
    ['a scale of no range', { op: 'rangeScale', operands: [{ dims: [3], data: floats(3, 0, 1) }], output: { type: 'f32', dims: [] } }],
    ['several scales of a range', { op: 'rangeScale', operands: [range(0, 1)], output: { type: 'f32', dims: [2] } }],
    ['a scale for each channel', { op: 'quantizeBy', operands: [x, { dims: [8], data: floats(8, 1, 2) }, byte(3)], output: { type: 'u8', dims: [2, 8] } }],
    ['bytes of another shape', { op: 'quantizeBy', operands: [x, number(1), byte(3)], output: { type: 'u8', dims: [4, 4] } }],
    ['another depth', withOperand(1, { dims: [2, 4], data: bytes(8), constant: true })],
    ['weights that are no constant', withOperand(1, { dims: [3, 4], data: bytes(12) })],
    ['zero-points that are no constant', withOperand(4, byte(9))],
    ['zero-points of another number', withOperand(4, { dims: [3], data: bytes(3), constant: true })],
    ['scales that are no constant', withOperand(5, number(1))],
    ['two scales of the data', withOperand(2, { dims: [2], data: floats(2, 0, 1) })],
    ['a bias of another length', { ...layer, operands: [...layer.operands, { dims: [3], data: floats(3, 0, 1), constant: true }] }],
    ['whole numbers as a result', { ...layer, output: { ...layer.output, type: 's32' } }],
  ])('%s', (_name, program) => { expect(refusal(program)).toBe('E_PROGRAM_SHAPE'); });
});
