// Loops over the channels of layers, each a function of its own: a network has tens of thousands of channels, so V8 optimizes what holds such a loop while the first
// model is compiled. That takes one or two milliseconds for one of these, and fifty to a hundred for a function with everything that it calls.

type Numbers = ArrayLike<number>;

/** Index of the first number that is not positive and finite, or how many there are. */
export function positiveUntil(numbers: Numbers): number {
  let i = 0;
  while (i < numbers.length && (numbers[i] ?? 0) > 0 && (numbers[i] ?? 0) < Infinity) i++;
  return i;
}

/** The least of some numbers; infinite for none. */
export function leastOf(numbers: Numbers): number {
  let least = Infinity;
  for (let i = 0; i < numbers.length; i++) if ((numbers[i] ?? least) < least) least = numbers[i] ?? least;
  return least;
}

export function onlyZeros(numbers: Numbers): boolean {
  for (let i = 0; i < numbers.length; i++) if (numbers[i] !== 0) return false;
  return true;
}

/** Each times a factor, in single precision. */
export function times(numbers: Numbers, factor: number): Float32Array {
  const out = new Float32Array(numbers.length);
  for (let i = 0; i < out.length; i++) out[i] = (numbers[i] ?? 1) * factor;
  return out;
}

/** Each by a divisor, in single precision. */
export function dividedBy(numbers: Numbers, divisor: number): Float32Array {
  const out = new Float32Array(numbers.length);
  for (let i = 0; i < out.length; i++) out[i] = (numbers[i] ?? 0) / divisor;
  return out;
}

/** (code - zero-point) * scale, in double precision; one scale and zero-point for all, or one for each. */
export function dequantized(codes: Numbers, scales: Numbers, zeroPoints: Numbers): Float64Array {
  const out = new Float64Array(codes.length);
  const step = scales.length === 1 ? 0 : 1;
  for (let i = 0; i < out.length; i++) out[i] = ((codes[i] ?? 0) - (zeroPoints[i * step] ?? 0)) * (scales[i * step] ?? 1);
  return out;
}

/** Each as a whole number of its step; undefined where one is beyond 32 bits. */
export function inSteps(numbers: Numbers, steps: Numbers): Int32Array | undefined {
  const out = new Int32Array(numbers.length);
  for (let i = 0; i < out.length; i++) {
    const value = Math.round((numbers[i] ?? 0) / (steps[i] ?? 1));
    if (!(value >= -(2 ** 31) && value < 2 ** 31)) return undefined;
    out[i] = value;
  }
  return out;
}
