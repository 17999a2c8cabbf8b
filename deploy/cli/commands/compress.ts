import { InvalidArgumentError, Option, type Command } from 'commander';
import { spread, type Feeds } from '../../../runtime/quantize/observe/calibrate.js';
import type { ParetoReport } from '../../../runtime/quantize/formats/choose-formats.js';
import { formats, type Format } from '../../../runtime/quantize/formats/grids.js';
import { migrationScopes, type Migration, type MigrationScope } from '../../../runtime/quantize/prepare/migrate.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel, type LayerReport, type QuantizeOptions, type QuantizeReport } from '../../../runtime/quantize/quantize.js';
import { calibrationMethods, type CalibrationMethod } from '../../../runtime/quantize/ranges/range.js';
import type { QuantizeWarning } from '../../../runtime/quantize/report/warnings.js';
import { targets, type Target } from '../../../runtime/quantize/formats/targets.js';
import { stated } from '../../../runtime/options.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import { paretoSvg } from '../../compress/plot.js';
import { unscaledPixels } from '../../compress/pixel-scale.js';
import type { PictureOptions } from '../../compress/picture-options.js';
import { collectSamples, countSamples, readSamples } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { warningTexts } from '../../compress/warnings.js';
import { DeployError } from '../../errors.js';
import { tuneThresholds, type ThresholdReport } from '../../lab/methods/thresholds.js';
import { readChosenModel, writeOutputFile } from '../files.js';
import { addInputOptions, addPictureOptions, chosenSizes, engineOption, integer, positive } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { choosePictures } from '../pictures.js';
import { quantizeProgress, stageProgress, type StageProgress } from '../stage-progress.js';
import { formatBytes, formatTable } from '../table.js';
import { compressWeights, sparsityOption, type WeightsOptions } from './compress-weights.js';

interface CompressOptions extends WeightsOptions {
  format: Format | 'auto';
  levels?: { weights: number; activations?: number };
  edges?: true;
  depthwise?: true;
  maxDrop?: number;
  target: Target;
  plot?: string;
  calibrate: string;
  method: CalibrationMethod | 'auto';
  percentile: number;
  exclude?: string[];
  biasCorrection: boolean;
  floatHeads: boolean;
  migrate: MigrationScope;
  engine?: EngineName;
  fineTune?: number;
}

/** `19` or `19/29`: weight levels, and activation levels if not as many as the former allow. */
function levelPair(text: string): { weights: number; activations?: number } {
  const found = /^(\d+)(?:\/(\d+))?$/.exec(text);
  if (found === null) throw new InvalidArgumentError(`Expected weight levels, or weight levels / activation levels as in 19/29, but received ${text}`);
  const [, weights, activations] = found.map(Number);
  return { weights: weights ?? 0, ...(activations === undefined || Number.isNaN(activations) ? {} : { activations }) };
}

const levelsText = ({ format, levels, kept }: LayerReport): string =>
  levels !== undefined ? `${format} ${levels.weights}/${levels.activations}` : kept !== undefined ? `${format} (${kept})` : format;

const migrationText = ({ alpha, error }: Migration): string => (alpha === 0 ? 'no scales migrated' : `scales migrated by ^${alpha}: ${(100 * (1 - error)).toFixed(0)} % less error`);

/** Notes on a layer for the table. */
function notesOf({ name, output, weights, rounding_blocks, migration }: LayerReport, warnings: readonly QuantizeWarning[]): string {
  const about = (kind: QuantizeWarning['kind'], what: string): string[] =>
    warnings.filter((warning) => warning.kind === kind && warning.layer === name).map(({ channels = [], of = 0 }) => `${channels.length} of ${of} ${what}`);
  return [...(output === undefined ? [] : ['puts out floats']), ...(weights === undefined ? [] : ['weights in int8']), ...about('dead_weights', 'outputs dead'), ...about('unseen_channels', 'inputs unseen'), ...(rounding_blocks === undefined ? [] : [`rounded in ${rounding_blocks} blocks`]), ...(migration === undefined ? [] : [migrationText(migration)])].join(', ');
}

/** At most this many rows of the curve: what lies between them does not change the choice. */
const curveRows = 12;

function paretoText({ target, unit, points, chosen }: ParetoReport): string[] {
  const rows = spread(points, curveRows).map(({ low_bit_layers, cost, drop }) => [String(low_bit_layers), cost.toFixed(3), drop.toFixed(5)]);
  const title = unit === 'ms' ? 'ms on this machine' : `M instructions on ${target}`;
  return [
    formatTable([{ title: 'layers below int8', align: 'right' }, { title, align: 'right' }, { title: 'summed drop', align: 'right' }], rows),
    `chosen: ${chosen.low_bit_layers} layers below int8, ${chosen.cost.toFixed(3)} ${title}, measured drop ${chosen.drop.toFixed(5)}`,
    'drop: 1 minus the agreement with the float32 model on calibration samples, which is the mean cosine of the outputs, or of a detector the share of its boxes; no labels are used',
    '',
  ];
}

