import { Option, type Command } from 'commander';
import { join } from 'node:path';
import { readClips } from '../../sound/clips.js';
import { crossValidate, gather, recipeDefaults, ship, type Accuracy, type RecipeOptions, type Shipped } from '../../sound/recipe.js';
import type { ClassLoss } from '../../sound/student.js';
import { openTeacher } from '../../sound/teacher.js';
import { readInputFile, writeOutputFile } from '../files.js';
import { amount, integer, positive, share } from '../options.js';
import { log, reporting } from '../output.js';

interface TrainOptions {
  data: string;
  teacher: string;
  output?: string;
  validate: boolean;
  seed: number;
  epochs: number;
  headEpochs: number;
  headRate: number;
  mixtures: number;
  synthesized: number;
  init: RecipeOptions['init'];
  parameters: number;
  loss: ClassLoss['kind'];
  trust: number;
  distill: number;
  wrongLabels: number;
}

/** Losses with their usual settings. */
const losses = {
  'binary': { kind: 'binary' }, 'cross-entropy': { kind: 'cross-entropy' }, 'gce': { kind: 'gce', q: 0.7 }, 'sce': { kind: 'sce', alpha: 0.1, beta: 1 },
} as const satisfies Record<ClassLoss['kind'], ClassLoss>;

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

function describe(accuracy: Accuracy | null, shipped: Shipped | null, output: string | undefined): string {
  return [
    ...(accuracy === null ? [] : [`clips whose class was found, of ${accuracy.clips} in the folds that were left out: teacher ${percent(accuracy.teacher)}, student ${percent(accuracy.student)}, int8 student ${percent(accuracy.int8)}`, `int8 and float student: the same class for ${percent(accuracy.agreement.classes)} of the patches, mean cosine of the logits ${accuracy.agreement.cosine.toFixed(4)}`]),
    ...(shipped === null ? [] : [`student of ${shipped.parameters} parameters, ${shipped.model.length} bytes, mean cosine of int8 to float32 ${shipped.cosine.toFixed(4)}, written to ${output ?? ''}`]),
  ].join('\n');
}

export function register(program: Command): void {
  program
    .command('train-sound')
    .summary('train a student of everyday sounds that begins with blocks of its teacher (deploy/sound/README.md)')
    .description('Trains a small convolutional net on recordings, mixtures of them and synthesized sirens, with YAMNet as its teacher, whose first blocks it begins with, and converts it to int8. onnxruntime-node computes the gradients.')
    .requiredOption('--data <folder>', 'a folder of clips for each class, as ESC-10 has them; the names of the clips begin with their folds')
    .requiredOption('--teacher <onnx>', 'YAMNet, which takes 15600 samples')
    .option('--output <folder>', 'where student.onnx and student.json go; default: nothing is trained to be shipped')
    .option('--no-validate', 'do not measure the accuracy by leaving one fold out at a time')
    .option('--seed <n>', 'of weights, mixtures and synthesized sound', integer(0), recipeDefaults.seed)
    .option('--epochs <n>', 'passes in which layers learn; 0: those of the teacher stay as they are', integer(0), recipeDefaults.epochs)
    .option('--head-epochs <n>', "passes before them, in which only the head over the teacher's blocks learns", integer(1), recipeDefaults.headEpochs)
    .option('--head-rate <rate>', 'highest rate of learning in those', positive, recipeDefaults.headRate)
    .option('--mixtures <n>', 'mixtures of two clips, of each fold', integer(0), recipeDefaults.mixtures)
    .option('--synthesized <n>', 'synthesized patches, half of them with a siren', integer(0), recipeDefaults.synthesized)
    .addOption(new Option('--init <start>', 'begin with the first blocks of the teacher, or with random weights').choices(['teacher', 'random']).default(recipeDefaults.init))
    .option('--parameters <n>', 'most parameters of a student that begins with blocks of the teacher', integer(1), recipeDefaults.parameters)
    .addOption(new Option('--loss <loss>', 'of the labels: every class by itself (binary), or one of all classes').choices(Object.keys(losses)).default(recipeDefaults.loss.kind))
    .option('--trust <share>', "how much the answer of the teacher's classifier weighs beside the label", share, recipeDefaults.trust)
    .option('--distill <weight>', "of the teacher's embedding in the loss", amount, recipeDefaults.distill)
    .option('--wrong-labels <share>', 'labels to learn from that are replaced by wrong ones, for experiments', share, recipeDefaults.wrongLabels)
    .action(reporting(async (self, { data, teacher: teacherPath, output, validate, loss, ...rest }: TrainOptions) => {
      const options: RecipeOptions = { ...rest, loss: losses[loss], log: (line) => log(self, `sterna: ${line}`) };
      const recordings = await readClips(data);
      const teacher = await openTeacher(await readInputFile(teacherPath));
      try {
        const material = await gather(recordings, teacher, options);
        const shipped = output === undefined ? null : await ship(material, teacher, options);
        if (output !== undefined && shipped !== null) {
          const { model, ...about } = shipped;
          await writeOutputFile(join(output, 'student.onnx'), model);
          await writeOutputFile(join(output, 'student.json'), Buffer.from(`${JSON.stringify({ ...rest, loss, ...about }, null, 2)}\n`));
        }
        const accuracy = validate ? await crossValidate(material, options) : null;
        return { json: { accuracy, shipped: shipped === null ? null : { ...shipped, model: shipped.model.length } }, text: describe(accuracy, shipped, output) };
      } finally {
        await teacher.close();
      }
    }));
}
