import { RuntimeError } from '../errors.js';
import { floatsAttribute, misshapen, oneOf, requiredInt, requiredInts } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { elementCount, fromNumbers, toNumbers, type ValueType } from '../graph/tensor-value.js';
import { expectType, inputValue, outputType, type InferContext, type OperatorRecord, type OpTable } from './op.js';

// Operators that are too rare, or too small, for kernels: their reference implementations compute them while a model runs.

/** Rows of a matrix whose determinant, or inverse, takes a second at most. */
const largestMatrix = 1024;
const largestInverse = 512;

/** Determinant of a matrix [n, n] by elimination with the largest pivot of each column. */
function determinant(matrix: ArrayLike<number>, n: number): number {
  const rows = Array.from({ length: n }, (_, i) => Float64Array.from({ length: n }, (__, j) => matrix[i * n + j] ?? 0));
  let product = 1;
  for (let column = 0; column < n; column++) {
    let best = column;
    for (let i = column + 1; i < n; i++) if (Math.abs(rows[i]?.[column] ?? 0) > Math.abs(rows[best]?.[column] ?? 0)) best = i;
    const [pivotRow, own] = [rows[best], rows[column]];
    const pivot = pivotRow?.[column] ?? 0;
    if (pivotRow === undefined || own === undefined || pivot === 0) return 0;
    if (best !== column) [rows[column], rows[best], product] = [pivotRow, own, -product];
    product *= pivot;
    for (let i = column + 1; i < n; i++) {
      const row = rows[i];
      const factor = (row?.[column] ?? 0) / pivot;
      for (let j = column; j < n; j++) if (row !== undefined) row[j] = (row[j] ?? 0) - factor * (pivotRow[j] ?? 0);
    }
  }
  return product;
}

/** The inverse of a matrix [n, n] by elimination with the largest pivot of each column; undefined: it has none. */
function inverseOf(matrix: ArrayLike<number>, n: number): Float64Array | undefined {
  const rows = Array.from({ length: n }, (_, i) => Float64Array.from({ length: 2 * n }, (__, j) => (j < n ? (matrix[i * n + j] ?? 0) : Number(j - n === i))));
  for (let column = 0; column < n; column++) {
    let best = column;
    for (let i = column + 1; i < n; i++) if (Math.abs(rows[i]?.[column] ?? 0) > Math.abs(rows[best]?.[column] ?? 0)) best = i;
    const [pivotRow, own] = [rows[best], rows[column]];
    const pivot = pivotRow?.[column] ?? 0;
    if (pivotRow === undefined || own === undefined || pivot === 0) return undefined;
    [rows[column], rows[best]] = [pivotRow, own];
    for (let j = 0; j < 2 * n; j++) pivotRow[j] = (pivotRow[j] ?? 0) / pivot;
    for (const row of rows) {
      const factor = row === pivotRow ? 0 : (row[column] ?? 0);
      for (let j = 0; factor !== 0 && j < 2 * n; j++) row[j] = (row[j] ?? 0) - factor * (pivotRow[j] ?? 0);
    }
  }
  return Float64Array.from({ length: n * n }, (_, i) => rows[Math.floor(i / n)]?.[n + (i % n)] ?? 0);
}

