import { Option, type Command } from 'commander';
import type { EngineName } from '../../../runtime/session-types.js';
import { decoderNames, type DecoderName } from '../../../runtime/vision/decoders/index.js';
import { assumedText, type PictureOptions } from '../../compress/picture-options.js';
import { chooseShapes } from '../../compress/shapes.js';
import { readAnchors } from '../../evaluate/anchors.js';
import { evaluateClassifier, evaluateDetector, type EvaluateOptions } from '../../evaluate/evaluate.js';
import { listPictures, readBoxes, readClassNames, readLabels } from '../../evaluate/truth.js';
import { DeployError } from '../../errors.js';
import { readModelInput } from '../files.js';
import { addPictureOptions, addShapeOptions, chosenSizes, engineOption, integer, positive, statedPictureOptions, type ShapeOptions } from '../options.js';
import { exitCodes, log, reporting, type Report } from '../output.js';
import { stageProgress } from '../stage-progress.js';
import { formatTable } from '../table.js';

interface EvaluateCommand extends Partial<PictureOptions>, ShapeOptions {
  images: string;
  labels?: string;
  classes?: string;
  boxes?: string;
  against?: string;
  engine: EngineName;
  limit?: number;
  maxLoss?: number;
  decoder?: DecoderName;
  anchors?: string;
  firstClass?: number;
  boxOrder?: 'xyxy' | 'yxyx';
  boxUnits?: 'shares' | 'pixels';
}

/** What a model scored: shares by name, and what else is worth telling. */
interface Score {
  figures: Readonly<Record<string, number>>;
  about: Readonly<Record<string, number | string>>;
  /** Of a classifier: its answer to each picture. */
  answers?: readonly number[];
}

type Judge = (model: Uint8Array, stage: string) => Promise<Score>;

/** Reads what is true of the pictures, once, and gives back what judges a model by it. */
async function makeJudge(self: Command, options: EvaluateCommand, view: ReturnType<typeof stageProgress>): Promise<Judge> {
  const all = await listPictures(options.images);
  const settings = async (model: Uint8Array, stage: string, pictures: readonly string[]): Promise<EvaluateOptions> => {
    const { shapes, notes } = await chooseShapes(model, chosenSizes(options));
    for (const note of notes) log(self, `sterna: ${note}`);
    return { folder: options.images, pictures: pictures.slice(0, options.limit), prepare: statedPictureOptions(options), engine: options.engine, shapes, onPicture: (done, total) => view.update(stage, done, total) };
  };
  if (options.boxes !== undefined) {
    const truth = await readBoxes(options.boxes, all);
    const { decoder, firstClass, boxOrder, boxUnits } = options;
    const decode = { decoder, firstClass, boxOrder, boxUnits, anchors: options.anchors === undefined ? undefined : await readAnchors(options.anchors) };
    return async (model, stage) => {
      const { ap50, prepared, ...about } = await evaluateDetector(model, truth, decode, await settings(model, stage, all));
      const assumed = assumedText(prepared, options);
      if (assumed !== '') log(self, `sterna: assumed${assumed} (${about.decoder})`);
      return { figures: { ap50 }, about };
    };
  }
  const labels = await readLabels(all, options.labels, options.classes === undefined ? undefined : await readClassNames(options.classes));
  const labelled = all.filter((picture) => labels.has(picture));
  if (labelled.length < all.length) log(self, `sterna: ${all.length - labelled.length} of ${all.length} pictures have no label and are skipped`);
  return async (model, stage) => {
    const { top1, top5, answers, pictures } = await evaluateClassifier(model, labels, await settings(model, stage, labelled));
    return { figures: { top1, top5 }, about: { pictures }, answers };
  };
}

/** Share of the pictures to which two models give the same answer. */
function agreementOf(a: Score, b: Score): number | undefined {
  const { answers } = a;
  if (answers === undefined || b.answers === undefined) return undefined;
  return answers.filter((answer, i) => answer === b.answers?.[i]).length / answers.length;
}

