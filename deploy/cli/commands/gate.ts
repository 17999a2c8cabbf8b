import { InvalidArgumentError, type Command } from 'commander';
import { openSource } from '../../../runtime/media/source.js';
import { calibrateGates, type Calibration } from '../../gate/calibrate.js';
import { unbeaten } from '../../gate/choose.js';
import { curveSvg } from '../../gate/curve.js';
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
  limit: number;
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

function textOf({ frames, busy, points, chosen }: Calibration, { output, missRate }: CalibrateCommand): string {
  const rows = unbeaten(points).map((point) => [
    point.pixels === null ? 'off' : String(point.pixels), point.features?.split ?? '-', point.features === null ? '-' : String(point.features.threshold),
    percent(point.cost), String(point.stopped), String(point.missed), percent(point.missRate), point === chosen ? '<- chosen' : '',
  ]);
  const right = (title: string): { title: string; align: 'right' } => ({ title, align: 'right' });
  return [
    formatTable([right('pixels'), { title: 'features after' }, right('threshold'), right('cost'), right('stopped'), right('missed'), right('miss rate'), { title: '' }], rows),
    '',
    `${frames} frames, something in ${busy} of them. Cost: multiplications of the detector, of running every frame in full. Missed: frames that stopped although a full run finds something new.`,
    `The cheapest gates that miss at most ${percent(missRate)} are in ${output}: sterna package --settings ${output}, or sterna run --gates ${output}`,
  ].join('\n');
}

export function register(program: Command): void {
  const gate = program.command('gate').summary('choose the gates of a detector for a camera').description('Gates spare a detector the frames in which nothing is new.');
  addModelOptions(gate
    .command('calibrate')
    .summary('choose thresholds and the layer of the feature gate from footage')
    .description('Runs every frame of the footage in full, and takes what is found for true: no labels are needed. Then it tries gates on pixels and on features, draws what they cost against what they miss, and writes the settings of the cheapest ones that miss no more than wanted. Footage should show what the camera sees in an ordinary hour, visits included.')
    .argument('<package-or-model>', 'a .sterna package, an .onnx detector, or a .json pipeline')
    .requiredOption('--input <footage>', 'a video or a folder of pictures, of the camera that the gates are for')
    .option('--miss-rate <share>', 'largest share of the frames that stop in which something new may be missed', share, 0.01)
    .option('--limit <n>', 'look at n frames at most', integer(1), 5000)
    .option('--fps <n>', 'frames per second of a video', positive)
    .option('--svg <file>', 'draw the curve of cost and misses')
    .option('--output <file>', 'where the settings go', 'gates.json'))
    .action(reporting(async (self, path: string, options: CalibrateCommand) => {
      const { input, missRate, limit, fps, svg, output } = options;
      const modelPackage = await openAny(path, options, (text) => log(self, `sterna: ${text}`));
      const view = stageProgress(self);
      const calibration = await calibrateGates(modelPackage, {
        missRate, limit, open: () => openSource(input, fps === undefined ? {} : { fps }), onFrame: (stage, done) => view.update(stage, done, null),
      });
      view.clear();
      await writeOutputFile(output, Buffer.from(`${JSON.stringify(calibration.settings, null, 2)}\n`));
      if (svg !== undefined) await writeOutputFile(svg, Buffer.from(curveSvg(calibration.points, calibration.chosen, missRate)));
      return { json: { ...calibration }, text: textOf(calibration, options) };
    }));
}
