import { RuntimeError } from '../errors.js';
import type { ProgramPort } from '../lower/compile.js';
import { flipInPlace } from '../lower/flip-bytes.js';
import type { Tensor, TensorData, TensorInfo } from '../tensor.js';
import { arrayTypes, checkTensor } from './feeds.js';
import { elementCount } from '../graph/tensor-value.js';

/** Tensors of an earlier run, by output name, that a run writes into instead of new ones. */
export type ReusedOutputs = Readonly<Record<string, Tensor>>;

export const asBytes = (data: TensorData): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

const overlaps = (a: TensorData, b: TensorData): boolean =>
  a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength;

const refuse = (name: string, message: string): never => {
  throw new RuntimeError('E_INPUT', message, { details: { output: name } });
};

/** @throws RuntimeError E_INPUT for a name that is no output */
export function checkReusedNames(outputs: readonly TensorInfo[], reused: ReusedOutputs): void {
  for (const name of Object.keys(reused)) {
    if (!outputs.some((output) => output.name === name)) {
      refuse(name, `Expected tensors for ${outputs.map((output) => `"${output.name}"`).join(', ')} to write into but received "${name}"`);
    }
  }
}

/** Arrays that runs under way are writing into, of any session. */
const beingWritten = new WeakSet<TensorData>();

/**
 * Takes the tensors that a run is to write into, until the function that it returns is called. The engine writes outputs while it still
 * reads feeds, so no two of them may share memory. Outputs whose number of rows depends on the data are new tensors each time.
 * @throws RuntimeError E_INPUT for a name that is no output, another type, shape or length, memory that is shared, or a run under way that writes there
 */
export function takeReused(outputs: readonly ProgramPort[], reused: ReusedOutputs, feeds: readonly Tensor[]): () => void {
  checkReusedNames(outputs, reused);
  const taken = feeds.map(({ data }): [string, TensorData] => ['a feed', data]);
  for (const info of outputs.filter(({ padded }) => padded !== true)) {
    const { name } = info;
    const tensor = reused[name];
    if (tensor === undefined) continue;
    checkTensor('output', info, tensor);
    const { data } = tensor;
    const other = taken.find(([, there]) => overlaps(there, data));
    if (other !== undefined) refuse(name, `Expected memory of its own for output "${name}" but it shares memory with ${other[0]}`);
    if (beingWritten.has(data)) refuse(name, `Expected a tensor that no run is writing for output "${name}" but a run that has not ended writes into it`);
    taken.push([`output "${name}"`, data]);
  }
  const arrays = taken.slice(feeds.length).map(([, data]) => data);
  for (const data of arrays) beingWritten.add(data);
  return () => {
    for (const data of arrays) beingWritten.delete(data);
  };
}

/** A buffer for the program to write an output into, and the tensor it becomes. */
export interface OutputSlot {
  readonly view: ArrayBufferView;
  finish(): Tensor;
}

/** What the program writes for an int64 output: 32 bits an element. It is kept with the tensor that it became. */
const narrowBuffers = new WeakMap<TensorData, Int32Array>();

/** The rows [n, columns] before the first of -1. */
function rowsBeforePadding(data: Int32Array, columns: number): number {
  for (let row = 0; row * columns < data.length; row++) if (data[row * columns] === -1) return row;
  return data.length / columns;
}

function widen(narrow: Int32Array, wide: BigInt64Array): void {
  for (let i = 0; i < wide.length; i++) wide[i] = BigInt(narrow[i] ?? 0);
}

/** An output whose number of rows depends on the data: its tensor is a new one each time. */
function paddedSlot({ type, dims }: ProgramPort): OutputSlot {
  const view = new Int32Array(elementCount(dims));
  return {
    view,
    finish() {
      const columns = elementCount(dims.slice(1));
      const rows = rowsBeforePadding(view, columns);
      return { type, dims: [rows, ...dims.slice(1)], data: BigInt64Array.from(view.subarray(0, rows * columns), BigInt) };
    },
  };
}

function wideSlot({ type, dims }: ProgramPort, reused: Tensor | undefined): OutputSlot {
  const count = elementCount(dims);
  const data = reused?.data instanceof BigInt64Array ? reused.data : new BigInt64Array(count);
  const view = narrowBuffers.get(data) ?? new Int32Array(count);
  narrowBuffers.set(data, view);
  return {
    view,
    finish() {
      widen(view, data);
      return reused ?? { type, dims, data };
    },
  };
}

/** Where the program writes this output: into `reused`, which `takeReused` has seen, or into a new tensor. */
export function outputSlot(port: ProgramPort, reused: Tensor | undefined): OutputSlot {
  const { type, dims, flip, padded } = port;
  if (padded) return paddedSlot(port);
  if (type === 'int64') return wideSlot(port, reused);
  const tensor = reused ?? { type, dims, data: new arrayTypes[type](elementCount(dims)) };
  return {
    view: tensor.data,
    finish() {
      if (flip) flipInPlace(asBytes(tensor.data));
      return tensor;
    },
  };
}

/** A tensor with the values of another one, in the memory of `reused` if that has its type and shape. */
export function moveInto(reused: Tensor | undefined, tensor: Tensor): Tensor {
  if (reused === undefined || reused.type !== tensor.type || reused.dims.join() !== tensor.dims.join()) return tensor;
  asBytes(reused.data).set(asBytes(tensor.data));
  return reused;
}
