import { floatAttribute, intAttribute } from '../../graph/attributes.js';
import { constantOf, consumersOf, typeOf, type Graph, type Node } from '../../graph/graph.js';
import { elementCount } from '../../graph/tensor-value.js';
import type { AffineParameters, Range } from '../ranges/range.js';
import { findHeads, type Heads } from './heads.js';
import { saturationLimits } from './saturation.js';
import { firstOutput, operand, optionalOperand, outputOf } from '../../graph/operands.js';

/**
 * weighted: multiplies by constant weights. binary: combines two activations. unary: maps each element (a lookup table).
 * own: makes values of another range (averages). pass: moves elements, so its output keeps the scale of its input.
 */
export type LayerKind = 'weighted' | 'binary' | 'unary' | 'own' | 'pass';

/** Nodes that run as one quantized kernel: one QuantizeLinear follows the last of them. */
export interface Layer {
  /** Name of the first node, and the operators joined: `Conv+PRelu`. */
  name: string;
  op: string;
  kind: LayerKind;
  /** The node that computes; for a weighted layer the one with the weights. */
  node: Node;
  /** Activations that it reads. */
  inputs: readonly string[];
  output: string;
}

/** Weights and bias of a weighted layer. */
export interface WeightOperands {
  weights: string;
  /** Axis of the output channels in the weights. */
  axis: number;
  bias: string | undefined;
  group: number;
}

export interface QuantizationPlan {
  /** Layers that become int8, in topological order. The output of those that are not among `values` leaves as floats. */
  layers: readonly Layer[];
  /** Layers and single nodes that stay float32. */
  floatLayers: readonly Layer[];
  /** Recurrent layers whose weights are stored in 8 bits: what they compute stays float. */
  recurrent: readonly Node[];
  /** Values stored in 8 bits. */
  values: ReadonlySet<string>;
  /** Values whose parameters follow from the operator and need no calibration. */
  fixed: ReadonlyMap<string, AffineParameters>;
  /** Of values that only saturating functions read: the range outside of which nothing changes what these put out. */
  limits: ReadonlyMap<string, Range>;
}

const activations: ReadonlySet<string> = new Set(['Relu', 'Clip', 'PRelu', 'LeakyRelu']);
const clamps: ReadonlySet<string> = new Set(['Relu', 'Clip']);
const binaries: ReadonlySet<string> = new Set(['Add', 'Sub', 'Mul']);
const unaries: ReadonlySet<string> = new Set([...activations, 'Sigmoid', 'Tanh', 'HardSigmoid', 'HardSwish', 'Elu', 'Gelu', 'Softplus', 'Mish', 'Selu', 'Celu', 'Softsign', 'Swish']);
const averages: ReadonlySet<string> = new Set(['AveragePool', 'GlobalAveragePool']);
const movers: ReadonlySet<string> = new Set([
  'MaxPool', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Resize', 'Upsample', 'Concat', 'Slice', 'DepthToSpace', 'SpaceToDepth', 'Identity',
]);

/** Outputs that lie in a known range whatever the data: the whole 8-bit grid is laid over it. */
const fixedOutputs: Readonly<Record<string, AffineParameters>> = {
  Sigmoid: { scale: 1 / 256, zeroPoint: 0 },
  Tanh: { scale: 1 / 128, zeroPoint: 128 },
};

/**
 * The constant operands of a node that can run with 8-bit weights; undefined when it cannot (weights that are computed,
 * transposed or scaled products, kernels that are not two-dimensional, a bias of an odd shape).
 */
export function weightOperands(graph: Graph, node: Node): WeightOperands | undefined {
  const [weights, bias] = [optionalOperand(node, 1), optionalOperand(node, 2)];
  const w = constantOf(graph, weights);
  if (weights === undefined || w === undefined || w.dtype !== 'float32') return undefined;
  const operands = ((): WeightOperands | undefined => {
    switch (node.op) {
      case 'Conv':
        return w.dims.length === 4 ? { weights, axis: 0, bias, group: intAttribute(node, 'group', 1) } : undefined;
      case 'Gemm': {
        const plain = intAttribute(node, 'transA', 0) === 0 && floatAttribute(node, 'alpha', 1) === 1 && floatAttribute(node, 'beta', 1) === 1;
        return plain ? { weights, axis: intAttribute(node, 'transB', 0) === 0 ? 1 : 0, bias, group: 1 } : undefined;
      }
      case 'MatMul':
        return w.dims.length === 2 ? { weights, axis: 1, bias: undefined, group: 1 } : undefined;
      default:
        return undefined;
    }
  })();
  if (operands?.bias === undefined) return operands;
  const b = graph.constants.get(operands.bias);
  return b?.dtype === 'float32' && elementCount(b.dims) === w.dims[operands.axis] ? operands : undefined;
}

