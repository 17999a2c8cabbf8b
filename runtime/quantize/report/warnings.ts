import { typeOf, type Graph } from '../../graph/graph.js';
import type { CalibrationStatistics } from '../observe/calibrate.js';
import { constantValues, deadOutputs, isZero, unseenInputs } from '../observe/dead-channels.js';
import type { FloatLayers } from '../formats/float-layers.js';
import type { Fidelity } from './fidelity.js';
import type { Layer, QuantizationPlan } from '../prepare/plan.js';
import { operand } from '../../graph/operands.js';

export interface QuantizeWarning {
  /**
   * dead_value: the output of a layer is always zero. dead_weights: all weights of some output channels are zero; these channels stay exact.
   * unseen_channels: some input channels were zero in every calibration sample. no_layer: nothing could be quantized. ternary: how far the outputs
   * are from the float model's after layers became ternary. low_cosine: the outputs differ much from the float model's. low_sqnr: the output of a
   * layer has much quantization noise. narrow_data: the calibration samples are much alike. left_float: layers stay float32, because int8 would damage the outputs.
   */
  kind: 'dead_value' | 'dead_weights' | 'unseen_channels' | 'no_layer' | 'ternary' | 'low_cosine' | 'low_sqnr' | 'left_float' | 'narrow_data';
  message: string;
  /** Name of the ONNX node. */
  layer?: string;
  /** Indices of the channels; `of` is the total number of channels. */
  channels?: readonly number[];
  of?: number;
}

/** A message names at most this many channels or nodes. */
const mostNamed = 8;

function channelsText(channels: readonly number[], of: number): string {
  const rest = channels.length - mostNamed;
  return `channel${channels.length === 1 ? '' : 's'} ${channels.slice(0, mostNamed).join(', ')}${rest > 0 ? ` and ${rest} more` : ''} (${channels.length} of ${of})`;
}

function layerWarnings(graph: Graph, plan: QuantizationPlan, statistics: CalibrationStatistics, layer: Layer): QuantizeWarning[] {
  const channelsOf = (value: string): number => {
    const { shape } = typeOf(graph, value);
    return shape[shape.length > 2 ? 1 : shape.length - 1] ?? 1;
  };
  const title = `${layer.op} '${layer.name}'`;
  const [dead, unseen] = [deadOutputs(graph, layer), unseenInputs(graph, plan, layer, statistics)];
  const input = operand(layer.node, 0);
  const [outputs, inputs] = [channelsOf(layer.output), channelsOf(input)];
  const warnings: QuantizeWarning[] = [
    { kind: 'dead_weights', layer: layer.name, channels: dead, of: outputs, message: `${title}: all weights of output ${channelsText(dead, outputs)} are zero; the output there is the constant bias, as in the float32 model` },
    { kind: 'unseen_channels', layer: layer.name, channels: unseen, of: inputs, message: `${title}: input ${channelsText(unseen, inputs)} of '${input}' ${unseen.length === 1 ? 'was' : 'were'} zero in every calibration sample; on the device, values there are clipped to the range of the other channels` },
  ];
  return warnings.filter(({ channels }) => channels?.length !== 0);
}

/** Warnings on what calibration showed to be always zero. */
export function planWarnings(graph: Graph, plan: QuantizationPlan, statistics: CalibrationStatistics): QuantizeWarning[] {
  const weighted = plan.layers.filter(({ kind }) => kind === 'weighted');
  const none: QuantizeWarning[] = weighted.length + plan.recurrent.length > 0 ? [] : [{ kind: 'no_layer', message: 'The model has no layer with constant weights, so nothing was quantized' }];
  const constant = constantValues(graph, plan);
  const zero = plan.layers.filter(({ output }) => constant.has(output) && isZero(statistics.histograms.get(output)));
  return [
    ...none,
    ...zero.map(({ name, op }): QuantizeWarning => ({ kind: 'dead_value', layer: name, message: `The output of ${op} '${name}' was zero in every calibration sample, and its weights allow no other value; it stays zero` })),
    ...weighted.flatMap((layer) => layerWarnings(graph, plan, statistics, layer)),
  ];
}

/** Below these values, the cause is more often a mistake (in the calibration data, for example) than the limited precision of 8 bits. */
const [leastCosine, leastSqnr] = [0.95, 15];

/** Warnings on large losses, with the likely cause. */
export function fidelityWarnings(plan: QuantizationPlan, { outputCosine, sqnr }: Fidelity): QuantizeWarning[] {
  const noisy = plan.layers.flatMap(({ name, op, output }): QuantizeWarning[] => {
    const db = sqnr.get(output) ?? Infinity;
    return db >= leastSqnr ? [] : [{ kind: 'low_sqnr', layer: name, message: `${op} '${name}': the signal-to-quantization-noise ratio of its output is ${db.toFixed(1)} dB; below ${leastSqnr} dB, it is often better to keep the layer in float32 (--exclude ${name})` }];
  });
  if (outputCosine >= leastCosine) return noisy;
  const message = `The mean cosine between the quantized and the float32 outputs is ${outputCosine.toFixed(3)}, which is below ${leastCosine}: check that the calibration data are prepared as in training (mean, deviation, channel order), then exclude the layers with the lowest SQNR`;
  return [{ kind: 'low_cosine', message }, ...noisy];
}

/** Warnings on layers that stay float32 although they could be int8. */
export function floatWarnings({ ruinous, reasons }: Pick<FloatLayers, 'ruinous' | 'reasons'>, maxDrop: number): QuantizeWarning[] {
  const sensitive = [...reasons].filter(([, reason]) => reason === 'sensitive').map(([name]) => name);
  const rest = sensitive.length - mostNamed;
  return [
    ...ruinous.map(({ layer: { name, op }, before, after }): QuantizeWarning => ({
      kind: 'left_float', layer: name, message: `${op} '${name}' stays float32: with this layer in int8, the agreement with the float32 model falls from ${(1 - after).toFixed(4)} to ${(1 - before).toFixed(4)}`,
    })),
    ...(sensitive.length === 0 ? [] : [{ kind: 'left_float' as const, message: `${sensitive.length} nodes stay float32, so that the agreement with the float32 model falls by at most ${maxDrop}: ${sensitive.slice(0, mostNamed).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}` }]),
  ];
}

export function ternaryWarning({ outputCosine, sqnr }: Fidelity): QuantizeWarning {
  const least = Math.min(...[...sqnr.values()].map((db) => db ?? Infinity));
  const message = `The model was probably not trained with ternary weights: the mean cosine between the quantized and the float32 outputs is ${outputCosine.toFixed(3)}, and the lowest SQNR of a layer is ${least.toFixed(1)} dB; train the model in this format, or use w46`;
  return { kind: 'ternary', message };
}
