import type { Graph } from '../../graph/graph.js';
import type { EngineName } from '../../session-types.js';
import type { KeptReason } from '../formats/candidates.js';
import type { ChosenFormats, ParetoReport } from '../formats/choose-formats.js';
import type { FloatLayers } from '../formats/float-layers.js';
import { gridOf, type Format, type LevelPair } from '../formats/grids.js';
import { columnLayout, layerMacs } from '../observe/columns.js';
import type { Migration } from '../prepare/migrate.js';
import type { Layer, QuantizationPlan } from '../prepare/plan.js';
import type { CalibrationMethod } from '../ranges/range.js';
import { blocksOf } from '../round/gptq.js';
import type { Fidelity } from './fidelity.js';
import type { QuantizeWarning } from './warnings.js';
import { firstOutput } from '../../graph/operands.js';

export interface LayerReport {
  /** Name of the ONNX node. */
  name: string;
  /** Operators that run as one kernel, e.g. `Conv+PRelu`. */
  op: string;
  /** Signal-to-quantization-noise ratio at the layer's output, with all earlier layers quantized, too; null means no error. */
  sqnr_db: number | null;
  format: Format | 'float32';
  /** Where the layer multiplies in that format and puts out floats, as the last layers do. */
  output?: 'float32';
  /** Where a layer computes in floats, and its weights are stored in fewer bits. */
  weights?: 'int8';
  /** Number of quantization levels of weights and activations, for layers with fewer than eight bits. */
  levels?: LevelPair;
  /** Why a layer has more bits than asked for. */
  kept?: KeptReason;
  /** Number of blocks in which the weights of an output were rounded, if they are too many for one block. A block does not compensate for the errors of another. */
  rounding_blocks?: number;
  /** Where scales may migrate: the exponent of the input channels' magnitudes that moved into the weights, and the remaining share of the output's error. */
  migration?: Migration;
}

export interface QuantizeReport {
  input_bytes: number;
  output_bytes: number;
  /** Method for the 8-bit activations; with `auto`, the one that was chosen. */
  method: CalibrationMethod;
  /** For method `percentile`: the percentage of values within the range. */
  percentile?: number;
  engine: EngineName;
  calibration_samples: number;
  layers: LayerReport[];
  /** Mean cosine between the quantized and the float outputs over the measured samples. */
  output_cosine: number;
  /** The lowest of these: the mean of few samples hides how far they are apart. */
  lowest_cosine: number;
  /**
   * Cosine over the measured samples of the outputs without the mean of the float output over these samples: what is the same in every sample, as the
   * places of boxes are, hides no damage.
   */
  centred_cosine: number;
  /** Samples that the report is measured on. */
  measured_samples: number;
  /** Mean agreement with the float model over the measured samples, as `agreement` of the options tells; null without it, or when no sample tells. */
  agreement: number | null;
  /** Share of the measured samples in which the largest value of a classifier's output [1, N] has the same index as in the float model; null without such an output. */
  top1_agreement: number | null;
  /** Of the multiply-adds in layers with constant weights, the share that has fewer than eight bits. */
  low_bit_macs: number;
  /** Mean over the weights of these layers of log2 of the number of values that a weight can take. */
  weight_bits: number;
  /** For format `auto`: the trade-off between cost and loss on the target. */
  pareto?: ParetoReport;
  warnings: QuantizeWarning[];
}

/** What was decided of each layer, and measured, by its output. */
export interface Outcome extends ChosenFormats, Fidelity {
  migrations: ReadonlyMap<string, Migration>;
  /** Why nodes stay float32, by name. */
  reasons: FloatLayers['reasons'];
}

export function layerReports(graph: Graph, plan: QuantizationPlan, { grids, kept, rounded, migrations, reasons, sqnr }: Outcome): LayerReport[] {
  const order = new Map(graph.nodes.map((node, index) => [firstOutput(node), index]));
  const position = (layer: Layer): number => order.get(firstOutput(layer.node)) ?? 0;
  const report = (format: LayerReport['format']) => (layer: Layer): LayerReport & { position: number } => {
    const grid = grids.get(layer.output);
    const reason = format === 'float32' ? reasons.get(layer.node.name) : kept.get(layer.output);
    const migration = migrations.get(layer.output);
    const blocks = rounded.has(layer.output) ? blocksOf(columnLayout(graph, layer)?.depth ?? 1) : 1;
    return {
      name: layer.name,
      op: layer.op,
      sqnr_db: sqnr.get(layer.output) ?? null,
      format: grid?.format ?? format,
      ...(format === 'float32' || plan.values.has(layer.output) ? {} : { output: 'float32' as const }),
      ...(plan.recurrent.includes(layer.node) ? { weights: 'int8' as const } : {}),
      ...(grid === undefined ? {} : { levels: { weights: grid.weights, activations: grid.activations } }),
      ...(reason === undefined ? {} : { kept: reason }),
      ...(blocks === 1 ? {} : { rounding_blocks: blocks }),
      ...(migration === undefined ? {} : { migration }),
      position: position(layer),
    };
  };
  return [...plan.layers.map(report('int8')), ...plan.floatLayers.map(report('float32'))]
    .sort((a, b) => a.position - b.position)
    .map(({ position: _, ...layer }) => layer);
}

/** What fewer bits are about, over all layers with constant weights: how much is multiplied in them, and how many a weight has. */
export function lowBitShares(graph: Graph, plan: QuantizationPlan, { grids }: ChosenFormats): Pick<QuantizeReport, 'low_bit_macs' | 'weight_bits'> {
  let [macs, low, weights, bits] = [0, 0, 0, 0];
  for (const layer of plan.layers) {
    const layout = columnLayout(graph, layer);
    if (layout === undefined) continue;
    const grid = grids.get(layer.output) ?? gridOf('int8');
    macs += layerMacs(layout);
    if (grid.activations < 256) low += layerMacs(layout);
    weights += layout.outputs * layout.depth;
    bits += layout.outputs * layout.depth * Math.log2(grid.weights);
  }
  return { low_bit_macs: macs === 0 ? 0 : low / macs, weight_bits: weights === 0 ? 0 : bits / weights };
}
