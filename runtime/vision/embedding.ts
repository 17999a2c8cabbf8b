/** A copy scaled to unit length; null when the vector has no direction (zero, NaN or infinite). */
export function normalize(vector: Float32Array): Float32Array | null {
  let sum = 0;
  for (const value of vector) sum += value * value;
  if (!(sum > 0) || !Number.isFinite(sum)) return null;
  const factor = 1 / Math.sqrt(sum);
  return vector.map((value) => value * factor);
}

/** The direction of the sum of unit vectors; null when they cancel, or there are none. */
export function meanDirection(vectors: readonly Float32Array[]): Float32Array | null {
  const sum = new Float32Array(vectors[0]?.length ?? 0);
  for (const vector of vectors) for (let i = 0; i < sum.length; i++) sum[i] = (sum[i] ?? 0) + (vector[i] ?? 0);
  return normalize(sum);
}

/** Cosine similarity of two vectors of equal length, -1..1; 0 when one of them has no direction. */
export function cosineSimilarity(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let squareA = 0;
  let squareB = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i] ?? 0;
    const y = b[i] ?? 0;
    dot += x * y;
    squareA += x * x;
    squareB += y * y;
  }
  const cosine = dot / Math.sqrt(squareA * squareB);
  return Number.isFinite(cosine) ? Math.max(-1, Math.min(1, cosine)) : 0;
}
