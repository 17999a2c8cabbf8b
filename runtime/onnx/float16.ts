import { roundHalfEven } from '../ops/unary-functions.js';

/** IEEE 754 binary16 to a number. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const single = new Float32Array(1);
const singleBits = new Uint32Array(single.buffer);

/** A number, rounded to float32 first, as the bits of IEEE 754 binary16: to the nearest, ties to even; from 65520 on infinity. */
export function numberToFloat16(value: number): number {
  single[0] = value;
  const bits = singleBits[0] ?? 0;
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  if (magnitude >= 0x47800000) return sign | 0x7c00;
  // Below the least normal number, 2^-14, the bits count units of 2^-24.
  if (magnitude < 0x38800000) return sign | roundHalfEven(Math.abs(single[0] ?? 0) * 2 ** 24);
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** A bfloat16, the upper half of a float32, as a number. */
export function bfloat16ToNumber(bits: number): number {
  singleBits[0] = bits << 16;
  return single[0] ?? 0;
}

/** A number, rounded to float32 first, as the bits of a bfloat16: to the nearest, ties to even. */
export function numberToBfloat16(value: number): number {
  single[0] = value;
  const bits = singleBits[0] ?? 0;
  if ((bits & 0x7fffffff) > 0x7f800000) return ((bits >>> 16) & 0x8000) | 0x7fc0;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}
