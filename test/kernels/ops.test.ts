import { describe, expect, it } from 'vitest';

import { describeCpu, type Isa } from '../../kernels/binding/index.js';
import { f, randomIntegers, type Attribute } from './support/program-writer.js';
import { expectClose, indices, offset, product, runOp, six, type OpCase } from './support/run-op.js';
import { requantize } from './support/reference.js';

const isas: Isa[] = [...new Set<Isa>(['ref', describeCpu().selected])];
const f32 = Math.fround;

const random = randomIntegers(77);
const floats = (n: number, lo = -3, hi = 3): Float32Array => Float32Array.from({ length: n }, () => lo + ((hi - lo) * random(0, 10000)) / 10000);
const bytes = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => random(0, 255));
const signedBytes = (n: number): Int8Array => Int8Array.from({ length: n }, () => random(-128, 127));

describe.each(isas)('8-bit ops on %s', (isa) => {
  const shapes: [string, number[], number[], number[]][] = [
    ['one shape', [1, 5, 6, 20], [1, 5, 6, 20], [1, 5, 6, 20]],
    ['channel factors', [1, 5, 6, 20], [1, 1, 1, 20], [1, 5, 6, 20]],
    ['a scalar', [], [2, 3, 17], [2, 3, 17]],
    ['both sides', [4, 1, 3], [1, 5, 1], [4, 5, 3]],
  ];
  it.each(shapes)('adds, subtracts and multiplies: %s', async (_name, aDims, bDims, yDims) => {
    for (const [kind, aMul, bMul] of [[0, 0.7, 0.4], [1, 0.5, 0.5], [2, 0.011, 0]] as const) {
      const a = bytes(product(aDims));
      const b = bytes(product(bDims));
      const q = { a: 120, b: 7, y: 133, lo: 10, hi: 240 };
      const expected = [...indices(yDims)].map((index) => {
        const av = (a[offset(index, aDims)] ?? 0) - q.a;
        const bv = (b[offset(index, bDims)] ?? 0) - q.b;
        const sum = f32(f32(av * f32(aMul)) + f32(bv * f32(kind === 1 ? -bMul : bMul)));
        return requantize(kind === 2 ? f32(f32(av * bv) * f32(aMul)) : sum, q.lo, q.hi, q.y);
      });
      const stride = yDims.at(-1) === 20 ? 32 : undefined;
      const actual = await runOp(isa, {
        op: 'binaryQ8',
        inputs: [{ type: 'u8', dims: aDims, data: a, ...(stride && aDims.length === 4 ? { stride } : {}) }, { type: 'u8', dims: bDims, data: b }],
        attributes: [kind, q.a, q.b, q.y, q.lo, q.hi, f(aMul), f(bMul)],
        output: { type: 'u8', dims: yDims, ...(stride ? { stride } : {}) },
      });
      expect(actual).toEqual(expected);
    }
  });

  it('looks up tables: one, one for each channel, signed', async () => {
    const dims = [3, 4, 5];
    const x = bytes(60);
    const table = bytes(256);
    const tables = bytes(5 * 256);
    const lut = (constant: Uint8Array): Promise<number[]> =>
      runOp(isa, { op: 'lutQ8', inputs: [{ type: 'u8', dims, data: x }, { type: 'u8', dims: [constant.length], data: constant, constant: true }], output: { type: 'u8', dims, stride: 16 } });
    expect(await lut(table)).toEqual(Array.from(x, (v) => table[v]));
    expect(await lut(tables)).toEqual(Array.from(x, (v, i) => tables[(i % 5) * 256 + v]));
    const signed = signedBytes(60);
    const signedTable = signedBytes(256);
    const inputs: OpCase['inputs'] = [{ type: 's8', dims, data: signed }, { type: 's8', dims: [256], data: signedTable, constant: true }];
    expect(await runOp(isa, { op: 'lutQ8', activation: 's8', inputs, output: { type: 's8', dims } })).toEqual(Array.from(signed, (v) => signedTable[v + 128]));
  });

  it('quantizes and dequantizes, dense and into padded pixels', async () => {
    const x = floats(9 * 7 * 3, -2, 2);
    const dims = [9, 7, 3];
    const expected = Array.from(x, (v) => requantize(f32(v / f32(0.013)), 0, 255, 121));
    for (const stride of [3, 16]) {
      expect(await runOp(isa, { op: 'quantize', inputs: [{ type: 'f32', dims, data: x }], attributes: [f(0.013), 121], output: { type: 'u8', dims, stride } })).toEqual(expected);
    }
    const b = bytes(189);
    const back = await runOp(isa, { op: 'dequantize', inputs: [{ type: 'u8', dims, data: b, stride: 16 }], attributes: [f(0.013), 121], output: { type: 'f32', dims } });
    expect(back).toEqual(Array.from(b, (v) => f32((v - 121) * f32(0.013))));
  });

  it('walks pixels of one channel that lie apart', async () => {
    const dims = [3, 5, 1];
    const apart = { dims, stride: 4 };
    const [a, b, table] = [bytes(15), bytes(15), bytes(256)];
    const x = floats(15, -2, 2);
    expect(await runOp(isa, { op: 'lutQ8', inputs: [{ type: 'u8', ...apart, data: a }, { type: 'u8', dims: [256], data: table, constant: true }], output: { type: 'u8', ...apart } })).toEqual(Array.from(a, (v) => table[v]));
    const sums = Array.from(a, (v, i) => requantize(f32(f32(v * f32(0.5)) + f32((b[i] ?? 0) * f32(0.5))), 0, 255, 0));
    const addends: OpCase['inputs'] = [{ type: 'u8', ...apart, data: a }, { type: 'u8', dims, data: b }];
    expect(await runOp(isa, { op: 'binaryQ8', inputs: addends, attributes: [0, 0, 0, 0, 0, 255, f(0.5), f(0.5)], output: { type: 'u8', ...apart } })).toEqual(sums);
    const rectified = Array.from(x, (v) => Math.max(v, 0));
    expect(await runOp(isa, { op: 'unaryF32', inputs: [{ type: 'f32', ...apart, data: x }], attributes: [1, f(0), f(0)], output: { type: 'f32', ...apart } })).toEqual(rectified);
    const doubled = await runOp(isa, { op: 'binaryF32', inputs: [{ type: 'f32', ...apart, data: x }, { type: 'f32', dims, data: x }], attributes: [0, 1, f(0), f(0)], output: { type: 'f32', ...apart } });
    expect(doubled).toEqual(rectified.map((v) => 2 * v));
  });

  it('normalizes pixels', async () => {
    const x = bytes(5 * 6 * 3);
    const mul = Float32Array.of(0.01, 0.02, 0.03);
    const add = Float32Array.of(-1, 0.5, 2);
    const inputs: OpCase['inputs'] = [{ type: 'u8', dims: [5, 6, 3], data: x }, { type: 'f32', dims: [3], data: mul, constant: true }, { type: 'f32', dims: [3], data: add, constant: true }];
    const actual = await runOp(isa, { op: 'normalizeU8', activation: 's8', inputs, output: { type: 'f32', dims: [5, 6, 3] } });
    expect(actual).toEqual(Array.from(x, (v, i) => f32(f32(v * (mul[i % 3] ?? 0)) + (add[i % 3] ?? 0))));
  });
});

