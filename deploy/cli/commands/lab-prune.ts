import { InvalidArgumentError, Option, type Command } from 'commander';
import type { PictureOptions } from '../../compress/picture-options.js';
import { collectSamples, countSamples, readSamples } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { DeployError } from '../../errors.js';
import { pruneDefaults, pruneModel, type PruneReport, type PruneTarget } from '../../lab/prune/prune.js';
import { criteria, type Criterion } from '../../lab/prune/scores.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { readModelInput, writeOutputFile } from '../files.js';
import { addPictureOptions, addShapeOptions, chosenSizes, integer, positive, type ShapeOptions } from '../options.js';
import { log, reporting } from '../output.js';
import { choosePictures } from '../pictures.js';
import { stageProgress } from '../stage-progress.js';
import { formatBytes, formatTable } from '../table.js';

interface PruneCommand extends Partial<PictureOptions>, ShapeOptions {
  output: string;
  macs?: number;
  time?: number;
  data: string;
  samples: number;
  criterion: Criterion;
  rounds: number;
  steps: number;
  rate: number;
  batch: number;
  align: number;
  exclude: string[];
  seed: number;
  threads: number;
}

/** `-40%` or `60%`: the share that is left. */
function shareLeft(text: string): number {
  const found = /^(-?)(\d+(?:\.\d+)?)%$/.exec(text);
  const share = Number(found?.[2]) / 100;
  if (found === null || !(share > 0 && share < 1)) throw new InvalidArgumentError(`Expected what to remove as in -40%, or what to leave as in 60%, but received ${text}`);
  return found[1] === '-' ? 1 - share : share;
}

function targetOf({ macs, time }: PruneCommand): PruneTarget {
  if ((macs === undefined) === (time === undefined)) throw new DeployError('E_USAGE', 'Expected one of --macs and --time: what is to become less, as in --macs -40%');
  return macs === undefined ? { of: 'time', left: time ?? 1 } : { of: 'macs', left: macs };
}

function reportText(report: PruneReport, output: string): string {
  const right = (title: string) => ({ title, align: 'right' as const });
  const rows = report.groups.map(({ layers, before, after }) => [layers.length > 3 ? `${layers.slice(0, 2).join(', ')} and ${layers.length - 2} more` : layers.join(', '), String(before), String(after)]);
  const time = report.time_ratio === null ? '' : `, a run takes ${(100 * report.time_ratio).toFixed(0)} % of the time on this CPU`;
  return [
    formatTable([{ title: 'layers' }, right('channels'), right('now')], rows),
    '',
    `${(report.macs_before / 1e6).toFixed(1)} -> ${(report.macs_after / 1e6).toFixed(1)} million multiply-adds (${((100 * report.macs_after) / report.macs_before).toFixed(0)} %)${time}; ${formatBytes(report.bytes_before)} -> ${formatBytes(report.bytes_after)}`,
    `agreement with the unpruned model on ${report.judged_samples} samples that nothing was tuned on: ${report.agreement.toFixed(4)} (before the last fine-tuning ${report.agreement_untuned.toFixed(4)}; cosine of the outputs without their mean over the samples)`,
    `written to ${output}`,
  ].join('\n');
}

export function addPruning(lab: Command): void {
  const command = lab
    .command('prune')
    .summary('remove channels from a model')
    .description('Removes whole channels from a float32 ONNX model, with all that depends on them, and fine-tunes it by distillation from the unpruned model; no labels are needed. The result is an ordinary, smaller model. Needs onnxruntime-node.')
    .argument('<in.onnx>', 'the float32 model')
    .requiredOption('-o, --output <out.onnx>', 'where the pruned model goes')
    .option('--macs <share>', 'multiply-adds to remove, as in -40%, or to leave, as in 60%', shareLeft)
    .option('--time <share>', 'the same of the time that a run takes on this CPU with one thread; it is measured', shareLeft)
    .requiredOption('--data <source>', 'a folder of pictures or .npy arrays that resemble the later inputs of the model, or random:N; every fifth judges the result')
    .option('--samples <n>', 'use at most n inputs, evenly spread', integer(10), 128)
    .addOption(new Option('--criterion <criterion>', 'what makes a channel important: the size of its weights, the gain of its normalization, what the outputs lose to the first order, or what is lost when the layers behind make up for it').choices(criteria).default(pruneDefaults.criterion))
    .option('--rounds <n>', 'remove channels in n rounds, each followed by its part of the steps', integer(1), pruneDefaults.rounds)
    .option('--steps <n>', 'steps of fine-tuning in all; 0: none', integer(0), pruneDefaults.steps)
    .option('--rate <x>', 'largest learning rate', positive, pruneDefaults.rate)
    .option('--batch <n>', 'samples of a step', integer(1), pruneDefaults.batch)
    .option('--align <n>', 'layers keep multiples of n channels: kernels compute 8 or 16 at once', integer(1), pruneDefaults.align)
    .option('--exclude <nodes...>', 'nodes that keep all of their output channels', [])
    .option('--seed <n>', 'seed of all random numbers', integer(0), pruneDefaults.seed)
    .option('--threads <n>', 'threads of the training', integer(1), pruneDefaults.threads);
  addShapeOptions(addPictureOptions(command)).action(reporting(async (self, input: string, options: PruneCommand) => {
    const target = targetOf(options);
    const bytes = await readModelInput(input);
    const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options), options.data);
    for (const note of notes) log(self, `sterna: ${note}`);
    const pictures = await choosePictures(self, bytes, shapes, options.data, options);
    const view = stageProgress(self);
    const total = await countSamples(options.data, options.samples);
    try {
      const samples = await collectSamples(readSamples(options.data, modelInputs(bytes, { shapes }), options.samples, pictures), (done) => view.update('reading samples', done, total));
      const { criterion, rounds, steps, rate, batch, align, exclude, seed, threads } = options;
      const { model, report } = await pruneModel(bytes, samples, {
        target, criterion, rounds, steps, rate, batch, align, exclude, seed, threads, keep: pruneDefaults.keep, sizes: { shapes },
        onStage: (stage, done, all, detail) => view.update(stage, done, all, detail),
      });
      await writeOutputFile(options.output, model);
      view.clear();
      return { json: { ...report, output: options.output }, text: reportText(report, options.output) };
    } finally {
      view.clear();
    }
  }));
}
