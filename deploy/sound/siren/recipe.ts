/** The recipe of the siren student: what it learns from, how it is converted, and what it hears of what it did not learn from. */
import { quantizeModel } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import type { Session } from '../../../runtime/session-types.js';
import { uniform } from '../../compress/random.js';
import { teach } from '../learn.js';
import type { Clip, Recordings } from '../clips.js';
import { parametersOf, patch, patchScale, studentModel, weightsOf, type StudentShape } from '../student.js';
import { atOtherSpeeds, makeBank, pitchedKinds, withCopies, type Bank, type BankSizes, type PitchedKind, type Signal } from './bank.js';
import { shortest, type Rule } from './decide.js';
import { alarmsIn, quietScores, recallOf, scoresOver, signalScenes, thresholdFor, type Recall } from './measure.js';
import { lessonsOf, mixedBatches, mixWindow, sirenClasses, type Lessons } from './scenes.js';

export interface SirenOptions {
  seed: number;
  /** Batches of 32 windows. */
  steps: number;
  /** Hours without a siren in which false alarms are counted. */
  hours: number;
  /** Scenes with a siren, for each ratio. */
  scenes: number;
  /** Recordings of this fold are not learned from: they are the noise of the measurement. */
  heldOutFold: number;
  /** Highest rate of learning. */
  rate: number;
  /** Instead of the lowest thresholds that the noise allows, which are chosen on what is measured. */
  rules?: Readonly<Record<'siren' | 'horn', Rule>>;
  /** A student in int8 to go on from. */
  from?: Uint8Array;
  log: (line: string) => void;
}

/** How one class is heard in noise of the fold that was held out. */
export interface ClassHearing extends Rule {
  /** At the threshold, which is given, or the lowest with at most one false alarm an hour. */
  falseAlarms: number;
  /** False alarms an hour at that threshold where an eighth of the noise has a pitch: by what it is, of other seeds than what was learned from. */
  pitched: Record<PitchedKind, number>;
  /** By ratio of siren or horn to noise, decibels. */
  recall: Record<string, Recall>;
}

/** What the student hears in noise of the fold that was held out. */
export interface Hearing {
  hours: number;
  siren: ClassHearing;
  horn: ClassHearing;
  /** Sirens of kinds that the student did not learn from, by ratio. */
  strangers: Record<string, Recall>;
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

const learnedSizes: BankSizes = {
  sirens: { wail: 330, yelp: 220, 'hi-lo': 400 }, horns: 150, strangers: 0, traffic: 120, rain: 60, pitched: { melodies: 150, calls: 300, music: 150 },
};
/** Copies at other speeds of recordings that are most easily taken for a siren, and of each other one. */
const copies: Readonly<Record<string, number>> = { rooster: 8, baby_cry: 8 };
const usualCopies = 2;
/** Share of the sirens that are played at other speeds. */
const otherSpeeds = 0.4;
const heldOutSizes: BankSizes = { sirens: 80, horns: 80, strangers: 40, traffic: 60, rain: 20, pitched: {} };
/** Sirens and noises that no student learned from, with recordings that it did not either. */
export const heldOutBank = (recorded: Bank['recorded'], seed: number): Bank => makeBank(heldOutSizes, recorded, seed);

export const ratios = [20, 5, 0, -5] as const;
const batch = 32;
const dropout = 0.1;

export async function trainSiren({ classes, clips }: Recordings, { seed, steps, heldOutFold, rate, from, log }: SirenOptions): Promise<SirenStudent> {
  const all = [...classes, ...sirenClasses];
  const shape: StudentShape = { classes: all.length, teacher: 0 };
  const learned = withCopies(clips.filter(({ fold }) => fold !== heldOutFold), (label) => copies[classes[label] ?? ''] ?? usualCopies, seed + 3);
  const bank = makeBank(learnedSizes, learned, seed + 1);
  log(`${bank.sirens.length} sirens, ${bank.horns.length} horns, ${bank.traffic.length + bank.rain.length + bank.pitched.length} noises synthesized, ${bank.recorded.length} recordings`);
  const lessons = lessonsOf({ ...bank, sirens: atOtherSpeeds(bank.sirens, otherSpeeds, seed + 4) });
  let mean = 0;
  const weights = await teach(mixedBatches(lessons, { shape, batch, dropout, seed }), {
    shape, seed, batch, steps, peak: rate, average: 0.999, ...(from === undefined ? {} : { from: weightsOf(from, shape) }),
    onStep: (step, loss) => {
      mean += (loss - mean) / Math.min(step + 1, 50);
      if ((step + 1) % 50 === 0) log(`step ${step + 1} of ${steps}: loss ${mean.toFixed(4)}`);
    },
  });
  // The head stays float: near 1, codes of 8 bits would leave eight thresholds.
  const { model, report } = await quantizeModel(studentModel(weights, shape), calibration(lessons, shape, seed), { exclude: ['logits'] });
  return { model, classes: all, parameters: parametersOf(weights), cosine: report.output_cosine };
}

/** What activation ranges are taken from: the same mixtures, without variation. */
function calibration(lessons: Lessons, shape: StudentShape, seed: number): { patch: { type: 'float32'; dims: number[]; data: Float32Array } }[] {
  const random = uniform(seed + 2);
  return Array.from({ length: 256 }, () => {
    const { features } = mixWindow(lessons, shape.classes, random);
    return { patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: features.map((feature) => (feature - patchScale.mean) / patchScale.std) } };
  });
}

