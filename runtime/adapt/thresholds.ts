/** Which thresholds of activations a quantized model has, which of them may move, and what moves with what. */
import { declaredStored } from '../graph/declared-levels.js';
import { consumersOf, producersOf, type Graph, type Node } from '../graph/graph.js';
import { outputOf } from '../graph/operands.js';
import { toNumbers } from '../graph/tensor-value.js';

/** Scale and zero-point of 8-bit codes: real = (code - zeroPoint) * scale, code in `lowest` .. `lowest` + 255. */
export interface Grid {
  readonly scale: number;
  readonly zeroPoint: number;
}

/** Activations that share one grid. They move together, so that no operator between them has to rescale that did not before. */
export interface ThresholdGroup extends Grid {
  /** Names the group: the first value that it quantizes, in the order of the graph. */
  readonly value: string;
  /** The float values that are quantized. */
  readonly values: readonly string[];
  /** Names of the constants. A group without zero-points keeps 0. */
  readonly scales: readonly string[];
  readonly zeroPoints: readonly string[];
  /** The smallest code of the type: 0 or -128. */
  readonly lowest: number;
  /** Whether the zero-point may move. It stays where the model has none, and where it is the first or last code of what is never negative. */
  readonly shifts: boolean;
  /** Why it must stay as it is; null when it may move. */
  readonly fixed: string | null;
}


const isQuantization = ({ op }: Node): boolean => op === 'QuantizeLinear' || op === 'DequantizeLinear';

/** Operators whose results are never negative, so that a grid that begins at zero cuts nothing off. */
const nonNegative: ReadonlySet<string> = new Set(['Relu', 'Clip', 'Sigmoid', 'HardSigmoid', 'Softmax', 'Softplus', 'Exp', 'Abs', 'Sqrt', 'ThresholdedRelu']);
/** Operators that hand on what is there: the result is as negative as the operands are. */
const passing: ReadonlySet<string> = new Set([
  'MaxPool', 'AveragePool', 'GlobalAveragePool', 'GlobalMaxPool', 'ReduceMean', 'ReduceMax', 'Concat', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Transpose', 'Slice', 'Split',
  'Identity', 'Resize', 'Pad', 'DepthToSpace', 'SpaceToDepth', 'DequantizeLinear', 'QuantizeLinear', 'Dropout', 'Gather', 'Expand', 'Tile',
]);
/** Of two operands that are never negative, neither is the result. */
const combining: ReadonlySet<string> = new Set(['Add', 'Mul', 'Div', 'Max', 'Sum', 'MatMul']);

/** Whether an operator of the model, and not the grid, keeps a value from being negative. */
function neverNegative(graph: Graph, value: string, makers: ReadonlyMap<string, Node>, depth = 0): boolean {
  const constant = graph.constants.get(value);
  if (constant !== undefined) return toNumbers(constant).every((number) => number >= 0);
  const maker = makers.get(value);
  if (maker === undefined || depth > 32) return false;
  const behind = (inputs: readonly string[]): boolean => inputs.every((input) => neverNegative(graph, input, makers, depth + 1));
  if (maker.op === 'Clip') {
    const low = graph.constants.get(maker.inputs[1] ?? '');
    return low !== undefined && (toNumbers(low)[0] ?? -1) >= 0;
  }
  if (nonNegative.has(maker.op)) return true;
  if (passing.has(maker.op)) return behind(maker.op === 'Concat' ? maker.inputs : maker.inputs.slice(0, 1));
  return combining.has(maker.op) && behind(maker.inputs);
}

interface Use {
  readonly node: Node;
  readonly key: string;
}

/** The nodes that quantize activations, or restore them, with the grid that they use. */
function usesOf(graph: Graph): Use[] {
  return graph.nodes.flatMap((node) => {
    const [value = '', scaleName = '', zeroName = ''] = node.inputs;
    const scale = graph.constants.get(scaleName);
    if (!isQuantization(node) || graph.constants.has(value) || scale === undefined) return [];
    const zero = graph.constants.get(zeroName);
    const dtype = zero?.dtype ?? graph.types.get(node.op === 'QuantizeLinear' ? outputOf(node) : value)?.dtype ?? 'uint8';
    const zeros = zero === undefined ? '0' : [...toNumbers(zero)].join();
    return [{ node, key: [dtype, zero?.narrow ?? '', [...toNumbers(scale)].join(), zeros].join(' ') }];
  });
}

