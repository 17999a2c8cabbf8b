import { RuntimeError } from '../../errors.js';
import { constantOf, type Graph } from '../../graph/graph.js';
import type { CalibrationStatistics } from './calibrate.js';
import type { Histogram } from './histogram.js';
import { weightOperands, type Layer, type QuantizationPlan } from '../prepare/plan.js';
import { channelMagnitudes } from '../round/weights.js';
import { operand } from '../../graph/operands.js';

/** Whether a value was zero wherever calibration looked. */
export const isZero = (histogram: Histogram | undefined): boolean => histogram !== undefined && histogram.min === 0 && histogram.max === 0;

/** Output channels of a weighted layer whose weights are all zero: they put out their bias, whatever the input. */
export function deadOutputs(graph: Graph, layer: Layer): number[] {
  const operands = weightOperands(graph, layer.node);
  const weights = operands === undefined ? undefined : graph.constants.get(operands.weights);
  if (operands === undefined || weights === undefined) return [];
  const magnitudes = channelMagnitudes(weights, operands.axis);
  return [...magnitudes.keys()].filter((channel) => magnitudes[channel] === 0);
}

/** Values of a plan that are the same whatever the input, because dead weights stand between the two. */
export function constantValues(graph: Graph, plan: QuantizationPlan): Set<string> {
  const constant = new Set<string>();
  for (const layer of plan.layers) {
    const weights = layer.kind === 'weighted' ? constantOf(graph, weightOperands(graph, layer.node)?.weights) : undefined;
    const dead = weights !== undefined && weights.data.every((weight: number | bigint) => Number(weight) === 0);
    if (dead || layer.inputs.every((input) => constant.has(input))) constant.add(layer.output);
  }
  return constant;
}

/**
 * Refuses to quantize what calibration never saw: a value that was zero for every sample, though the network can make it something else, has
 * no range, and any scale would be a guess at what the device will see. Elements that are only moved have the scale of where they come from.
 * @throws RuntimeError E_QUANTIZE naming the value and the layers that make and read it
 */
export function checkSeen(graph: Graph, plan: QuantizationPlan, { histograms, samples }: Pick<CalibrationStatistics, 'histograms' | 'samples'>): void {
  const constant = constantValues(graph, plan);
  const moved = new Set(plan.layers.filter(({ kind }) => kind === 'pass').map(({ output }) => output));
  for (const value of plan.values) {
    if (!isZero(histograms.get(value)) || constant.has(value) || moved.has(value) || plan.fixed.has(value)) continue;
    const maker = plan.layers.find(({ output }) => output === value);
    const layers = [...(maker === undefined ? [] : [maker]), ...plan.layers.filter(({ inputs }) => inputs.includes(value))].map(({ name }) => name);
    throw new RuntimeError('E_QUANTIZE', `Value '${value}'${maker === undefined ? '' : `, the output of ${maker.op} '${maker.name}',`} was zero in all ${samples} calibration samples although the model can compute other values, so it has no range; calibrate on data that make it nonzero, or exclude ${layers.map((name) => `'${name}'`).join(', ')}`, {
      details: { value, layer: layers[0], layers },
    });
  }
}

/** Input channels of a weighted layer that were zero for every sample, but for those that the layer before cannot make anything else. */
export function unseenInputs(graph: Graph, plan: QuantizationPlan, layer: Layer, { silentChannels }: Pick<CalibrationStatistics, 'silentChannels'>): number[] {
  const value = operand(layer.node, 0);
  const maker = plan.layers.find(({ output }) => output === value);
  const explained = new Set(maker?.kind === 'weighted' ? deadOutputs(graph, maker) : []);
  return (silentChannels.get(value) ?? []).filter((channel) => !explained.has(channel));
}
