import { RuntimeError } from '../errors.js';
import { unsupported } from '../graph/attributes.js';
import type { Graph } from '../graph/graph.js';
import { consumersOf, inputsBehind, producersOf, typeOf } from '../graph/graph.js';
import { graphFromOnnx } from '../graph/import.js';
import { isByte, type DType, type TensorValue } from '../graph/tensor-value.js';
import { parseModel } from '../onnx/parse.js';
import type { ModelLimits } from '../onnx/types.js';
import { aBoolean, anObject, aSwitch, checkOptions, oneOf, type OptionKinds } from '../options.js';
import { optimize } from '../optimize/optimize.js';
import { insertPixelInputs } from '../optimize/passes/insert-pixel-input.js';
import { checkIncremental, RegionTable, type IncrementalOptions } from '../incremental/regions.js';
import { planStorage } from '../plan/storage.js';
import type { PixelInput } from '../session-types.js';
import type { TensorInfo } from '../tensor.js';
import { inferShapes } from '../infer/infer.js';
import { LoweringContext, type InputHandling, type Lowering, type OpName } from './context.js';
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
}

const compileOptionKinds: OptionKinds<Required<CompileOptions>> = {
  activation: oneOf(['uint8', 'int8']), pixels: anObject, symbols: anObject, shapes: anObject, limits: anObject, fixed: anObject, strips: aBoolean, incremental: aSwitch,
};

/** An input or output of a program, and how its bytes differ from the model's. */
export interface ProgramPort extends TensorInfo {
  /** The program uses the other 8-bit type: the top bit of every byte is inverted on input and output. */
  readonly flip: boolean;
  /** The number of rows is known only after a run: unused rows at the end contain only -1 and are not part of the output. */
  readonly padded: boolean;
}

export interface CompiledProgram {
  readonly bytes: Uint8Array;
  readonly activation: 'uint8' | 'int8';
  readonly inputs: readonly ProgramPort[];
  readonly outputs: readonly ProgramPort[];
  /** Description of each op of the program, by index. */
  readonly opNames: readonly OpName[];
  readonly arenaBytes: number;
  /** Of a program for incremental runs: its table of regions (kernels/engine/regions.h). */
  readonly regions?: readonly number[];
  /** The graph that was lowered. */
  readonly graph: Graph;
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
  if (dtype === 'int4' || dtype === 'uint4' || dtype === 'int2' || dtype === 'uint2') {
    throw unsupported({ name, op: 'interface', attributes: new Map() }, `element type ${dtype} cannot cross the interface of a model`);
  }
  return dtype;
}

/** An optimized graph as a program. @throws RuntimeError E_MODEL_OP: an operator that the engine does not have */
export function lower(graph: Graph, activation: 'uint8' | 'int8', { strips = true, incremental = false }: Pick<CompileOptions, 'strips' | 'incremental'> = {}): CompiledProgram {
  const table = incremental === false ? undefined : RegionTable.of(graph, incremental === true ? {} : incremental);
  const plan = planStorage(graph, { strips, keep: table !== undefined });
  const writer = new ProgramWriter(activation);
  const handling = new Map(graph.inputs.map((input) => [input, handlingOf(graph, input, activation)]));
  const context = new LoweringContext(graph, activation, plan, writer, handling, table);
  for (const node of graph.nodes) {
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
  return { bytes, activation, inputs, outputs, opNames: context.names, arenaBytes: plan.arenaBytes, graph, ...(table === undefined ? {} : { regions: table.finish(graph.outputs) }) };
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
  const { activation = 'uint8', pixels = {}, symbols = {}, shapes = {}, limits = {}, fixed = {}, strips = true, incremental = false } = options;
  const graph = model instanceof Uint8Array ? graphFromOnnx(parseModel(model, limits), { symbols, shapes, limits, fixed }) : model;
  try {
    return lower(optimize(insertPixelInputs(inferShapes(graph), pixels)), activation, { strips, incremental });
  } catch (error) {
    throw namingInputs(error, graph);
  }
}
