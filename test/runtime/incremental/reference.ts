/** The reference of an incremental run: each node of the optimized graph, evaluated by the interpreter on the maps that the engine keeps. */
import { loadProgram, type CellMask, type LoadOptions, type NativeProgram } from '../../../kernels/binding/index.js';
import { activationFor } from '../../../runtime/engines/native.js';
import { typeOf, type Graph, type Node } from '../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { allocate, elementCount, fromNumbers, isByte, toNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { followPicture } from '../../../runtime/incremental/flow.js';
import type { Piece } from '../../../runtime/ops/cell-flow.js';
import { withRegions } from '../../../runtime/incremental/load.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { lower, type CompiledProgram } from '../../../runtime/lower/compile.js';
import type { OnnxModel } from '../../../runtime/onnx/types.js';
import { optimize } from '../../../runtime/optimize/optimize.js';
import { random } from '../support/random.js';

export type Maps = ReadonlyMap<string, TensorValue>;

/** A grid whose cells are active with a probability. */
export function randomMask(width: number, height: number, share: number, seed: number): CellMask {
  const next = random(seed);
  const bits = new Uint8Array(Math.ceil((width * height) / 8));
  for (let i = 0; i < width * height; i++) if (next() < share) bits[i >> 3] = (bits[i >> 3] ?? 0) | (1 << (i & 7));
  return { width, height, bits };
}

const isActive = ({ width, bits }: CellMask, row: number, column: number): boolean => (((bits[(row * width + column) >> 3] ?? 0) >> ((row * width + column) & 7)) & 1) === 1;

/** Whether active cells of the picture lie under a cell of a map. */
function covers(mask: CellMask, { rows, columns }: Piece, cell: number): boolean {
  const [y, x] = [Math.floor(cell / columns), cell % columns];
  for (let row = 0; row < mask.height; row++) {
    for (let column = 0; column < mask.width; column++) {
      const overlaps = row * rows < (y + 1) * mask.height && (row + 1) * rows > y * mask.height && column * columns < (x + 1) * mask.width && (column + 1) * columns > x * mask.width;
      if (overlaps && isActive(mask, row, column)) return true;
    }
  }
  return false;
}

const view = (value: TensorValue): Uint8Array => new Uint8Array(value.data.buffer, value.data.byteOffset, value.data.byteLength);

/** A compiled graph all of whose values can be seen after a run. */
export class Incremental {
  private readonly flows;
  private readonly program: CompiledProgram;
  private readonly native: NativeProgram;

  private constructor(private readonly graph: Graph, load: LoadOptions) {
    this.flows = followPicture(graph)?.flows ?? new Map<string, readonly Piece[]>();
    // Without rings and levels in full: which cells are computed then follows from the mask alone.
    this.program = lower(graph, activationFor(load.isa), { incremental: { context: 0, wholeStride: Infinity } });
    this.native = loadProgram(this.program.bytes, withRegions(load, this.program));
  }

  static of(model: OnnxModel, load: LoadOptions = {}): Incremental {
    const graph = optimize(inferShapes(graphFromOnnx(model)));
    const seen = graph.nodes.flatMap(({ outputs }) => outputs.slice(0, 1)).filter((value) => typeOf(graph, value).dtype !== 'int64');
    return new Incremental({ ...graph, outputs: [...new Set([...graph.outputs, ...seen])] }, load);
  }

  get inputs(): CompiledProgram['inputs'] {
    return this.program.inputs;
  }
  /** Share of the ops that can be computed in part. */
  get inParts(): number {
    return this.native.inParts.filter(Boolean).length / this.native.inParts.length;
  }

  /** Every value after a run. */
  async run(feeds: Maps, mask?: CellMask): Promise<Map<string, TensorValue>> {
    const { inputs, outputs } = this.program;
    const [given, made] = [inputs.map(({ name, flip }) => flipped(feeds.get(name), flip)), outputs.map(({ name }) => zerosOf(this.graph, name))];
    await this.native.run(given.map(({ data }) => data), made.map(({ data }) => data), mask === undefined ? undefined : { ...mask, outputsKept: false });
    return new Map([...feeds, ...outputs.map(({ name, flip }, i): [string, TensorValue] => [name, flipped(made[i], flip)])]);
  }

  get ops(): number {
    return this.program.opNames.length;
  }

  /** Every value after a run of ops `first` to `end` - 1. */
  async runOps([first, end]: readonly [number, number], feeds: Maps, mask?: CellMask): Promise<Map<string, TensorValue>> {
    const { inputs, outputs } = this.program;
    const given = first > 0 ? null : inputs.map(({ name, flip }) => flipped(feeds.get(name), flip).data);
    const made = outputs.map(({ name }) => zerosOf(this.graph, name));
    await this.native.runPart(first, end, given, made.map(({ data }) => data), mask === undefined ? undefined : { ...mask, outputsKept: false });
    return new Map([...feeds, ...outputs.map(({ name, flip }, i): [string, TensorValue] => [name, flipped(made[i], flip)])]);
  }

