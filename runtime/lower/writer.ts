import { RuntimeError } from '../errors.js';
import { copyBytes } from '../graph/bulk.js';
import { elementCount, type Shape } from '../graph/tensor-value.js';
import {
  absent, encodeAttributes, headerBytes, location, maximumRank, opCodes, opHeaderBytes, programMagic, programVersion, sectionAlignment, tensorBytes, wireBytes, wireDType,
  type AttributesOf, type OpCode, type WireDType,
} from './program-format.js';

/** A tensor of the program. */
export interface ProgramTensor {
  readonly dtype: WireDType;
  readonly dims: Shape;
  /** Elements between pixels; dense when left out. */
  readonly pixelStride?: number;
  /** In the arena at this many bytes, a constant with these, or a map of a strip. */
  readonly memory: number | Uint8Array | 'strip';
}

interface WrittenOp {
  readonly code: OpCode;
  readonly inputs: readonly number[];
  readonly output: number;
  readonly attributes: Uint8Array;
}

const align = (bytes: number): number => Math.ceil(bytes / sectionAlignment) * sectionAlignment;

/** Collects tensors, ops and constants, and writes them as program.h lays them out. */
export class ProgramWriter {
  private readonly tensors: ProgramTensor[] = [];
  private readonly ops: WrittenOp[] = [];
  private readonly constantOffsets = new Map<Uint8Array, number>();
  private constantBytes = 0;

  constructor(private readonly activation: 'uint8' | 'int8') {}

  /** Adds a tensor and returns its id. Constants that are the same array are stored once. */
  tensor(tensor: ProgramTensor): number {
    if (tensor.dims.length > maximumRank) {
      throw new RuntimeError('E_MODEL_OP', `Expected tensors of rank ${maximumRank} at most but received [${tensor.dims.join(', ')}]`);
    }
    if (tensor.dims.includes(0)) throw new RuntimeError('E_MODEL_SHAPE', `A tensor of shape [${tensor.dims.join(', ')}] has no elements`);
    if (tensor.memory instanceof Uint8Array && !this.constantOffsets.has(tensor.memory)) {
      this.constantOffsets.set(tensor.memory, this.constantBytes);
      this.constantBytes = align(this.constantBytes + tensor.memory.byteLength);
    }
    this.tensors.push(tensor);
    return this.tensors.length - 1;
  }

  /** Adds an op and returns its index. `undefined` inputs are absent; absent ones at the end are left out. */
  op<C extends OpCode>(code: C, inputs: readonly (number | undefined)[], output: number, attributes: AttributesOf<C>): number {
    const ids = inputs.map((id) => id ?? absent);
    while (ids.at(-1) === absent) ids.pop();
    this.ops.push({ code, inputs: ids, output, attributes: encodeAttributes(code, attributes) });
    return this.ops.length - 1;
  }

  /** Bytes of a tensor's elements, without the gaps between pixels. */
  elementBytes(id: number): number {
    const tensor = this.tensors[id];
    return tensor === undefined ? 0 : elementCount(tensor.dims) * wireBytes[tensor.dtype];
  }

  get opCount(): number {
    return this.ops.length;
  }

  /** The program's bytes. */
  finish(inputs: readonly number[], outputs: readonly number[], arenaBytes: number): Uint8Array {
    const opBytes = this.ops.reduce((sum, op) => sum + opHeaderBytes + 4 * (op.inputs.length + 1) + op.attributes.length, 0);
    const tensorsAt = align(headerBytes);
    const opsAt = align(tensorsAt + this.tensors.length * tensorBytes);
    const idsAt = align(opsAt + opBytes);
    const constantsAt = align(idsAt + 4 * (inputs.length + outputs.length));
    const bytes = new Uint8Array(constantsAt + this.constantBytes);
    const view = new DataView(bytes.buffer);
    const counts = [this.tensors.length, this.ops.length, inputs.length, outputs.length, opBytes];
    [programMagic, programVersion, wireDType[this.activation], ...counts].forEach((value, i) => view.setUint32(4 * i, value, true));
    [arenaBytes, constantsAt, this.constantBytes, bytes.length].forEach((value, i) => view.setBigUint64(32 + 8 * i, BigInt(value), true));
    this.tensors.forEach((tensor, i) => this.writeTensor(view, tensorsAt + i * tensorBytes, tensor));
    this.writeOps(bytes, view, opsAt);
    [...inputs, ...outputs].forEach((id, i) => view.setUint32(idsAt + 4 * i, id, true));
    for (const [data, offset] of this.constantOffsets) copyBytes(bytes.subarray(constantsAt + offset, constantsAt + offset + data.length), data);
    return bytes;
  }

  private writeTensor(view: DataView, at: number, { dtype, dims, pixelStride, memory }: ProgramTensor): void {
    const [place, offset] = memory === 'strip' ? [location.strip, 0] : typeof memory === 'number' ? [location.arena, memory] : [location.constant, this.constantOffsets.get(memory) ?? 0];
    view.setUint8(at, wireDType[dtype]);
    view.setUint8(at + 1, dims.length);
    view.setUint8(at + 2, place);
    for (let i = 0; i < maximumRank; i++) view.setUint32(at + 4 + 4 * i, dims[i] ?? 1, true);
    view.setUint32(at + 28, pixelStride ?? dims.at(-1) ?? 1, true);
    view.setBigUint64(at + 32, BigInt(offset), true);
  }

  private writeOps(bytes: Uint8Array, view: DataView, start: number): void {
    let at = start;
    for (const { code, inputs, output, attributes } of this.ops) {
      [opCodes[code], inputs.length, 1, attributes.length].forEach((value, i) => view.setUint16(at + 2 * i, value, true));
      at += opHeaderBytes;
      for (const id of [...inputs, output]) {
        view.setUint32(at, id, true);
        at += 4;
      }
      bytes.set(attributes, at);
      at += attributes.length;
    }
  }
}