interface Surroundings {
  readonly graph: Graph;
  readonly makers: ReadonlyMap<string, Node>;
  readonly readers: ReadonlyMap<string, readonly Node[]>;
  readonly narrow: ReadonlySet<string>;
}

/** Why the grid of these nodes must stay; null when it may move. */
function fixedBy(nodes: readonly Node[], grid: { atEnd: boolean }, { graph, makers, readers, narrow }: Surroundings): string | null {
  const own = new Set(nodes);
  const quantizers = nodes.filter(({ op }) => op === 'QuantizeLinear');
  if (quantizers.length === 0) return 'nothing in the model quantizes it';
  const names = [...new Set(nodes.flatMap(({ inputs }) => inputs.slice(1, 3)))];
  if (names.some((name) => (readers.get(name) ?? []).some((reader) => !own.has(reader) || reader.inputs[0] === name))) return 'its scale is used for something else, too';
  if (quantizers.some((node) => graph.outputs.includes(outputOf(node)) || (readers.get(outputOf(node)) ?? []).some((reader) => !own.has(reader)))) return 'its codes are read by themselves';
  if (nodes.some((node) => node.op === 'DequantizeLinear' && !own.has(makers.get(node.inputs[0] ?? '') ?? node))) return 'its codes are made by another operator';
  if (nodes.some((node) => node.op === 'DequantizeLinear' && makers.get(node.inputs[0] ?? '') === undefined)) return 'its codes are fed to the model';
  if (quantizers.some((node) => narrow.has(outputOf(node)))) return 'it has fewer than 256 codes';
  const cut = grid.atEnd && quantizers.some(({ inputs: [value = ''] }) => !graph.inputs.includes(value) && !neverNegative(graph, value, makers));
  return cut ? 'what its grid cuts off may be an activation of the model' : null;
}

/**
 * The grids of a model's 8-bit activations, each with the values that share it.
 * @param graph QDQ ONNX with inferred types
 */
export function thresholdGroups(graph: Graph): ThresholdGroup[] {
  const byGrid = new Map<string, Node[]>();
  for (const { node, key } of usesOf(graph)) byGrid.set(key, [...(byGrid.get(key) ?? []), node]);
  const around: Surroundings = { graph, makers: producersOf(graph.nodes), readers: consumersOf(graph.nodes), narrow: declaredStored(graph.metadata) };
  return [...byGrid].flatMap(([key, nodes]): ThresholdGroup[] => {
    const [dtype = '', kind = ''] = key.split(' ');
    const scale = [...toNumbers(graph.constants.get(nodes[0]?.inputs[1] ?? '') ?? { dtype: 'float32', dims: [0], data: new Float32Array(0) })];
    const zero = graph.constants.get(nodes[0]?.inputs[2] ?? '');
    if ((dtype !== 'uint8' && dtype !== 'int8') || kind !== '' || scale.length !== 1) return []; // Per channel, or of other sizes: nothing that calibration on a device could know.
    const grid = { scale: scale[0] ?? 1, zeroPoint: zero === undefined ? 0 : (toNumbers(zero)[0] ?? 0), lowest: dtype === 'int8' ? -128 : 0 };
    const values = [...new Set(nodes.filter(({ op }) => op === 'QuantizeLinear').map(({ inputs: [value = ''] }) => value))];
    const named = (index: number): string[] => [...new Set(nodes.flatMap(({ inputs }) => inputs.slice(index, index + 1)).filter((name) => name !== ''))];
    const atEnd = grid.zeroPoint === grid.lowest || grid.zeroPoint === grid.lowest + 255;
    const shifts = zero !== undefined && (!atEnd || values.every((value) => graph.inputs.includes(value)));
    return [{ ...grid, value: values[0] ?? '', values, scales: named(1), zeroPoints: named(2), shifts, fixed: fixedBy(nodes, { atEnd }, around) }];
  });
}
