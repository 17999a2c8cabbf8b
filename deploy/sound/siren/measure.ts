/** What the student hears in scenes that it did not learn from, decided as the pipeline decides. */
import { defaultFeatures } from '../../lab/clips.js';
import { uniform } from '../../compress/random.js';
import { SoundDecisions } from '../../../runtime/sound/decisions.js';
import { createFrontEnd } from '../../../runtime/sound/front-end.js';
import type { Session } from '../../../runtime/session-types.js';
import { patchScale } from '../learn.js';
import { patch } from '../student.js';
import { atLevel, rate, sirenKinds, type SirenKind } from '../synthesize.js';
import { anyOf, backgroundOf, between, sceneSeconds, sumOf, type Bank } from './bank.js';

/** Samples from one decision to the next: ten a second. */
export const decisionStep = rate / 10;
/** As the package states it. */
export const decisionSettings = { smoothing_windows: 2, release_ms: 300, min_ms: 1200, offShare: 0.85 } as const;

/** Scores of one class at each decision over a stream. */
export async function scoresOver(session: Session, stream: Float32Array, output: number): Promise<Float32Array> {
  const frontEnd = createFrontEnd({ ...defaultFeatures, normalize: { mean: [patchScale.mean], std: [patchScale.std] } }, patch.rows);
  frontEnd.push(new Float32Array(rate));
  const scores = new Float32Array(Math.floor(stream.length / decisionStep));
  for (let i = 0; i < scores.length; i++) {
    frontEnd.push(stream.subarray(i * decisionStep, (i + 1) * decisionStep));
    const outputs = await session.run({ patch: { type: 'float32', dims: [1, 1, patch.rows, patch.bands], data: frontEnd.window as Float32Array } });
    scores[i] = Number(outputs['scores']?.data[output]);
  }
  return scores;
}

/** Moments at which an event begins, seconds from the first score. */
export function beginnings(scores: Float32Array, on: number): number[] {
  const decisions = new SoundDecisions({ ...decisionSettings, classes: [{ label: 'siren', members: [0], on, off: on * decisionSettings.offShare, min_ms: decisionSettings.min_ms }] });
  const stepMs = (1000 * decisionStep) / rate;
  let known: number | undefined;
  return [...scores].flatMap((score, i) => {
    const [event] = decisions.step([score], { fromMs: i * stepMs, untilMs: (i + 1) * stepMs });
    const isNew = event !== undefined && event.onsetMs !== known;
    known = event?.onsetMs;
    return isNew ? [((i + 1) * stepMs) / 1000] : [];
  });
}

/** Streams without a siren, one scene after the other. */
export async function quietScores(session: Session, bank: Bank, { hours, seed, output }: { hours: number; seed: number; output: number }): Promise<Float32Array[]> {
  const random = uniform(seed);
  const minutes: Float32Array[] = [];
  for (let minute = 0; minute < Math.round(60 * hours); minute++) {
    const stream = new Float32Array(60 * rate);
    for (let at = 0; at < stream.length; at += sceneSeconds * rate) stream.set(atLevel(backgroundOf(bank, sceneSeconds * rate, random).samples, levelOf(random)), at);
    minutes.push(await scoresOver(session, stream, output));
  }
  return minutes;
}

export interface SirenScene {
  kind: SirenKind;
  scores: Float32Array;
}

/** The siren of a scene sounds from this second on, to the end. */
const onsetSeconds = 1;

/** Sirens that begin after a second in scenes of the bank, so many decibels above them while they sound. */
export async function sirenScenes(session: Session, bank: Bank, { count, ratioDb, seed, output }: { count: number; ratioDb: number; seed: number; output: number }): Promise<SirenScene[]> {
  const random = uniform(seed);
  const perKind = bank.sirens.length / sirenKinds.length;
  const scenes: SirenScene[] = [];
  for (let n = 0; n < count; n++) {
    const noise = backgroundOf(bank, sceneSeconds * rate, random).samples;
    const index = Math.floor(random() * bank.sirens.length);
    const signal = between(bank.sirens[index] ?? new Float32Array(noise.length), onsetSeconds * rate, 2 * sceneSeconds * rate);
    // The siren sounds in four fifths of the scene, and the ratio is that of the time in which it sounds.
    const share = 10 * Math.log10((sceneSeconds - onsetSeconds) / sceneSeconds);
    const scores = await scoresOver(session, atLevel(sumOf(signal, noise, ratioDb + share), levelOf(random)), output);
    scenes.push({ kind: sirenKinds[Math.floor(index / perKind)] ?? anyOf(sirenKinds, random), scores });
  }
  return scenes;
}

const levelOf = (random: () => number): number => 10 ** (-0.6 - 1.2 * random());

export interface Recall {
  recall: number;
  byKind: Record<SirenKind, number>;
  /** From the first sample of the siren to the event, of those that were heard. */
  delayMs: { median: number; p90: number };
}

export function recallOf(scenes: readonly SirenScene[], on: number): Recall {
  const delays = scenes.map(({ scores }) => beginnings(scores, on).find((at) => at > onsetSeconds)).map((at) => (at === undefined ? undefined : 1000 * (at - onsetSeconds)));
  const shareOf = (of: readonly (number | undefined)[]): number => of.filter((delay) => delay !== undefined).length / Math.max(1, of.length);
  const heard = delays.filter((delay) => delay !== undefined).sort((a, b) => a - b);
  const quantile = (share: number): number => Math.round(heard[Math.min(heard.length - 1, Math.floor(share * heard.length))] ?? NaN);
  return {
    recall: shareOf(delays),
    byKind: Object.fromEntries(sirenKinds.map((kind) => [kind, shareOf(delays.filter((_, i) => scenes[i]?.kind === kind))])) as Record<SirenKind, number>,
    delayMs: { median: quantile(0.5), p90: quantile(0.9) },
  };
}

/** The lowest threshold at which there is at most one false alarm an hour. */
export function thresholdFor(quiet: readonly Float32Array[], alarmsPerHour: number): { on: number; falseAlarms: number } {
  const allowed = Math.floor((quiet.length / 60) * alarmsPerHour);
  for (let on = 0.3; on < 0.999; on += on < 0.95 ? 0.01 : 0.002) {
    const falseAlarms = quiet.reduce((sum, scores) => sum + beginnings(scores, on).length, 0);
    if (falseAlarms <= allowed) return { on: Math.round(on * 1000) / 1000, falseAlarms };
  }
  return { on: 1, falseAlarms: 0 };
}
