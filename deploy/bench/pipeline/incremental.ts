/**
 * A detector that computes only what has changed, against the same detector on every whole frame: which boxes it keeps, and what it costs. Both see
 * the same frames in turns, on one thread; the cost is CPU time of choosing cells and of the engine, without decoding of frames and boxes.
 *
 * Scores jitter: a detector in full does not keep all of its own boxes either when its picture has a little more noise, in int8 least of all. What it
 * keeps then is measured beside, on some of the frames: no approximation can be told from noise below that.
 */
import type { Frame } from '../../../runtime/frame.js';
import { defaultIncremental, incrementOf, type IncrementalSettings } from '../../../runtime/incremental/settings.js';
import { describeDetection } from '../../../runtime/kinds/detection/describe.js';
import { detectionSettings } from '../../../runtime/kinds/detection/settings.js';
import type { DescribeHints } from '../../../runtime/kinds/kind.js';
import { openSource } from '../../../runtime/media/index.js';
import { stageRecord } from '../../../runtime/stages/contract.js';
import { closeStages, openStages, stageOf, type Stages } from '../../../runtime/stages/open-stages.js';
import { StageClock } from '../../../runtime/stages/stage-clock.js';
import type { Detection } from '../../../runtime/stages/types.js';
import { detect, type DetectPlan } from '../../../runtime/vision/detector.js';
import { overlapOf } from '../../../runtime/vision/nms.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import { uniform } from '../../compress/random.js';
import { describeModel } from '../../package/describe.js';
import type { Absent, Bar } from '../bars.js';

export interface IncrementalBenchOptions extends DescribeHints {
  /** A detector. */
  model: Uint8Array;
  /** Footage of a fixed camera, as `openSource` takes it, and its name in the rows. */
  video: string;
  name: string;
  /** Whose boxes count. Default person. */
  label?: string;
  settings?: Partial<IncrementalSettings>;
  /** Default: all. */
  frames?: number;
  signal?: AbortSignal;
}

/** The same box: an overlap (IoU) of at least this. */
const SAME_BOX = 0.5;
/** The lower threshold at which a tracker continues. */
const LOW_THRESHOLD = 0.3;

/** Every so many frames the detector sees the frame once more, with noise. */
const noisyEvery = 3;

/** Adds noise of -1, 0 or +1 grey level to every value of a picture; the same one for the same seed. */
function shake(pixels: Uint8Array, seed: number): void {
  const next = uniform(seed);
  for (let i = 0; i < pixels.length; i++) pixels[i] = Math.min(255, Math.max(0, (pixels[i] ?? 0) + Math.floor(next() * 3) - 1));
}

/** What the detector makes of a frame, and the CPU time of its run, milliseconds. `alter` changes the picture that the model is fed. */
async function look(stages: Stages, frame: Frame, plan: DetectPlan, { label, alter }: { label: string; alter?: (pixels: Uint8Array) => void }): Promise<{ boxes: Detection[]; ms: number }> {
  const stage = stageOf(stages, 'detector');
  const clock = new StageClock();
  let spent = { user: 0, system: 0 };
  const timed = {
    canvas: stage.canvas,
    run: async () => {
      alter?.(stage.canvas.data);
      const start = process.cpuUsage();
      const outputs = await stage.run();
      spent = process.cpuUsage(start);
      return outputs;
    },
  };
  const found = await detect(frame, timed, { ...plan, score_threshold: LOW_THRESHOLD }, { pixels: nativePixels, clock });
  return { boxes: found.map(({ detection }) => detection).filter((box) => box.label === label), ms: (spent.user + spent.system) / 1000 };
}

/** Boxes of a full run at the threshold that an incremental run has too, at a threshold of its own. */
const kept = (full: readonly Detection[], part: readonly Detection[], threshold: number): number =>
  full.filter(({ box }) => part.some((other) => other.score >= threshold && overlapOf(box, other.box) >= SAME_BOX)).length;