/** The operands of a recurrent layer that are weights: of its inputs and of its states, both constant. */
export function recurrentWeights({ constants }: Pick<Graph, 'constants'>, node: Node): readonly string[] {
  if (node.op !== 'LSTM' && node.op !== 'GRU' && node.op !== 'RNN') return [];
  const names = [operand(node, 1), operand(node, 2)];
  return names.every((name) => constants.get(name)?.dtype === 'float32') ? names : [];
}

/** True when every operand but the first is a constant, as in Clip, PRelu, Reshape, Resize. */
const constantOperands = (graph: Graph, node: Node): boolean => node.inputs.slice(1).every((input) => input === '' || graph.constants.has(input));

function kindOf(graph: Graph, node: Node): LayerKind | undefined {
  const dynamic = node.inputs.filter((input) => input !== '' && !graph.constants.has(input));
  if (node.outputs.length !== 1 || !dynamic.every((input) => typeOf(graph, input).dtype === 'float32')) return undefined;
  if (weightOperands(graph, node) !== undefined) return 'weighted';
  if (binaries.has(node.op)) return dynamic.length === 2 || (dynamic.length === 1 && node.inputs[0] === node.inputs[1]) ? 'binary' : undefined;
  if (node.op === 'Concat') return dynamic.length === node.inputs.length ? 'pass' : undefined;
  if (!constantOperands(graph, node)) return undefined;
  if (unaries.has(node.op)) return 'unary';
  if (averages.has(node.op)) return 'own';
  return movers.has(node.op) ? 'pass' : undefined;
}

/** Activation that the kernel of `node` applies before it rounds, if the next node is one. */
function fusedActivation(graph: Graph, node: Node, kind: LayerKind, consumers: ReadonlyMap<string, readonly Node[]>): Node | undefined {
  if (kind !== 'weighted' && kind !== 'binary') return undefined;
  const output = outputOf(node);
  const [next, another] = consumers.get(output) ?? [];
  if (next === undefined || another !== undefined || graph.outputs.includes(output)) return undefined;
  const fusable = kind === 'weighted' ? activations : clamps;
  return fusable.has(next.op) && next.inputs[0] === output && constantOperands(graph, next) ? next : undefined;
}

function makeLayer(graph: Graph, node: Node, kind: LayerKind, activation: Node | undefined): Layer {
  return {
    name: node.name,
    op: activation === undefined ? node.op : `${node.op}+${activation.op}`,
    kind,
    node,
    inputs: [...new Set(node.inputs)].filter((input) => input !== '' && !graph.constants.has(input)),
    output: firstOutput(activation ?? node),
  };
}

interface Candidates {
  layers: Layer[];
  /** Nodes that no 8-bit kernel takes, as layers of their own. */
  others: Layer[];
}

/** Functions that make much of the difference between two small numbers. */
const logarithmic: ReadonlySet<string> = new Set(['Log', 'Sqrt']);
/** Sums of many numbers, in which their errors cancel. */
const summing: ReadonlySet<string> = new Set(['ReduceSum', 'ReduceMean', 'ReduceL2', 'ReduceSumSquare', 'GlobalAveragePool', 'LayerNormalization']);

/**
 * First outputs of the nodes between which and the next weighted layer stands a logarithm or a root: a grid of even steps, laid over the
 * largest of a spectrum's numbers, leaves nothing of those that the logarithm is there to tell apart.
 */
