import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readCheckpoint, writeCheckpoint } from './checkpoint.js';
import type { LabConfig } from './config.js';
import { Trainer, type Batches } from './trainer.js';
import type { TrainingModel } from './training-model.js';

/** What a run is told on its way. */
export interface LabEvents {
  onClips?(done: number, total: number): void;
  onPictures?(done: number, total: number): void;
  onStep?(step: number, steps: number, loss: number): void;
}

/** What every run tells of itself. */
export interface TrainingReport {
  model: string;
  parameters: number;
  steps: number;
  /** Mean of the last tenth. */
  loss: number;
  seed: number;
  data_sha256: string;
}

export const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);

/** Trains until the last step, or until the loss has not fallen for `patience` checkpoints, and keeps checkpoints on the way. */
async function trainAll(trainer: Trainer, config: LabConfig, { path, run }: { path: string; run: string }, events: LabEvents): Promise<void> {
  let [best, waited] = [Infinity, 0];
  while (trainer.step < config.steps) {
    const loss = await trainer.advance();
    events.onStep?.(trainer.step, config.steps, loss);
    if (trainer.step % config.checkpoint_steps !== 0 && trainer.step !== config.steps) continue;
    await writeCheckpoint(path, trainer.checkpoint(run));
    const recent = meanOf(trainer.losses.slice(-config.checkpoint_steps));
    waited = recent < best ? 0 : waited + 1;
    best = Math.min(best, recent);
    if (config.patience !== undefined && waited >= config.patience) return;
  }
}

interface TrainingData {
  /** Where the checkpoint is. */
  readonly folder: string;
  /** The untrained model. */
  readonly bytes: Uint8Array;
  readonly dataHash: string;
  readonly teacher?: Uint8Array | undefined;
  readonly batches: Batches;
}

/** A trainer that has made its steps; one that was interrupted goes on from `checkpoint.bin`. The caller closes it. */
export async function openTrained(training: TrainingModel, config: LabConfig, { folder, bytes, dataHash, teacher, batches }: TrainingData, events: LabEvents): Promise<Trainer> {
  const run = createHash('sha256').update(bytes).update(dataHash).update(teacher ?? '').update(JSON.stringify(config)).digest('hex');
  const trainer = await Trainer.open(training, config, batches);
  try {
    const path = join(folder, 'checkpoint.bin');
    const saved = await readCheckpoint(path, run);
    if (saved !== undefined) trainer.restore(saved);
    await trainAll(trainer, config, { path, run }, events);
    return trainer;
  } catch (error) {
    await trainer.close();
    throw error;
  }
}