/** Sirens and noises of another seed, and recordings of the fold that was held out. */
export async function measureSiren(model: Uint8Array, { classes, clips }: Recordings, options: SirenOptions): Promise<Hearing> {
  const held = clips.filter(({ fold }) => fold === options.heldOutFold);
  const session = await createSession(model);
  try {
    const bank = heldOutBank(held, options.seed + 1000);
    const outputs = sirenClasses.map((_, i) => classes.length + i);
    const quiet = await quietScores(session, bank, { hours: options.hours, seed: options.seed + 1001, outputs });
    const pitched = await pitchedScores(session, bank, outputs, options);
    const hear = async (name: 'siren' | 'horn'): Promise<ClassHearing> => {
      const at = sirenClasses.indexOf(name);
      const { on, minMs, falseAlarms } = ruleFor(quiet[at] ?? [], name, options.rules);
      options.log(`${name}: threshold ${on}, ${falseAlarms} false alarms in ${options.hours} hours`);
      const alarms = Object.fromEntries(pitchedKinds.map((kind) => {
        const minutes = pitched[kind][at] ?? [];
        return [kind, (60 * alarmsIn(minutes, { on, minMs })) / minutes.length];
      })) as Record<PitchedKind, number>;
      options.log(`${name}: false alarms an hour ${Object.entries(alarms).map(([kind, count]) => `with ${kind} ${count.toFixed(1)}`).join(', ')}`);
      const recall = await recalls(session, { bank, signals: name === 'siren' ? bank.sirens : bank.horns, output: outputs[at] ?? 0, rule: { on, minMs } }, options);
      return { on, minMs, falseAlarms, pitched: alarms, recall };
    };
    const [siren, horn] = [await hear('siren'), await hear('horn')];
    const strangers = await recalls(session, { bank, signals: bank.strangers, output: outputs[0] ?? 0, rule: siren }, options);
    return { hours: options.hours, siren, horn, strangers, clipAccuracy: await clipAccuracy(session, held, classes.length) };
  } finally {
    await session.close();
  }
}

/** The rule that is given, or the one with the lowest threshold that has at most one false alarm an hour; and its false alarms. */
export function ruleFor(quiet: readonly Float32Array[], name: 'siren' | 'horn', rules: SirenOptions['rules']): Rule & { falseAlarms: number } {
  if (rules !== undefined) return { ...rules[name], falseAlarms: alarmsIn(quiet, rules[name]) };
  return { minMs: shortest[name], ...thresholdFor(quiet, 1, shortest[name]) };
}

/** Scores in noise of which an eighth has a pitch, for each kind of it. */
async function pitchedScores(session: Session, bank: Bank, outputs: readonly number[], { hours, seed }: SirenOptions): Promise<Record<PitchedKind, Float32Array[][]>> {
  const found: Partial<Record<PitchedKind, Float32Array[][]>> = {};
  for (const [i, kind] of pitchedKinds.entries()) {
    const { pitched } = makeBank({ sirens: 0, horns: 0, strangers: 0, traffic: 0, rain: 0, pitched: { [kind]: 60 } }, [], seed + 1100 + i);
    found[kind] = await quietScores(session, { ...bank, pitched }, { hours: hours / 4, seed: seed + 1200 + i, outputs });
  }
  return found as Record<PitchedKind, Float32Array[][]>;
}

interface Listened {
  bank: Bank;
  signals: readonly Signal[];
  output: number;
  rule: Rule;
}

async function recalls(session: Session, { bank, signals, output, rule }: Listened, { scenes, seed, log }: SirenOptions): Promise<Record<string, Recall>> {
  const recall: Record<string, Recall> = {};
  for (const ratioDb of ratios) {
    const heard = recallOf(await signalScenes(session, signals, bank, { count: scenes, ratioDb, seed: seed + 1002 + ratioDb, output }), rule);
    recall[ratioDb] = heard;
    log(`${ratioDb} dB: recall ${percent(heard.recall)}, ${Object.entries(heard.byKind).map(([kind, share]) => `${kind} ${percent(share)}`).join(', ')}, after ${heard.delayMs.median} ms (p90 ${heard.delayMs.p90} ms)`);
  }
  return recall;
}

/** The class of a recording is the one with the highest mean score over its windows. */
async function clipAccuracy(session: Session, clips: readonly Clip[], classes: number): Promise<number> {
  let right = 0;
  for (const { samples, label } of clips) {
    const scores = await scoresOver(session, samples, Array.from({ length: classes }, (_, c) => c));
    const means = scores.map((row) => row.reduce((sum, score) => sum + score, 0));
    if (means.indexOf(Math.max(...means)) === label) right++;
  }
  return right / clips.length;
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
