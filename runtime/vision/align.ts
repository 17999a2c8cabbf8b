/** Points as x, y pairs, flat. */
export type Points = ArrayLike<number>;

/** x' = a x + b y + c, y' = d x + e y + f, as [a, b, c, d, e, f]. */
export type Affine = readonly [number, number, number, number, number, number];

/**
 * Where ArcFace-style embedders expect eyes, nose and mouth corners in a 112 x 112 crop (InsightFace's published
 * template; the order is the picture's left to right).
 */
export const arcfaceTemplate: Points = [
  38.2946, 51.6963, 73.5318, 51.5014, 56.0252, 71.7366, 41.5493, 92.3655, 70.7299, 92.2041,
];

/**
 * The similarity (rotation, uniform scale, translation, no reflection) that maps `from` onto `to` with the least squared
 * error: S. Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, in
 * the closed form of two dimensions (points as complex numbers: the scale and rotation are one complex regression).
 * Null when all points of `from` coincide: nothing can be estimated.
 */
export function similarityTransform(from: Points, to: Points): Affine | null {
  const count = Math.min(from.length, to.length) >> 1;
  const meanFrom = centroid(from, count);
  const meanTo = centroid(to, count);
  let real = 0;
  let imaginary = 0;
  let spread = 0;
  for (let i = 0; i < count; i++) {
    const x = (from[i * 2] ?? 0) - meanFrom.x;
    const y = (from[i * 2 + 1] ?? 0) - meanFrom.y;
    const u = (to[i * 2] ?? 0) - meanTo.x;
    const v = (to[i * 2 + 1] ?? 0) - meanTo.y;
    real += x * u + y * v;
    imaginary += x * v - y * u;
    spread += x * x + y * y;
  }
  if (!(spread > 1e-9)) return null;
  const a = real / spread;
  const b = imaginary / spread;
  return [a, -b, meanTo.x - a * meanFrom.x + b * meanFrom.y, b, a, meanTo.y - b * meanFrom.x - a * meanFrom.y];
}

/** The inverse map, or null when it is degenerate. */
export function invertAffine([a, b, c, d, e, f]: Affine): Affine | null {
  const determinant = a * e - b * d;
  if (!(Math.abs(determinant) > 1e-12)) return null;
  return [
    e / determinant, -b / determinant, (b * f - c * e) / determinant,
    -d / determinant, a / determinant, (c * d - a * f) / determinant,
  ];
}

export function applyAffine([a, b, c, d, e, f]: Affine, x: number, y: number): [number, number] {
  return [a * x + b * y + c, d * x + e * y + f];
}

function centroid(points: Points, count: number): { x: number; y: number } {
  let x = 0;
  let y = 0;
  for (let i = 0; i < count; i++) {
    x += points[i * 2] ?? 0;
    y += points[i * 2 + 1] ?? 0;
  }
  return { x: x / count, y: y / count };
}
