import { RuntimeError } from '../errors.js';
import { unsupported } from '../graph/attributes.js';
import { typeOf, type Graph, type Node } from '../graph/graph.js';
import { optionalOperand, outputOf } from '../graph/operands.js';
import { elementCount, isByte, programBytes, type DType, type Shape, type TensorValue } from '../graph/tensor-value.js';
import { asPixels } from '../ops/convolution.js';
import { rangeOf } from '../ops/quantization.js';
import type { RegionTable } from '../incremental/regions.js';
import type { KernelFormat } from '../ops/record.js';
import { recordOf } from '../ops/registry.js';
import { single } from '../ops/views.js';
import type { StoragePlan } from '../plan/storage.js';
import { flipBytes } from './flip-bytes.js';
import type { AttributesOf, OpCode, WireDType } from './program-format.js';
import type { ProgramWriter } from './writer.js';

/** What an op of the program stands for in the model. */
export interface OpName {
  /** Name of the ONNX node; of the last one where several were fused. */
  readonly name: string;
  /** Operator of the graph that was lowered, e.g. ConvQ8. */
  readonly op: string;
  /** Multiplications with accumulation in one inference. */
  readonly macs: number;
  readonly format: KernelFormat;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  /** Elements of the constants that the op reads: weights, biases, scales, tables. */
  readonly parameters: number;
  /** The constant that it multiplies with; null for an op without weights. */
  readonly weights: string | null;
  /** Bytes of the tensors that it reads, constants included, each once: what a cache of unlimited size would have to load. */
  readonly bytesRead: number;
  readonly bytesWritten: number;
  /** Whether it runs in a strip, and why, where that was a question; else empty. */
  readonly strip: string;
  /** In a program for incremental runs: whether the cells of the picture can be told apart in its output. Else false. */
  readonly cells: boolean;
}

/**
 * How the bytes of an 8-bit input reach the program: `pixels` stay uint8 (NormalizeU8 reads them); `table`: as they are,
 * the lookup tables that read them allow for the sign; `flip`: moved by 128 before they are fed; `same`: they are the
 * program's activation type already.
 */
export type InputHandling = 'pixels' | 'table' | 'flip' | 'same';

const bytesOf = (data: TensorValue['data']): Uint8Array => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);

function narrowed(value: string, data: BigInt64Array): Int32Array {
  return Int32Array.from(data, (element) => {
    if (BigInt.asIntN(32, element) !== element) throw new RuntimeError('E_MODEL_VALUE', `Constant '${value}': expected whole numbers of 32 bits but received ${element}`, { details: { initializer: value } });
    return Number(element);
  });
}

/** A node that an op is written for, where there is more to say of it than the node itself. */
export interface Work {
  readonly node: Node;
  /** Multiply-adds of the op. Default 0. */
  readonly macs?: number;
  /** The value whose pixels the op writes, all of them; '' where it writes others. Default: the node's output. */
  readonly filled?: string;
}

/** Everything a lowering works with: the graph, where values live, and the program being written. */
export class LoweringContext {
  readonly names: OpName[] = [];
  /** The node that each op stands for. */
  readonly nodes: Node[] = [];
  readonly activation: 'uint8' | 'int8';
  private readonly ports: ReadonlyMap<string, InputHandling>;
  private readonly ids = new Map<string, number>();
  private readonly stored = new Map<string, Uint8Array>();

  /** @param bytes the type of the program's 8-bit activations, and how each input's bytes become that type */
  constructor(
    readonly graph: Graph,
    readonly plan: StoragePlan,
    readonly writer: ProgramWriter,
    bytes: { activation: 'uint8' | 'int8'; handling: ReadonlyMap<string, InputHandling> },
    private readonly regions?: RegionTable,
  ) {
    this.activation = bytes.activation;
    this.ports = bytes.handling;
  }

  /** Whether an input's bytes arrive as the model has them although the program's activations have the other sign. */
  arrivesUnflipped(value: string): boolean {
    return this.ports.get(value) === 'table';
  }

  shape(value: string): Shape {
    return typeOf(this.graph, value).shape;
  }
  dtype(value: string): DType {
    return typeOf(this.graph, value).dtype;
  }
  constant(value: string | undefined): TensorValue | undefined {
    return value === undefined ? undefined : this.graph.constants.get(value);
  }

  /** How far stored activations of `value` are from the model's own numbers. */
  shift(value: string): number {
    const dtype = this.dtype(value);
    return isByte(dtype) ? rangeOf(this.activation)[0] - rangeOf(dtype)[0] : 0;
  }
  /** A zero-point or bound of `value`, as stored. */
  stored8(value: string, q: number): number {
    return q + this.shift(value);
  }

  /** The element type of a value in the program. int64 becomes int32, and what does not fit is an error; bool is bytes of 0 and 1. */
  wireType(value: string): WireDType {
    const dtype = this.dtype(value);
    if (this.ports.get(value) === 'pixels') return 'uint8';
    if (isByte(dtype)) return this.activation;
    if (dtype === 'float32' || dtype === 'int32') return dtype;
    if (dtype === 'int64') return 'int32';
    if (dtype === 'bool') return 'uint8';
    throw unsupported({ name: value, op: 'value', attributes: new Map() }, `element type ${dtype} cannot be computed with while the model runs`);
  }