interface Pool {
  kernel: number;
  stride: number;
  pads: [number, number, number, number];
  dilation: number;
  includePad: number;
  out: [number, number];
}

/** The values under each window of [1, h, w, c], and how many positions an average divides by. */
function windows(p: Pool, h: number, w: number, c: number, x: ArrayLike<number>): { values: number[]; divisor: number }[] {
  const result: { values: number[]; divisor: number }[] = [];
  for (const [oy, ox, ch] of indices([...p.out, c]) as Generator<[number, number, number]>) {
    const values: number[] = [];
    let divisor = 0;
    for (const [ky, kx] of indices([p.kernel, p.kernel]) as Generator<[number, number]>) {
      const iy = oy * p.stride - p.pads[0] + ky * p.dilation;
      const ix = ox * p.stride - p.pads[1] + kx * p.dilation;
      const inside = iy >= 0 && iy < h && ix >= 0 && ix < w;
      if (inside) values.push(x[(iy * w + ix) * c + ch] ?? 0);
      if (inside || (p.includePad === 1 && iy < h + p.pads[2] && ix < w + p.pads[3])) ++divisor;
    }
    result.push({ values, divisor });
  }
  return result;
}

const pools: Record<string, Pool> = {
  '3x3 stride 2, padded': { kernel: 3, stride: 2, pads: [1, 1, 1, 1], dilation: 1, includePad: 0, out: [4, 5] },
  'padding counts': { kernel: 3, stride: 1, pads: [1, 1, 1, 1], dilation: 1, includePad: 1, out: [8, 9] },
  'rounded up': { kernel: 2, stride: 2, pads: [0, 0, 0, 0], dilation: 1, includePad: 0, out: [4, 5] },
  dilated: { kernel: 3, stride: 1, pads: [0, 0, 0, 0], dilation: 2, includePad: 0, out: [4, 5] },
  global: { kernel: 9, stride: 1, pads: [0, 0, 1, 0], dilation: 1, includePad: 0, out: [1, 1] },
};

