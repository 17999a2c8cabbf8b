import { expect } from 'vitest';
import { loadProgram, type Isa } from '../../../kernels/binding/index.js';
import { ProgramWriter, type Attribute, type DType, type OpName } from './program-writer.js';

export type Data = Float32Array | Uint8Array | Int8Array | Int32Array;

export interface OpCase {
  op: OpName;
  /** Inputs of the program, dense. */
  inputs: { type: DType; dims: number[]; data: Data; stride?: number; constant?: boolean }[];
  attributes?: Attribute[];
  output: { type: DType; dims: number[]; stride?: number };
  activation?: 'u8' | 's8';
}

export function makeOutput(type: DType, length: number): Data {
  return { f32: new Float32Array(length), u8: new Uint8Array(length), s8: new Int8Array(length), s32: new Int32Array(length) }[type];
}

export const product = (dims: readonly number[]): number => dims.reduce((a, b) => a * b, 1);

/** Runs one op with 1 and with 3 threads, and expects the same bits of both. */
export async function runOp(isa: Isa, c: OpCase): Promise<number[]> {
  const p = new ProgramWriter(c.activation ?? 'u8');
  const ids = c.inputs.map((i) => (i.constant ? p.constant(i.data, i.dims) : p.input(i.type, i.dims, i.stride)));
  p.op(c.op, ids, p.output(c.output.type, c.output.dims, c.output.stride), c.attributes);
  const inputs = c.inputs.filter((i) => !i.constant).map((i) => i.data);
  const results: Data[] = [];
  for (const threads of [1, 3]) {
    const program = loadProgram(p.build(), { isa, threads });
    const y = makeOutput(c.output.type, product(c.output.dims));
    await program.run(inputs, [y]);
    await program.close();
    results.push(y);
  }
  expect(results[1]).toEqual(results[0]);
  return Array.from(results[0] ?? []);
}

/** Every element within `relative` of the expected one. */
export function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, relative = 2e-6): void {
  expect(actual.length).toBe(expected.length);
  const bad = Array.from(expected).findIndex((want, i) => !(Math.abs((actual[i] ?? NaN) - want) <= relative * (1 + Math.abs(want))));
  expect(bad, `element ${String(bad)}: ${String(actual[bad])} instead of ${String(expected[bad])}`).toBe(-1);
}

/** Every index of a shape, row-major. */
export function* indices(dims: readonly number[]): Generator<number[]> {
  for (let i = 0; i < product(dims); ++i) {
    const index: number[] = [];
    for (let rest = i, axis = dims.length - 1; axis >= 0; --axis) {
      index[axis] = rest % (dims[axis] ?? 1);
      rest = Math.floor(rest / (dims[axis] ?? 1));
    }
    yield index;
  }
}

/** Flat offset of an index, with numpy broadcasting. */
export function offset(index: readonly number[], dims: readonly number[]): number {
  const shift = index.length - dims.length;
  return dims.reduce((at, dim, axis) => at * dim + (dim === 1 ? 0 : (index[axis + shift] ?? 0)), 0);
}

/** A value for each axis that a program has. */
export const six = (values: number[], fill: number): number[] => [...values, ...new Array<number>(6 - values.length).fill(fill)];
