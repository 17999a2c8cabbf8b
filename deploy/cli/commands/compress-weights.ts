/** `sterna compress` of weights alone: the model stays a float model, and only its file becomes smaller. */
import { InvalidArgumentError, type Command } from 'commander';
import { leastBits, mostBits } from '../../../runtime/minifloat/format.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import type { PictureOptions } from '../../compress/picture-options.js';
import { collectSamples, readSamples, type Feeds } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { DeployError } from '../../errors.js';
import { parseSparsity } from '../../lab/chain/config.js';
import { minifloatBits, toMinifloats, type MinifloatReport } from '../../lab/methods/minifloats.js';
import { sparsify, type SparsifyReport } from '../../lab/methods/sparse/sparsify.js';
import type { Sparsity } from '../../lab/methods/sparse/sweep.js';
import { readChosenModel, writeOutputFile } from '../files.js';
import { chosenSizes, type InputOptions } from '../options.js';
import { log, type Report } from '../output.js';
import { choosePictures } from '../pictures.js';
import { stageProgress } from '../stage-progress.js';
import { formatBytes, formatTable } from '../table.js';

export interface WeightsOptions extends Partial<PictureOptions>, InputOptions {
  output: string;
  weights?: string;
  sparsity?: Sparsity;
  group?: number;
  calibrate?: string;
  samples: number;
}

const decibels = (value: number | null): string => (value === null ? '' : value.toFixed(1));

function minifloatText({ bits, tensors, share, input_bytes, output_bytes, samples }: MinifloatReport, output: string): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const rows = tensors.map(({ tensor, weights, split, bias, sqnr_db, output_sqnr_db }) => [tensor, String(weights), split, String(bias), decibels(sqnr_db), ...(samples === 0 ? [] : [decibels(output_sqnr_db)])]);
  return [
    formatTable([{ title: 'weights' }, right('numbers'), { title: 'split' }, right('bias'), right('SQNR dB'), ...(samples === 0 ? [] : [right('output SQNR dB')])], rows),
    '',
    `${formatBytes(input_bytes)} -> ${formatBytes(output_bytes)} (${((100 * output_bytes) / input_bytes).toFixed(0)} %): ${(100 * share).toFixed(1)} % of the float32 numbers are floats of ${bits} bits now, and are expanded when the model is loaded; a run takes as long as before`,
    `written to ${output}`,
  ].join('\n');
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function sparseText(report: SparsifyReport, output: string): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const rows = report.layers.map(({ layer, op, weights, zeros, error }) => [layer, op, String(weights), percent(zeros), error === null ? '' : percent(error)]);
  return [
    formatTable([{ title: 'layer' }, { title: 'op' }, right('weights'), right('zeros'), right('error of its output')], rows),
    '',
    `${percent(report.zeros)} of the weights of all layers are zero; in a package, the model takes ${formatBytes(report.packed_before)} -> ${formatBytes(report.packed_after)} (the file ${formatBytes(report.bytes_before)} -> ${formatBytes(report.bytes_after)})`,
    'a run takes as long as before: no kernel leaves out zeros',
    ...(report.agreement === null ? [] : [`agreement with the float32 model on ${report.judged_samples} samples that nothing was set by: ${report.agreement.toFixed(4)} (cosine of the outputs without their mean over the samples)`]),
    `written to ${output}`,
  ].join('\n');
}

/** `50%`, or `2:4`: so many zeros among so many neighbours. */
export function sparsityOption(text: string): Sparsity {
  const sparsity = parseSparsity(text);
  if (sparsity !== undefined) return sparsity;
  throw new InvalidArgumentError(`Expected the share of the weights that become zero, as in 50%, or zeros among neighbours, as in 2:4, but received ${text}`);
}