describe.each(isas)('pooling on %s', (isa) => {
  it.each(Object.entries(pools))('%s', async (_name, p) => {
    const [h, w, c] = [8, 9, 19];
    const dims = [1, ...p.out, c];
    const geometry = (kind: number): Attribute[] => [kind, p.kernel, p.kernel, p.stride, p.stride, ...p.pads, p.dilation, p.dilation, p.includePad];
    const x = bytes(h * w * c);
    const xf = floats(h * w * c);
    const bytesIn: OpCase['inputs'] = [{ type: 'u8', dims: [1, h, w, c], data: x, stride: 32 }];
    const max = await runOp(isa, { op: 'poolQ8', inputs: bytesIn, attributes: [...geometry(0), 9, 9, 0, 255, f(1)], output: { type: 'u8', dims } });
    expect(max).toEqual(windows(p, h, w, c, x).map((v) => Math.max(...v.values)));
    const average = await runOp(isa, { op: 'poolQ8', inputs: bytesIn, attributes: [...geometry(1), 9, 20, 3, 250, f(0.9)], output: { type: 'u8', dims } });
    const mean = (v: { values: number[]; divisor: number }): number => f32(f32(v.values.reduce((a, b) => a + b - 9, 0) * f32(0.9)) / v.divisor);
    expect(average).toEqual(windows(p, h, w, c, x).map((v) => requantize(mean(v), 3, 250, 20)));
    const floatsIn: OpCase['inputs'] = [{ type: 'f32', dims: [1, h, w, c], data: xf }];
    const zeros: Attribute[] = [0, 0, 0, 0, f(0)];
    const fmax = await runOp(isa, { op: 'poolF32', inputs: floatsIn, attributes: [...geometry(0), ...zeros], output: { type: 'f32', dims } });
    expect(fmax).toEqual(windows(p, h, w, c, xf).map((v) => Math.max(...v.values)));
    const fmean = await runOp(isa, { op: 'poolF32', inputs: floatsIn, attributes: [...geometry(1), ...zeros], output: { type: 'f32', dims } });
    expectClose(fmean, windows(p, h, w, c, xf).map((v) => v.values.reduce((a, b) => a + b, 0) / v.divisor));
  });
});

/**
 * Source coordinate of ONNX Resize, in single precision: nearest modes jump at whole numbers, where the last bit decides. A little short of a half
 * counts as a half in round_prefer_ceil, as in onnxruntime.
 */
function coordinate(o: number, size: number, outSize: number, scale: number, mode: number): number {
  if (mode === 1) return f32(o / scale);
  if (mode === 2) return outSize > 1 ? f32((o * (size - 1)) / (outSize - 1)) : 0;
  if (mode === 3 && outSize <= 1) return 0;
  return f32(f32((o + 0.5) / scale) - 0.5);
}

const clampTo = (v: number, size: number): number => Math.min(Math.max(v, 0), size - 1);

