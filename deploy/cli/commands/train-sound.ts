import type { Command } from 'commander';
import { join } from 'node:path';
import { readClips } from '../../sound/clips.js';
import { crossValidate, gather, ship, type Accuracy, type RecipeOptions, type Shipped } from '../../sound/recipe.js';
import { openTeacher } from '../../sound/teacher.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { integer } from '../options.js';
import { log, reporting } from '../output.js';

interface TrainOptions {
  data: string;
  teacher: string;
  output?: string;
  validate: boolean;
  seed: number;
  epochs: number;
  mixtures: number;
  synthesized: number;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function describe(accuracy: Accuracy | null, shipped: Shipped | null, output: string | undefined): string {
  return [
    ...(accuracy === null ? [] : [`clips whose class was found, of ${accuracy.clips} in the folds that were left out: teacher ${percent(accuracy.teacher)}, student ${percent(accuracy.student)}, int8 student ${percent(accuracy.int8)}`]),
    ...(shipped === null ? [] : [`student of ${shipped.parameters} parameters, ${shipped.model.length} bytes, mean cosine of int8 to float32 ${shipped.cosine.toFixed(4)}, written to ${output ?? ''}`]),
  ].join('\n');
}

export function register(program: Command): void {
  program
    .command('train-sound')
    .summary('train the sound student of the demonstration (deploy/sound/README.md)')
    .description('Trains a small convolutional net on recordings, mixtures of them and synthesized sirens, with YAMNet as its teacher, and converts it to int8. onnxruntime-node computes the gradients.')
    .requiredOption('--data <folder>', 'a folder of clips for each class, as ESC-10 has them; the names of the clips begin with their folds')
    .requiredOption('--teacher <onnx>', 'YAMNet, which takes 15600 samples')
    .option('--output <folder>', 'where student.onnx and student.json go; default: nothing is trained to be shipped')
    .option('--no-validate', 'do not measure the accuracy by leaving one fold out at a time')
    .option('--seed <n>', 'of weights, mixtures and synthesized sound', integer(0), 1)
    .option('--epochs <n>', 'passes over all examples', integer(1), 12)
    .option('--mixtures <n>', 'mixtures of two clips, of each fold', integer(0), 300)
    .option('--synthesized <n>', 'synthesized patches, half of them with a siren', integer(0), 2000)
    .action(reporting(async (self, { data, teacher: teacherPath, output, validate, ...rest }: TrainOptions) => {
      const options: RecipeOptions = { ...rest, log: (line) => log(self, `sterna: ${line}`) };
      const recordings = await readClips(data);
      const teacher = await openTeacher(await readInputFile(teacherPath));
      try {
        const material = await gather(recordings, teacher, options);
        const shipped = output === undefined ? null : await ship(material, teacher, options);
        if (output !== undefined && shipped !== null) {
          const { model, ...about } = shipped;
          await writeOutputFile(join(output, 'student.onnx'), model);
          await writeOutputFile(join(output, 'student.json'), Buffer.from(`${JSON.stringify({ ...about, ...rest }, null, 2)}\n`));
        }
        const accuracy = validate ? await crossValidate(material, options) : null;
        return { json: { accuracy, shipped: shipped === null ? null : { ...shipped, model: shipped.model.length } }, text: describe(accuracy, shipped, output) };
      } finally {
        await teacher.close();
      }
    }));
}
