import { typeOf, type Graph } from '../graph/graph.js';
import type { CalibrationStatistics } from './calibrate.js';
import { constantValues, deadOutputs, isZero, unseenInputs } from './dead-channels.js';
import type { FloatLayers } from './float-layers.js';
import type { Fidelity } from './measure.js';
import type { Layer, QuantisationPlan } from './plan.js';

export interface QuantiseWarning {
  /**
   * dead_value: a layer's output that is always zero. dead_weights: output channels with no weight but zero, which stay exact. unseen_channels:
   * input channels that were zero for every calibration sample. no_layer: nothing could be quantized. ternary: what ternary layers left of the outputs.
   * low_cosine: the outputs are far from the float model's. low_sqnr: so is a layer's output. left_float: layers that stay float32, for the outputs' sake.
   */
  kind: 'dead_value' | 'dead_weights' | 'unseen_channels' | 'no_layer' | 'ternary' | 'low_cosine' | 'low_sqnr' | 'left_float';
  message: string;
  /** Name of the ONNX node. */
  layer?: string;
  /** The channels, and of how many. */
  channels?: readonly number[];
  of?: number;
}

/** A message names no more channels than these. */
const mostNamed = 8;

function channelsText(channels: readonly number[], of: number): string {
  const rest = channels.length - mostNamed;
  return `channel${channels.length === 1 ? '' : 's'} ${channels.slice(0, mostNamed).join(', ')}${rest > 0 ? ` and ${rest} more` : ''} (${channels.length} of ${of})`;
}

function layerWarnings(graph: Graph, plan: QuantisationPlan, statistics: CalibrationStatistics, layer: Layer): QuantiseWarning[] {
  const channelsOf = (value: string): number => {
    const { shape } = typeOf(graph, value);
    return shape[shape.length > 2 ? 1 : shape.length - 1] ?? 1;
  };
  const title = `${layer.op} '${layer.name}'`;
  const [dead, unseen] = [deadOutputs(graph, layer), unseenInputs(graph, plan, layer, statistics)];
  const [input = ''] = layer.node.inputs;
  const [outputs, inputs] = [channelsOf(layer.output), channelsOf(input)];
  const warnings: QuantiseWarning[] = [
    { kind: 'dead_weights', layer: layer.name, channels: dead, of: outputs, message: `${title}: all weights of output ${channelsText(dead, outputs)} are zero; they put out their bias, as they did` },
    { kind: 'unseen_channels', layer: layer.name, channels: unseen, of: inputs, message: `${title}: input ${channelsText(unseen, inputs)} of '${input}' were zero for every calibration sample; what else they become on the device is held to the other channels' range` },
  ];
  return warnings.filter(({ channels }) => channels?.length !== 0);
}

/** What of a plan calibration found dead. */
export function planWarnings(graph: Graph, plan: QuantisationPlan, statistics: CalibrationStatistics): QuantiseWarning[] {
  const weighted = plan.layers.filter(({ kind }) => kind === 'weighted');
  const none: QuantiseWarning[] = weighted.length > 0 ? [] : [{ kind: 'no_layer', message: 'No layer with constant weights was found: nothing is quantized' }];
  const constant = constantValues(graph, plan);
  const zero = plan.layers.filter(({ output }) => constant.has(output) && isZero(statistics.histograms.get(output)));
  return [
    ...none,
    ...zero.map(({ name, op }): QuantiseWarning => ({ kind: 'dead_value', layer: name, message: `The output of ${op} '${name}' was zero for every calibration sample; it will stay zero` })),
    ...weighted.flatMap((layer) => layerWarnings(graph, plan, statistics, layer)),
  ];
}

/** Below these, something is wrong more often than that 8 bits are too few. */
const [leastCosine, leastSqnr] = [0.95, 15];

/** What is likely to be wrong where much was lost. */
export function fidelityWarnings(plan: QuantisationPlan, { outputCosine, sqnr }: Fidelity): QuantiseWarning[] {
  const noisy = plan.layers.flatMap(({ name, op, output }): QuantiseWarning[] => {
    const db = sqnr.get(output) ?? Infinity;
    return db >= leastSqnr ? [] : [{ kind: 'low_sqnr', layer: name, message: `${op} '${name}': its output has ${db.toFixed(1)} dB of signal to quantization noise; below ${leastSqnr} dB a layer is often better left in float32 (--exclude ${name})` }];
  });
  if (outputCosine >= leastCosine) return noisy;
  const message = `The outputs' mean cosine to the float32 ones is ${outputCosine.toFixed(3)}, below ${leastCosine}: check that the calibration data are prepared as in training (mean, deviation, order of channels), then exclude the layers with the lowest SQNR`;
  return [{ kind: 'low_cosine', message }, ...noisy];
}

/** What stays float32 that could have been int8. */
export function floatWarnings({ ruinous, reasons }: Pick<FloatLayers, 'ruinous' | 'reasons'>, maxDrop: number): QuantiseWarning[] {
  const sensitive = [...reasons].filter(([, reason]) => reason === 'sensitive').map(([name]) => name);
  const rest = sensitive.length - mostNamed;
  return [
    ...ruinous.map(({ layer: { name, op }, before, after }): QuantiseWarning => ({
      kind: 'left_float', layer: name, message: `${op} '${name}' stays float32: int8 there takes the outputs' mean cosine from ${(1 - after).toFixed(4)} to ${(1 - before).toFixed(4)}`,
    })),
    ...(sensitive.length === 0 ? [] : [{ kind: 'left_float' as const, message: `${sensitive.length} nodes stay float32, so that int8 takes at most ${maxDrop} from the outputs' mean cosine: ${sensitive.slice(0, mostNamed).join(', ')}${rest > 0 ? ` and ${rest} more` : ''}` }]),
  ];
}

export function ternaryWarning({ outputCosine, sqnr }: Fidelity): QuantiseWarning {
  const least = Math.min(...[...sqnr.values()].map((db) => db ?? Infinity));
  const message = `Ternary layers that were not trained as such leave little: the outputs' mean cosine to the float32 ones is ${outputCosine.toFixed(3)}, the lowest SQNR ${least.toFixed(1)} dB; train the model in this format, or use w46`;
  return { kind: 'ternary', message };
}