function resize(x: ArrayLike<number>, [h, w, c]: [number, number, number], [oh, ow]: [number, number], mode: number, coordinates: number, nearest: number): number[] {
  const round = [(v: number): number => Math.ceil(f32(v - 0.5)), (v: number): number => Math.floor(v + 1e-6 + 0.5), Math.floor, Math.ceil][nearest] ?? Math.floor;
  const at = (y: number, xx: number, ch: number): number => x[(y * w + xx) * c + ch] ?? 0;
  return [...indices([oh, ow, c])].map(([oy = 0, ox = 0, ch = 0]) => {
    const y = coordinate(oy, h, oh, f32(oh / h), coordinates);
    const xx = coordinate(ox, w, ow, f32(ow / w), coordinates);
    if (mode === 0) return at(clampTo(round(y), h), clampTo(round(xx), w), ch);
    const [cy, cx] = [clampTo(y, h), clampTo(xx, w)];
    const [y0, x0] = [Math.floor(cy), Math.floor(cx)];
    const [y1, x1] = [clampTo(y0 + 1, h), clampTo(x0 + 1, w)];
    const top = at(y0, x0, ch) + (at(y0, x1, ch) - at(y0, x0, ch)) * (cx - x0);
    const bottom = at(y1, x0, ch) + (at(y1, x1, ch) - at(y1, x0, ch)) * (cx - x0);
    return top + (bottom - top) * (cy - y0);
  });
}

describe.each(isas)('resizing on %s', (isa) => {
  const sizes: [number, number][] = [[10, 14], [3, 4], [1, 1], [7, 20]];
  it.each([0, 1, 2, 3].flatMap((coordinates) => [[coordinates, 6], [coordinates, 19]] as const))('coordinates of mode %i, %i channels', async (coordinates, c) => {
    for (const [oh, ow] of sizes) {
      for (const [mode, nearest] of [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]] as const) {
        const attributes: Attribute[] = [mode, coordinates, nearest, f(oh / 5), f(ow / 7), 128];
        const xf = floats(5 * 7 * c);
        const float = await runOp(isa, { op: 'resizeF32', inputs: [{ type: 'f32', dims: [1, 5, 7, c], data: xf }], attributes, output: { type: 'f32', dims: [1, oh, ow, c] } });
        expectClose(float, resize(xf, [5, 7, c], [oh, ow], mode, coordinates, nearest), 2e-5);
        const xq = bytes(5 * 7 * c);
        const byte = await runOp(isa, { op: 'resizeQ8', inputs: [{ type: 'u8', dims: [1, 5, 7, c], data: xq, stride: 32 }], attributes, output: { type: 'u8', dims: [1, oh, ow, c] } });
        expectClose(byte, resize(xq, [5, 7, c], [oh, ow], mode, coordinates, nearest), 0.51);
      }
    }
  });
});