/** @throws DeployError E_USAGE */
function bitsOption(weights: string): number {
  const bits = minifloatBits(weights);
  if (bits === undefined || bits < leastBits || bits > mostBits) throw new DeployError('E_USAGE', `Expected minifloat${leastBits} to minifloat${mostBits}, int8 or int4 for --weights but received ${weights}`);
  return bits;
}

/** Options that say how activations are quantized mean nothing here. @throws DeployError E_USAGE */
function checkOptions(self: Command): void {
  const meaningless = ['format', 'levels', 'edges', 'depthwise', 'maxDrop', 'target', 'plot', 'method', 'percentile', 'exclude', 'migrate', 'biasCorrection', 'floatHeads', 'fineTune'];
  const given = meaningless.find((name) => self.getOptionValueSource(name) === 'cli');
  if (given !== undefined) throw new DeployError('E_USAGE', `--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is of no meaning with --weights and --sparsity, which leave activations as they are; leave it out, or these`);
}

interface Calibration {
  shapes: Readonly<Record<string, readonly number[]>>;
  samples: Feeds[];
}

async function samplesFor(self: Command, bytes: Uint8Array, options: WeightsOptions): Promise<Calibration> {
  if (options.calibrate === undefined) return { shapes: {}, samples: [] };
  const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options), options.calibrate);
  for (const note of notes) log(self, `sterna: ${note}`);
  const pictures = await choosePictures(self, bytes, shapes, options.calibrate, options);
  return { shapes, samples: await collectSamples(readSamples(options.calibrate, modelInputs(bytes, { shapes }), options.samples, pictures)) };
}

/** SparseGPT and GPTQ, of weights alone. */
async function sparsified(self: Command, bytes: Uint8Array, { weights, ...options }: WeightsOptions, { shapes, samples }: Calibration): Promise<{ model: Uint8Array; report: SparsifyReport }> {
  const integers = weights === 'int8' || weights === 'int4' ? weights : undefined;
  if (options.calibrate === undefined) throw new DeployError('E_USAGE', 'Expected --calibrate <source>: zeros and integers are chosen by what the layers read');
  if (options.group !== undefined && integers === undefined) throw new DeployError('E_USAGE', 'Expected --weights int8 or int4 with --group, which is for how many weights share a scale');
  const view = stageProgress(self);
  return sparsify(bytes, samples, { sparsity: options.sparsity, weights: integers, group: options.group, sizes: { shapes }, onLayer: (done, total) => view.update('layers', done, total) }).finally(() => view.clear());
}

/** @throws DeployError E_USAGE, E_FILE; RuntimeError E_QUANTIZE, E_MODEL_* */
export async function compressWeights(self: Command, input: string, options: WeightsOptions): Promise<Report> {
  checkOptions(self);
  const { weights, sparsity } = options;
  const integers = weights === 'int8' || weights === 'int4';
  const bits = weights === undefined || integers ? undefined : bitsOption(weights);
  const bytes = await readChosenModel(input, options);
  const calibration = await samplesFor(self, bytes, options);
  const sparse = sparsity === undefined && !integers ? undefined : await sparsified(self, bytes, options, calibration);
  if (bits === undefined) {
    if (sparse === undefined) throw new DeployError('E_USAGE', 'Expected --weights or --sparsity');
    await writeOutputFile(options.output, sparse.model);
    return { json: { output: options.output, ...(weights === undefined ? {} : { weights }), ...sparse.report }, text: sparseText(sparse.report, options.output) };
  }
  const { shapes, samples } = calibration;
  const { model, report } = await toMinifloats(sparse?.model ?? bytes, { bits, samples, sizes: { ...chosenSizes(options), ...(samples.length === 0 ? {} : { shapes }) } });
  await writeOutputFile(options.output, model);
  const text = [...(sparse === undefined ? [] : [sparseText(sparse.report, options.output), '']), minifloatText(report, options.output)].join('\n');
  return { json: { output: options.output, weights, ...report, ...(sparse === undefined ? {} : { sparsity: sparse.report }) }, text };
}
