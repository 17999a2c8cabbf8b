import { RuntimeError } from '../../errors.js';
import type { Tensor } from '../../tensor.js';

/** Outputs of a model by name. */
export type Outputs = Readonly<Record<string, Tensor>>;

/** A view of an output as rows (places where an object may be) of columns (their values); either may vary fastest in memory. */
export interface Table {
  readonly data: Float32Array;
  readonly rows: number;
  readonly columns: number;
  readonly start: number;
  readonly rowStep: number;
  readonly columnStep: number;
}

/** The value of a row's column. Both must lie inside the table. */
export function valueAt({ data, start, rowStep, columnStep }: Table, row: number, column: number): number {
  return data[start + row * rowStep + column * columnStep] ?? 0;
}

/** The first four values of a row: a box. */
export function fourAt(table: Table, row: number): readonly [number, number, number, number] {
  return [valueAt(table, row, 0), valueAt(table, row, 1), valueAt(table, row, 2), valueAt(table, row, 3)];
}

/** @throws RuntimeError E_MODEL_SHAPE when there is no such output, or it does not hold float32 values */
export function floatOutput(outputs: Outputs, name: string): { dims: readonly number[]; data: Float32Array } {
  const tensor = numericOutput(outputs, name);
  if (!(tensor.data instanceof Float32Array)) throw new RuntimeError('E_MODEL_SHAPE', `Expected a float32 output ${name} but received ${tensor.type}`);
  return { dims: tensor.dims, data: tensor.data };
}

/** Values of an output of any type: class numbers are often integers. @throws RuntimeError E_MODEL_SHAPE when there is no such output */
export function numericOutput(outputs: Outputs, name: string): Tensor {
  const tensor = outputs[name];
  if (tensor === undefined) {
    throw new RuntimeError('E_MODEL_SHAPE', `Expected an output ${name} but the model has ${Object.keys(outputs).join(', ') || 'none'}`);
  }
  return tensor;
}

/**
 * An output whose last axis holds the columns: [1, N, C] or [1, H, W, C].
 * @throws RuntimeError E_MODEL_SHAPE when it is missing or does not hold rows of `columns` values
 */
export function rowMajor(outputs: Outputs, name: string, columns?: number): Table {
  const { dims, data } = floatOutput(outputs, name);
  const width = columns ?? dims.at(-1) ?? 1;
  const rows = width > 0 ? data.length / width : NaN;
  if (!Number.isInteger(rows)) throw wrongSize(name, `rows of ${width} values`, dims);
  return { data, rows, columns: width, start: 0, rowStep: width, columnStep: 1 };
}

/**
 * An output whose first axis after the batch holds the columns: [1, C, N] or [1, C, H, W].
 * @throws RuntimeError E_MODEL_SHAPE when it is missing or has another form
 */
export function channelMajor(outputs: Outputs, name: string): Table {
  const { dims, data } = floatOutput(outputs, name);
  const columns = dims[1] ?? 0;
  const rows = columns > 0 ? data.length / columns : NaN;
  if (dims[0] !== 1 || dims.length < 3 || !Number.isInteger(rows)) throw wrongSize(name, '[1, C, ...]', dims);
  return { data, rows, columns, start: 0, rowStep: 1, columnStep: rows };
}

/** Either, by where the model's author put the columns. */
export function tableOf(outputs: Outputs, name: string, layout: Layout): Table {
  return layout === 'rows' ? rowMajor(outputs, name) : channelMajor(outputs, name);
}

/** Which axis of an output holds a place's values: the last (`rows`), or the first after the batch (`channels`). */
export type Layout = 'rows' | 'channels';

/** Columns `first` to `first + count`. */
export function columnsOf(table: Table, first: number, count = table.columns - first): Table {
  return { ...table, start: table.start + first * table.columnStep, columns: count };
}

/** Rows `first` to `first + count`. */
export function rowsOf(table: Table, first: number, count: number): Table {
  return { ...table, start: table.start + first * table.rowStep, rows: count };
}

/** @throws RuntimeError E_MODEL_SHAPE when the table has another number of rows or columns */
export function checkTable(table: Table, name: string, rows: number, columns: number): Table {
  if (table.rows === rows && table.columns === columns) return table;
  throw new RuntimeError('E_MODEL_SHAPE', `Expected output ${name} of ${rows} x ${columns} values but received ${table.rows} x ${table.columns}`);
}

export function wrongSize(name: string, expected: string, dims: readonly number[]): RuntimeError {
  return new RuntimeError('E_MODEL_SHAPE', `Expected output ${name} of ${expected} but received [${dims.join(', ')}]`);
}