function reportOf(score: Score, reference: Score | undefined, { maxLoss, against }: EvaluateCommand): Report {
  const names = Object.keys(score.figures);
  const lossOf = (name: string): number => (reference?.figures[name] ?? NaN) - (score.figures[name] ?? NaN);
  const loss = reference === undefined ? undefined : Object.fromEntries(names.map((name) => [name, lossOf(name)]));
  const agreement = reference === undefined ? undefined : agreementOf(score, reference);
  const [main = ''] = names;
  // Written so that NaN fails, too.
  const over = maxLoss !== undefined && reference !== undefined && !(lossOf(main) <= maxLoss);
  const digits = (value: number | undefined): string => value?.toFixed(4) ?? '-';
  const compared = reference === undefined ? [] : [{ title: 'of --against', align: 'right' as const }, { title: 'loss', align: 'right' as const }];
  const rows = names.map((name) => [name, digits(score.figures[name]), ...(reference === undefined ? [] : [digits(reference.figures[name]), digits(lossOf(name))])]);
  const text = [
    formatTable([{ title: 'metric' }, { title: 'model', align: 'right' }, ...compared], rows), '',
    Object.entries(score.about).map(([name, value]) => `${name}: ${value}`).join(', '),
    ...(agreement === undefined ? [] : [`the same class as ${against ?? ''}: ${(100 * agreement).toFixed(1)} % of the pictures`]),
    ...(over ? [`FAILED: the loss of ${main} is ${lossOf(main).toFixed(4)}, above --max-loss ${maxLoss}`] : []),
  ].join('\n');
  const json = {
    ...score.figures, ...score.about, passed: !over,
    ...(reference === undefined ? {} : { against: { model: against, ...reference.figures }, loss }), ...(agreement === undefined ? {} : { top1_agreement: agreement }),
  };
  return { json, text, exitCode: over ? exitCodes.failed : exitCodes.ok };
}

export function register(program: Command): void {
  const command = program
    .command('evaluate')
    .summary('measure the accuracy of a model on labeled pictures')
    .description('Runs a classifier or a detector on labeled pictures and reports its accuracy: top-1 and top-5, or the average precision at an overlap of one half (AP50). With --against it also reports the loss against another model.')
    .argument('<model.onnx>')
    .requiredOption('--images <dir>', 'folder of pictures; without --labels and --boxes, it has one folder for each class')
    .option('--labels <file.csv>', 'for classifiers: a CSV file with lines of file,class; the class is an index of the output, or a name of --classes')
    .option('--classes <file>', 'names of the classes, one per line; the first is class 0')
    .option('--boxes <dir|file.json>', 'for detectors: a folder of YOLO label files (class, center and size as fractions of the picture), or COCO annotations')
    .option('--against <model.onnx>', 'another model, e.g. the float32 original: also report its scores and the loss')
    .option('--max-loss <x>', 'fail (exit code 1) if top-1 or AP50 is lower than that of --against by more than x', positive)
    .option('--limit <n>', 'use only the first n pictures', integer(1))
    .addOption(engineOption('--engine <engine>', 'engine that runs the models').default('native'))
    .addOption(new Option('--decoder <family>', 'for detectors: how the outputs are read; default: recognized from them').choices(decoderNames))
    .option('--anchors <file.json>', 'for raw SSD heads: a list of [cy, cx, height, width] as fractions of the input')
    .option('--first-class <n>', "for detectors: the model's class number that label 0 stands for (default: 1 with two classes, COCO's own numbers with 91 classes, else 0)", integer(0))
    .addOption(new Option('--box-order <order>', 'for detectors: order of the corner coordinates (default: yxyx for the output names of TensorFlow, else xyxy)').choices(['xyxy', 'yxyx']))
    .addOption(new Option('--box-units <units>', "for detectors: unit of the corner coordinates (default: shares, which are fractions of the model's input)").choices(['shares', 'pixels']));
  addShapeOptions(addPictureOptions(command)).action(
    reporting(async (self, path: string, options: EvaluateCommand) => {
      if (options.boxes !== undefined && (options.labels ?? options.classes) !== undefined) throw new DeployError('E_USAGE', 'Expected --labels or --boxes but received both: a model is scored as a classifier or as a detector');
      if (options.maxLoss !== undefined && options.against === undefined) throw new DeployError('E_USAGE', 'Expected --against with --max-loss, because the loss is measured against another model');
      const model = await readModelInput(path);
      const reference = options.against === undefined ? undefined : await readModelInput(options.against);
      const view = stageProgress(self);
      try {
        const judge = await makeJudge(self, options, view);
        const score = await judge(model, `evaluating ${path}`);
        return reportOf(score, reference === undefined ? undefined : await judge(reference, `evaluating ${options.against ?? ''}`), options);
      } finally {
        view.clear();
      }
    }),
  );
}
