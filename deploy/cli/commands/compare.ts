import type { Command } from 'commander';
import { outputSteps } from '../../../runtime/quantise/output-steps.js';
import type { EngineName } from '../../../runtime/session-types.js';
import { compareModels, type CompareResult } from '../../compress/compare.js';
import { readSamples, type PictureOptions } from '../../compress/samples.js';
import { readInputFile } from '../files.js';
import { addPictureOptions, engineOption, integer, pictureOptions } from '../options.js';
import { reporting } from '../output.js';
import { formatTable } from '../table.js';

interface CompareOptions extends PictureOptions {
  engine: EngineName;
  against: EngineName;
  reference?: string;
  inputs: string;
  samples: number;
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
  ]);
  const right = (title: string) => ({ title, align: 'right' as const });
  const columns = [{ title: 'output' }, right('max abs'), right('range'), right('max steps'), right('within 1 step'), right('cosine')];
  return `${formatTable(columns, rows)}\n\n${cases} cases`;
}

export function register(program: Command): void {
  const command = program
    .command('compare')
    .summary('compare the outputs of two engines, or of two models')
    .description('Runs a model on one engine and the same (or another) model on a second one, and tells how far the outputs are apart.')
    .argument('<model.onnx>')
    .addOption(engineOption('--engine <engine>', 'engine under test').default('native'))
    .addOption(engineOption('--against <engine>', 'engine of the reference').default('onnxruntime'))
    .option('--reference <model.onnx>', 'another model as reference, e.g. the float32 one that an int8 one was made from')
    .option('--inputs <source>', 'random:N, or a folder of pictures or .npy arrays', 'random:8')
    .option('--samples <n>', 'use at most n of them, evenly spread', integer(1), 128);
  addPictureOptions(command).action(
    reporting(async (_self, path: string, options: CompareOptions) => {
      const model = await readInputFile(path);
      const reference = options.reference === undefined ? model : await readInputFile(options.reference);
      const result = await compareModels(
        { model, engine: options.engine },
        { model: reference, engine: options.against },
        outputSteps(model),
        (inputs) => readSamples(options.inputs, inputs, options.samples, pictureOptions(options)),
      );
      return { json: { ...result }, text: resultText(result) };
    }),
  );
}
