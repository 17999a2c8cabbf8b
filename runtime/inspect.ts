import { describeCpu, loadProgram, type Isa } from '../kernels/binding/index.js';
import { activationFor } from './engines/native.js';
import { multiplies } from './engines/in-parts.js';
import { openInParts } from './engines/open-parts.js';
import { isRefusal } from './engines/refusal.js';
import { decidedByWholeNumbers, decidingInputs, interfaceOf } from './engines/specializing.js';
import type { Graph, Node } from './graph/graph.js';
import { graphFromOnnx } from './graph/import.js';
import { toNumbers, type Shape, type TensorValue } from './graph/tensor-value.js';
import { withRegions } from './incremental/load.js';
import { compile, splitCosts, type SplitCost } from './lower/compile.js';
import { nameOp } from './lower/name-op.js';
import { loadModelBytes } from './model-file.js';
import { declaredFloats } from './onnx/declared-floats.js';
import { parseModel } from './onnx/parse.js';
import type { OnnxModel } from './onnx/types.js';
import { checkOptions, type OptionKinds } from './options.js';
import { checkNested, sessionOptionKinds } from './session.js';
import type { SessionOptions } from './session-types.js';
import type { TensorInfo } from './tensor.js';

export type InspectOptions = Pick<SessionOptions, 'isa' | 'threads' | 'pixels' | 'symbols' | 'shapes' | 'memoryLimitBytes' | 'strips' | 'incremental'>;

const inspectOptionKinds: OptionKinds<Required<InspectOptions>> = (({ isa, threads, pixels, symbols, shapes, memoryLimitBytes, strips, incremental }) => (
  { isa, threads, pixels, symbols, shapes, memoryLimitBytes, strips, incremental }))(sessionOptionKinds);

/** Number format in which a kernel computes. `ternary-binary`: activations of -1, 0 and 1, weights of -1 and 1. */
export type ComputeFormat = 'int8' | 'float32' | 'none' | 'w46' | 'int4' | 'binary' | 'ternary-binary' | 'ternary';

const formatOfFamily: Readonly<Record<string, ComputeFormat>> = {
  gemm_w46: 'w46', gemm_u4u4: 'int4', gemm_f32w4: 'int4', gemm_bnn: 'binary', gemm_tbn: 'ternary-binary', gemm_tnn: 'ternary',
};

function computeFormat(format: ComputeFormat, kernel: string): ComputeFormat {
  const [family = kernel] = kernel.split('/');
  return formatOfFamily[family] ?? format;
}

/** Bits of a grid that holds the weights: symmetric around 0, or -1 and 1 alone. */
function bitsOf(weights: TensorValue | undefined): number | null {
  if (weights === undefined) return null;
  if (weights.dtype === 'float32') return 32;
  const numbers = toNumbers(weights);
  let largest = 0;
  for (const w of numbers) largest = Math.max(largest, Math.abs(w));
  return Math.log2(largest === 1 && !numbers.includes(0) ? 2 : 2 * largest + 1);
}

/** One op of the program, in the order of execution. */
export interface InspectedLayer {
  /** Name of the ONNX node; for fused nodes, of the last one. */
  readonly name: string;
  readonly op: string;
  readonly inputShape: Shape;
  readonly outputShape: Shape;
  readonly macs: number;
  readonly parameters: number;
  /** Number format of the arithmetic on this CPU; `none` for ops that only move data. */
  readonly format: ComputeFormat;
  /** Bits per weight: log2 of the number of its levels, or 32 for floats; null without weights. The size in the file depends on its data types. */
  readonly weightBits: number | null;
  /** Reasons for the format and for running in a strip or not, where there was a choice. */
  readonly note: string;
  /** The kernel that runs it on this CPU, e.g. `gemm_q8/avx512vnni`. */
  readonly kernel: string;
  /** With `incremental`: whether a run can compute a part of it. Otherwise null. */
  readonly inParts: boolean | null;
}

