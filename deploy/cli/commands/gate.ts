import { InvalidArgumentError, type Command } from 'commander';
import { openSource } from '../../../runtime/media/source.js';
import { openSoundSource } from '../../../runtime/media/sound.js';
import type { ModelPackage } from '../../../runtime/package/package.js';
import { calibrateGates, type Calibration } from '../../gate/calibrate.js';
import { calibrateSoundGate, recordingsOf, type SoundCalibration } from '../../gate/calibrate-sound.js';
import { unbeaten, type GatePoint } from '../../gate/choose.js';
import { captions, curveSvg, drawnGates, drawnMargin } from '../../gate/curve.js';
import { openAny } from '../../run/open-any.js';
import { writeOutputFile } from '../files.js';
import { addModelOptions, type ModelArguments } from '../model-options.js';
import { integer, positive } from '../options.js';
import { log, reporting } from '../output.js';
import { stageProgress } from '../stage-progress.js';
import { formatTable } from '../table.js';

interface CalibrateCommand extends ModelArguments {
  input: string;
  missRate: number;
  limit?: number;
  fps?: number;
  svg?: string;
  output: string;
}

const share = (text: string): number => {
  const value = Number(text);
  if (value >= 0 && value < 1 && text.trim() !== '') return value;
  throw new InvalidArgumentError(`Expected a share of 0 to 1 but received ${text}`);
};

const percent = (value: number): string => `${(100 * value).toFixed(value < 0.1 ? 2 : 1)} %`;

type Column = Parameters<typeof formatTable>[0][number];
const right = (title: string): Column => ({ title, align: 'right' });
const outcomeColumns: Column[] = [right('cost'), right('stopped'), right('missed'), right('miss rate'), { title: '' }];

const outcomeCells = <P extends Pick<GatePoint, 'cost' | 'stopped' | 'missed' | 'missRate'>>(point: P, chosen: P): string[] =>
  [percent(point.cost), String(point.stopped), String(point.missed), percent(point.missRate), point === chosen ? '<- chosen' : ''];

const written = (missRate: number, output: string): string =>
  `The cheapest gates that miss at most ${percent(missRate)} are in ${output}: sterna package --settings ${output}, or sterna run --gates ${output}`;

function textOf({ frames, busy, points, chosen }: Calibration): string {
  const rows = unbeaten(points).map((point) => [
    point.pixels === null ? 'off' : String(point.pixels), point.features?.split ?? '-', point.features === null ? '-' : String(point.features.threshold), ...outcomeCells(point, chosen),
  ]);
  return `${formatTable([right('pixels'), { title: 'features after' }, right('threshold'), ...outcomeColumns], rows)}

${frames} frames, something in ${busy} of them. Cost: multiplications of the detector, of running every frame in full. Missed: frames that stopped although a full run finds something new.`;
}

function soundTextOf({ windows, heard, points, chosen }: SoundCalibration): string {
  const rows = unbeaten(points).map((point) => [point.margin_db === null ? 'off' : `${point.margin_db} dB`, ...outcomeCells(point, chosen)]);
  return `${formatTable([right('over the noise'), ...outcomeColumns], rows)}

${windows} windows, something heard in ${heard} of them. Cost: windows that run, of all. Missed: windows that stopped although a class reaches its threshold in them.`;
}

/** What either calibration says: its figures, its text, and its picture. */
interface Found {
  calibration: Calibration | SoundCalibration;
  text: string;
  svg: string;
}

async function calibrate(modelPackage: ModelPackage, { input, missRate, limit, fps }: CalibrateCommand, onFrame: (stage: string, done: number) => void): Promise<Found> {
  if (modelPackage.manifest.pipeline.kind !== 'sound') {
    const calibration = await calibrateGates(modelPackage, { missRate, limit: limit ?? 5000, open: () => openSource(input, fps === undefined ? {} : { fps }), onFrame });
    return { calibration, text: textOf(calibration), svg: curveSvg(calibration.points.map(drawnGates), calibration.chosen, missRate) };
  }
  const calibration = await calibrateSoundGate(modelPackage, { missRate, limit: limit ?? 36_000, open: (sound) => recordingsOf(input, (path) => openSoundSource(path, sound)), onFrame });
  return { calibration, text: soundTextOf(calibration), svg: curveSvg(calibration.points.map(drawnMargin), calibration.chosen, missRate, captions.windows) };
}

export function register(program: Command): void {
  const gate = program.command('gate').summary('choose the gates of a detector for a camera, or of a listener for a microphone').description('Gates spare a detector the frames in which nothing is new, and a model that listens the windows in which nothing is loud.');
  addModelOptions(gate
    .command('calibrate')
    .summary('choose thresholds, and the layer of the feature gate, from footage or recordings')
    .description('Runs every frame of the footage in full, and takes what is found for true: no labels are needed. Then it tries gates on pixels and on features, draws what they cost against what they miss, and writes the settings of the cheapest ones that miss no more than wanted. Footage should show what the camera sees in an ordinary hour, visits included. For a package of sound, it tries how far above the noise a sound has to be before the model listens.')
    .argument('<package-or-model>', 'a .sterna package, an .onnx detector, or a .json pipeline')
    .requiredOption('--input <footage>', 'a video or a folder of pictures, of the camera that the gates are for; for sound, a recording or a folder of them, of its microphone')
    .option('--miss-rate <share>', 'largest share of the frames that stop in which something new may be missed', share, 0.01)
    .option('--limit <n>', 'look at n frames or windows of sound at most; default: 5000 frames, 36000 windows', integer(1))
    .option('--fps <n>', 'frames per second of a video', positive)
    .option('--svg <file>', 'draw the curve of cost and misses')
    .option('--output <file>', 'where the settings go', 'gates.json'))
    .action(reporting(async (self, path: string, options: CalibrateCommand) => {
      const { missRate, svg, output } = options;
      const modelPackage = await openAny(path, options, (text) => log(self, `sterna: ${text}`));
      const view = stageProgress(self);
      const found = await calibrate(modelPackage, options, (stage, done) => view.update(stage, done, null));
      view.clear();
      await writeOutputFile(output, Buffer.from(`${JSON.stringify(found.calibration.settings, null, 2)}\n`));
      if (svg !== undefined) await writeOutputFile(svg, Buffer.from(found.svg));
      return { json: { ...found.calibration }, text: `${found.text}\n${written(missRate, output)}` };
    }));
}
