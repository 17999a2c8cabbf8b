import type { Command } from 'commander';
import { join } from 'node:path';
import { readClips } from '../../sound/clips.js';
import { measureSiren, trainSiren, type Hearing, type SirenOptions } from '../../sound/siren/recipe.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { integer, positive } from '../options.js';
import { log, reporting } from '../output.js';

interface TrainSirenOptions extends Omit<SirenOptions, 'log'> {
  data: string;
  output: string;
  measure?: string;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function describe({ on, falseAlarms, hours, melodies, recall, clipAccuracy }: Hearing, output: string): string {
  return [
    `threshold ${on}: ${falseAlarms} false alarms in ${hours} hours of noise that was not learned from; ${melodies.toFixed(1)} an hour where an eighth of it is melodies, beeps and hums`,
    ...Object.entries(recall).map(([ratio, { recall: share, delayMs }]) => `sirens at ${ratio} dB: ${percent(share)} heard, half of them within ${delayMs.median} ms`),
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
    .option('--seed <n>', 'of weights, mixtures and synthesized sound', integer(0), 1)
    .option('--steps <n>', 'batches of 32 seconds to learn from', integer(1), 3000)
    .option('--hours <n>', 'hours of noise in which false alarms are counted', positive, 4)
    .option('--scenes <n>', 'scenes with a siren, for each ratio of siren to noise', integer(1), 400)
    .option('--held-out-fold <n>', 'fold of the recordings that is measured on and not learned from', integer(1), 4)
    .action(reporting(async (self, { data, output, measure, ...rest }: TrainSirenOptions) => {
      const options: SirenOptions = { ...rest, log: (line) => log(self, `sterna: ${line}`) };
      const recordings = await readClips(data);
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
