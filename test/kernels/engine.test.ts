import { describe, expect, it } from 'vitest';

import { describeCpu, loadProgram, type Isa } from '../../kernels/binding/index.js';
import { f, geometry, ProgramWriter, randomIntegers, type Attribute } from './support/program-writer.js';
import { convolve, outputShape, requantize, scaled, type ConvCase } from './support/reference.js';

const runnable: Isa[] = describeCpu().isas.filter((isa) => isa.runnable).map((isa) => isa.isa);

/** Runs a program with one input and one output. */
async function runOne<Y extends ArrayBufferView>(bytes: Uint8Array, x: ArrayBufferView, y: Y, options: { isa?: Isa; threads?: number } = {}): Promise<Y> {
  const program = loadProgram(bytes, options);
  try {
    await program.run([x], [y]);
    return y;
  } finally {
    await program.close();
  }
}

const convCases: Record<string, ConvCase> = {
  '1x1': { x: [2, 5, 7, 24], o: 40, kernel: [1, 1] },
  '1x1 strided': { x: [1, 9, 8, 16], o: 20, kernel: [1, 1], stride: 2 },
  'fully connected': { x: [1, 1, 1, 130], o: 1000, kernel: [1, 1] },
  '3x3 padded': { x: [1, 8, 9, 16], o: 17, kernel: [3, 3], pads: [1, 1, 1, 1] },
  'stem, 3 channels': { x: [1, 16, 15, 3], o: 16, kernel: [3, 3], stride: 2, pads: [0, 0, 1, 1] },
  '5x3 dilated': { x: [1, 12, 11, 8], o: 5, kernel: [5, 3], dilation: 2, pads: [4, 2, 4, 2] },
  grouped: { x: [1, 6, 6, 24], o: 36, kernel: [3, 3], pads: [1, 1, 1, 1], group: 3 },
  depthwise: { x: [2, 9, 10, 40], o: 40, kernel: [3, 3], pads: [1, 1, 1, 1], group: 40 },
  'depthwise strided 5x5': { x: [1, 11, 12, 17], o: 17, kernel: [5, 5], stride: 2, pads: [2, 2, 2, 2], group: 17 },
  'depthwise, two outputs a channel': { x: [1, 7, 7, 6], o: 12, kernel: [3, 3], pads: [1, 1, 1, 1], group: 6 },
  'windows in two blocks of rows': { x: [2, 33, 19, 40], o: 6, kernel: [3, 3], pads: [1, 1, 1, 1] },
  'windows 2 apart': { x: [1, 19, 41, 3], o: 17, kernel: [7, 7], stride: 2, pads: [3, 3, 2, 2] },
  'windows of groups': { x: [1, 4, 16, 24], o: 36, kernel: [3, 3], pads: [1, 0, 0, 2], group: 3 },
  'windows of taps 2 columns apart': { x: [2, 7, 25, 6], o: 19, kernel: [3, 3], dilation: 2, pads: [2, 2, 2, 2] },
  'windows of taps 5 columns apart, of groups': { x: [1, 13, 33, 10], o: 12, kernel: [3, 3], dilation: 5, pads: [5, 5, 5, 5], group: 2 },
  'windows of taps 3 columns apart, with uneven padding': { x: [1, 9, 23, 16], o: 16, kernel: [2, 5], dilation: 3, pads: [3, 7, 0, 4] },
  'windows in the padding': { x: [1, 3, 9, 5], o: 33, kernel: [1, 3], pads: [1, 4, 0, 5] },
  'kernel larger than the image': { x: [1, 2, 2, 4], o: 8, kernel: [5, 5], pads: [2, 2, 2, 2] },
};

interface ConvData {
  bytes: Uint8Array;
  x: Uint8Array;
  expected: Uint8Array;
}

