import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AudioChunk } from '../../runtime/frame.js';
import { classesOf, hearsAny, scoresOf } from '../../runtime/kinds/sound/pipeline.js';
import { soundSettings } from '../../runtime/kinds/sound/settings.js';
import { isSoundInput } from '../../runtime/media/sound.js';
import type { ModelPackage } from '../../runtime/package/package.js';
import { SoundDecisions, type DecisionSettings } from '../../runtime/sound/decisions.js';
import { SoundGate, type SoundGateSettings } from '../../runtime/sound/gate.js';
import { levelsOf } from '../../runtime/sound/levels.js';
import { rateOf } from '../../runtime/stages/contract.js';
import { closeStages, openStages, soundStageOf } from '../../runtime/stages/open-stages.js';
import { DeployError } from '../errors.js';
import type { CalibrateOptions } from './calibrate.js';
import { cheapest } from './choose.js';
import { missShare, type GateOutcome } from './simulate.js';

/** Margins over the floor of the noise that are tried, decibels. */
const margins = [3, 4, 5, 6, 8, 10, 13, 16, 20, 25];
/** Fewer windows show nothing: five seconds at the usual step. */
const fewestWindows = 50;

/** One margin of the gate, and what it did to the recordings. */
export interface SoundGatePoint extends Omit<GateOutcome, 'frames'> {
  /** Null: every window runs. */
  margin_db: number | null;
  /** Share of the windows that run. */
  cost: number;
  /** Share of the windows that stopped in which a class reaches its threshold. */
  missRate: number;
}

export interface SoundCalibration {
  windows: number;
  /** Windows in which a class reaches its threshold. */
  heard: number;
  points: SoundGatePoint[];
  chosen: SoundGatePoint;
  /** For `sterna package --settings` and `sterna run --gates`: as the manifest's `pipeline`. */
  settings: { settings: { gate: SoundGateSettings } };
}

/** A gate at one margin, with the decisions that keep it open while an event lasts. */
export class SoundTrial {
  readonly outcome: GateOutcome = { frames: 0, stopped: 0, missed: 0 };
  readonly #gate: SoundGate;
  readonly #decisions: SoundDecisions;

  constructor(readonly marginDb: number, gate: SoundGateSettings, decisions: DecisionSettings) {
    this.#gate = new SoundGate({ ...gate, enabled: true, margin_db: marginDb });
    this.#decisions = new SoundDecisions(decisions);
  }

  /** @param heard whether a class reaches its threshold in this window */
  add(levelDb: number, { scores, heard }: { scores: ArrayLike<number>; heard: boolean }, time: { fromMs: number; untilMs: number }): void {
    const open = this.#gate.decide(levelDb, time.untilMs, time.untilMs - time.fromMs, this.#decisions.busy);
    this.#decisions.step(open ? scores : null, time);
    this.outcome.frames += 1;
    if (open) return;
    this.outcome.stopped += 1;
    if (heard) this.outcome.missed += 1;
  }

  get point(): SoundGatePoint {
    const { frames, stopped, missed } = this.outcome;
    return { margin_db: this.marginDb, cost: frames === 0 ? 1 : (frames - stopped) / frames, missRate: missShare(this.outcome), stopped, missed };
  }
}

/**
 * Chooses the margin of the gate of sound from recordings without labels: what the model hears in every window counts as true.
 * @throws DeployError E_USAGE for too little sound; RuntimeError E_MODEL_*, E_MEDIA
 */
export async function calibrateSoundGate(modelPackage: ModelPackage, { open, missRate, limit, onFrame }: Omit<CalibrateOptions, 'open'> & { open: (sound: { rate: number; step: number }) => AsyncIterable<AudioChunk> }): Promise<SoundCalibration> {
  const { stages: contracts, settings: stated } = modelPackage.manifest.pipeline;
  const settings = soundSettings.parse(stated);
  const stages = await openStages(contracts, (path) => modelPackage.file(path));
  let [windows, heardIn] = [0, 0];
  try {
    const [stage, contract] = [soundStageOf(stages, 'classifier'), contracts['classifier']];
    if (contract === undefined) throw new DeployError('E_USAGE', 'Expected a pipeline with a classifier of sound');
    const classes = classesOf(settings, stages, contract);
    const trials = margins.map((margin) => new SoundTrial(margin, settings.gate, { ...settings, classes }));
    let nowMs = 0;
    for await (const { samples, rate } of open({ rate: rateOf(stage.contract), step: stage.contract.step })) {
      stage.push(samples);
      const scores = scoresOf((await stage.run())[contract.outputs[0] ?? ''], settings.activation);
      const heard = hearsAny(classes, scores);
      const time = { fromMs: nowMs, untilMs: nowMs + (1000 * samples.length) / rate };
      const { levelDb } = levelsOf(samples);
      for (const trial of trials) trial.add(levelDb, { scores, heard }, time);
      nowMs = time.untilMs;
      if (heard) heardIn += 1;
      onFrame('hearing every window', ++windows);
      if (windows >= limit) break;
    }
    if (windows < fewestWindows) throw new DeployError('E_USAGE', `Expected recordings of at least ${fewestWindows} windows but received ${windows}`);
    const everything: SoundGatePoint = { margin_db: null, cost: 1, missRate: 0, stopped: 0, missed: 0 };
    const points = [everything, ...trials.map(({ point }) => point)];
    const chosen = cheapest(points, missRate) ?? everything;
    const gate = { ...settings.gate, enabled: chosen.margin_db !== null, margin_db: chosen.margin_db ?? settings.gate.margin_db };
    return { windows, heard: heardIn, points, chosen, settings: { settings: { gate } } };
  } finally {
    await closeStages(stages);
  }
}

/** A recording, or those of a folder one after the other, in the order of their names. */
export async function* recordingsOf(input: string, open: (path: string) => AsyncIterable<AudioChunk>): AsyncGenerator<AudioChunk> {
  const isFolder = (await stat(input).catch(() => null))?.isDirectory() === true;
  const files = isFolder ? (await readdir(input)).filter(isSoundInput).sort().map((name) => join(input, name)) : [input];
  for (const file of files) yield* open(file);
}
