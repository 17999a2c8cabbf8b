/** Independent, slow implementations of ops, straight from the formulas of program.h, for the tests of the engine. */
import type { ConvGeometry } from './program-writer.js';

const f32 = Math.fround;

/** Round half to even. */
export function roundHalfEven(v: number): number {
  const floor = Math.floor(v);
  const rest = v - floor;
  if (rest !== 0.5) return Math.round(v);
  return floor % 2 === 0 ? floor : floor + 1;
}

const clamp = (v: number, lo: number, hi: number): number => Math.min(Math.max(v, lo), hi);

/** R(clamp(v)) + zp. */
export const requantize = (v: number, lo: number, hi: number, zp: number): number => roundHalfEven(clamp(v, lo - zp, hi - zp)) + zp;

export interface ConvCase extends ConvGeometry {
  /** N, H, W, C of the input; O, KH, KW of the weights. */
  x: [number, number, number, number];
  o: number;
  kernel: [number, number];
}

export function outputShape({ x, o, kernel, stride = 1, pads = [0, 0, 0, 0], dilation = 1 }: ConvCase): [number, number, number, number] {
  const size = (n: number, k: number, before: number, after: number): number => Math.floor((n + before + after - dilation * (k - 1) - 1) / stride) + 1;
  return [x[0], size(x[1], kernel[0], pads[0], pads[2]), size(x[2], kernel[1], pads[1], pads[3]), o];
}

/** sum (x - zero) * w of each output element; x and w are dense NHWC and OHWI. */
export function convolve(c: ConvCase, x: ArrayLike<number>, w: ArrayLike<number>, zero: number): Float64Array {
  const [n, oh, ow, o] = outputShape(c);
  const [, h, width, channels] = c.x;
  const { stride = 1, pads = [0, 0, 0, 0], dilation = 1, group = 1, kernel } = c;
  const perGroup = channels / group;
  const result = new Float64Array(n * oh * ow * o);
  let at = 0;
  for (let b = 0; b < n; ++b)
    for (let y = 0; y < oh; ++y)
      for (let xx = 0; xx < ow; ++xx)
        for (let out = 0; out < o; ++out, ++at) {
          const first = Math.floor(out / (o / group)) * perGroup;
          let sum = 0;
          for (let ky = 0; ky < kernel[0]; ++ky)
            for (let kx = 0; kx < kernel[1]; ++kx) {
              const iy = y * stride - pads[0] + ky * dilation;
              const ix = xx * stride - pads[1] + kx * dilation;
              if (iy < 0 || iy >= h || ix < 0 || ix >= width) continue;
              for (let i = 0; i < perGroup; ++i) {
                const value = x[((b * h + iy) * width + ix) * channels + first + i] ?? 0;
                sum += (value - zero) * (w[((out * kernel[0] + ky) * kernel[1] + kx) * perGroup + i] ?? 0);
              }
            }
          result[at] = sum;
        }
  return result;
}

/** float(acc) * m in single precision, as the kernels compute it. */
export const scaled = (acc: number, m: number): number => f32(f32(acc) * f32(m));