/** Rows: boxes kept at the threshold, at the tracker's lower one, and CPU time of the detector. */
export async function incrementalBars({ model, video, name, label = 'person', settings, frames = Infinity, signal, ...hints }: IncrementalBenchOptions): Promise<Bar[] | Absent> {
  const described = describeDetection({ detector: await describeModel(model, undefined) }, hints);
  const { detector, labels } = detectionSettings.parse(described.settings);
  const [plan, record] = [{ ...detector, labels }, stageRecord.parse(described.stages)];
  const increments = incrementOf('detector', { ...defaultIncremental, ...settings, enabled: true });
  const [whole, parts] = [await openStages(record, () => model), await openStages(record, () => model, { increments })];
  const source = openSource(video, signal === undefined ? {} : { signal });
  const sums: Sums = { boxes: 0, kept: 0, keptLow: 0, wholeMs: 0, partMs: 0, frames: 0, noisyBoxes: 0, noisyKept: 0 };
  try {
    for await (const frame of source) {
      if (sums.frames >= frames) break;
      const [full, part] = [await look(whole, frame, plan, { label }), await look(parts, frame, plan, { label })];
      const counting = full.boxes.filter(({ score }) => score >= detector.score_threshold);
      if (sums.frames % noisyEvery === 0) {
        const noisy = await look(whole, frame, plan, { label, alter: (pixels) => shake(pixels, sums.frames + 1) });
        sums.noisyBoxes += counting.length;
        sums.noisyKept += kept(counting, noisy.boxes, detector.score_threshold);
      }
      sums.boxes += counting.length;
      sums.kept += kept(counting, part.boxes, detector.score_threshold);
      sums.keptLow += kept(counting, part.boxes, LOW_THRESHOLD);
      if (sums.frames++ === 0) continue; // the first run of each warms up
      sums.wholeMs += full.ms;
      sums.partMs += part.ms;
    }
  } finally {
    await Promise.all([closeStages(whole), closeStages(parts)]);
  }
  if (sums.boxes === 0) return { absent: `the detector finds no ${label} in ${name} (${sums.frames} frames), so there are no boxes to keep` };
  return rowsOf(name, label, detector.score_threshold, sums);
}

interface Sums {
  /** Of the full runs, at the threshold; and how many of them incremental runs have at the threshold, and at the lower one. */
  boxes: number;
  kept: number;
  keptLow: number;
  /** CPU time of all frames but the first. */
  wholeMs: number;
  partMs: number;
  frames: number;
  /** Of the frames that were seen with noise too. */
  noisyBoxes: number;
  noisyKept: number;
}

/** Points that incremental runs may keep less than full runs with noise. */
const mostBelowNoise = 1;

function rowsOf(name: string, label: string, threshold: number, { boxes, kept: same, keptLow, wholeMs, partMs, frames, noisyBoxes, noisyKept }: Sums): Bar[] {
  const [atThreshold, atLow, cost] = [(100 * same) / boxes, (100 * keptLow) / boxes, partMs / wholeMs];
  const noise = (100 * noisyKept) / Math.max(1, noisyBoxes);
  const below = noise - atThreshold;
  const ms = (sum: number): string => (sum / Math.max(1, frames - 1)).toFixed(2);
  return [
    { id: `incremental.${name}.kept`, what: `boxes of ${label} that incremental runs keep at the threshold ${threshold} (${same} of ${boxes}, ${frames} frames of ${name})`, value: atThreshold, unit: '%', bar: '>= 98.5', met: atThreshold >= 98.5 },
    { id: `incremental.${name}.below-noise`, what: `... less than full runs keep of them under noise of one grey level (${noise.toFixed(2)} %: ${noisyKept} of ${noisyBoxes}, every ${noisyEvery}rd frame)`, value: below, unit: 'points', bar: `<= ${mostBelowNoise}`, met: below <= mostBelowNoise },
    { id: `incremental.${name}.kept-low`, what: `... with the lower threshold ${LOW_THRESHOLD} of a tracker (${keptLow} of ${boxes})`, value: atLow, unit: '%', bar: '>= 99.8', met: atLow >= 99.8 },
    { id: `incremental.${name}.cost`, what: `... mean CPU time of the detector, incremental against in full (${ms(partMs)} of ${ms(wholeMs)} ms)`, value: cost, unit: 'x', bar: '<= 0.5', met: cost <= 0.5 },
  ];
}