function reportText(report: QuantizeReport, output: string): string {
  const rows = report.layers.map((layer) => [layer.name, layer.op, levelsText(layer), layer.sqnr_db === null ? 'exact' : layer.sqnr_db.toFixed(1), notesOf(layer, report.warnings)]);
  const low = report.layers.some(({ levels }) => levels !== undefined) ? `, ${(100 * report.low_bit_macs).toFixed(0)} % of the multiply-adds below int8, ${report.weight_bits.toFixed(1)} bits per weight` : '';
  return [
    formatTable([{ title: 'layer' }, { title: 'op' }, { title: 'format' }, { title: 'SQNR dB', align: 'right' }, { title: 'notes' }], rows),
    '',
    ...(report.pareto === undefined ? [] : paretoText(report.pareto)),
    `${formatBytes(report.input_bytes)} -> ${formatBytes(report.output_bytes)} (${((100 * report.output_bytes) / report.input_bytes).toFixed(0)} %), calibrated on ${report.calibration_samples} samples (${report.method}${report.percentile === undefined ? '' : ` ${report.percentile}`})${low}`,
    `mean cosine between quantized and float32 outputs: ${report.output_cosine.toFixed(5)} (lowest ${report.lowest_cosine.toFixed(5)}; without the mean over the samples ${report.centred_cosine.toFixed(5)}; ${report.measured_samples} samples)${report.top1_agreement === null ? '' : `, the same largest value in ${(100 * report.top1_agreement).toFixed(0)} % of the measured samples`}`,
    ...(report.agreement === null ? [] : [`boxes of the float32 model that are kept, weighted by scores and overlaps: ${(100 * report.agreement).toFixed(1)} %`]),
    `written to ${output}`,
  ].join('\n');
}

/** Mean and deviation that training code applies to pixels divided by 255. A model that takes pixels as they are has mean 0 and deviation 1. */
const looksLikeUnitScale = ({ mean, std }: PictureOptions): boolean =>
  [...mean, ...std].every((value) => Math.abs(value) <= 1) && std.some((value) => value < 1);

/** The options of the command that say how to quantize. */
function quantizeOptions(options: CompressOptions): QuantizeOptions {
  const { format, levels, edges, depthwise, maxDrop, target, method, percentile, biasCorrection, floatHeads, migrate, exclude, engine } = options;
  return { format, target, method, percentile, biasCorrection, floatHeads, migrate, ...stated({ levels, edges, depthwise, maxDrop, exclude, engine }) };
}

const tuningText = ({ kept, error_before, error_after, judged_samples }: ThresholdReport): string =>
  `fine-tuned scales: error of the outputs on ${judged_samples} samples that were not tuned on ${error_before.toExponential(2)} -> ${error_after.toExponential(2)}${kept ? '' : '; not kept'}`;

async function tuned({ float, quantized, steps }: { float: Uint8Array; quantized: Uint8Array; steps: number }, samples: AsyncIterable<Feeds>, view: StageProgress): Promise<Awaited<ReturnType<typeof tuneThresholds>>> {
  return tuneThresholds(float, quantized, await collectSamples(samples), { steps, onStep: (step, total, loss) => view.update('fine-tuning', step, total, `distance ${loss.toFixed(4)}`) });
}

/** @throws DeployError E_USAGE */
function calibrated(options: Omit<CompressOptions, 'calibrate'> & WeightsOptions): CompressOptions {
  const { calibrate } = options;
  if (calibrate === undefined) throw new DeployError('E_USAGE', 'Expected --calibrate <source>: a folder of pictures or .npy arrays that resemble the later inputs of the model, or random:N');
  return { ...options, calibrate };
}

