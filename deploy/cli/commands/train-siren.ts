import type { Command } from 'commander';
import { join } from 'node:path';
import { readClips } from '../../sound/clips.js';
import type { Recall } from '../../sound/siren/measure.js';
import { rules } from '../../sound/siren/package.js';
import { measureSiren, trainSiren, type ClassHearing, type Hearing, type SirenOptions } from '../../sound/siren/recipe.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { integer, positive } from '../options.js';
import { log, reporting } from '../output.js';

interface TrainSirenOptions extends Omit<SirenOptions, 'log' | 'from' | 'rules'> {
  data: string;
  output: string;
  measure?: string;
  from?: string;
  shippedRules?: true;
  untouchedFold?: number;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

const recalls = (what: string, recall: Record<string, Recall>): string[] =>
  Object.entries(recall).map(([ratio, { recall: share, delayMs }]) => `${what} at ${ratio} dB: ${percent(share)} heard, half of them within ${delayMs.median} ms`);

const classText = (name: string, hours: number, { on, falseAlarms, pitched, recall }: ClassHearing): string[] => [
  `${name}: threshold ${on}, ${falseAlarms} false alarms in ${hours} hours of noise that was not learned from; where an eighth of it has a pitch, an hour: ${Object.entries(pitched).map(([kind, count]) => `${kind} ${count.toFixed(1)}`).join(', ')}`,
  ...recalls(`${name}s`, recall),
];

function describe({ hours, siren, horn, strangers, clipAccuracy }: Hearing, output: string): string {
  return [
    ...classText('siren', hours, siren), ...recalls('sirens of other kinds', strangers), ...classText('horn', hours, horn),
    `classes of recordings: ${percent(clipAccuracy)} of the clips`,
    `written to ${output}`,
  ].join('\n');
}

export function register(program: Command): void {
  program
    .command('train-siren')
    .summary('train the student that hears sirens (deploy/sound/siren/README.md)')
    .description('Trains a small convolutional net on synthesized sirens and horns in traffic, rain and recordings, converts it to int8, and measures how many sirens it hears with at most one false alarm an hour. onnxruntime-node computes the gradients.')
    .requiredOption('--data <folder>', 'a folder of clips for each class, as ESC-10 has them; the names of the clips begin with their folds')
    .requiredOption('--output <folder>', 'where siren.onnx and siren.json go')
    .option('--measure <onnx>', 'measure this model, and train none')
    .option('--from <onnx>', 'go on from a student in int8 instead of random weights')
    .option('--rate <r>', 'highest rate of learning', positive, 3e-3)
    .option('--seed <n>', 'of weights, mixtures and synthesized sound', integer(0), 1)
    .option('--steps <n>', 'batches of 32 windows to learn from', integer(1), 2400)
    .option('--hours <n>', 'hours of noise in which false alarms are counted', positive, 4)
    .option('--scenes <n>', 'scenes with a siren, for each ratio of siren to noise', integer(1), 400)
    .option('--shipped-rules', 'measure at the thresholds of the package instead of the lowest ones that the noise allows')
    .option('--untouched-fold <n>', 'fold of the recordings that is neither learned from nor measured on, to choose thresholds without it', integer(1))
    .option('--held-out-fold <n>', 'fold of the recordings that is measured on and not learned from', integer(1), 4)
    .action(reporting(async (self, { data, output, measure, from, shippedRules, untouchedFold, ...rest }: TrainSirenOptions) => {
      const options: SirenOptions = { ...rest, ...(shippedRules === undefined ? {} : { rules }), ...(from === undefined ? {} : { from: await readInputFile(from) }), log: (line) => log(self, `sterna: ${line}`) };
      const recordings = await readClips(data, (fold) => fold !== untouchedFold && (measure === undefined || fold === rest.heldOutFold));
      const student = measure === undefined ? await trainSiren(recordings, options) : null;
      const model = student?.model ?? await readInputFile(measure ?? '');
      if (student !== null) await writeOutputFile(join(output, 'siren.onnx'), student.model);
      const hearing = await measureSiren(model, recordings, options);
      const about = student === null ? {} : { classes: student.classes, parameters: student.parameters, cosine: student.cosine };
      const json = { ...about, ...rest, hearing };
      await writeOutputFile(join(output, 'siren.json'), Buffer.from(`${JSON.stringify(json, null, 2)}\n`));
      return { json, text: describe(hearing, output) };
    }));
}