export interface ModelInspection {
  readonly opset: number;
  readonly producer: string;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Number of nodes of each ONNX operator in the file. */
  readonly operators: Readonly<Record<string, number>>;
  /** Number of ops of the compiled program. */
  readonly ops: number;
  readonly layers: readonly InspectedLayer[];
  readonly macs: number;
  readonly parameters: number;
  readonly isa: Isa;
  /** Type of the 8-bit activations in the program. */
  readonly activation: 'uint8' | 'int8';
  /** Memory for the activations of one inference, bytes. */
  readonly arenaBytes: number;
  /** Memory for the weights in the layout of the kernels, bytes. */
  readonly packedBytes: number;
  /** Working memory of the kernels, bytes. */
  readonly scratchBytes: number;
  readonly programBytes: number;
  /** Nodes that the reference implementations compute between the programs of the model; they are layers, too. */
  readonly interpretedNodes: number;
  /** Inputs for whose values the model is compiled again. */
  readonly recompiledFor: readonly string[];
  /** Layers after which the program can be stopped and resumed, which is where a feature gate may be. */
  readonly splits: readonly SplitCost[];
}

function countOperators(nodes: readonly { op: string }[]): Record<string, number> {
  const counts = new Map<string, number>();
  for (const { op } of nodes) counts.set(op, (counts.get(op) ?? 0) + 1);
  return Object.fromEntries([...counts].sort(([a], [b]) => (a < b ? -1 : 1)));
}

const sum = <T>(list: readonly T[], of: (item: T) => number): number => list.reduce((total, item) => total + of(item), 0);

/**
 * What a model becomes on this CPU: layers after fusion, their cost, format and kernel, and the memory it takes. Loads the
 * program and frees it again; runs nothing.
 * @param model bytes or a path
 * @throws RuntimeError E_OPTION, E_MODEL_*, E_INPUT; KernelError E_NATIVE_MISSING, E_ISA, E_OUT_OF_MEMORY
 */
export async function inspectModel(model: Uint8Array | string, options: InspectOptions = {}): Promise<ModelInspection> {
  checkOptions('inspectModel', options, inspectOptionKinds);
  checkNested('inspectModel', options);
  const { symbols, shapes, incremental = false } = options;
  const bytes = await loadModelBytes(model);
  const parsed = parseModel(bytes);
  const graph = graphFromOnnx(parsed, { ...(symbols === undefined ? {} : { symbols }), ...(shapes === undefined ? {} : { shapes }) });
  const head = { opset: parsed.opsets.get('') ?? 0, producer: `${parsed.producerName} ${parsed.producerVersion}`.trim(), operators: countOperators(parsed.graph.nodes) };
  try {
    return declaring(bytes, { ...head, ...(await inspectProgram(graph, options)), interpretedNodes: 0, recompiledFor: [] });
  } catch (error) {
    if (!isRefusal(error) || incremental !== false) throw error;
    return declaring(bytes, { ...head, ...(await inspectParts(parsed, graph, options, error)) });
  }
}

/** With the types of floats that the model declares for its inputs and outputs, as a session has them. */
function declaring(model: Uint8Array, inspection: ModelInspection): ModelInspection {
  const declared = declaredFloats(model);
  const stated = (info: TensorInfo): TensorInfo => ({ ...info, type: info.type === 'float32' && info.container === undefined ? (declared.get(info.name) ?? info.type) : info.type });
  return { ...inspection, inputs: inspection.inputs.map(stated), outputs: inspection.outputs.map(stated) };
}

type InspectedProgram = Omit<ModelInspection, 'opset' | 'producer' | 'operators' | 'interpretedNodes' | 'recompiledFor'>;

/** A node that is computed between programs, as a layer. */
function interpretedLayer({ name, op }: Node): InspectedLayer {
  const note = 'interpreted: its sizes follow from data, or the engine has no kernel for it';
  return { name, op, inputShape: [], outputShape: [], macs: 0, parameters: 0, format: 'none', weightBits: null, note, kernel: 'interpreted', inParts: null };
}

