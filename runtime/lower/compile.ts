import { RuntimeError } from '../errors.js';
import { unsupported } from '../graph/attributes.js';
import { explainAnew } from '../graph/explain.js';
import type { Graph, Node } from '../graph/graph.js';
import { consumersOf, inputsBehind, producersOf, typeOf } from '../graph/graph.js';
import { graphFromOnnx } from '../graph/import.js';
import { openAxes } from '../graph/open-dimensions.js';
import { isByte, isUnsignedWide, type DType, type TensorValue } from '../graph/tensor-value.js';
import { parseModel } from '../onnx/parse.js';
import type { ModelLimits } from '../onnx/types.js';
import { aBoolean, anObject, aString, aSwitch, checkOptions, oneOf, type OptionKinds } from '../options.js';
import { optimize } from '../optimize/optimize.js';
import { insertPixelInputs } from '../optimize/passes/insert-pixel-input.js';
import { checkIncremental, type IncrementalOptions } from '../incremental/options.js';
import { RegionTable } from '../incremental/regions.js';
import { pause } from '../graph/pause.js';
import { orderAndPlan } from '../plan/order.js';
import { planStorage } from '../plan/storage.js';
import type { PixelInput } from '../session-types.js';
import type { TensorInfo } from '../tensor.js';
import { inferShapes } from '../infer/infer.js';
import { LoweringContext, type InputHandling, type Lowering, type OpName } from './context.js';
import { cutAt, nodesBehind, splitPoints } from './split.js';
import { convolutionLowerings } from './ops/convolution.js';
import { elementwiseLowerings } from './ops/elementwise.js';
import { movementLowerings } from './ops/movement.js';
import { recurrentLowerings } from './ops/recurrent.js';
import { spatialLowerings } from './ops/spatial.js';
import { wholeLowerings } from './ops/whole.js';
import { ProgramWriter } from './writer.js';

export interface CompileOptions {
  /** Type of the 8-bit activations that the CPU's kernels use (`describeCpu().activation`). Default uint8. */
  activation?: 'uint8' | 'int8';
  /** Image inputs that are fed as raw pixels, by input name. */
  pixels?: Readonly<Record<string, PixelInput>>;
  /** Values of symbolic dimensions. */
  symbols?: Readonly<Record<string, number>>;
  /** Complete shapes by input name. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Limits for the model; those that are not given have their defaults. */
  limits?: Partial<ModelLimits>;
  /** Values of inputs that become constants; the program then has no such inputs. */
  fixed?: Readonly<Record<string, TensorValue>>;
  /** Whether convolutions may run in strips. Default true. */
  strips?: boolean;
  /** Compiles for runs that compute a part and keep the rest; strips are then off. Default false. */
  incremental?: boolean | IncrementalOptions;
  /** Name of a layer after which the program can be stopped and resumed (`ProgramSplit`). */
  split?: string;
}

const compileOptionKinds: OptionKinds<Required<CompileOptions>> = {
  activation: oneOf(['uint8', 'int8']), pixels: anObject, symbols: anObject, shapes: anObject, limits: anObject, fixed: anObject, strips: aBoolean, incremental: aSwitch,
  split: aString,
};

/** An input or output of a program, and how its bytes differ from the model's. */
export interface ProgramPort extends TensorInfo {
  /** The program uses the other 8-bit type: the top bit of every byte is inverted on input and output. */
  readonly flip: boolean;
  /** The number of rows is known only after a run: unused rows at the end contain only -1 and are not part of the output. */
  readonly padded: boolean;
}

/** A program in two parts: the layers that a feature map needs, then the others, which go on from the memory that the first part leaves. */
export interface ProgramSplit {
  /** Name of the last layer of the first part. */
  readonly name: string;
  /** Number of its ops. */
  readonly ops: number;
  /** Its feature map [1, H, W, C]: the last output of the program, and none of the model's. */
  readonly features: ProgramPort;
  /** The value that stands for 0 in it, as its type has it; 0 for float. */
  readonly zeroPoint: number;
}

