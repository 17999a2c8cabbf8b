/** What the student hears in scenes that it did not learn from, decided as the pipeline decides. */
import { uniform } from '../../compress/random.js';
import { SoundDecisions } from '../../../runtime/sound/decisions.js';
import { createFrontEnd } from '../../../runtime/sound/front-end.js';
import type { Session } from '../../../runtime/session-types.js';
import { patch } from '../student.js';
import { atLevel, rate } from '../synthesize.js';
import { anyOf, backgroundOf, between, sceneSeconds, sumOf, type Bank, type Signal } from './bank.js';
import { decisionSettings, decisionStep, type Rule } from './decide.js';
import { scaledFeatures, windowSamples } from './features.js';

/** Scores of some classes at each decision over a stream. */
export async function scoresOver(session: Session, stream: Float32Array, outputs: readonly number[]): Promise<Float32Array[]> {
  const frontEnd = createFrontEnd(scaledFeatures, patch.rows);
  frontEnd.push(new Float32Array(windowSamples));
  const count = Math.floor(stream.length / decisionStep);
  const scores = outputs.map(() => new Float32Array(count));
  for (let i = 0; i < count; i++) {
    frontEnd.push(stream.subarray(i * decisionStep, (i + 1) * decisionStep));
    const { scores: told } = await session.run({ patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: frontEnd.window as Float32Array } });
    for (const [c, output] of outputs.entries()) (scores[c] as Float32Array)[i] = Number(told?.data[output]);
  }
  return scores;
}

/** Moments at which an event begins, seconds from the first score. */
export function beginnings(scores: Float32Array, { on, minMs }: Rule): number[] {
  const decisions = new SoundDecisions({ ...decisionSettings, classes: [{ label: '', members: [0], on, off: on * decisionSettings.offShare, min_ms: minMs }] });
  const stepMs = (1000 * decisionStep) / rate;
  let known: number | undefined;
  return [...scores].flatMap((score, i) => {
    const [event] = decisions.step([score], { fromMs: i * stepMs, untilMs: (i + 1) * stepMs });
    const isNew = event !== undefined && event.onsetMs !== known;
    known = event?.onsetMs;
    return isNew ? [((i + 1) * stepMs) / 1000] : [];
  });
}

/** Streams of a minute without siren and horn, one scene after the other: the scores of each output, minute by minute. */
export async function quietScores(session: Session, bank: Bank, { hours, seed, outputs }: { hours: number; seed: number; outputs: readonly number[] }): Promise<Float32Array[][]> {
  const random = uniform(seed);
  const minutes: Float32Array[][] = outputs.map(() => []);
  for (let minute = 0; minute < Math.round(60 * hours); minute++) {
    const stream = new Float32Array(60 * rate);
    for (let at = 0; at < stream.length; at += sceneSeconds * rate) stream.set(atLevel(backgroundOf(bank, sceneSeconds * rate, random).samples, levelOf(random)), at);
    (await scoresOver(session, stream, outputs)).forEach((scores, c) => minutes[c]?.push(scores));
  }
  return minutes;
}

export interface Scene {
  kind: string;
  /** Class of the recording in the noise; -1: none. */
  noise: number;
  scores: Float32Array;
}

/** The signal of a scene sounds from this second on, to the end. */
const onsetSeconds = 1;

/** Sirens or horns that begin after a second in scenes of the bank, so many decibels above them while they sound. */
export async function signalScenes(session: Session, signals: readonly Signal[], bank: Bank, { count, ratioDb, seed, output }: { count: number; ratioDb: number; seed: number; output: number }): Promise<Scene[]> {
  const random = uniform(seed);
  const scenes: Scene[] = [];
  for (let n = 0; n < count; n++) {
    const { samples: noise, label } = backgroundOf(bank, sceneSeconds * rate, random);
    const { kind, samples } = anyOf(signals, random);
    // The signal sounds in four fifths of the scene, and the ratio is that of the time in which it sounds.
    const share = 10 * Math.log10((sceneSeconds - onsetSeconds) / sceneSeconds);
    const signal = between(samples, onsetSeconds * rate, 2 * sceneSeconds * rate);
    const [scores = new Float32Array(0)] = await scoresOver(session, atLevel(sumOf(signal, noise, ratioDb + share), levelOf(random)), [output]);
    scenes.push({ kind, noise: label, scores });
  }
  return scenes;
}

const levelOf = (random: () => number): number => 10 ** (-0.6 - 1.2 * random());

export interface Recall {
  recall: number;
  byKind: Record<string, number>;
  /** From the first sample of the signal to the event, of those that were heard. */
  delayMs: { median: number; p90: number };
}

export function recallOf(scenes: readonly Pick<Scene, 'kind' | 'scores'>[], rule: Rule): Recall {
  const delays = scenes.map(({ scores }) => beginnings(scores, rule).find((at) => at > onsetSeconds)).map((at) => (at === undefined ? undefined : 1000 * (at - onsetSeconds)));
  const shareOf = (of: readonly (number | undefined)[]): number => of.filter((delay) => delay !== undefined).length / Math.max(1, of.length);
  const heard = delays.filter((delay) => delay !== undefined).sort((a, b) => a - b);
  const quantile = (share: number): number => Math.round(heard[Math.min(heard.length - 1, Math.floor(share * heard.length))] ?? NaN);
  return {
    recall: shareOf(delays),
    byKind: Object.fromEntries([...new Set(scenes.map(({ kind }) => kind))].sort().map((kind) => [kind, shareOf(delays.filter((_, i) => scenes[i]?.kind === kind))])),
    delayMs: { median: quantile(0.5), p90: quantile(0.9) },
  };
}

export const alarmsIn = (quiet: readonly Float32Array[], rule: Rule): number => quiet.reduce((sum, scores) => sum + beginnings(scores, rule).length, 0);

/** The lowest threshold at which there is at most one false alarm an hour. */
export function thresholdFor(quiet: readonly Float32Array[], alarmsPerHour: number, minMs: number): { on: number; falseAlarms: number } {
  const allowed = Math.floor((quiet.length / 60) * alarmsPerHour);
  for (let on = 0.1; on < 0.999; on += on < 0.95 ? 0.01 : 0.002) {
    const falseAlarms = alarmsIn(quiet, { on, minMs });
    if (falseAlarms <= allowed) return { on: Math.round(on * 1000) / 1000, falseAlarms };
  }
  return { on: 1, falseAlarms: 0 };
}
