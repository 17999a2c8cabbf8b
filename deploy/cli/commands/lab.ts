import type { Command } from 'commander';
import { join } from 'node:path';
import { labConfig, parseLabConfig, type FacesConfig, type LabConfig, type TextConfig } from '../../lab/config.js';
import { runFaces, type FacesReport } from '../../lab/embedder/run.js';
import type { Verification } from '../../lab/embedder/verification.js';
import { runText, type TextReport } from '../../lab/language/run.js';
import { runLab, type LabReport } from '../../lab/run.js';
import type { LabEvents } from '../../lab/training-run.js';
import { DeployError } from '../../errors.js';
import { readInputFile } from '../files.js';
import { integer } from '../options.js';
import { reporting, type Report } from '../output.js';
import { stageProgress } from '../stage-progress.js';
import { addChains } from './lab-chain.js';
import { addPruning } from './lab-prune.js';
import { addRecommendation } from './lab-recommend.js';

function reportText({ model, parameters, steps, loss, train_clips, test_clips, accuracy }: LabReport): string {
  return [
    `${parameters} weights, ${steps} steps on ${train_clips} recordings, loss ${loss.toFixed(4)}`,
    ...(accuracy === null ? [] : [`recognized: ${(100 * accuracy).toFixed(1)} % of ${test_clips} recordings of the test folds`]),
    `written to ${model}`,
  ].join('\n');
}

const textOf = ({ model, parameters, steps, loss, characters, perplexity, samples }: TextReport): string => [
  `${parameters} weights, ${steps} steps, loss ${loss.toFixed(4)}`,
  `perplexity ${perplexity.toFixed(3)} on the end of the text, of which nothing was learned (${characters} characters to choose from)`,
  ...(samples === undefined ? [] : [`what it writes after prompts of that end: reverse KL to the teacher ${samples.reverse_kl.toFixed(4)}, log-likelihood under the teacher ${samples.teacher_log_likelihood.toFixed(4)}, entropy ${samples.entropy.toFixed(4)} (nats for each character)`]),
  `written to ${model}`,
].join('\n');

const verified = (who: string, result: Verification | null): string[] => (result === null ? [] : [
  `${who}: ${(100 * result.accepted).toFixed(1)} % of ${result.same_pairs} pairs accepted at 1 % false accepts (cosine ${result.threshold.toFixed(3)}), area under the curve ${result.area.toFixed(4)}`,
]);

const facesText = ({ model, parameters, steps, loss, people, pictures, test_people, verification, teacher_verification, gallery_verification }: FacesReport): string => [
  `${parameters} weights, ${steps} steps on ${pictures} pictures of ${people} people, loss ${loss.toFixed(4)}`,
  ...verified(`${test_people} people that nothing was learned from`, verification),
  ...verified('its teacher', teacher_verification),
  ...verified('its pictures against those that the teacher embeds', gallery_verification),
  `written to ${model}`,
].join('\n');

const isFaces = (config: LabConfig): config is FacesConfig => config.data.kind === 'faces';
const isText = (config: LabConfig): config is TextConfig => config.data.kind === 'text';

/** Carries out a run, and tells of it. */
async function carriedOut(config: LabConfig, folder: string, events: LabEvents): Promise<Report> {
  const curve = join(folder, 'loss.svg');
  if (isText(config)) {
    const report = await runText(config, folder, events);
    return { json: { ...report, curve }, text: textOf(report) };
  }
  if (isFaces(config)) {
    const report = await runFaces(config, folder, events);
    return { json: { ...report, curve }, text: facesText(report) };
  }
  const report = await runLab(config, folder, events);
  return { json: { ...report, curve }, text: reportText(report) };
}

interface TrainOptions {
  output: string;
  steps?: number;
  seed?: number;
}

/** The configuration with what the command line gives instead. */
async function configuration(path: string, { steps, seed }: TrainOptions, distil: boolean) {
  const read = parseLabConfig(Buffer.from(await readInputFile(path)).toString('utf8'), path);
  if (distil && read.teacher === undefined) throw new DeployError('E_USAGE', `${path}: expected a key "teacher" for distillation; use \`sterna lab train\` to learn from labels alone`);
  return labConfig.parse({ ...read, ...(steps === undefined ? {} : { steps }), ...(seed === undefined ? {} : { seed }) });
}

function addTraining(lab: Command, name: 'train' | 'distil', summary: string): void {
  lab
    .command(name)
    .summary(summary)
    .description(`${summary[0]?.toUpperCase() ?? ''}${summary.slice(1)}, as a file describes it (deploy/lab/README.md). An interrupted run goes on from its checkpoint when it is started again.`)
    .argument('<lab.yaml>', 'what to train, on what, and how')
    .requiredOption('-o, --output <folder>', 'where the model, the loss curve, the record of the run and its checkpoint go')
    .option('--steps <n>', 'steps to make, instead of those in the file', integer(1))
    .option('--seed <n>', 'seed of all random numbers, instead of that in the file', integer(0))
    .action(reporting(async (self, path: string, options: TrainOptions) => {
      const config = await configuration(path, options, name === 'distil');
      const view = stageProgress(self);
      return carriedOut(config, options.output, {
        onClips: (done, total) => view.update('reading recordings', done, total),
        onPictures: (done, total) => view.update('reading pictures', done, total),
        onStep: (step, steps, loss) => view.update('training', step, steps, `loss ${loss.toFixed(3)}`),
      }).finally(() => view.clear());
    }));
}

export function register(program: Command): void {
  const lab = program.command('lab').summary('train, distil and prune models').description('Trains, distils and prunes ONNX models, by graphs that compute their own gradients.');
  addTraining(lab, 'train', 'train a model on recordings, on pictures of faces, or on a text');
  addTraining(lab, 'distil', 'train a model with the help of a larger one');
  addPruning(lab);
  addChains(lab);
  addRecommendation(lab);
}