/** A quantized convolution with bias, clamp and residual, and what it must give. */
function quantizedConv(c: ConvCase, padTo: number, seed: number): ConvData {
  const random = randomIntegers(seed);
  const [n, oh, ow, o] = outputShape(c);
  const [, h, w, channels] = c.x;
  const k = (c.kernel[0] * c.kernel[1] * channels) / (c.group ?? 1);
  const x = Uint8Array.from({ length: n * h * w * channels }, () => random(0, 255));
  const weights = Int8Array.from({ length: o * k }, () => random(-127, 127));
  const bias = Int32Array.from({ length: o }, () => random(-5000, 5000));
  const scale = Float32Array.from({ length: o }, () => random(50, 200) / (100 * Math.sqrt(k) * 100));
  const residual = Uint8Array.from({ length: n * oh * ow * o }, () => random(0, 255));
  const q = { xZp: 131, midZp: 7, midLo: 7, midHi: 250, resZp: 120, yZp: 99, yLo: 3, yHi: 251, midMul: 0.75, resMul: 0.4 };

  const stride = (size: number): number => Math.ceil(size / padTo) * padTo;
  const p = new ProgramWriter();
  const xId = p.input('u8', c.x, stride(channels));
  const res = p.tensor('u8', [n, oh, ow, o], stride(o));
  const y = p.output('u8', [n, oh, ow, o], stride(o));
  const rank = [n, oh, ow, o];
  p.op('copy', [p.constant(residual, rank)], res, [...rank, 1, 1, ...ones(0), ...ones(1), ...ones(0), ...ones(1)]);
  const inputs = [xId, p.constant(weights, [o, ...c.kernel, channels / (c.group ?? 1)]), p.constant(bias), p.constant(scale), undefined, undefined, res];
  p.op('convQ8', inputs, y, [...geometry(c), q.xZp, q.midZp, q.midLo, q.midHi, q.resZp, q.yZp, q.yLo, q.yHi, f(q.midMul), f(q.resMul)]);

  const f32 = Math.fround;
  const expected = Uint8Array.from(convolve(c, x, weights, q.xZp), (sum, i) => {
    const mid = requantize(scaled(sum + (bias[i % o] ?? 0), scale[i % o] ?? 0), q.midLo, q.midHi, q.midZp);
    const v = f32(f32((mid - q.midZp) * f32(q.midMul)) + f32(((residual[i] ?? 0) - q.resZp) * f32(q.resMul)));
    return requantize(v, q.yLo, q.yHi, q.yZp);
  });
  return { bytes: p.build(), x, expected };
}

const ones = (value: number): Attribute[] => [value, value, value, value, value, value];

describe.each(runnable)('quantized convolution on %s', (isa) => {
  it.each(Object.entries(convCases))('%s equals the formula', async (_name, c) => {
    for (const padTo of [1, 16]) {
      const { bytes, x, expected } = quantizedConv(c, padTo, 11);
      for (const threads of [1, 3]) {
        expect(await runOne(bytes, x, new Uint8Array(expected.length), { isa, threads })).toEqual(expected);
      }
    }
  });
});

/** A float convolution with bias, a residual that comes first or last, and an activation. */
function floatConv(c: ConvCase, residualFirst: boolean, unary: number): { bytes: Uint8Array; x: Float32Array; expected: Float64Array } {
  const random = randomIntegers(5);
  const uniform = (): number => random(-1000, 1000) / 1000;
  const [n, oh, ow, o] = outputShape(c);
  const [, h, w, channels] = c.x;
  const k = (c.kernel[0] * c.kernel[1] * channels) / (c.group ?? 1);
  const x = Float32Array.from({ length: n * h * w * channels }, uniform);
  const weights = Float32Array.from({ length: o * k }, uniform);
  const bias = Float32Array.from({ length: o }, uniform);
  const residual = Float32Array.from({ length: n * oh * ow * o }, uniform);
  const p = new ProgramWriter();
  const xId = p.input('f32', c.x);
  const y = p.output('f32', [n, oh, ow, o]);
  const inputs = [xId, p.constant(weights, [o, ...c.kernel, channels / (c.group ?? 1)]), p.constant(bias), undefined, p.constant(residual, [n, oh, ow, o])];
  p.op('convF32', inputs, y, [...geometry(c), unary, f(0.1), f(0), residualFirst ? 1 : 0]);
  const activate = (v: number): number => [v, Math.max(v, 0)][unary] ?? (unary === 3 ? 1 / (1 + Math.exp(-v)) : v < 0 ? v * Math.fround(0.1) : v);
  const expected = convolve(c, x, weights, 0).map((sum, i) => {
    const v = sum + (bias[i % o] ?? 0);
    const r = residual[i] ?? 0;
    return residualFirst ? activate(v + r) : activate(v) + r;
  });
  return { bytes: p.build(), x, expected };
}

function expectClose(actual: Float32Array, expected: ArrayLike<number>, tolerance: number): void {
  let worst = 0;
  for (let i = 0; i < actual.length; ++i) worst = Math.max(worst, Math.abs((actual[i] ?? NaN) - (expected[i] ?? NaN)));
  expect(actual.length).toBe(expected.length);
  expect(worst).toBeLessThan(tolerance);
}

describe.each(runnable)('float convolution on %s', (isa) => {
  it.each(Object.entries(convCases))('%s equals the formula', async (_name, c) => {
    for (const residualFirst of [false, true]) {
      for (const unary of [0, 1, 3, 10]) {
        const { bytes, x, expected } = floatConv(c, residualFirst, unary);
        const single = await runOne(bytes, x, new Float32Array(expected.length), { isa });
        expectClose(single, expected, 1e-4);
        expect(await runOne(bytes, x, new Float32Array(expected.length), { isa, threads: 4 })).toEqual(single);
      }
    }
  });
});
