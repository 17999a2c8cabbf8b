/**
 * Floats of few bits: a sign, `exponent` bits and `mantissa` bits, with gradual underflow and without infinities or NaN, so that every code is a number
 * (Kondrat'ev and Goncharenko, Optoelectronics, Instrumentation and Data Processing 56(1), 2020: 11 bits equal float32 in networks without fine-tuning).
 */
export interface MinifloatFormat {
  readonly exponent: number;
  readonly mantissa: number;
  /** A field f > 0 of the exponent stands for 2 ^ (f - bias). */
  readonly bias: number;
}

/** Fewest and most bits of a number. */
export const [leastBits, mostBits] = [6, 16];
const mostExponentBits = 8;

export const bitsOf = ({ exponent, mantissa }: Pick<MinifloatFormat, 'exponent' | 'mantissa'>): number => 1 + exponent + mantissa;

/** `e5m5`. */
export const splitText = ({ exponent, mantissa }: Pick<MinifloatFormat, 'exponent' | 'mantissa'>): string => `e${exponent}m${mantissa}`;

/** Whether every code is a number that float32 holds, and the bits are of a number that is stored. */
export function isMinifloat({ exponent, mantissa, bias }: MinifloatFormat): boolean {
  const bits = bitsOf({ exponent, mantissa });
  if (![exponent, mantissa, bias].every(Number.isInteger) || exponent < 1 || exponent > mostExponentBits || mantissa < 0 || bits < leastBits || bits > mostBits) return false;
  return 2 ** exponent - 1 - bias <= 127 && 1 - bias - mantissa >= -149;
}

/** The largest number. */
export const largestOf = ({ exponent, mantissa, bias }: MinifloatFormat): number => (2 - 2 ** -mantissa) * 2 ** (2 ** exponent - 1 - bias);

const float = new Float32Array(1);
const word = new Int32Array(float.buffer);

/** Exponent of the power of two at or below a positive float32. */
function powerOf(magnitude: number): number {
  float[0] = magnitude;
  return (((word[0] ?? 0) >>> 23) & 255) - 127;
}

/** 2 ^ -300 and so on: a table is several times as fast as the operator. */
const powers = Float64Array.from({ length: 601 }, (_, i) => 2 ** (i - 300));
const powerOfTwo = (exponent: number): number => powers[exponent + 300] ?? 2 ** exponent;

/** Adding and taking away this number leaves a whole number, halves to the even one, of numbers up to 2 ^ 51. */
const roundsToWhole = 1.5 * 2 ** 52;

/** What is needed of a format to round many numbers. */
export class MinifloatRounding {
  private readonly largest: number;
  private readonly leastPower: number;

  constructor(readonly format: MinifloatFormat) {
    this.largest = largestOf(format);
    this.leastPower = 1 - format.bias;
  }

  /** The nearest number, ties to the even code; beyond the largest number, that one. */
  round(x: number): number {
    const { mantissa } = this.format;
    const magnitude = Math.min(Math.abs(x), this.largest);
    const power = Math.max(powerOf(magnitude), this.leastPower);
    const rounded = (magnitude * powerOfTwo(mantissa - power) + roundsToWhole - roundsToWhole) * powerOfTwo(power - mantissa);
    return x < 0 ? -rounded : rounded;
  }

  /** Its code. */
  encode(x: number): number {
    const { exponent, mantissa, bias } = this.format;
    const magnitude = Math.min(Math.abs(x), this.largest);
    const power = Math.max(powerOf(magnitude), this.leastPower);
    const significand = magnitude * powerOfTwo(mantissa - power) + roundsToWhole - roundsToWhole;
    // A significand that rounds up to the next power of two carries into the exponent.
    const code = (power + bias - 1) * powerOfTwo(mantissa) + significand;
    return x < 0 ? code + powerOfTwo(exponent + mantissa) : code;
  }
}

export function decode(code: number, { exponent, mantissa, bias }: MinifloatFormat): number {
  const [hidden, sign] = [2 ** mantissa, 2 ** (exponent + mantissa)];
  const magnitude = code % sign;
  const field = Math.floor(magnitude / hidden);
  const significand = (magnitude % hidden) + (field > 0 ? hidden : 0);
  return (code >= sign ? -1 : 1) * significand * 2 ** (Math.max(field, 1) - bias - mantissa);
}

/** The formats of so many bits for numbers up to `largest`: every split, with the bias that just holds it and the next one. */
export function formatsFor(bits: number, largest: number): MinifloatFormat[] {
  const power = largest > 0 ? powerOf(largest) : 0;
  const formats: MinifloatFormat[] = [];
  for (let exponent = 1; exponent <= Math.min(mostExponentBits, bits - 2); exponent++) {
    for (const beyond of [0, 1]) formats.push({ exponent, mantissa: bits - 1 - exponent, bias: 2 ** exponent - 1 - power - beyond });
  }
  return formats.filter(isMinifloat);
}

/** Codes as one stream of bits, the first one in the highest bits; eight codes are `bits` bytes, and the last eight are filled up with zeros. */
export function packCodes(codes: Uint16Array, bits: number): Uint8Array {
  const bytes = new Uint8Array(Math.ceil(codes.length / 8) * bits);
  let [waiting, count, at] = [0, 0, 0];
  for (let i = 0; i < 8 * Math.ceil(codes.length / 8); i++) {
    waiting = (waiting << bits) | (codes[i] ?? 0);
    for (count += bits; count >= 8; count -= 8) bytes[at++] = (waiting >> (count - 8)) & 255;
    waiting &= (1 << count) - 1;
  }
  return bytes;
}

/** Code number `index` of a stream. */
export function codeAt(bytes: ArrayLike<number>, bits: number, index: number): number {
  const at = index * bits;
  const first = at >> 3;
  const three = ((bytes[first] ?? 0) << 16) | ((bytes[first + 1] ?? 0) << 8) | (bytes[first + 2] ?? 0);
  return (three >> (24 - (at & 7) - bits)) & (2 ** bits - 1);
}
