import type { Command } from 'commander';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { outputSteps } from '../../../runtime/quantize/report/output-steps.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { compareModels, type CompareResult } from '../../compress/compare.js';
import type { PictureOptions } from '../../compress/picture-options.js';
import { readSamples } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { fixValues } from '../../compress/values.js';
import { readChosenModel, readModelInput } from '../files.js';
import { addInputOptions, addPictureOptions, chosenSizes, engineOption, integer, type InputOptions } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { choosePictures } from '../pictures.js';
import { formatTable } from '../table.js';

interface CompareOptions extends Partial<PictureOptions>, InputOptions {
  engine: EngineName;
  against: EngineName;
  reference?: string;
  inputs: string;
  samples: number;
  minCosine?: number;
  maxSteps?: number;
}

const orDash = (value: number | null, digits: number): string => (value === null ? '-' : value.toFixed(digits));

function resultText({ cases, outputs }: CompareResult): string {
  const rows = outputs.map((output) => [
    output.name,
    output.max_abs.toExponential(2),
    output.range.toExponential(2),
    orDash(output.max_steps, 2),
    output.share_within_1_step === null ? '-' : `${(100 * output.share_within_1_step).toFixed(3)} %`,
    output.cosine.toFixed(6),
    output.top1_agreement === null ? '-' : `${(100 * output.top1_agreement).toFixed(1)} %`,
  ]);
  const right = (title: string) => ({ title, align: 'right' as const });
  const columns = [{ title: 'output' }, right('max abs'), right('range'), right('max steps'), right('within 1 step'), right('cosine'), right('same top 1')];
  return `${formatTable(columns, rows)}\n\n${cases} cases`;
}

/** What is beyond the limits that were given, a sentence each. */
function verdictOf({ outputs }: CompareResult, { minCosine, maxSteps }: CompareOptions): string[] {
  return outputs.flatMap(({ name, cosine, max_steps }) => [
    // Written so that NaN fails, too.
    ...(minCosine !== undefined && !(cosine >= minCosine) ? [`FAILED: the cosine of output ${name} is ${cosine.toFixed(6)}, below ${minCosine}`] : []),
    ...(maxSteps !== undefined && max_steps !== null && !(max_steps <= maxSteps) ? [`FAILED: output ${name} is ${max_steps.toFixed(2)} steps away, above ${maxSteps}`] : []),
  ]);
}

/** The reference may leave open what the model under test has fixed; one with other inputs is refused where the two are opened. */
function sameInputNames(reference: Uint8Array, shapes: Readonly<Record<string, unknown>>): boolean {
  return modelInputs(reference).every(({ name }) => Object.hasOwn(shapes, name));
}

/** Either of two models may have an input as a constant already: the values are for the one that does not. */
async function readModels(path: string, options: CompareOptions): Promise<{ model: Uint8Array; reference: Uint8Array }> {
  if (options.reference === undefined) {
    const model = await readChosenModel(path, options);
    return { model, reference: model };
  }
  const [first, second] = [await readModelInput(path), await readModelInput(options.reference)];
  const has = (model: Uint8Array, name: string): boolean => modelInputs(model).some((input) => input.name === name);
  const chosen = (own: Uint8Array, other: Uint8Array): Uint8Array => {
    const value = Object.fromEntries(Object.entries(options.value).filter(([name]) => has(own, name) || !has(other, name)));
    return fixValues(own, value, { shapes: options.shape, symbols: options.symbol });
  };
  return { model: chosen(first, second), reference: chosen(second, first) };
}

export function register(program: Command): void {
  const command = program
    .command('compare')
    .summary('compare the outputs of two engines, or of two models')
    .description('Runs a model on one engine, and the same or another model on a second engine, and reports how much their outputs differ.')
    .argument('<model.onnx>')
    .addOption(engineOption('--engine <engine>', 'engine under test').default('native'))
    .addOption(engineOption('--against <engine>', 'engine that runs the reference').default('onnxruntime'))
    .option('--reference <model.onnx>', 'another model as the reference, e.g. the float32 original of an int8 model')
    .option('--inputs <source>', 'random:N, or a folder of pictures or .npy arrays', 'random:8')
    .option('--min-cosine <x>', 'fail (exit code 1) if the cosine similarity of an output is lower', Number)
    .option('--max-steps <n>', 'fail (exit code 1) if an output differs by more than this many quantization steps', Number)
    .option('--samples <n>', 'use at most n inputs, evenly spread', integer(1), 128);
  addInputOptions(addPictureOptions(command)).action(
    reporting(async (self, path: string, options: CompareOptions) => {
      const { model, reference } = await readModels(path, options);
      const { shapes, notes } = await chooseShapes(model, chosenSizes(options), options.inputs);
      for (const note of notes) log(self, `sterna: ${note}`);
      const pictures = await choosePictures(self, model, shapes, options.inputs, options);
      const result = await compareModels(
        { model, engine: options.engine, shapes },
        { model: reference, engine: options.against, ...(sameInputNames(reference, shapes) ? { shapes } : {}) },
        outputSteps(model),
        (inputs) => readSamples(options.inputs, inputs, options.samples, pictures),
      );
      const failures = verdictOf(result, options);
      const text = [resultText(result), ...failures].join('\n');
      return { json: { shapes, ...result, passed: failures.length === 0, failures }, text, exitCode: failures.length === 0 ? exitCodes.ok : exitCodes.failed };
    }),
  );
}
