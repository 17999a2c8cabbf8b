/**
 * Pairs rows with columns so that the sum of `cost - limit` over the pairs is the least: no pair costs `limit` or more, and a cheap pair is
 * given up where that lets two others be made that are worth more together. What `lap.lapjv(cost, cost_limit)` computes for trackers.
 * Shortest augmenting paths with potentials (R. Jonker and A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
 * assignment problems", Computing 38, 1987); of equally good answers always the same one.
 * @param cost row-major, `rows` x `columns`; Infinity forbids a pair, NaN too
 * @returns column of each row, or -1
 */
export function assign(cost: ArrayLike<number>, rows: number, columns: number, limit: number): Int32Array {
  const result = new Int32Array(rows).fill(-1);
  if (rows === 0 || columns === 0) return result;
  // A pair that is worth nothing costs 0, as if both stayed alone: then the cheapest complete assignment holds the answer.
  const gain = (row: number, column: number): number => Math.min(0, finite(cost[row * columns + column], limit) - limit);
  const wide = rows <= columns;
  const partner = wide ? complete(gain, rows, columns) : complete((column, row) => gain(row, column), columns, rows);
  partner.forEach((other, one) => {
    const [row, column] = wide ? [one, other] : [other, one];
    if (gain(row, column) < 0) result[row] = column;
  });
  return result;
}

const finite = (value: number | undefined, limit: number): number => (value !== undefined && value < limit ? value : limit);

/** Every row gets a column of its own, with the least total cost; there are at least as many columns as rows. */
function complete(cost: (row: number, column: number) => number, rows: number, columns: number): Int32Array {
  const rowPotential = new Float64Array(rows + 1);
  const columnPotential = new Float64Array(columns + 1);
  // Indices from 1: column 0 stands for "the row that looks for a column".
  const rowOf = new Int32Array(columns + 1);
  const before = new Int32Array(columns + 1);
  for (let row = 1; row <= rows; row++) {
    rowOf[0] = row;
    let at = augment(cost, { rowPotential, columnPotential, rowOf, before });
    while (at !== 0) {
      const previous = before[at] ?? 0;
      rowOf[at] = rowOf[previous] ?? 0;
      at = previous;
    }
  }
  const columnOf = new Int32Array(rows);
  for (let column = 1; column <= columns; column++) {
    const row = rowOf[column] ?? 0;
    if (row > 0) columnOf[row - 1] = column - 1;
  }
  return columnOf;
}

interface Search {
  rowPotential: Float64Array;
  columnPotential: Float64Array;
  rowOf: Int32Array;
  before: Int32Array;
}

/** Dijkstra over reduced costs from column 0 to the nearest free column, which it returns; `before` leads back. */
function augment(cost: (row: number, column: number) => number, { rowPotential, columnPotential, rowOf, before }: Search): number {
  const count = columnPotential.length;
  const distance = new Float64Array(count).fill(Infinity);
  const done = new Uint8Array(count);
  let at = 0;
  while ((rowOf[at] ?? 0) !== 0) {
    done[at] = 1;
    const row = rowOf[at] ?? 0;
    let nearest = 0;
    let step = Infinity;
    for (let column = 1; column < count; column++) {
      if (done[column] === 1) continue;
      const reduced = cost(row - 1, column - 1) - (rowPotential[row] ?? 0) - (columnPotential[column] ?? 0);
      if (reduced < (distance[column] ?? 0)) {
        distance[column] = reduced;
        before[column] = at;
      }
      if ((distance[column] ?? 0) < step) {
        step = distance[column] ?? 0;
        nearest = column;
      }
    }
    for (let column = 0; column < count; column++) {
      if (done[column] === 1) {
        rowPotential[rowOf[column] ?? 0] = (rowPotential[rowOf[column] ?? 0] ?? 0) + step;
        columnPotential[column] = (columnPotential[column] ?? 0) - step;
      } else {
        distance[column] = (distance[column] ?? 0) - step;
      }
    }
    at = nearest;
  }
  return at;
}