export function register(program: Command): void {
  const command = program
    .command('compress')
    .summary('quantize an ONNX model to int8 or fewer bits')
    .description('Quantizes a float32 ONNX model to 8 bits or fewer and writes it as QDQ ONNX, with the format and the signal-to-noise ratio of every layer.')
    .argument('<in.onnx>', 'the float32 model')
    .requiredOption('-o, --output <out.onnx>', 'where the quantized model goes')
    .addOption(new Option('--format <format>', 'number format; auto: for each layer, the format that is fastest on the target').choices([...formats, 'auto']).default('int8'))
    .addOption(new Option('--levels <weights[/activations]>', 'for w46 and w4a8: number of quantization levels; default: 19/29 for w46, and as few as --max-drop allows for w4a8').argParser(levelPair))
    .option('--edges', 'also use the format for the first and last layers, which otherwise stay int8')
    .option('--depthwise', 'also use the format for depthwise convolutions, which otherwise stay int8')
    .option('--max-drop <x>', 'the agreement with the float32 model (the mean cosine of the outputs; of a detector, its boxes and scores) may drop by at most x: sensitive layers stay int8; default 0.012 (w46, w4a8, auto), 0.035 (int4). With --format int8, sensitive layers stay float32; exit code 1 if no layer can be int8', positive)
    .addOption(new Option('--target <target>', 'for --format auto: this machine (latencies are measured), or a CPU core (instructions are counted)').choices(targets).default('this'))
    .option('--plot <file.svg>', 'for --format auto: draw the curve of cost against loss')
    .option('--weights <format>', 'change the weights alone; the model stays a float model. minifloat6 .. minifloat16: floats of so many bits, each tensor with the best split between exponent and mantissa; needs no calibration. int8, int4: integers, rounded by what the layers read (GPTQ)')
    .option('--sparsity <share>', 'set weights to zero, and let the others make up for it (SparseGPT): 50% of them, or 2:4 of each four neighbours; packages become smaller, runs not faster', sparsityOption)
    .option('--group <n>', 'with --weights int8 or int4: so many inputs of an output of a matrix product share a scale', integer(2))
    .option('--calibrate <source>', 'a folder of pictures or .npy arrays that resemble the later inputs of the model, or random:N; it may be left out with --weights minifloat11 alone')
    .option('--samples <n>', 'calibrate on at most n inputs, evenly spread', integer(1), 128)
    .addOption(new Option('--method <method>', 'how activation ranges are chosen; auto: the method that agrees best with the float32 model; with fewer than 256 levels, mse').choices(['auto', ...calibrationMethods]).default('auto'))
    .option('--percentile <p>', 'for --method percentile: percentage of values within the range', Number, 99.99)
    .option('--exclude <nodes...>', 'nodes that stay float32')
    .addOption(new Option('--migrate <where>', 'where magnitudes of channels may move from activations into weights, if that reduces the error; auto: everywhere except between convolutions').choices(migrationScopes).default('auto'))
    .option('--no-bias-correction', 'do not correct the biases for the quantization error')
    .option('--float-heads', 'do not round what the last layers put out (logits, scores, box offsets) to 8 bits: it leaves as floats', false)
    .option('--fine-tune <steps>', 'afterwards, tune the scales for so many steps so that the outputs come closer to those of the float32 model (FAT; no labels; needs onnxruntime-node); kept only if it helps on samples that were not tuned on', integer(1))
    .addOption(engineOption('--engine <engine>', 'engine that runs the calibration; default: onnxruntime if installed, else native'));
  addInputOptions(addPictureOptions(command)).action(
    reporting(async (self, input: string, given: Omit<CompressOptions, 'calibrate'> & WeightsOptions) => {
      if (given.weights !== undefined || given.sparsity !== undefined) return compressWeights(self, input, given);
      const options = calibrated(given);
      const bytes = await readChosenModel(input, options);
      const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options), options.calibrate);
      for (const note of notes) log(self, `sterna: ${note}`);
      const pictures = await choosePictures(self, bytes, shapes, options.calibrate, options);
      const scaled = !options.calibrate.startsWith('random:');
      if (scaled && looksLikeUnitScale(pictures)) log(self, `sterna: warning: --mean ${pictures.mean.join()} and --std ${pictures.std.join()} look like those of pixels from 0 to 1, but they are applied to pixels from 0 to 255; multiply both by 255`);
      const unscaled = scaled ? unscaledPixels(bytes, shapes, pictures) : undefined;
      if (unscaled !== undefined) log(self, `sterna: warning: ${unscaled}`);
      const inputs = modelInputs(bytes, { shapes });
      const samples = (): AsyncIterable<Feeds> => readSamples(options.calibrate, inputs, options.samples, pictures);
      const agreement = agreementOfModel(bytes, { shapes });
      const view = stageProgress(self);
      const onProgress = quantizeProgress(view, { samples: await countSamples(options.calibrate, options.samples) });
      const { model: quantized, report } = await quantizeModel(bytes, samples(), { ...quantizeOptions(options), shapes, onProgress, ...(agreement === undefined ? {} : { agreement }) }).finally(() => view.clear());
      const tuning = options.fineTune === undefined ? undefined : await tuned({ float: bytes, quantized, steps: options.fineTune }, samples(), view).finally(() => view.clear());
      const model = tuning?.model ?? quantized;
      await writeOutputFile(options.output, model);
      if (options.plot !== undefined && report.pareto !== undefined) await writeOutputFile(options.plot, Buffer.from(paretoSvg(report.pareto)));
      for (const text of warningTexts(report.warnings)) log(self, `sterna: warning: ${text}`);
      const drop = 1 - (report.agreement ?? report.output_cosine);
      const bounded = options.format === 'int8' && options.maxDrop !== undefined;
      const none = bounded && !report.layers.some(({ format }) => format !== 'float32');
      const over = none || (bounded && !(drop <= (options.maxDrop ?? 0)));
      const verdict = none ? [`FAILED: no layer can be int8 within --max-drop ${options.maxDrop}; allow a larger drop, or calibrate on data that resemble the later inputs of the model`] : over ? [`FAILED: with int8, the agreement with float32 drops by ${drop.toFixed(5)}, which is more than --max-drop ${options.maxDrop}; exclude the layers with the lowest SQNR`] : [];
      return { json: { output: options.output, shapes, passed: !over, ...report, ...(tuning === undefined ? {} : { output_bytes: model.length, fine_tune: tuning.report }) }, text: [reportText(report, options.output), ...(tuning === undefined ? [] : [tuningText(tuning.report)]), ...verdict].join('\n'), exitCode: over ? exitCodes.failed : exitCodes.ok };
    }),
  );
}
