/** A small, hand-driven writer of the program format (kernels/include/sterna/program.h), so that the engine is tested without the compiler. */

export type DType = 'f32' | 'u8' | 's8' | 's32';
const dtypeCode: Record<DType, number> = { f32: 0, u8: 1, s8: 2, s32: 3 };
const locations = { arena: 0, constant: 1, strip: 3 } as const;
const elementSize: Record<DType, number> = { f32: 4, u8: 1, s8: 1, s32: 4 };

export const opcodes = {
  convQ8: 1, binaryQ8: 2, lutQ8: 3, poolQ8: 4, resizeQ8: 5, quantize: 6, dequantize: 7, normalizeU8: 8, threshold: 9, convQ8F32: 10,
  convF32: 16, matMulF32: 17, binaryF32: 18, unaryF32: 19, poolF32: 20, resizeF32: 21, reduceF32: 22, softmaxF32: 23, normalizeF32: 24, attentionF32: 25,
  copy: 32, transpose: 33, pad: 34, gather: 35,
  cast: 40, compare: 41, logic: 42, select: 43, binaryS32: 44, reduceS32: 45, gatherElements: 46, gatherNd: 47, argReduce: 48, topK: 49, nonMaxSuppression: 50, cumSum: 51,
  recurrentF32: 60, matMulS32: 61, resampleF32: 62, rangeF32: 63, rangeScale: 64, quantizeBy: 65, matMulQ8F32: 66,
} as const;
export type OpName = keyof typeof opcodes;

/** A wrapper that marks an attribute as a float; plain numbers are 32-bit integers. */
export interface Float {
  float: number;
}
export const f = (value: number): Float => ({ float: value });
export type Attribute = number | Float;

const align = (value: number, to: number): number => Math.ceil(value / to) * to;
const absent = 0xffffffff;

interface TensorSpec {
  dtype: DType;
  dims: number[];
  location: 'arena' | 'constant' | 'strip';
  stride: number;
  offset: number;
}

export class ProgramWriter {
  readonly #tensors: TensorSpec[] = [];
  readonly #ops: Buffer[] = [];
  readonly #constants: Buffer[] = [];
  readonly #inputs: number[] = [];
  readonly #outputs: number[] = [];
  #constBytes = 0;
  #arenaBytes = 0;

  constructor(readonly activation: 'u8' | 's8' = 'u8') {}

  /** A tensor in the arena; `stride` is the pixel stride in elements, dense by default. */
  tensor(dtype: DType, dims: number[], stride = dims.at(-1) ?? 1): number {
    const offset = this.#arenaBytes;
    const pixels = dims.slice(0, -1).reduce((a, b) => a * b, 1);
    this.#arenaBytes = align(offset + pixels * stride * elementSize[dtype], 64);
    return this.#add({ dtype, dims, location: 'arena', stride, offset });
  }

  /** A map between two ops of a strip. */
  strip(dtype: DType, dims: number[], stride: number): number {
    return this.#add({ dtype, dims, location: 'strip', stride, offset: 0 });
  }

  input(dtype: DType, dims: number[], stride?: number): number {
    const id = this.tensor(dtype, dims, stride);
    this.#inputs.push(id);
    return id;
  }

  output(dtype: DType, dims: number[], stride?: number): number {
    const id = this.tensor(dtype, dims, stride);
    this.#outputs.push(id);
    return id;
  }

  constant(data: Float32Array | Uint8Array | Int8Array | Int32Array, dims: number[] = [data.length]): number {
    const dtype: DType = data instanceof Float32Array ? 'f32' : data instanceof Uint8Array ? 'u8' : data instanceof Int8Array ? 's8' : 's32';
    const bytes = Buffer.alloc(align(data.byteLength, 64));
    Buffer.from(data.buffer, data.byteOffset, data.byteLength).copy(bytes);
    const offset = this.#constBytes;
    this.#constants.push(bytes);
    this.#constBytes += bytes.length;
    return this.#add({ dtype, dims, location: 'constant', stride: dims.at(-1) ?? 1, offset });
  }

  op(name: OpName, inputs: (number | undefined)[], output: number, attributes: Attribute[] = []): this {
    const record = Buffer.alloc(8 + (inputs.length + 1 + attributes.length) * 4);
    record.writeUInt16LE(opcodes[name], 0);
    record.writeUInt16LE(inputs.length, 2);
    record.writeUInt16LE(1, 4);
    record.writeUInt16LE(attributes.length * 4, 6);
    let at = 8;
    for (const id of [...inputs, output]) at = record.writeUInt32LE(id ?? absent, at);
    for (const a of attributes) at = typeof a === 'number' ? record.writeInt32LE(a, at) : record.writeFloatLE(a.float, at);
    this.#ops.push(record);
    return this;
  }

  build(): Uint8Array {
    const ops = Buffer.concat(this.#ops);
    const opsAt = align(64 + this.#tensors.length * 48, 64);
    const idsAt = align(opsAt + ops.length, 64);
    const constAt = align(idsAt + (this.#inputs.length + this.#outputs.length) * 4, 64);
    const bytes = Buffer.alloc(constAt + this.#constBytes);
    const header = [0x4e525453, 2, dtypeCode[this.activation], this.#tensors.length, this.#ops.length, this.#inputs.length, this.#outputs.length, ops.length];
    header.forEach((value, i) => bytes.writeUInt32LE(value, i * 4));
    [this.#arenaBytes, constAt, this.#constBytes, bytes.length].forEach((value, i) => bytes.writeBigUInt64LE(BigInt(value), 32 + i * 8));
    this.#tensors.forEach((tensor, i) => this.#writeTensor(bytes, 64 + i * 48, tensor));
    ops.copy(bytes, opsAt);
    [...this.#inputs, ...this.#outputs].forEach((id, i) => bytes.writeUInt32LE(id, idsAt + i * 4));
    Buffer.concat(this.#constants).copy(bytes, constAt);
    return bytes;
  }

  #add(tensor: TensorSpec): number {
    this.#tensors.push(tensor);
    return this.#tensors.length - 1;
  }

  #writeTensor(bytes: Buffer, at: number, t: TensorSpec): void {
    bytes.writeUInt8(dtypeCode[t.dtype], at);
    bytes.writeUInt8(t.dims.length, at + 1);
    bytes.writeUInt8(locations[t.location], at + 2);
    for (let i = 0; i < 6; ++i) bytes.writeUInt32LE(t.dims[i] ?? 1, at + 4 + i * 4);
    bytes.writeUInt32LE(t.stride, at + 28);
    bytes.writeBigUInt64LE(BigInt(t.offset), at + 32);
  }
}

export interface ConvGeometry {
  stride?: number;
  /** top, left, bottom, right */
  pads?: [number, number, number, number];
  dilation?: number;
  group?: number;
}

/** ConvGeometry of program.h. */
export function geometry({ stride = 1, pads = [0, 0, 0, 0], dilation = 1, group = 1 }: ConvGeometry = {}): Attribute[] {
  return [stride, stride, ...pads, dilation, dilation, group];
}

/** Deterministic random integers in [lo, hi] (mulberry32). */
export function randomIntegers(seed: number): (lo: number, hi: number) => number {
  let state = seed >>> 0;
  return (lo, hi) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return lo + (((t ^ (t >>> 14)) >>> 0) % (hi - lo + 1));
  };
}
