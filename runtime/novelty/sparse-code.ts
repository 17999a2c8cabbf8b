/** Active inputs of an encoder: their numbers, and how strongly each is active (the sum of squares is 1, or 0 when none is). */
export interface SparseCode {
  readonly indices: Uint16Array;
  readonly rates: Float32Array;
}

/**
 * The `active` values of a vector that are largest without their signs, as inputs of an encoder: value i is input 2i when positive, 2i + 1 when
 * negative. Equal values: the first. A vector with values that are no numbers has no active input.
 */
export function sparseCode(vector: ArrayLike<number>, active: number): SparseCode {
  const order = Array.from({ length: vector.length }, (_, i) => i).sort((a, b) => Math.abs(vector[b] ?? 0) - Math.abs(vector[a] ?? 0) || a - b).slice(0, active);
  const norm = Math.hypot(...order.map((i) => vector[i] ?? 0));
  if (!(norm > 0) || !Number.isFinite(norm)) return { indices: new Uint16Array(0), rates: new Float32Array(0) };
  order.sort((a, b) => a - b);
  return {
    indices: Uint16Array.from(order, (i) => 2 * i + ((vector[i] ?? 0) < 0 ? 1 : 0)),
    rates: Float32Array.from(order, (i) => Math.abs(vector[i] ?? 0) / norm),
  };
}