describe.each(isas)('float ops on %s', (isa) => {
  const binary: [string, number, (a: number, b: number) => number][] = [
    ['add', 0, (a, b) => a + b], ['subtract', 1, (a, b) => a - b], ['multiply', 2, (a, b) => a * b], ['divide', 3, (a, b) => a / b],
    ['min', 4, Math.min], ['max', 5, Math.max], ['power', 6, Math.pow], ['PRelu', 7, (a, b) => (a < 0 ? a * b : a)],
  ];
  const shapes: [number[], number[], number[]][] = [
    [[2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5]], [[2, 3, 4, 5], [5], [2, 3, 4, 5]], [[1], [6, 7], [6, 7]],
    [[2, 1, 4, 1], [3, 1, 5], [2, 3, 4, 5]], [[2, 1, 2, 1, 2, 1], [1, 3, 1, 3, 1, 3], [2, 3, 2, 3, 2, 3]], [[5000], [], [5000]],
  ];
  it.each(binary)('%s with broadcasting', async (_name, kind, fn) => {
    for (const [aDims, bDims, yDims] of shapes) {
      const a = kind === 6 ? floats(product(aDims), 0.1, 3) : floats(product(aDims));
      const b = kind === 3 ? floats(product(bDims), 0.5, 2) : floats(product(bDims));
      const inputs: OpCase['inputs'] = [{ type: 'f32', dims: aDims, data: a }, { type: 'f32', dims: bDims, data: b }];
      const actual = await runOp(isa, { op: 'binaryF32', inputs, attributes: [kind, 1, f(0), f(0)], output: { type: 'f32', dims: yDims } });
      expectClose(actual, [...indices(yDims)].map((i) => Math.max(0, fn(a[offset(i, aDims)] ?? 0, b[offset(i, bDims)] ?? 0))), 1e-5);
    }
  });

  const erf = (x: number): number => {
    let sum = x;
    for (let n = 1, term = x; n < 60; ++n) sum += (term *= (-x * x) / n) / (2 * n + 1);
    return (2 / Math.sqrt(Math.PI)) * sum;
  };
  const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
  const unary: [string, number, (x: number) => number, number?, number?][] = [
    ['identity', 0, (x) => x], ['relu', 1, (x) => Math.max(x, 0)], ['clip', 2, (x) => Math.min(Math.max(x, -1), 2), -1, 2], ['sigmoid', 3, sigmoid],
    ['tanh', 4, Math.tanh], ['exp', 5, Math.exp], ['log', 6, Math.log], ['sqrt', 7, Math.sqrt], ['abs', 8, Math.abs], ['neg', 9, (x) => -x],
    ['leaky relu', 10, (x) => (x < 0 ? 0.3 * x : x), 0.3], ['elu', 11, (x) => (x < 0 ? 0.7 * Math.expm1(x) : x), 0.7],
    ['hard sigmoid', 12, (x) => Math.min(Math.max(0.2 * x + 0.5, 0), 1), 0.2, 0.5], ['hard swish', 13, (x) => x * Math.min(Math.max(x / 6 + 0.5, 0), 1)],
    ['gelu', 14, (x) => 0.5 * x * (1 + erf(x / Math.SQRT2))], ['erf', 15, erf], ['softplus', 16, (x) => Math.log1p(Math.exp(x))],
    ['mish', 17, (x) => x * Math.tanh(Math.log1p(Math.exp(x)))], ['reciprocal', 18, (x) => 1 / x], ['floor', 19, Math.floor], ['ceil', 20, Math.ceil],
    ['round', 21, (x) => requantize(x, -100, 100, 0)], ['sin', 22, Math.sin], ['cos', 23, Math.cos], ['silu', 24, (x) => x * sigmoid(x)], ['sign', 25, Math.sign],
  ];
  it.each(unary)('%s', async (name, kind, fn, alpha = 0, beta = 0) => {
    const positive = ['log', 'sqrt', 'reciprocal'].includes(name);
    const x = floats(3 * 333, positive ? 0.1 : -3, 3);
    const actual = await runOp(isa, { op: 'unaryF32', inputs: [{ type: 'f32', dims: [3, 333], data: x }], attributes: [kind, f(alpha), f(beta)], output: { type: 'f32', dims: [3, 333] } });
    expectClose(actual, Array.from(x, fn), 2e-6);
  });

  const beyond: [string, number, (x: number) => number, number?][] = [
    ['sin of large angles', 22, Math.sin], ['cos of large angles', 23, Math.cos], ['celu with a negative alpha', 61, (x) => (x < 0 ? -Math.expm1(-x) : x), -1],
  ];
  it.each(beyond)('%s, which the kernels leave to the reference', async (_name, kind, fn, alpha = 0) => {
    const x = Float32Array.from(alpha === 0 ? [3e5, 1, -1e7, 1e5, 12_345_678, -0.5, 100_001] : [-3, -0.5, 0, 2, -1e-3, 5, -2]);
    const actual = await runOp(isa, { op: 'unaryF32', inputs: [{ type: 'f32', dims: [7], data: x }], attributes: [kind, f(alpha), f(0)], output: { type: 'f32', dims: [7] } });
    expectClose(actual, Array.from(x, fn), 2e-6);
  });

  it.each([
    ['a constant matrix', [3, 5], [5, 7], [3, 7], true, 0, 0], ['a matrix of the run', [3, 5], [5, 7], [3, 7], false, 0, 0],
    ['both transposed', [5, 30], [70, 5], [30, 70], false, 1, 1], ['a batch', [2, 3, 4, 5], [2, 3, 5, 6], [2, 3, 4, 6], false, 0, 0],
    ['a broadcast batch', [2, 1, 4, 5], [3, 5, 6], [2, 3, 4, 6], false, 0, 0], ['a batch with one constant matrix', [4, 9, 5], [5, 6], [4, 9, 6], true, 0, 0],
    ['constants transposed', [4, 5, 9], [6, 5], [4, 9, 6], true, 1, 1],
  ] as const)('multiplies matrices: %s', async (_name, aDims, bDims, yDims, constant, ta, tb) => {
    const [m = 0, n = 0] = yDims.slice(-2);
    const k = (ta ? aDims.at(-2) : aDims.at(-1)) ?? 0;
    const a = floats(product(aDims));
    const b = floats(product(bDims));
    const bias = floats(n);
    const inputs: OpCase['inputs'] = [{ type: 'f32', dims: [...aDims], data: a }, { type: 'f32', dims: [...bDims], data: b, constant }, { type: 'f32', dims: [n], data: bias, constant: true }];
    const actual = await runOp(isa, { op: 'matMulF32', inputs, attributes: [ta, tb, f(0.5)], output: { type: 'f32', dims: [...yDims] } });
    const expected = [...indices(yDims)].map((index) => {
      const [i = 0, j = 0] = index.slice(-2);
      const batch = index.slice(0, -2);
      const matrixA = offset(batch, aDims.slice(0, -2)) * m * k;
      const matrixB = offset(batch, bDims.slice(0, -2)) * n * k;
      let sum = 0;
      for (let p = 0; p < k; ++p) sum += (a[matrixA + (ta ? p * m + i : i * k + p)] ?? 0) * (b[matrixB + (tb ? j * k + p : p * n + j)] ?? 0);
      return 0.5 * sum + (bias[j] ?? 0);
    });
    expectClose(actual, expected, 1e-5);
  });

  const reductions: [string, number, (v: number[]) => number][] = [
    ['mean', 0, (v) => v.reduce((a, b) => a + b, 0) / v.length], ['sum', 1, (v) => v.reduce((a, b) => a + b, 0)], ['max', 2, (v) => Math.max(...v)],
    ['min', 3, (v) => Math.min(...v)], ['l2', 4, (v) => Math.hypot(...v)], ['sum of squares', 5, (v) => v.reduce((a, b) => a + b * b, 0)],
    ['product', 6, (v) => v.reduce((a, b) => a * b, 1)],
  ];
  it.each(reductions)('reduces by %s over any axes', async (_name, kind, fn) => {
    const dims = [2, 3, 4, 5];
    const x = floats(120, -1.2, 1.2);
    for (let mask = 0; mask < 16; ++mask) {
      const yDims = dims.map((dim, axis) => ((mask >> axis) & 1 ? 1 : dim));
      const groups = new Map<number, number[]>();
      for (const index of indices(dims)) {
        const key = offset(index, yDims);
        groups.set(key, [...(groups.get(key) ?? []), x[offset(index, dims)] ?? 0]);
      }
      const actual = await runOp(isa, { op: 'reduceF32', inputs: [{ type: 'f32', dims, data: x }], attributes: [kind, mask], output: { type: 'f32', dims: yDims } });
      expectClose(actual, [...groups.entries()].sort(([a], [b]) => a - b).map(([, values]) => fn(values)), 1e-5);
    }
  });

  it.each([0, 1, 2, 3])('softmax and log-softmax along axis %i', async (axis) => {
    const dims = [2, 3, 4, 50];
    const x = floats(product(dims), -20, 20);
    const sums = new Map<number, number>();
    const rest = dims.map((dim, i) => (i === axis ? 1 : dim));
    for (const index of indices(dims)) sums.set(offset(index, rest), (sums.get(offset(index, rest)) ?? 0) + Math.exp(x[offset(index, dims)] ?? 0));
    for (const log of [0, 1]) {
      const actual = await runOp(isa, { op: 'softmaxF32', inputs: [{ type: 'f32', dims, data: x }], attributes: [axis, log], output: { type: 'f32', dims } });
      const share = (index: number[]): number => Math.exp(x[offset(index, dims)] ?? 0) / (sums.get(offset(index, rest)) ?? NaN);
      expectClose(actual, [...indices(dims)].map((index) => (log ? Math.log(share(index)) : share(index))), 5e-6);
    }
  });

  it.each([true, false])('normalizes rows between gaps: scale and bias %s', async (both) => {
    const [rows, n] = [7, 37];
    const [x, scale, bias] = [floats(rows * n, 2, 9), floats(n), floats(n)];
    const operands: OpCase['inputs'] = [{ type: 'f32', dims: [rows, n], data: x, stride: 40 }];
    if (both) operands.push({ type: 'f32', dims: [n], data: scale, constant: true }, { type: 'f32', dims: [1, n], data: bias });
    const actual = await runOp(isa, { op: 'normalizeF32', inputs: operands, attributes: [f(0.01)], output: { type: 'f32', dims: [rows, n], stride: 48 } });
    const wanted = Array.from(x, (value, i) => {
      const row = x.subarray(i - (i % n), i - (i % n) + n);
      const mean = row.reduce((sum, v) => sum + v / n, 0);
      const normal = (value - mean) / Math.sqrt(row.reduce((sum, v) => sum + (v - mean) ** 2 / n, 0) + 0.01);
      return both ? normal * (scale[i % n] ?? 0) + (bias[i % n] ?? 0) : normal;
    });
    expectClose(actual, wanted, 1e-5);
  });

  const orders: [string, { q: number[]; k: number[]; v: number[]; y: number[] }][] = [
    ['as in the formula', { q: [0, 1, 2, 3], k: [0, 1, 2, 3], v: [0, 1, 2, 3], y: [0, 1, 2, 3] }],
    ['heads side by side', { q: [0, 2, 1, 3], k: [0, 2, 1, 3], v: [0, 2, 1, 3], y: [0, 2, 1, 3] }],
    ['keys and values turned', { q: [0, 1, 2, 3], k: [0, 1, 3, 2], v: [1, 0, 3, 2], y: [1, 0, 2, 3] }],
  ];
  describe.each(orders)('attention, %s', (_name, order) => {
    // Queries in several blocks; keys and values that no vector divides.
    it.each([[13, 5, 3, 9], [130, 33, 16, 20], [3, 700, 8, 1]] as const)('%i queries of %i keys', async (m, n, d, e) => {
      const batch = [2, 3];
      const stored = (dims: readonly number[], perm: readonly number[]): number[] => perm.reduce<number[]>((out, axis, i) => ((out[axis] = dims[i] ?? 1), out), []);
      const operand = (dims: readonly number[], perm: readonly number[]) => {
        const data = floats(product(dims));
        return { dims: stored(dims, perm), data, at: (...index: number[]): number => data[offset(stored(index, perm), stored(dims, perm))] ?? NaN };
      };
      const [q, k, v] = [operand([...batch, m, d], order.q), operand([...batch, n, d], order.k), operand([...batch, n, e], order.v)];
      const mask = floats(3 * n).map((value, i) => (i % 5 === 3 ? -Infinity : value));
      const inputs: OpCase['inputs'] = [q, k, v].map(({ dims, data }) => ({ type: 'f32' as const, dims, data }));
      const attributes = [f(0.3), ...[order.q, order.k, order.v, order.y].flatMap((perm) => six(perm, 0))];
      for (const masked of [false, true]) {
        const operands = masked ? [...inputs, { type: 'f32' as const, dims: [3, 1, n], data: mask }] : inputs;
        const y = await runOp(isa, { op: 'attentionF32', inputs: operands, attributes, output: { type: 'f32', dims: stored([...batch, m, e], order.y) } });
        for (const [b, h, i] of [[0, 0, 0], [1, 2, m - 1], [0, 1, Math.floor(m / 2)], [1, 0, m - 1]] as const) {
          const shares = Array.from({ length: n }, (_, j) => Math.exp(0.3 * Array.from({ length: d }, (_, c) => q.at(b, h, i, c) * k.at(b, h, j, c)).reduce((sum, p) => sum + p, 0) + (masked ? (mask[h * n + j] ?? 0) : 0)));
          const sum = shares.reduce((total, share) => total + share, 0);
          const wanted = Array.from({ length: e }, (_, c) => shares.reduce((total, share, j) => total + (share / sum) * v.at(b, h, j, c), 0));
          const dims = stored([...batch, m, e], order.y);
          expectClose(wanted.map((_, c) => y[offset(stored([b, h, i, c], order.y), dims)] ?? NaN), wanted, 1e-5);
        }
      }
    });
  });
});

