import { RuntimeError } from '../errors.js';
import type { Graph } from '../graph/graph.js';
import { aBoolean, aFunction, aNumber, anObject, aString, checkOptions, oneOf, type OptionKinds } from '../options.js';
import { engineNames, type EngineName } from '../session-types.js';
import { formats, gridOf, offeredLevels, type Format, type Grid } from './formats/grids.js';
import { targets, type Target } from './formats/targets.js';
import { migrationScopes, type MigrationScope } from './prepare/migrate.js';
import { calibrationMethods, type CalibrationMethod } from './ranges/range.js';
import type { Agreement } from './report/fidelity.js';
import { silent, type OnQuantizeProgress } from './report/progress.js';

export interface QuantizeOptions {
  /** Format of the layers' multiplications; default `int8`. Depthwise convolutions, first and last layers stay int8 unless asked. */
  format?: Format | 'auto';
  /**
   * Largest loss of the agreement with the float model, on calibration samples. With fewer bits, it is the loss beyond
   * that of int8, and sensitive layers stay int8; default 0.012 for w46, w4a8 and auto, 0.035 for int4. With int8, it is the whole loss, and the
   * most sensitive layers stay float32; default: no bound. With ternary, all candidate layers become ternary, whatever the loss.
   */
  maxDrop?: number;
  /** For format `auto`: the machine for which the model is optimized. Default `this`. */
  target?: Target;
  /** For formats `w46` and `w4a8`: number of quantization levels of weights and activations. Default: 19 and 29 for w46; for w4a8, as few weight levels as `maxDrop` allows and 256 for activations. */
  levels?: { weights: number; activations?: number };
  /** Whether the first and last layers get the format, too; default false. */
  edges?: boolean;
  /** Whether depthwise convolutions get the format, too; default false. */
  depthwise?: boolean;
  /**
   * How activation ranges are chosen. Default `auto`: in 8 bits, the one of minmax, percentile 99.99, percentile 99.9 and mse whose outputs are
   * closest to the float outputs; with fewer than 256 levels, mse.
   */
  method?: CalibrationMethod | 'auto';
  /** For method `percentile`: the percentage of values within the range; default 99.99. */
  percentile?: number;
  /** Names of ONNX nodes that stay float32. */
  exclude?: readonly string[];
  /** Corrects each bias by the error that rounding the weights causes in the mean of the output; default true. */
  biasCorrection?: boolean;
  /**
   * Whether the last layers with weights put out floats: logits, scores and box offsets are not rounded to 8 bits, and the arithmetic behind them is
   * float. Their products stay int8; a depthwise convolution at the end of a head is float. Default false.
   */
  floatHeads?: boolean;
  /** Rescales channels between layers so that one scale suits all channels of a tensor; default true. */
  equalize?: boolean;
  /**
   * Where magnitudes of channels may move from activations into weights, if that reduces the error at the outputs of the layers that read them
   * (AWQ). Default `auto`: after normalizations and between products, but not between convolutions.
   */
  migrate?: MigrationScope;
  /** Engine for calibration; by default onnxruntime if it is installed, else native. */
  engine?: EngineName;
  /** Values of symbolic dimensions. */
  symbols?: Readonly<Record<string, number>>;
  /** Shapes by input name, for dimensions that the file leaves open. The quantized model has these shapes. */
  shapes?: Readonly<Record<string, readonly number[]>>;
  /** Number of samples on which the report is measured; default 8. */
  measuredSamples?: number;
  /**
   * How much of the float model's answer to a sample another model's answer keeps, 0..1, by outputs by name; undefined when the sample does not
   * tell. All choices and `maxDrop` are judged by its mean. Default: the mean cosine of the outputs, which says little of boxes and their scores.
   */
  agreement?: Agreement;
  /** Called with the current stage and its progress. */
  onProgress?: OnQuantizeProgress;
}

/** Which layers may have which formats. */
export interface FormatChoice {
  format: Format | 'auto';
  /** Offered to each layer besides int8; where the first is too much for all, each gets one of them or int8. Of w4a8, from few levels to many. */
  grids: readonly Grid[];
  maxDrop: number;
  target: Target;
  edges: boolean;
  depthwise: boolean;
}

