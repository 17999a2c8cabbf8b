/**
 * Rounding of weights such that the error of each is made up for by the weights rounded after it: GPTQ (Frantar et al., arXiv 2210.17323),
 * on any symmetric grid.
 *
 * For a row w of weights, its rounded form q and H = mean of x x' over columns x, the error of the output is e H e' with e = w - q. With
 * H = R R', R upper triangular, that is the sum over j of (sum over i <= j of e[i] R[i][j]) squared: once weights 0..j-1 are rounded,
 * the j-th term vanishes at q[j] = w[j] + sum over i < j of e[i] R[i][j] / R[j][j], which is then rounded to the grid. These are GPTQ's numbers
 * without the inverse of H (its Cholesky factor U is the inverse of R').
 */

/** Relative to the mean of H's diagonal: keeps R regular. */
const damping = 0.01;

/** The same, times weights per column: what few columns have in common by chance must not be made up for. */
const chance = 0.1;

/** H beyond this many weights is taken as block diagonal: the factorization takes depth ^ 3 / 6 multiply-adds. */
export const largestBlock = 2304;

/** Blocks in which the weights of one output are rounded. */
export const blocksOf = (depth: number): number => Math.ceil(depth / largestBlock);

/** Which weights make up for which, from the covariance of the columns. */
export interface RoundingOrder {
  /** Weights in the order in which they are rounded: the largest diagonal first, since the later ones make up for the former. */
  order: Int32Array;
  /** Row j: R[i][j] / R[j][j] for i < j, in rounding order, [depth][depth] row-major. */
  feedback: Float64Array;
  /** Diagonal of H by weight, undamped: 0 for a weight that never met anything but zero. */
  diagonal: Float64Array;
  /** R[j][j] in rounding order: its square is what a change of a weight by 1 costs when those after it make up for it. */
  pivots: Float64Array;
}

/** Dot product of two runs of `count` elements. Four sums, since one would wait for each addition before the next. */
export function dot(a: Float64Array, aStart: number, b: Float64Array, bStart: number, count: number): number {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    s0 += (a[aStart + i] ?? 0) * (b[bStart + i] ?? 0);
    s1 += (a[aStart + i + 1] ?? 0) * (b[bStart + i + 1] ?? 0);
    s2 += (a[aStart + i + 2] ?? 0) * (b[bStart + i + 2] ?? 0);
    s3 += (a[aStart + i + 3] ?? 0) * (b[bStart + i + 3] ?? 0);
  }
  for (; i < count; i++) s0 += (a[aStart + i] ?? 0) * (b[bStart + i] ?? 0);
  return s0 + s1 + s2 + s3;
}

/**
 * Mean of x x' over columns, each less its mean over the columns: a bias takes the error of the mean away.
 * @param columns [count][stride], of which `depth` values from `first` on are taken
 * @returns [depth][depth] row-major, both triangles
 */
export function covariance(columns: Float32Array, { count, stride, first, depth }: { count: number; stride: number; first: number; depth: number }): Float64Array {
  // One row for each weight, so that sums run over neighbours.
  const rows = new Float64Array(depth * count);
  for (let k = 0; k < depth; k++) {
    let sum = 0;
    for (let c = 0; c < count; c++) sum += columns[c * stride + first + k] ?? 0;
    const mean = sum / count;
    for (let c = 0; c < count; c++) rows[k * count + c] = (columns[c * stride + first + k] ?? 0) - mean;
  }
  const h = new Float64Array(depth * depth);
  for (let i = 0; i < depth; i++) {
    for (let j = 0; j <= i; j++) h[i * depth + j] = h[j * depth + i] = dot(rows, i * count, rows, j * count, count) / count;
  }
  return h;
}

/** R of H = R R', upper triangular, in place; the lower triangle is left as it was. H is positive definite. */
export function factorize(h: Float64Array, depth: number): void {
  for (let j = depth - 1; j >= 0; j--) {
    const row = j * depth;
    const after = depth - j - 1;
    const pivot = Math.sqrt((h[row + j] ?? 0) - dot(h, row + j + 1, h, row + j + 1, after));
    h[row + j] = pivot;
    for (let i = 0; i < j; i++) h[i * depth + j] = ((h[i * depth + j] ?? 0) - dot(h, i * depth + j + 1, h, row + j + 1, after)) / pivot;
  }
}

/** What is added to the diagonal of H, which was made of `count` columns. */
export const dampingOf = (diagonal: Float64Array, count: number): number => ((damping + (chance * diagonal.length) / count) * diagonal.reduce((sum, value) => sum + value, 0)) / diagonal.length;

/**
 * @param h as `covariance` gives it; not changed
 * @param count columns that it was made of
 * @param inOrder the weights keep their own order
 */
export function roundingOrder(h: Float64Array, depth: number, count: number, { inOrder = false }: { inOrder?: boolean } = {}): RoundingOrder {
  const diagonal = Float64Array.from({ length: depth }, (_, k) => h[k * depth + k] ?? 0);
  const order = Int32Array.from(diagonal.keys());
  if (!inOrder) order.sort((a, b) => (diagonal[b] ?? 0) - (diagonal[a] ?? 0) || a - b);
  const added = dampingOf(diagonal, count);
  const ordered = new Float64Array(depth * depth);
  order.forEach((from, i) => order.forEach((to, j) => (ordered[i * depth + j] = h[from * depth + to] ?? 0)));
  // A weight that met nothing but zero rounds as it likes, and so do all when there is nothing else.
  for (let k = 0; k < depth; k++) ordered[k * depth + k] = (ordered[k * depth + k] ?? 0) + (added > 0 ? added : 1);
  factorize(ordered, depth);
  const feedback = new Float64Array(depth * depth);
  for (let j = 0; j < depth; j++) {
    const pivot = ordered[j * depth + j] ?? 1;
    for (let i = 0; i < j; i++) feedback[j * depth + i] = (ordered[i * depth + j] ?? 0) / pivot;
  }
  return { order, feedback, diagonal, pivots: Float64Array.from({ length: depth }, (_, j) => ordered[j * depth + j] ?? 1) };
}

/**
 * Rounds the weights of one output.
 * @param row `depth` weights; codes go to the same places of `codes`
 * @param scale distance between two points of the grid; largest: its largest code
 */
export function roundRow(row: Float32Array, codes: Int8Array, { order, feedback }: RoundingOrder, { scale, largest }: { scale: number; largest: number }): void {
  const depth = order.length;
  const errors = new Float64Array(depth);
  for (let j = 0; j < depth; j++) {
    const k = order[j] ?? 0;
    const weight = row[k] ?? 0;
    const target = weight + dot(errors, 0, feedback, j * depth, j);
    const code = Math.max(-largest, Math.min(largest, Math.round(target / scale)));
    codes[k] = code;
    errors[j] = weight - code * scale;
  }
}