  private constantBytes(value: string, tensor: TensorValue): Uint8Array {
    const known = this.stored.get(value);
    if (known !== undefined) return known;
    let bytes = bytesOf(tensor.data);
    if (tensor.data instanceof BigInt64Array) bytes = bytesOf(narrowed(value, tensor.data));
    else if (isByte(tensor.dtype) && this.shift(value) !== 0) bytes = flipBytes(bytes);
    this.stored.set(value, bytes);
    return bytes;
  }

  /** The program's tensor for a value, seen under `dims` when given (the same pixels in another arrangement). */
  tensor(value: string, dims: Shape = this.shape(value)): number {
    const key = `${value}\n${dims.join()}`;
    const known = this.ids.get(key);
    if (known !== undefined) return known;
    const constant = this.constant(value);
    const placement = this.plan.placements.get(value);
    const id = this.writer.tensor(
      constant === undefined
        ? { dtype: this.wireType(value), dims, pixelStride: placement?.pixelStride ?? dims.at(-1) ?? 1, memory: placement?.strip === true ? 'strip' : (placement?.offset ?? 0) }
        : { dtype: this.wireType(value), dims, memory: this.constantBytes(value, constant) },
    );
    this.ids.set(key, id);
    return id;
  }
  optional(value: string | undefined): number | undefined {
    return value === undefined ? undefined : this.tensor(value);
  }

  /** A value whose memory has no gaps, under any shape of as many elements. */
  dense(value: string, dims: Shape): number {
    return this.writer.tensor({ dtype: this.wireType(value), dims, memory: this.plan.placements.get(value)?.offset ?? 0 });
  }

  /** Elements [start, start + dims[axis]) of an axis as a tensor of its own; undefined when they are not one run of pixels. */
  part(value: string, axis: number, start: number, dims: Shape): number | undefined {
    const whole = this.shape(value);
    const { offset = 0, pixelStride = 1 } = this.plan.placements.get(value) ?? {};
    const last = axis === whole.length - 1;
    if (!last && elementCount(whole.slice(0, axis)) !== 1) return undefined;
    const elements = last ? start : start * elementCount(whole.slice(axis + 1, -1)) * pixelStride;
    const dtype = this.wireType(value);
    return this.writer.tensor({ dtype, dims, pixelStride: elementCount(dims) === dims.at(-1) ? (dims.at(-1) ?? 1) : pixelStride, memory: offset + elements * programBytes(this.dtype(value)) });
  }

  /** [N, H, W, C], whatever the rank. */
  pixels(value: string): number {
    return this.tensor(value, [...asPixels(this.shape(value))]);
  }

  /** A constant that the graph does not have: weights and tables are never moved by 128. */
  raw(dtype: WireDType, dims: Shape, data: TensorValue['data']): number {
    return this.writer.tensor({ dtype, dims, memory: bytesOf(data) });
  }

  /** A constant of 8-bit weights, as the graph has it; undefined when the value is not constant. */
  weights8(value: string): number | undefined {
    const constant = this.constant(value);
    return constant === undefined ? undefined : this.raw('int8', constant.dims, constant.data);
  }

  /** Writes an op of the program, and what a profile says of it. */
  emit<C extends OpCode>(work: Node | Work, code: C, inputs: readonly (number | undefined)[], output: number, attributes: AttributesOf<C>): void {
    const { node, macs = 0, filled = outputOf(node) }: Work = 'node' in work ? work : { node: work };
    this.writer.op(code, inputs, output, attributes);
    // Who reads an output in which cells cannot be told apart relies on all of it being new.
    const flow = this.regions?.flow(outputOf(node)) === undefined ? undefined : this.regions.flow(filled);
    this.regions?.addOp(flow);
    let parameters = 0;
    for (const input of new Set(node.inputs)) parameters += this.constant(input)?.data.length ?? 0;
    const { x, output: y } = single(node);
    const record = recordOf(node);
    const format = typeof record?.format === 'function' ? record.format(this.dtype(x)) : (record?.format ?? 'none');
    const bytes = this.traffic(record?.copies === true, inputs, output);
    const weights = macs > 0 && this.constant(optionalOperand(node, 1)) !== undefined ? (optionalOperand(node, 1) ?? null) : null;
    this.nodes.push(node);
    this.names.push({ name: node.name, op: node.op, macs, format, inputShape: this.shape(x), outputShape: this.shape(y), parameters, weights, ...bytes, strip: this.plan.stripNotes.get(node) ?? '', cells: flow !== undefined });
  }

  private traffic(copies: boolean, inputs: readonly (number | undefined)[], output: number): Pick<OpName, 'bytesRead' | 'bytesWritten'> {
    const bytesWritten = this.writer.elementBytes(output);
    if (copies) return { bytesRead: bytesWritten, bytesWritten };
    const read = new Set(inputs.filter((id) => id !== undefined));
    return { bytesRead: [...read].reduce((sum, id) => sum + this.writer.elementBytes(id), 0), bytesWritten };
  }
}

export type Lowering = (context: LoweringContext, node: Node) => void;