/** The options with their defaults. */
export interface Settings extends FormatChoice {
  method: CalibrationMethod | 'auto';
  /** Of activations with fewer than 256 levels: the wide steps that would hold every outlier cost them more than clipping does. */
  narrowMethod: CalibrationMethod;
  percentile: number;
  exclude: ReadonlySet<string>;
  biasCorrection: boolean;
  floatHeads: boolean;
  equalize: boolean;
  migrate: MigrationScope;
  engine: EngineName | undefined;
  symbols: Readonly<Record<string, number>>;
  shapes: Readonly<Record<string, readonly number[]>>;
  measuredSamples: number;
  agreement: Agreement | undefined;
  onProgress: OnQuantizeProgress;
}

/** No cosine is further from one. */
export const unbounded = 2;
const defaultDrops: Readonly<Record<Format, number>> = { int8: unbounded, w4a8: 0.012, w46: 0.012, int4: 0.035, ternary: unbounded };

/** Grids that layers may have besides int8. Where few levels of the activations cost too much, those of the weights still make the model smaller. */
function gridsFor(format: Format | 'auto', levels: QuantizeOptions['levels']): Grid[] {
  if (format === 'int8') return [];
  if (format === 'auto') return [gridOf('w46', levels), gridOf('int4'), gridOf('ternary')];
  if (format === 'w4a8' && levels === undefined) return offeredLevels.map((weights) => gridOf('w4a8', { weights }));
  const grid = gridOf(format, levels);
  return format === 'w46' || format === 'int4' ? [grid, gridOf('w4a8', { weights: grid.weights })] : [grid];
}

/** Values are checked below, for data and options that do not serve share E_QUANTIZE. */
const quantizeOptionKinds: OptionKinds<Required<QuantizeOptions>> = {
  format: aString, maxDrop: aNumber, target: aString, levels: anObject, edges: aBoolean, depthwise: aBoolean, method: aString, percentile: aNumber,
  exclude: anObject, biasCorrection: aBoolean, floatHeads: aBoolean, equalize: aBoolean, migrate: aString, engine: oneOf(engineNames), symbols: anObject, shapes: anObject, measuredSamples: aNumber, agreement: aFunction, onProgress: aFunction,
};

export function settle(options: QuantizeOptions): Settings {
  checkOptions('quantizeModel', options, quantizeOptionKinds);
  const { format = 'int8', levels, maxDrop = format === 'auto' ? 0.012 : defaultDrops[format], target = 'this', edges = false, depthwise = false, method = 'auto', percentile = 99.99, exclude = [], biasCorrection = true, floatHeads = false, equalize = true, migrate = 'auto', engine, symbols = {}, shapes = {}, measuredSamples = 8, agreement, onProgress = silent } = options;
  const refuse = (expected: string, received: unknown): never => {
    throw new RuntimeError('E_QUANTIZE', `Expected ${expected} but received ${String(received)}`);
  };
  if (format !== 'auto' && !formats.includes(format)) refuse(`auto or one of ${formats.join(', ')} for the format`, format);
  if (!(maxDrop > 0)) refuse('a drop above 0', maxDrop);
  if (!targets.includes(target)) refuse(`one of ${targets.join(', ')} for the target`, target);
  if (method !== 'auto' && !calibrationMethods.includes(method)) refuse(`auto or one of ${calibrationMethods.join(', ')} for the method`, method);
  if (!migrationScopes.includes(migrate)) refuse(`one of ${migrationScopes.join(', ')} for the migration`, migrate);
  if (!(percentile > 50 && percentile <= 100)) refuse('a percentile above 50 and up to 100', percentile);
  if (!(Number.isInteger(measuredSamples) && measuredSamples > 0)) refuse('a positive number of measured samples', measuredSamples);
  const grids = gridsFor(format, levels);
  return { format, grids, maxDrop, target, edges, depthwise, method, narrowMethod: method === 'auto' ? 'mse' : method, percentile, exclude: new Set(exclude), biasCorrection, floatHeads, equalize, migrate, engine, symbols, shapes, measuredSamples, agreement, onProgress };
}

export function checkExclusions(graph: Graph, exclude: ReadonlySet<string>): void {
  const names = new Set(graph.nodes.map((node) => node.name));
  const unknown = [...exclude].find((name) => !names.has(name));
  if (unknown !== undefined) {
    throw new RuntimeError('E_QUANTIZE', `Expected the name of a node to exclude but the model has no '${unknown}' (after folding); \`sterna inspect\` lists them`, { details: { node: unknown } });
  }
}