export interface CompiledProgram {
  readonly bytes: Uint8Array;
  readonly activation: 'uint8' | 'int8';
  readonly inputs: readonly ProgramPort[];
  /** Those of the model. */
  readonly outputs: readonly ProgramPort[];
  readonly split?: ProgramSplit | undefined;
  /** Description of each op of the program, by index. */
  readonly opNames: readonly OpName[];
  readonly arenaBytes: number;
  /** Whether sizes of inputs that neither the file nor the options state were taken as 1. */
  readonly open?: boolean;
  /** Of a program for incremental runs: its table of regions (kernels/engine/regions.h). */
  readonly regions?: readonly number[];
  /** The graph that was lowered, and its node for each op. */
  readonly graph: Graph;
  readonly opNodes: readonly Node[];
}

const lowerings: Readonly<Record<string, Lowering>> = { ...convolutionLowerings, ...spatialLowerings, ...elementwiseLowerings, ...movementLowerings, ...recurrentLowerings, ...wholeLowerings };

/** Operators of the graph that the engine can run; the others must have been folded or rewritten before. */
export const loweredOperators: readonly string[] = Object.keys(lowerings).sort();

function handlingOf(graph: Graph, input: string, activation: 'uint8' | 'int8'): InputHandling {
  const { dtype } = typeOf(graph, input);
  const readers = consumersOf(graph.nodes).get(input) ?? [];
  if (dtype === 'uint8' && readers.length > 0 && readers.every((node) => node.op === 'NormalizeU8')) return 'pixels';
  if (!isByte(dtype) || dtype === activation) return 'same';
  const tables = readers.length > 0 && readers.every((node) => node.op === 'LutQ8') && !graph.outputs.includes(input);
  return tables ? 'table' : 'flip';
}

/** The type as the Session interface has it. */
function portType(name: string, dtype: DType): TensorInfo['type'] {
  // Such a model runs in parts.
  if (isUnsignedWide(dtype)) throw unsupported({ name, op: 'interface', attributes: new Map() }, `a program has no tensors of type ${dtype}`);
  if (dtype === 'int4' || dtype === 'uint4' || dtype === 'int2' || dtype === 'uint2') {
    throw unsupported({ name, op: 'interface', attributes: new Map() }, `element type ${dtype} cannot cross the interface of a model`);
  }
  return dtype;
}

/** Nodes that are lowered between two pauses. */
const nodesAPause = 32;

/**
 * An optimized graph as a program.
 * @throws RuntimeError E_MODEL_OP: an operator that the engine does not have; E_INPUT: no layer to split after; E_OPTION: an incremental one without a picture
 */
export function lower(whole: Graph, activation: 'uint8' | 'int8', { strips = true, incremental = false, split }: Pick<CompileOptions, 'strips' | 'incremental' | 'split'> = {}): CompiledProgram {
  const cut = split === undefined ? undefined : cutAt(whole, split);
  const given = cut?.graph ?? whole;
  const table = incremental === false ? undefined : RegionTable.of(given, incremental === true ? {} : incremental);
  // A prefix and regions are stated in the order of the nodes.
  const fixed = cut !== undefined || table !== undefined;
  const { graph, plan } = fixed ? { graph: given, plan: planStorage(given, { strips, keep: table !== undefined }) } : orderAndPlan(given, { strips });
  const writer = new ProgramWriter(activation);
  const handling = new Map(graph.inputs.map((input) => [input, handlingOf(graph, input, activation)]));
  const context = new LoweringContext(graph, plan, writer, { activation, handling }, table);
  let prefixOps = 0;
  for (const [i, node] of graph.nodes.entries()) {
    if (i % nodesAPause === 0) pause();
    if (i === cut?.prefix) prefixOps = context.names.length;
    if (plan.elided.has(node)) continue;
    const lowering = Object.hasOwn(lowerings, node.op) ? lowerings[node.op] : undefined;
    if (lowering === undefined) throw unsupported(node, 'the engine cannot compute this operator while the model runs');
    lowering(context, node);
  }
  const producers = producersOf(graph.nodes);
  const port = (name: string, flip: boolean): ProgramPort => {
    const { dtype, shape } = typeOf(graph, name);
    return { name, type: portType(name, dtype), dims: shape, flip, padded: producers.get(name)?.op === 'SelectBoxes' };
  };
  const inputs = graph.inputs.map((name) => port(name, handling.get(name) === 'flip'));
  const outputs = graph.outputs.map((name) => port(name, isByte(typeOf(graph, name).dtype) && typeOf(graph, name).dtype !== activation));
  const bytes = writer.finish(graph.inputs.map((name) => context.tensor(name)), graph.outputs.map((name) => context.tensor(name)), plan.arenaBytes);
  const regions = table === undefined ? {} : { regions: table.finish(graph.outputs) };
  const described = { bytes, activation, inputs, opNames: context.names, opNodes: context.nodes, arenaBytes: plan.arenaBytes, graph, ...regions };
  const features = cut === undefined ? undefined : outputs.at(-1);
  if (cut === undefined || features === undefined) return { ...described, outputs };
  const { name, zeroPoint } = cut.point;
  return { ...described, outputs: outputs.slice(0, -1), split: { name, ops: prefixOps, features, zeroPoint } };
}

