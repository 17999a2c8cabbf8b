/** Moves thresholds of a quantized model: other scales and zero-points of activations, the same codes of weights. */
import { RuntimeError } from '../errors.js';
import { graphToOnnx } from '../graph/export.js';
import { producersOf, type Graph } from '../graph/graph.js';
import { graphFromOnnx } from '../graph/import.js';
import { fromNumbers, toNumbers, type TensorValue } from '../graph/tensor-value.js';
import { inferShapes } from '../infer/infer.js';
import { parseModel } from '../onnx/parse.js';
import { serializeModel } from '../onnx/serialize.js';
import { thresholdGroups, type ThresholdGroup } from './thresholds.js';

/** How far thresholds may move from those of the package. */
export const bounds = {
  /** Scales, as a factor. */
  factor: [0.5, 2],
  /** Zero-points, in codes either way. */
  codes: 128,
} as const;

/** Where the grid of a group of activations is moved to. */
export interface Threshold {
  /** The group's name: its first value (`ThresholdGroup.value`). */
  readonly value: string;
  /** Of the model's scale. */
  readonly factor: number;
  /** Codes by which the zero-point moves. */
  readonly shift: number;
}

/** A quantized model, read. */
export interface QuantizedModel {
  readonly graph: Graph;
  readonly groups: readonly ThresholdGroup[];
}

/** @throws RuntimeError E_MODEL_*; E_ADAPT for a model without 8-bit activations */
export function readQuantized(model: Uint8Array): QuantizedModel {
  const graph = inferShapes(graphFromOnnx(parseModel(model)));
  const groups = thresholdGroups(graph);
  if (groups.length === 0) throw new RuntimeError('E_ADAPT', 'The model has no 8-bit activations with one scale each (QuantizeLinear), so there is no threshold to adapt');
  return { graph, groups };
}

const inBounds = ({ factor, shift }: Threshold): boolean => factor >= bounds.factor[0] && factor <= bounds.factor[1] && Number.isInteger(shift) && Math.abs(shift) <= bounds.codes;

/** @throws RuntimeError E_ADAPT: a threshold that is not the model's, must stay, is stated twice, or leaves its bounds */
function checked(threshold: Threshold, groups: ReadonlyMap<string, ThresholdGroup>): ThresholdGroup {
  const group = groups.get(threshold.value);
  const refuse = (why: string): RuntimeError => new RuntimeError('E_ADAPT', `The threshold of '${threshold.value}' cannot move by a factor of ${threshold.factor} and ${threshold.shift} codes: ${why}`, { details: { ...threshold } });
  if (group === undefined) throw refuse('the model has none of that name');
  if (group.fixed !== null) throw refuse(group.fixed);
  if (!inBounds(threshold)) throw refuse(`expected a factor of ${bounds.factor.join(' to ')} and at most ${bounds.codes} whole codes`);
  const zeroPoint = group.zeroPoint + threshold.shift;
  if (threshold.shift !== 0 && !group.shifts) throw refuse('its zero-point stays where it is');
  if (zeroPoint < group.lowest || zeroPoint > group.lowest + 255) throw refuse(`the zero-point ${zeroPoint} is no code`);
  return group;
}

/**
 * The graph with other scales and zero-points of activations. Biases, which are in units of the input's scale times the weights', are expressed in the
 * new units. Thresholds with the factor 1 and no shift change nothing, to the bit.
 * @throws RuntimeError E_ADAPT
 */
export function moveThresholds({ graph, groups }: QuantizedModel, thresholds: readonly Threshold[]): Graph {
  const byValue = new Map(groups.map((group) => [group.value, group]));
  if (new Set(thresholds.map(({ value }) => value)).size < thresholds.length) throw new RuntimeError('E_ADAPT', 'A threshold is stated twice');
  const constants = new Map(graph.constants);
  for (const threshold of thresholds) {
    const { scales, zeroPoints, scale, zeroPoint } = checked(threshold, byValue);
    const rewrite = (names: readonly string[], number: number): void => names.forEach((name) => {
      const old = constants.get(name);
      if (old !== undefined) constants.set(name, { ...fromNumbers(old.dtype, old.dims, [number]), ...(old.narrow === undefined ? {} : { narrow: old.narrow }) });
    });
    if (threshold.factor !== 1) rewrite(scales, Math.fround(scale * threshold.factor));
    if (threshold.shift !== 0) rewrite(zeroPoints, zeroPoint + threshold.shift);
  }
  restateBiases(graph, constants);
  return { ...graph, constants };
}

/**
 * Expresses biases of 32 bits in units of the new scale of the input times the weights'. A bias whose scale is as it was keeps its codes.
 * @param constants those of the graph, with new scales; changed
 */
export function restateBiases(graph: Graph, constants: Map<string, TensorValue>): void {
  const makers = producersOf(graph.nodes);
  const scaleBehind = (value: string | undefined, from: ReadonlyMap<string, TensorValue>): TensorValue | undefined => {
    const maker = makers.get(value ?? '');
    return maker?.op === 'DequantizeLinear' ? from.get(maker.inputs[1] ?? '') : undefined;
  };
  for (const { inputs: [x, w, b] } of graph.nodes) {
    const maker = makers.get(b ?? '');
    const [stored = '', scaleName = ''] = maker?.inputs ?? [];
    const [codes, old] = [graph.constants.get(stored), graph.constants.get(scaleName)];
    const [input, weights] = [scaleBehind(x, constants), scaleBehind(w, constants)];
    if (maker?.op !== 'DequantizeLinear' || codes?.dtype !== 'int32' || old === undefined || input === undefined || weights === undefined) continue;
    if (input === scaleBehind(x, graph.constants) && weights === scaleBehind(w, graph.constants)) continue;
    const [from, byChannel, one] = [toNumbers(old), toNumbers(weights), toNumbers(input)[0] ?? 1];
    const scales = [...from].map((_, i) => Math.fround(one * (byChannel.length === 1 ? (byChannel[0] ?? 1) : (byChannel[i] ?? 1))));
    constants.set(scaleName, fromNumbers('float32', old.dims, scales));
    constants.set(stored, fromNumbers('int32', codes.dims, [...toNumbers(codes)].map((code, i) => Math.round((code * (from[from.length === 1 ? 0 : i] ?? 1)) / (scales[scales.length === 1 ? 0 : i] ?? 1)))));
  }
}

/** Whether a threshold moves anything. */
export const moves = ({ factor, shift }: Threshold): boolean => factor !== 1 || shift !== 0;

/** A graph of ONNX operators as the bytes of a model. */
export const bytesOf = (graph: Graph): Uint8Array => serializeModel(graphToOnnx(graph));

/**
 * The model with moved thresholds; the same bytes where none moves.
 * @param model QDQ ONNX
 * @throws RuntimeError E_ADAPT: a threshold that the model does not have or that leaves its bounds; E_MODEL_*
 */
export function applyThresholds(model: Uint8Array, thresholds: readonly Threshold[]): Uint8Array {
  const graph = moveThresholds(readQuantized(model), thresholds);
  return thresholds.some(moves) ? bytesOf(graph) : model;
}