/** Square matrices. @throws RuntimeError E_MODEL_SHAPE, E_MODEL_LIMIT */
function squareType(context: InferContext, largest: number): ValueType {
  const { node } = context;
  const { dtype, shape } = expectType(context, 0, ['float32']);
  if (shape.length < 2 || shape.at(-1) !== shape.at(-2)) throw misshapen(node, `Expected square matrices but received [${shape.join(', ')}]`);
  if ((shape.at(-1) ?? 0) > largest) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${largest} rows but received [${shape.join(', ')}]`, { details: { node: node.name, op: node.op } });
  return { dtype, shape };
}

const inverse: OperatorRecord = {
  infer: (context) => [squareType(context, largestInverse)],
  evaluate(context) {
    const x = inputValue(context, 0);
    const [n, numbers] = [x.dims.at(-1) ?? 0, toNumbers(x)];
    const out = new Float64Array(numbers.length);
    for (let from = 0; from < numbers.length; from += n * n) {
      const inverted = inverseOf(numbers.subarray(from, from + n * n), n);
      if (inverted === undefined) throw new RuntimeError('E_MODEL_VALUE', `Inverse '${context.node.name}': a matrix has no inverse`, { details: { node: context.node.name, op: context.node.op } });
      out.set(inverted, from);
    }
    return [fromNumbers('float32', x.dims, out)];
  },
};

const det: OperatorRecord = {
  infer(context) {
    const { dtype, shape } = squareType(context, largestMatrix);
    return [{ dtype, shape: shape.slice(0, -2) }];
  },
  evaluate(context) {
    const x = inputValue(context, 0);
    const [n, numbers] = [x.dims.at(-1) ?? 0, toNumbers(x)];
    const { shape } = outputType(context);
    return [fromNumbers('float32', shape, Float64Array.from({ length: elementCount(shape) }, (_, i) => determinant(numbers.subarray(i * n * n, (i + 1) * n * n), n)))];
  },
};

/** Which column of the output counts each n-gram: its items, joined. */
function ngramsOf(node: Node): Map<string, number> {
  const [pool, starts, columns] = [requiredInts(node, 'pool_int64s'), requiredInts(node, 'ngram_counts'), requiredInts(node, 'ngram_indexes')];
  const ngrams = new Map<string, number>();
  let next = 0;
  starts.forEach((start, i) => {
    const items = pool.slice(start, starts[i + 1] ?? pool.length);
    for (let at = 0; at + i + 1 <= items.length; at += i + 1) ngrams.set(items.slice(at, at + i + 1).join(), columns[next++] ?? 0);
  });
  return ngrams;
}

/** How often a row has each n-gram, its items up to `max_skip_count` apart. */
function countNgrams(node: Node, row: readonly number[], ngrams: ReadonlyMap<string, number>, count: (column: number) => void): void {
  const [shortest, longest] = [requiredInt(node, 'min_gram_length'), requiredInt(node, 'max_gram_length')];
  for (let length = shortest; length <= longest; length++) {
    // A single item has no distances.
    for (let distance = 1; distance <= (length === 1 ? 1 : requiredInt(node, 'max_skip_count') + 1); distance++) {
      for (let start = 0; start + (length - 1) * distance < row.length; start++) {
        const column = ngrams.get(Array.from({ length }, (_, i) => row[start + i * distance]).join());
        if (column !== undefined) count(column);
      }
    }
  }
}

const columnsOf = (node: Node): number => requiredInts(node, 'ngram_indexes').reduce((most, column) => Math.max(most, column + 1), 0);

const tfIdfVectorizer: OperatorRecord = {
  infer(context) {
    const { shape } = expectType(context, 0, ['int32', 'int64']);
    if (shape.length < 1 || shape.length > 2) throw misshapen(context.node, `Expected one or two axes but received ${shape.length}`);
    ngramsOf(context.node);
    return [{ dtype: 'float32', shape: [...shape.slice(0, -1), columnsOf(context.node)] }];
  },
  evaluate(context) {
    const { node } = context;
    const [x, columns, ngrams] = [inputValue(context, 0), columnsOf(node), ngramsOf(node)];
    const mode = oneOf(node, 'mode', ['TF', 'IDF', 'TFIDF'], 'TF');
    const weights = floatsAttribute(node, 'weights');
    const byColumn = new Float64Array(columns).fill(1);
    requiredInts(node, 'ngram_indexes').forEach((column, i) => { byColumn[column] = weights?.[i] ?? 1; });
    const length = x.dims.at(-1) ?? 0;
    const numbers = Array.from(toNumbers(x));
    const rows = x.dims.length === 1 ? 1 : (x.dims[0] ?? 0);
    const out = new Float64Array(rows * columns);
    for (let row = 0; row < rows; row++) countNgrams(node, numbers.slice(row * length, (row + 1) * length), ngrams, (column) => { out[row * columns + column] = (out[row * columns + column] ?? 0) + 1; });
    const weighed = out.map((count, i) => (mode === 'TF' ? count : (mode === 'IDF' ? Math.min(count, 1) : count) * (byColumn[i % columns] ?? 1)));
    return [fromNumbers('float32', outputType(context).shape, weighed)];
  },
};

export const interpretedOps: OpTable = { 'com.microsoft.Inverse': inverse, Det: det, TfIdfVectorizer: tfIdfVectorizer };
