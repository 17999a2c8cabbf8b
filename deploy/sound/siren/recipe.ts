/** The recipe of the siren student: what it learns from, how it is converted, and what it hears of what it did not learn from. */
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import { uniform } from '../../compress/random.js';
import { patchScale, teach } from '../learn.js';
import type { Clip, Recordings } from '../clips.js';
import { parametersOf, patch, studentModel, type StudentShape } from '../student.js';
import { makeBank, type Bank, type BankSizes } from './bank.js';
import { beginnings, quietScores, recallOf, sirenScenes, thresholdFor, type Recall } from './measure.js';
import { mixedBatches, mixSecond, PatchFeatures, sirenClasses } from './scenes.js';

export interface SirenOptions {
  seed: number;
  /** Batches of 32 seconds. */
  steps: number;
  /** Hours without a siren in which false alarms are counted. */
  hours: number;
  /** Scenes with a siren, for each ratio. */
  scenes: number;
  /** Recordings of this fold are not learned from: they are the noise of the measurement. */
  heldOutFold: number;
  log: (line: string) => void;
}

/** What the student hears in noise of the fold that was held out. */
export interface Hearing {
  /** Threshold with at most one false alarm an hour. */
  on: number;
  falseAlarms: number;
  hours: number;
  /** False alarms an hour at that threshold where an eighth of the noise is melodies, beeps and hums, which two-tone sirens are not told from. */
  melodies: number;
  /** By ratio of siren to noise, decibels. */
  recall: Record<string, Recall>;
  /** Recordings of the fold whose class has the highest mean score among the classes of recordings. */
  clipAccuracy: number;
}

export interface SirenStudent {
  model: Uint8Array;
  classes: string[];
  parameters: number;
  /** Mean cosine between int8 and float32. */
  cosine: number;
}

const learnedSizes: BankSizes = { sirens: 250, horns: 150, traffic: 150, rain: 50, tonal: 150 };
const heldOutSizes: BankSizes = { sirens: 60, horns: 10, traffic: 60, rain: 20, tonal: 40 };
/** Sirens and noises that no student learned from, with recordings that it did not either. */
export const heldOutBank = (recorded: Bank['recorded'], seed: number): Bank => makeBank(heldOutSizes, recorded, seed);

export const ratios = [20, 5, 0, -5] as const;
const batch = 32;
const dropout = 0.1;

export async function trainSiren({ classes, clips }: Recordings, { seed, steps, heldOutFold, log }: SirenOptions): Promise<SirenStudent> {
  const all = [...classes, ...sirenClasses];
  const shape: StudentShape = { classes: all.length, teacher: 0 };
  const bank = makeBank(learnedSizes, clips.filter(({ fold }) => fold !== heldOutFold), seed + 1);
  log(`${bank.sirens.length} sirens, ${bank.horns.length} horns, ${bank.traffic.length + bank.rain.length + bank.tonal.length} noises synthesized, ${bank.recorded.length} recordings`);
  let mean = 0;
  const weights = await teach(mixedBatches(bank, { shape, batch, dropout, seed }), {
    shape, seed, batch, steps, peak: 3e-3, average: 0.995,
    onStep: (step, loss) => {
      mean += (loss - mean) / Math.min(step + 1, 50);
      if ((step + 1) % 50 === 0) log(`step ${step + 1} of ${steps}: loss ${mean.toFixed(4)}`);
    },
  });
  const { model, report } = await quantizeModel(studentModel(weights, shape), calibration(bank, shape, seed));
  return { model, classes: all, parameters: parametersOf(weights), cosine: report.output_cosine };
}

/** What activation ranges are taken from: the same mixtures, without variation. */
function calibration(bank: Bank, shape: StudentShape, seed: number): { patch: { type: 'float32'; dims: number[]; data: Float32Array } }[] {
  const random = uniform(seed + 2);
  const features = new PatchFeatures();
  return Array.from({ length: 256 }, () => {
    const rows = features.of(mixSecond(bank, shape.classes, random).samples);
    return { patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: rows.map((feature) => (feature - patchScale.mean) / patchScale.std) } };
  });
}

/** Sirens and noises of another seed, and recordings of the fold that was held out. */
export async function measureSiren(model: Uint8Array, { classes, clips }: Recordings, { seed, hours, scenes, heldOutFold, log }: SirenOptions): Promise<Hearing> {
  const held = clips.filter(({ fold }) => fold === heldOutFold);
  const everything = heldOutBank(held, seed + 1000);
  const bank = { ...everything, tonal: [] };
  const output = classes.length + sirenClasses.indexOf('siren');
  const session = await createSession(model);
  try {
    const quiet = await quietScores(session, bank, { hours, seed: seed + 1001, output });
    const { on, falseAlarms } = thresholdFor(quiet, 1);
    log(`threshold ${on}: ${falseAlarms} false alarms in ${hours} hours`);
    const melodious = await quietScores(session, everything, { hours: hours / 4, seed: seed + 1100, output });
    const melodies = (60 * melodious.reduce((sum, scores) => sum + beginnings(scores, on).length, 0)) / melodious.length;
    log(`with melodies: ${melodies.toFixed(1)} false alarms an hour`);
    const recall: Record<string, Recall> = {};
    for (const ratioDb of ratios) {
      const heard = recallOf(await sirenScenes(session, bank, { count: scenes, ratioDb, seed: seed + 1002 + ratioDb, output }), on);
      recall[ratioDb] = heard;
      log(`${ratioDb} dB: recall ${(100 * heard.recall).toFixed(1)} %, ${Object.entries(heard.byKind).map(([kind, share]) => `${kind} ${(100 * share).toFixed(1)} %`).join(', ')}, after ${heard.delayMs.median} ms (p90 ${heard.delayMs.p90} ms)`);
    }
    return { on, falseAlarms, hours, melodies, recall, clipAccuracy: await clipAccuracy(session, held, classes.length) };
  } finally {
    await session.close();
  }
}

async function clipAccuracy(session: Awaited<ReturnType<typeof createSession>>, clips: readonly Clip[], classes: number): Promise<number> {
  let right = 0;
  for (const { rows, label } of clips) {
    const sums = new Float64Array(classes);
    for (let start = 0; (start + patch.rows) * patch.bands <= rows.length; start += patch.rows / 4) {
      const data = rows.slice(start * patch.bands, (start + patch.rows) * patch.bands).map((feature) => (feature - patchScale.mean) / patchScale.std);
      const outputs = await session.run({ patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data } });
      for (let c = 0; c < classes; c++) sums[c] = (sums[c] ?? 0) + Number(outputs['scores']?.data[c]);
    }
    if (sums.indexOf(Math.max(...sums)) === label) right++;
  }
  return right / clips.length;
}
