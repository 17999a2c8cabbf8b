/** `sterna compress` of weights alone: the model stays a float model, and only its file becomes smaller. */
import type { Command } from 'commander';
import { leastBits, mostBits } from '../../../runtime/minifloat/format.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import type { PictureOptions } from '../../compress/picture-options.js';
import { collectSamples, readSamples, type Feeds } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { DeployError } from '../../errors.js';
import { minifloatBits, toMinifloats, type MinifloatReport } from '../../lab/methods/minifloats.js';
import { readModelInput, writeOutputFile } from '../files.js';
import { chosenSizes, type ShapeOptions } from '../options.js';
import { log, type Report } from '../output.js';
import { choosePictures } from '../pictures.js';
import { formatBytes, formatTable } from '../table.js';

export interface WeightsOptions extends Partial<PictureOptions>, ShapeOptions {
  output: string;
  weights?: string;
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

/** @throws DeployError E_USAGE */
function bitsOption(weights: string): number {
  const bits = minifloatBits(weights);
  if (bits === undefined || bits < leastBits || bits > mostBits) throw new DeployError('E_USAGE', `Expected minifloat${leastBits} to minifloat${mostBits} for --weights but received ${weights}`);
  return bits;
}

/** Options that say how activations are quantized mean nothing here. @throws DeployError E_USAGE */
function checkOptions(self: Command): void {
  const meaningless = ['format', 'levels', 'edges', 'depthwise', 'maxDrop', 'target', 'plot', 'method', 'percentile', 'exclude', 'migrate', 'biasCorrection', 'fineTune'];
  const given = meaningless.find((name) => self.getOptionValueSource(name) === 'cli');
  if (given !== undefined) throw new DeployError('E_USAGE', `--${given.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is of no meaning with --weights, which leaves activations as they are; leave one of the two out`);
}

async function samplesFor(self: Command, bytes: Uint8Array, options: WeightsOptions): Promise<{ shapes: Readonly<Record<string, readonly number[]>>; samples: Feeds[] }> {
  if (options.calibrate === undefined) return { shapes: {}, samples: [] };
  const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options), options.calibrate);
  for (const note of notes) log(self, `sterna: ${note}`);
  const pictures = await choosePictures(self, bytes, shapes, options.calibrate, options);
  return { shapes, samples: await collectSamples(readSamples(options.calibrate, modelInputs(bytes, { shapes }), options.samples, pictures)) };
}

/** @throws DeployError E_USAGE, E_FILE; RuntimeError E_QUANTIZE, E_MODEL_* */
export async function compressWeights(self: Command, input: string, options: WeightsOptions): Promise<Report> {
  checkOptions(self);
  const bits = bitsOption(options.weights ?? '');
  const bytes = await readModelInput(input);
  const { shapes, samples } = await samplesFor(self, bytes, options);
  const { model, report } = await toMinifloats(bytes, { bits, samples, sizes: { ...chosenSizes(options), ...(samples.length === 0 ? {} : { shapes }) } });
  await writeOutputFile(options.output, model);
  return { json: { output: options.output, weights: options.weights, ...report }, text: minifloatText(report, options.output) };
}
