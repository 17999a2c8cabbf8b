/** `sterna lab recommend`: tries chains of a scenario within a budget, and names the one to take. */
import { basename, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { stated } from '../../../runtime/options.js';
import { modelInputs } from '../../../runtime/quantize/prepare/read-model.js';
import { targets, type Target } from '../../../runtime/quantize/formats/targets.js';
import { RuntimeError } from '../../../runtime/errors.js';
import type { TensorInfo } from '../../../runtime/tensor.js';
import { agreementOfModel } from '../../compress/box-agreement.js';
import type { PictureOptions } from '../../compress/picture-options.js';
import { collectSamples, countSamples, readSamples, type Feeds, type Share } from '../../compress/samples.js';
import { chooseShapes } from '../../compress/shapes.js';
import { DeployError } from '../../errors.js';
import { chainConfig } from '../../lab/chain/config.js';
import { byTime, defaultWatts, energyOf, type EnergyModel } from '../../lab/recommend/energy.js';
import type { Bounds } from '../../lab/recommend/front.js';
import { recommend, type ChainBase, type RecommendInput } from '../../lab/recommend/recommend.js';
import { scenarios, type Scenario } from '../../lab/recommend/scenarios.js';
import { readInputFile, readModelInput } from '../files.js';
import { addPictureOptions, addShapeOptions, chosenSizes, integer, positive, type ShapeOptions } from '../options.js';
import { exitCodes, log, reporting } from '../output.js';
import { choosePictures } from '../pictures.js';
import { recommendationText } from '../recommendation-text.js';
import { stageProgress, type StageProgress } from '../stage-progress.js';

interface RecommendCommand extends Partial<PictureOptions>, ShapeOptions {
  output?: string;
  scenario: Scenario;
  calibrate: string;
  samples: number;
  target: Target;
  latencyMs?: number;
  instructions?: number;
  memoryKb?: number;
  maxDrop: number;
  budgetMinutes: number;
  steps: number;
  energy?: string;
  watts?: number;
  seed: number;
  threads: number;
}

/** Of a folder, at most this share goes to the chains; the others confirm the result. */
const shareForChains = 0.8;
/** More would only take time. */
const mostConfirming = 64;

/** @throws DeployError E_LAB: a bound that cannot be judged on the target */
function boundsOf({ target, latencyMs, instructions, memoryKb, maxDrop }: RecommendCommand): Bounds {
  if (target !== 'this' && latencyMs !== undefined) {
    throw new DeployError('E_LAB', `--latency-ms cannot be judged on ${target}: instructions are counted for it, not time; give --instructions with millions of them, or measure on the device with --target this`);
  }
  if (target === 'this' && instructions !== undefined) throw new DeployError('E_LAB', '--instructions counts those of another core; give --latency-ms for this machine, or --target a72 or a76');
  return { maxDrop, cost: latencyMs ?? instructions, memoryKb };
}

async function energyModel({ energy, watts, target }: RecommendCommand): Promise<EnergyModel> {
  if (energy !== undefined) return energyOf(Buffer.from(await readInputFile(energy)).toString('utf8'), energy, target);
  return byTime(watts ?? defaultWatts, target, watts === undefined ? 'the default of energy.watts_per_core, not measured' : '--watts');
}

/** What is wrong with samples, as a matter of the lab. */
async function samplesOf(source: string, inputs: readonly TensorInfo[], share: Share, pictures: PictureOptions, each: (done: number) => void): Promise<Feeds[]> {
  try {
    return await collectSamples(readSamples(source, inputs, share, pictures), each);
  } catch (error) {
    if (!(error instanceof RuntimeError) || error.code !== 'E_INPUT') throw error;
    throw new DeployError('E_LAB', `The samples do not fit the model: ${error.message}`, { cause: error, details: error.details ?? {} });
  }
}

/** The model, its samples, and what all chains have in common. */
async function inputOf(self: Command, path: string, options: RecommendCommand, view: StageProgress): Promise<{ input: RecommendInput; base: ChainBase }> {
  const { calibrate, samples: most, seed, threads } = options;
  const bytes = await readModelInput(path);
  const { shapes, notes } = await chooseShapes(bytes, chosenSizes(options), calibrate);
  for (const note of notes) log(self, `sterna: ${note}`);
  const all = await countSamples(calibrate, Infinity).catch((cause: unknown) => {
    throw cause instanceof RuntimeError && cause.code === 'E_INPUT' ? new DeployError('E_LAB', `Expected samples in --calibrate ${calibrate}: ${cause.message}`, { cause }) : cause;
  });
  const limit = Math.max(1, Math.min(most, Math.floor(shareForChains * all)));
  const pictures = await choosePictures(self, bytes, shapes, calibrate, options);
  const inputs = modelInputs(bytes, { shapes });
  const read = (share: Share): Promise<Feeds[]> => samplesOf(calibrate, inputs, share, pictures, (done) => view.update('reading samples', done, typeof share === 'number' ? limit : Math.min(mostConfirming, all - limit)));
  const input = { bytes, shapes, samples: await read(limit), confirming: await read({ limit, others: mostConfirming }), agreement: agreementOfModel(bytes, { shapes }) };
  const { chain: _, ...base } = chainConfig.parse({
    model: resolve(path), data: calibrate.startsWith('random:') ? calibrate : resolve(calibrate), samples: limit, pictures: stated({ ...pictures }), shapes, seed, threads, chain: [{ method: 'minifloat' }],
  });
  return { input, base };
}

export function addRecommendation(lab: Command): void {
  const command = lab
    .command('recommend')
    .summary('try chains for a kind of model, and name the one that fits your bounds')
    .description('Tries chains of pruning, distillation, quantization and minifloats that suit the scenario, cheap ones first, as far as the budget goes; judges them by samples that no step saw, and prints what is worth having: drop, time, size, memory and energy. Writes the best one that fits the bounds, and the lab.yaml that makes it again by `sterna lab chain`. Started again, it goes on where it was, and answers for other bounds at once. Exit code 1 when nothing fits; the report says which bound fails, and by how much.')
    .argument('<model.onnx>', 'the float32 model')
    .addOption(new Option('--scenario <scenario>', 'what the model is for: which chains are tried; low-memory takes the least memory instead of the least time').choices(scenarios).makeOptionMandatory())
    .requiredOption('--calibrate <source>', 'a folder of pictures or .npy arrays that resemble the later inputs of the model, or random:N; a fifth judges, and a fifth confirms the result')
    .option('-o, --output <folder>', 'where the model, lab.yaml, the plot, the record and all chains go; default: <model>.recommend')
    .option('--latency-ms <x>', 'a run takes at most this, median on this machine with one thread', positive)
    .option('--instructions <millions>', 'with another target: a run takes at most so many millions of instructions in inner loops', positive)
    .option('--memory-kb <x>', 'weights, activations and working memory take at most this', positive)
    .option('--max-drop <x>', 'the agreement with the original drops by at most x: of a detector the share of its boxes, else the cosine of the outputs without their mean', positive, 0.02)
    .addOption(new Option('--target <target>', 'this machine (latencies are measured), or a CPU core (instructions are counted)').choices(targets).default('this'))
    .option('--budget-minutes <n>', 'time for all chains, that of interrupted runs included', positive, 15)
    .option('--samples <n>', 'use at most n inputs for the chains, evenly spread', integer(1), 128)
    .option('--steps <n>', 'steps of each fine-tuning and of each distillation', integer(1), 100)
    .option('--energy <file.json>', 'what `sterna energy calibrate --json` printed on the device: energy by multiply-adds instead of CPU time')
    .option('--watts <x>', 'power of a busy core for the energy model, without --energy', positive)
    .option('--seed <n>', 'seed of all random numbers', integer(0), 1)
    .option('--threads <n>', 'threads of the training', integer(1), 1);
  addShapeOptions(addPictureOptions(command)).action(reporting(async (self, path: string, options: RecommendCommand) => {
    const [bounds, energy] = [boundsOf(options), await energyModel(options)];
    const { scenario, target, steps, budgetMinutes, output = `${basename(path).replace(/\.onnx$/, '')}.recommend` } = options;
    const view = stageProgress(self);
    try {
      const { input, base } = await inputOf(self, path, options, view);
      const report = await recommend(input, base, { scenario, target, bounds, steps, energy, budgetSeconds: 60 * budgetMinutes, onStage: (stage, done, total, detail) => view.update(stage, done, total, detail) }, output);
      return { json: { ...report }, text: recommendationText(report), exitCode: report.passed ? exitCodes.ok : exitCodes.failed };
    } finally {
      view.clear();
    }
  }));
}