  /**
   * What is wrong with the maps after a run of `mask` on those of before; empty when nothing is. `ops`: of a run of these only. With `alike` the
   * interpreter evaluates at most so many of the nodes that differ in nothing but their channels and the size of their maps.
   */
  problems(before: Maps, after: Maps, mask: CellMask, { ops: [first, end] = [0, Infinity], alike = Infinity }: { ops?: readonly [number, number]; alike?: number } = {}): string[] {
    const seen = new Map<string, number>();
    return this.graph.nodes.filter((node) => this.opsOf(node).every((op) => op >= first && op < end)).flatMap((node) => {
      const kind = this.kindOf(node), times = (seen.get(kind) ?? 0) + 1;
      seen.set(kind, times);
      return times > alike ? [] : this.problemsOf(node, before, after, mask);
    });
  }

  close(): Promise<void> {
    return this.native.close();
  }

  private kindOf({ op, attributes, inputs, outputs }: Node): string {
    const group = attributes.get('group');
    return JSON.stringify([op, [...attributes, ['group', group === undefined ? 0 : Number(group) > 1 ? 2 : 1]], inputs.length, typeOf(this.graph, outputs[0] ?? '').dtype], (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value));
  }

  private problemsOf(node: Node, before: Maps, after: Maps, mask: CellMask): string[] {
    const y = node.outputs[0] ?? '';
    const [got, old] = [after.get(y), before.get(y)];
    const inputs = node.inputs.filter((input) => input !== '' && !this.graph.constants.has(input));
    if (got === undefined || old === undefined || inputs.some((input) => !after.has(input))) return [];
    const alone: Graph = { ...this.graph, inputs: [...new Set(inputs)], nodes: [node], outputs: [y] };
    const want = interpret(alone, new Map(inputs.flatMap((input) => { const value = after.get(input); return value === undefined ? [] : [[input, value] as const]; }))).get(y);
    if (want === undefined) throw new Error(`${node.op} '${node.name}' was not evaluated`);
    const computed = this.computed(node, mask);
    const tolerance = isByte(want.dtype) ? 0 : 1e-4 * Array.from(toNumbers(want)).reduce((most, value) => Math.max(most, Math.abs(value)), 1e-3);
    const channels = Math.max(1, want.dims.at(-1) ?? 1);
    const [a, b, c] = [got, want, old].map(toNumbers);
    let wrong = 0;
    for (let i = 0; i < got.data.length; i++) {
      const [value = 0, reference = 0, kept = 0] = [a?.[i], b?.[i], c?.[i]];
      const place = computed === 'all' ? 'computed' : computed[Math.floor(i / channels)];
      if (place === 'computed' ? Math.abs(value - reference) > tolerance : place === 'kept' && value !== kept) wrong++;
    }
    return wrong === 0 ? [] : [`${node.op} '${node.name}' -> [${want.dims.join()}]: ${wrong} of ${got.data.length} elements`];
  }

  private opsOf(node: Node): number[] {
    return this.program.opNames.flatMap(({ name, op }, i) => (name === node.name && op === node.op ? [i] : []));
  }

  /** Which pixels of a node's output a run computes. A value that is nothing but memory of its operands has no op and follows them. */
  private computed(node: Node, mask: CellMask): 'all' | ('computed' | 'kept' | 'either')[] {
    const y = node.outputs[0] ?? '';
    const ops = this.opsOf(node);
    const flow = this.flows.get(y);
    if (flow === undefined || ops.length === 0 || ops.some((op) => this.native.inParts[op] !== true)) return 'all';
    const pixels = elementCount(typeOf(this.graph, y).shape) / Math.max(1, typeOf(this.graph, y).shape.at(-1) ?? 1);
    // Parts of a concatenation may be where they belong already.
    const places = new Array<'computed' | 'kept' | 'either'>(pixels).fill(node.op === 'Concat' ? 'either' : 'kept');
    for (const piece of flow) {
      for (let cell = 0; cell < piece.rows * piece.columns; cell++) {
        if (covers(mask, piece, cell)) places.fill('computed', piece.first + cell * piece.pixels, piece.first + (cell + 1) * piece.pixels);
      }
    }
    return places;
  }
}

function zerosOf(graph: Graph, value: string): TensorValue {
  const { dtype, shape } = typeOf(graph, value);
  return { dtype, dims: shape, data: allocate(dtype, elementCount(shape)) };
}

function flipped(value: TensorValue | undefined, flip: boolean): TensorValue {
  if (value === undefined) throw new Error('a value is missing');
  if (!flip) return value;
  const copy = fromNumbers(value.dtype, value.dims, toNumbers(value));
  view(copy).forEach((byte, i, bytes) => { bytes[i] = byte ^ 128; });
  return copy;
}

/** The bits of a map. */
export const bitsOf = (maps: Maps): Record<string, string> => Object.fromEntries([...maps].map(([name, value]) => [name, Buffer.from(view(value)).toString('base64')]));
