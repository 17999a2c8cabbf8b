import { RuntimeError } from '../errors.js';
import { defaultLimits, type ModelLimits, type OnnxGraph, type OnnxModel, type OnnxValueInfo } from '../onnx/types.js';
import { checkDeclaredLevels } from './declared-levels.js';
import { constantElements, removeDead, sortNodes, type Graph, type GraphLimits } from './graph.js';
import { inlineFunctions } from './functions.js';
import { importNodes } from './import-nodes.js';
import { withNarrowArithmetic } from './narrow-types.js';
import { readableOpset } from './opsets.js';
import { bindSymbols, givenDims } from './open-dimensions.js';
import { volume, type DType, type TensorValue, type ValueType } from './tensor-value.js';

export interface ImportOptions {
  /** Values of symbolic dimensions by `dim_param`; what neither they nor `shapes` give becomes 1. */
  symbols?: Readonly<Record<string, number>>;
  /** Whole shapes by input. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Values of inputs that are constants from here on: the graph no longer has these inputs. */
  fixed?: Readonly<Record<string, TensorValue>>;
  /** Those of `parseModel`. */
  limits?: Partial<ModelLimits>;
}

/** Limits that follow from the size of what the model stores: folding never needs to be stopped for a model that is large itself. */
function limitsFor(constants: ReadonlyMap<string, TensorValue>, limits: Partial<ModelLimits>): GraphLimits {
  const bounds = { ...defaultLimits, ...limits };
  const stored = constantElements(constants);
  return {
    nodes: bounds.nodes,
    tensorElements: bounds.tensorElements,
    rank: bounds.rank,
    constantElements: Math.max(bounds.constantElements, 8 * stored),
    foldSteps: Math.max(bounds.foldSteps, 16 * stored),
  };
}

/** Whose operators those of other domains are written in, where the model does not say. */
const defaultOpset = 17;

function opsetOf(model: OnnxModel): number {
  // A model without operators of ai.onnx need not say which ones it would have.
  const opset = model.opsets.get('') ?? (model.graph.nodes.every(({ domain }) => domain !== '' && domain !== 'ai.onnx') ? defaultOpset : undefined);
  if (opset === undefined) throw new RuntimeError('E_MODEL_MALFORMED', 'The model imports no ai.onnx operator set');
  return readableOpset(opset, model.graph.nodes.map(({ op }) => op));
}

/** The type of an input. Who feeds a model makes its inputs in the size that it states: they are bounded like any other value. */
function resolveType(info: OnnxValueInfo, options: ImportOptions, symbols: Readonly<Record<string, number>>, { rank, tensorElements }: ModelLimits): ValueType {
  if (info.dtype === undefined || info.dims === undefined) {
    throw new RuntimeError('E_MODEL_SHAPE', `Input '${info.name}': expected a tensor of a supported type with a known rank; texts are turned into numbers before the model, and float8 is exported as float16 or int8`, { details: { input: info.name } });
  }
  const { dims } = info;
  const shape = givenDims(info, options, symbols).map((given, axis) => {
    const [dim, size] = [dims[axis], given ?? 1];
    if (typeof dim === 'number') return dim;
    if (!Number.isInteger(size) || size < 0) throw new RuntimeError('E_MODEL_SHAPE', `Symbol '${dim}': expected a size but received ${size}`);
    return size;
  });
  if (shape.length > rank || !(volume(shape) <= tensorElements)) {
    const stated = `shape [${shape.join(', ')}]`;
    throw new RuntimeError('E_MODEL_LIMIT', `Input '${info.name}': expected at most ${rank} dimensions and ${tensorElements} elements but received ${stated}`, { details: { input: info.name } });
  }
  return { dtype: info.dtype, shape };
}