describe('data movement', () => {
  const isa: Isa = 'ref';

  it('copies slices with steps, forwards and backwards, of both element sizes', async () => {
    const [xDims, extent] = [[4, 9, 5], [3, 4, 2]];
    const [start, step] = [[1, 8, 0], [1, -2, 3]];
    const taken = [...indices(extent)].map((index) => index.map((i, axis) => (start[axis] ?? 0) + i * (step[axis] ?? 0)));
    for (const type of ['u8', 'f32'] as const) {
      const x = type === 'u8' ? bytes(180) : floats(180);
      const attributes = [...six(extent, 1), ...six(start, 0), ...six(step, 1), ...six([0, 0, 0], 0), ...six([1, 1, 1], 1)];
      const actual = await runOp(isa, { op: 'copy', inputs: [{ type, dims: xDims, data: x, stride: 16 }], attributes, output: { type, dims: extent, stride: 4 } });
      expect(actual).toEqual(taken.map((index) => x[offset(index, xDims)]));
    }
  });

  it.each([
    [[1, 3, 33, 35], [0, 2, 3, 1]], [[2, 33, 5, 7], [0, 3, 1, 2]], [[3, 4, 5], [2, 1, 0]], [[2, 3, 4, 5], [1, 0, 2, 3]], [[2, 3, 4, 5, 2, 3], [5, 4, 3, 2, 1, 0]], [[40, 70], [1, 0]],
    [[1, 1, 4], [2, 0, 1]], [[1, 11, 4, 9], [0, 2, 3, 1]], [[1, 5, 3, 17], [0, 3, 1, 2]], [[3, 5, 2, 37], [0, 1, 3, 2]],
  ])('transposes %j by %j', async (dims, perm) => {
    const yDims = perm.map((axis) => dims[axis] ?? 1);
    for (const type of ['u8', 'f32'] as const) {
      const x = type === 'u8' ? bytes(product(dims)) : floats(product(dims));
      const expected = [...indices(yDims)].map((index) => x[offset(dims.map((_, axis) => index[perm.indexOf(axis)] ?? 0), dims)]);
      for (const stride of [yDims.at(-1) ?? 1, 80]) {
        const actual = await runOp(isa, { op: 'transpose', inputs: [{ type, dims, data: x }], attributes: six(perm, 0), output: { type, dims: yDims, stride } });
        expect(actual).toEqual(expected);
      }
    }
  });

  it.each([['constant', 0], ['reflect', 1], ['edge', 2]] as const)('pads: %s', async (_name, mode) => {
    const [dims, before, yDims] = [[3, 4, 5], [1, 2, 3], [5, 7, 10]];
    const source = (i: number, size: number): number => {
      if (mode === 2) return Math.min(Math.max(i, 0), size - 1);
      if (mode === 0) return i >= 0 && i < size ? i : -1;
      const m = ((i % (2 * size - 2)) + 2 * size - 2) % (2 * size - 2);
      return m < size ? m : 2 * size - 2 - m;
    };
    for (const type of ['u8', 'f32', 's32'] as const) {
      const x = { u8: bytes(60), f32: floats(60), s32: Int32Array.from({ length: 60 }, () => random(-9, 9)) }[type];
      const expected = [...indices(yDims)].map((index) => {
        const from = index.map((i, axis) => source(i - (before[axis] ?? 0), dims[axis] ?? 1));
        return from.includes(-1) ? 7 : x[offset(from, dims)];
      });
      const attributes: Attribute[] = [mode, ...six(before, 0), f(7)];
      expect(await runOp(isa, { op: 'pad', inputs: [{ type, dims, data: x }], attributes, output: { type, dims: yDims } })).toEqual(expected);
    }
  });

  it('crops where a pad is negative', async () => {
    const x = floats(20);
    const attributes: Attribute[] = [0, ...six([-1, -2], 0), f(0)];
    const actual = await runOp(isa, { op: 'pad', inputs: [{ type: 'f32', dims: [4, 5], data: x }], attributes, output: { type: 'f32', dims: [2, 3] } });
    expect(actual).toEqual([7, 8, 9, 12, 13, 14].map((i) => x[i]));
  });

  it('gathers along any axis, and counts negative indices from the end', async () => {
    const dims = [3, 4, 5];
    const x = floats(60);
    const chosen = Int32Array.of(2, 0, -1, 1);
    for (const axis of [0, 1, 2]) {
      const yDims = [...dims.slice(0, axis), 2, 2, ...dims.slice(axis + 1)];
      const inputs: OpCase['inputs'] = [{ type: 'f32', dims, data: x }, { type: 's32', dims: [2, 2], data: chosen }];
      const actual = await runOp(isa, { op: 'gather', inputs, attributes: [axis], output: { type: 'f32', dims: yDims } });
      const expected = [...indices(yDims)].map((index) => {
        const picked = chosen[(index[axis] ?? 0) * 2 + (index[axis + 1] ?? 0)] ?? 0;
        return x[offset([...index.slice(0, axis), picked < 0 ? picked + (dims[axis] ?? 0) : picked, ...index.slice(axis + 2)], dims)];
      });
      expect(actual).toEqual(expected);
    }
  });
});