/** Lets a refusal for want of a constant say which inputs of the model it would follow from: `details.inputs`. */
function namingInputs(error: unknown, graph: Graph): unknown {
  const operand = error instanceof RuntimeError ? error.details['operand'] : undefined;
  if (!(error instanceof RuntimeError) || typeof operand !== 'string') return error;
  const inputs = inputsBehind(graph, operand);
  return inputs.length === 0 ? error : new RuntimeError(error.code, `${error.message}, but it depends on the inputs ${inputs.join(', ')}`, { cause: error, details: { ...error.details, inputs } });
}

/**
 * An ONNX model, or its graph, as a program for the engine.
 * @throws RuntimeError E_OPTION, E_MODEL_*, E_INPUT (pixels that do not fit an input)
 */
export function compile(model: Uint8Array | Graph, options: CompileOptions = {}): CompiledProgram {
  checkOptions('compile', options, compileOptionKinds);
  checkIncremental('compile', options.incremental);
  const { activation = 'uint8', pixels = {}, symbols = {}, shapes = {}, limits = {}, fixed = {}, strips = true, incremental = false, split } = options;
  explainAnew();
  const parsed = model instanceof Uint8Array ? parseModel(model, limits) : model;
  const graph = 'graph' in parsed ? graphFromOnnx(parsed, { symbols, shapes, limits, fixed }) : parsed;
  try {
    const program = lower(optimize(insertPixelInputs(inferShapes(graph), pixels)), activation, { strips, incremental, ...(split === undefined ? {} : { split }) });
    return !('graph' in parsed) || Object.keys(openAxes(parsed.graph.inputs, { symbols, shapes })).length === 0 ? program : { ...program, open: true };
  } catch (error) {
    throw namingInputs(error, graph);
  }
}

/** A place where a program can be cut, and what its first part costs. */
export interface SplitCost {
  readonly name: string;
  /** [1, H, W, C] */
  readonly shape: readonly number[];
  readonly dtype: DType;
  /** Multiplications of the first part, and their share of all. */
  readonly macs: number;
  readonly share: number;
}

/** Where this program can be cut, in its order. */
export function splitCosts({ graph, opNames, opNodes }: Pick<CompiledProgram, 'graph' | 'opNames' | 'opNodes'>): SplitCost[] {
  const macsOf = (wanted: (node: Node) => boolean): number => opNames.reduce((sum, { macs }, i) => {
    const node = opNodes[i];
    return node !== undefined && wanted(node) ? sum + macs : sum;
  }, 0);
  const all = macsOf(() => true);
  const producers = producersOf(graph.nodes);
  return splitPoints(graph).map(({ name, value }) => {
    const behind = nodesBehind(producers, value);
    const macs = macsOf((node) => behind.has(node));
    const { shape, dtype } = typeOf(graph, value);
    return { name, shape, dtype, macs, share: all === 0 ? 0 : macs / all };
  });
}
