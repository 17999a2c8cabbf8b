/** Shares of a row's largest magnitude that its largest code may stand for. */
const shares = Array.from({ length: 15 }, (_, i) => 1 - i / 20);

/** Sum of the squared rounding errors of a row, each weighted with what the weight multiplies. */
function roundingError(row: Float32Array, importance: Float64Array, scale: number, largest: number): number {
  let error = 0;
  for (let k = 0; k < row.length; k++) {
    const weight = row[k] ?? 0;
    const difference = weight - Math.max(-largest, Math.min(largest, Math.round(weight / scale))) * scale;
    error += difference * difference * (importance[k] ?? 0);
  }
  return error;
}

/**
 * Scale of one output's weights with the least error at the output: on a coarse grid, clipping the few largest weights costs less than the
 * wide steps that would hold them.
 * @param importance mean square of what each weight multiplies (diagonal of GPTQ's H); all alike gives the least error of the weights
 * @param largest the grid's largest code
 * @returns 0 for a row of zeros
 */
export function clippedScale(row: Float32Array, importance: Float64Array, largest: number): number {
  const magnitude = row.reduce((most, weight) => Math.max(most, Math.abs(weight)), 0);
  const scales = shares.map((share) => (share * magnitude) / largest);
  if (magnitude === 0) return 0;
  const errors = scales.map((scale) => roundingError(row, importance, scale, largest));
  return scales[errors.indexOf(Math.min(...errors))] ?? magnitude / largest;
}
