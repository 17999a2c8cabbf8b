/** Linear least squares with intervals of confidence, for a handful of coefficients. Pure. */

export interface Estimate {
  value: number;
  /** Half the width of the 95 % interval of confidence. */
  plus_minus: number;
}

export interface Fit {
  coefficients: Estimate[];
  /** Root of the mean square of what the fit does not explain, by degrees of freedom. In the unit of `y`. */
  residual: number;
  /** Share of the variance of `y` that the fit explains, 0 to 1. */
  r_squared: number;
}

/** The inverse of a small symmetric matrix by Gauss and Jordan with pivots; null when it is singular to within rounding. */
function inverse(matrix: readonly (readonly number[])[]): number[][] | null {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  for (let column = 0; column < n; column++) {
    const pivot = rows.slice(column).reduce((best, row) => (Math.abs(row[column] ?? 0) > Math.abs(best[column] ?? 0) ? row : best));
    const value = pivot[column] ?? 0;
    if (Math.abs(value) < 1e-12 * Math.abs(matrix[column]?.[column] ?? 0) || value === 0) return null;
    rows.splice(rows.indexOf(pivot), 1);
    rows.splice(column, 0, pivot.map((x) => x / value));
    const clean = rows[column] ?? [];
    for (const [i, row] of rows.entries()) {
      const factor = row[column] ?? 0;
      if (i !== column) rows[i] = row.map((x, j) => x - factor * (clean[j] ?? 0));
    }
  }
  return rows.map((row) => row.slice(n));
}

/** The 97.5 % quantile of Student's t, by the expansion of Cornish and Fisher around that of the normal distribution; within 3 % from 4 degrees on. */
function studentQuantile(degrees: number): number {
  const z = 1.959964;
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2);
}

/**
 * Fits `y` by the columns of `rows`.
 * @returns null when there are fewer than 4 rows more than columns, or when the columns depend on each other
 */
export function leastSquares(rows: readonly (readonly number[])[], y: readonly number[]): Fit | null {
  const n = rows[0]?.length ?? 0;
  const degrees = rows.length - n;
  if (n === 0 || degrees < 4) return null;
  const normal = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (__, j) => sum(rows.map((row) => (row[i] ?? 0) * (row[j] ?? 0)))));
  const inverted = inverse(normal);
  if (inverted === null) return null;
  const right = Array.from({ length: n }, (_, i) => sum(rows.map((row, k) => (row[i] ?? 0) * (y[k] ?? 0))));
  const values = inverted.map((row) => sum(row.map((x, i) => x * (right[i] ?? 0))));
  const unexplained = sum(rows.map((row, k) => ((y[k] ?? 0) - sum(row.map((x, i) => x * (values[i] ?? 0)))) ** 2));
  const mean = sum(y) / y.length;
  const variance = sum(y.map((value) => (value - mean) ** 2));
  const spread = unexplained / degrees;
  return {
    coefficients: values.map((value, i) => ({ value, plus_minus: studentQuantile(degrees) * Math.sqrt(spread * Math.max(0, inverted[i]?.[i] ?? 0)) })),
    residual: Math.sqrt(spread),
    r_squared: variance === 0 ? 0 : Math.max(0, 1 - unexplained / variance),
  };
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