function beforeLogarithms(graph: Graph): Set<string> {
  const reached = new Set<string>();
  const found = new Set<string>();
  for (const node of [...graph.nodes].reverse()) {
    const ahead = node.outputs.some((output) => reached.has(output));
    if (ahead) found.add(firstOutput(node));
    if (logarithmic.has(node.op) || (ahead && !summing.has(node.op) && weightOperands(graph, node) === undefined)) for (const input of node.inputs) reached.add(input);
  }
  return found;
}

function findLayers(graph: Graph, exclude: ReadonlySet<string>, heads: Heads | undefined): Candidates {
  const consumers = consumersOf(graph.nodes);
  const fine = beforeLogarithms(graph);
  const claimed = new Set<Node>();
  const found: Candidates = { layers: [], others: [] };
  for (const node of graph.nodes) {
    if (claimed.has(node)) continue;
    const kind = exclude.has(node.name) || fine.has(firstOutput(node)) || heads?.float.has(node) === true ? undefined : kindOf(graph, node);
    const activation = kind === undefined ? undefined : fusedActivation(graph, node, kind, consumers);
    if (activation !== undefined) claimed.add(activation);
    (kind === undefined ? found.others : found.layers).push(makeLayer(graph, node, kind ?? 'own', activation));
  }
  return found;
}

/**
 * Values that 8-bit kernels can read without a conversion made for them: the inputs of the model, outputs of layers all of
 * whose inputs are such values, and whatever a weighted layer has quantized anyway.
 */
function availableValues(graph: Graph, layers: readonly Layer[]): Set<string> {
  const available = new Set<string>(graph.inputs.filter((input) => typeOf(graph, input).dtype === 'float32'));
  for (const layer of layers) if (layer.kind === 'weighted') for (const input of layer.inputs) available.add(input);
  for (const layer of layers) {
    if (layer.kind === 'weighted' || layer.inputs.every((input) => available.has(input))) available.add(layer.output);
  }
  return available;
}

/**
 * Decides which layers run in 8 bits. Weighted layers always do, they are what costs time. The others do when their inputs
 * are 8-bit already and their result is of use to a weighted layer or a lookup table; so box arithmetic, softmax and the
 * like, which amplify rounding and cost little, stay in floating point up to the model's outputs.
 * @param graph inferred, with constants and batch normalization folded
 * @param exclude names of nodes that stay float32
 * @param options floatHeads: what layers with weights put out is rounded to 8 bits only where a layer in 8 bits reads it; all behind the last ones is float
 */
export function planQuantization(graph: Graph, exclude: ReadonlySet<string> = new Set(), { floatHeads = false }: { floatHeads?: boolean } = {}): QuantizationPlan {
  const eightBit = (node: Node): boolean => !exclude.has(node.name) && weightOperands(graph, node) !== undefined;
  const heads = floatHeads ? findHeads(graph, eightBit) : undefined;
  const { layers, others } = findLayers(graph, exclude, heads);
  const available = availableValues(graph, layers);
  const feasible = (layer: Layer): boolean => layer.kind === 'weighted' || layer.inputs.every((input) => available.has(input));
  const wanted = new Set<string>();
  const chosen = new Set<Layer>();
  for (const layer of [...layers].reverse()) {
    const useful = layer.kind === 'weighted' || (layer.kind === 'unary' && heads?.before.has(layer.output) !== false) || wanted.has(layer.output);
    if (!useful || !feasible(layer)) continue;
    chosen.add(layer);
    for (const input of layer.inputs) wanted.add(input);
  }
  const quantized = layers.filter((layer) => chosen.has(layer));
  const rounds = ({ kind, output }: Layer): boolean => !floatHeads || kind !== 'weighted' || wanted.has(output);
  const values = new Set(quantized.flatMap((layer) => (rounds(layer) ? [...layer.inputs, layer.output] : layer.inputs)));
  const fixed = new Map<string, AffineParameters>();
  for (const { node, output, op } of quantized) {
    const parameters = fixedOutputs[op];
    if (parameters !== undefined && node.outputs[0] === output) fixed.set(output, parameters);
  }
  return {
    layers: quantized,
    recurrent: graph.nodes.filter((node) => !exclude.has(node.name) && recurrentWeights(graph, node).length > 0),
    floatLayers: [...others, ...layers.filter((layer) => !chosen.has(layer))],
    values,
    fixed,
    limits: saturationLimits(graph),
  };
}