/** Old files list initializers among the inputs, with their types. @throws RuntimeError E_MODEL_MALFORMED */
function checkInitializers({ inputs, initializers }: OnnxGraph): void {
  for (const { name, dtype, dims } of inputs) {
    const tensor = initializers.get(name);
    if (tensor === undefined) continue;
    const fits = dims === undefined || (dims.length === tensor.dims.length && dims.every((dim, axis) => typeof dim !== 'number' || dim === tensor.dims[axis]));
    if (fits && (dtype === undefined || dtype === tensor.dtype)) continue;
    const stated = `${dtype ?? 'a tensor'}[${(dims ?? []).map((dim) => dim ?? '?').join(', ')}]`;
    throw new RuntimeError('E_MODEL_MALFORMED', `Initializer '${name}' is ${tensor.dtype}[${tensor.dims.join(', ')}], but the input of this name is ${stated}`, { details: { initializer: name } });
  }
}

/** Element types of outputs and described values that are tensors. */
function declaredTypes({ outputs, valueInfo }: OnnxGraph): Map<string, DType> {
  return new Map([...valueInfo, ...outputs].flatMap(({ name, dtype, container }) => (dtype === undefined || container !== undefined ? [] : [[name, dtype] as const])));
}

/** Types of what the sequences and optionals that the model is fed hold. @throws RuntimeError E_MODEL_OP */
function containerTypes(inputs: readonly OnnxValueInfo[]): Map<string, DType> {
  return new Map(inputs.flatMap(({ name, dtype, container }) => {
    if (container === undefined) return [];
    if (dtype === undefined) throw new RuntimeError('E_MODEL_OP', `Input '${name}': expected a sequence or an optional of tensors of a supported type`, { details: { input: name } });
    return [[name, dtype] as const];
  }));
}

/**
 * The graph of a model: sorted, without dead nodes, symbolic dimensions of the inputs resolved.
 * @throws RuntimeError E_MODEL_OP, E_MODEL_SHAPE, E_MODEL_LIMIT, E_MODEL_MALFORMED, E_MODEL_VALUE
 */
export function graphFromOnnx(model: OnnxModel, options: ImportOptions = {}): Graph {
  const bounds = { ...defaultLimits, ...options.limits };
  const { nodes, constants } = importNodes(withNarrowArithmetic(inlineFunctions(model, bounds.nodes)));
  checkDeclaredLevels(model.metadata, constants);
  checkInitializers(model.graph);
  for (const [name, value] of Object.entries(options.fixed ?? {})) constants.set(name, value);
  // Old files list initializers among the inputs.
  const given = model.graph.inputs.filter((info) => !constants.has(info.name));
  const containers = containerTypes(given);
  const inputs = given.filter((info) => !containers.has(info.name));
  const symbols = bindSymbols(model.graph.inputs, options);
  const types = new Map(inputs.map((info) => [info.name, resolveType(info, options, symbols, bounds)]));
  if (types.size + containers.size !== given.length) throw new RuntimeError('E_MODEL_MALFORMED', 'Two inputs of the model have the same name');
  const outputs = model.graph.outputs.map((info) => info.name);
  if (outputs.length === 0) throw new RuntimeError('E_MODEL_MALFORMED', 'The model has no output');
  if (new Set(outputs).size !== outputs.length) throw new RuntimeError('E_MODEL_MALFORMED', 'Two outputs of the model have the same name');
  const known = [...types.keys(), ...containers.keys(), ...constants.keys()];
  const sorted = sortNodes(nodes, known);
  const made = new Set([...known, ...sorted.flatMap((node) => node.outputs)]);
  const missing = outputs.find((output) => !made.has(output));
  if (missing !== undefined) throw new RuntimeError('E_MODEL_MALFORMED', `Output '${missing}' is made by no node`, { details: { output: missing } });
  return removeDead({
    name: model.graph.name,
    opset: opsetOf(model),
    inputs: inputs.map((info) => info.name),
    outputs,
    nodes: sorted,
    ...(containers.size === 0 ? {} : { containers }),
    constants,
    types,
    metadata: model.metadata,
    declared: declaredTypes(model.graph),
    limits: limitsFor(constants, options.limits ?? {}),
  });
}