/** A model that cannot be one program, part by part. @param refusal why it cannot */
async function inspectParts(parsed: OnnxModel, graph: Graph, options: InspectOptions, refusal: unknown): Promise<Omit<ModelInspection, 'opset' | 'producer' | 'operators'>> {
  const { pixels = {} } = options;
  let again = false;
  const whole = decidedByWholeNumbers(graph, refusal);
  const made = await openInParts(graph, {
    open: (part) => inspectProgram(part, { ...options, pixels: Object.fromEntries(Object.entries(pixels).filter(([name]) => part.inputs.includes(name))) }),
    close: () => Promise.resolve(),
  }, refusal, (parts, constants) => {
    again = whole && multiplies(parts, constants);
    return true;
  });
  const parts = made?.parts ?? [];
  const programs = parts.flatMap((part) => (part.kind === 'compiled' ? [part.opened] : []));
  const layers = parts.flatMap((part) => (part.kind === 'compiled' ? part.opened.layers : part.nodes.map(interpretedLayer)));
  const { inputs, outputs } = interfaceOf(graph, parsed);
  const [first] = programs;
  return {
    inputs, outputs, layers, ops: layers.length, macs: sum(programs, ({ macs }) => macs), parameters: sum(programs, ({ parameters }) => parameters),
    isa: first?.isa ?? options.isa ?? describeCpu().selected, activation: activationFor(options.isa), splits: [],
    arenaBytes: sum(programs, ({ arenaBytes }) => arenaBytes), packedBytes: sum(programs, ({ packedBytes }) => packedBytes),
    scratchBytes: sum(programs, ({ scratchBytes }) => scratchBytes), programBytes: sum(programs, ({ programBytes }) => programBytes),
    interpretedNodes: sum(parts, (part) => (part.kind === 'interpreted' ? part.nodes.length : 0)),
    recompiledFor: again ? (decidingInputs(refusal) ?? []) : [],
  };
}

/** The program of a graph. */
async function inspectProgram(graph: Graph, options: InspectOptions): Promise<InspectedProgram> {
  const { isa, threads, memoryLimitBytes, pixels, strips, incremental } = options;
  const program = compile(graph, {
    activation: activationFor(isa),
    ...(pixels === undefined ? {} : { pixels }),
    ...(strips === undefined ? {} : { strips }),
    ...(incremental === undefined ? {} : { incremental }),
  });
  const native = nameOp(program, () =>
    loadProgram(program.bytes, withRegions({
      ...(isa === undefined ? {} : { isa }),
      ...(threads === undefined ? {} : { threads }),
      ...(memoryLimitBytes === undefined ? {} : { memoryLimitBytes }),
    }, program)),
  );
  const layers = program.opNames.map((op, i): InspectedLayer => {
    const kernel = native.kernels[i] ?? '';
    const weightBits = bitsOf(op.weights === null ? undefined : program.graph.constants.get(op.weights));
    const inParts = program.regions === undefined ? null : native.inParts[i] === true;
    const whole = inParts === false ? (op.cells ? 'computed in full: the engine has no kernel for parts of it' : 'computed in full: cells of the picture cannot be told apart in its output') : '';
    return { ...op, kernel, weightBits, format: computeFormat(op.format, kernel), inParts, note: [native.notes[i] ?? '', op.strip, whole].filter((note) => note !== '').join('; ') };
  });
  const inspection: InspectedProgram = {
    inputs: program.inputs.map(({ name, type, dims }) => ({ name, type, dims })),
    outputs: program.outputs.map(({ name, type, dims }) => ({ name, type, dims })),
    ops: layers.length,
    layers,
    macs: sum(layers, ({ macs }) => macs),
    parameters: sum(layers, ({ parameters }) => parameters),
    isa: native.isa,
    activation: program.activation,
    arenaBytes: native.arenaBytes,
    packedBytes: native.packedBytes,
    scratchBytes: native.scratchBytes,
    programBytes: program.bytes.length,
    splits: splitCosts(program),
  };
  await native.close();
  return inspection;
}
