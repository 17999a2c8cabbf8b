/** What a recommendation has found out so far, in `progress.json`: a run that was killed goes on from there, and one with other bounds begins with it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '../../../runtime/atomic-file.js';
import { DeployError } from '../../errors.js';
import type { Measured, Times } from './figures.js';
import type { Outcome } from './schedule.js';

export interface Progress {
  /** Hash of the model, the samples, and all settings that outcomes depend on. */
  readonly run: string;
  /** Seconds of all runs so far. */
  spent_seconds: number;
  /** Seconds of a float32 pass of a sample, measured once, so that the same things fit in the same budget. */
  readonly pass_seconds: number;
  /** Weights of the original. */
  readonly weights: number;
  /** How long steps took, by name, and how long they were expected to take. */
  seen: Record<string, { expected: number; taken: number }>;
  readonly original: Measured;
  outcomes: Record<string, Outcome<Measured>>;
  /** Times of models that took turns, the original's first. */
  together: { ids: string[]; times: Times[] } | null;
}

const pathOf = (folder: string): string => join(folder, 'progress.json');

/** @returns undefined when nothing has been done yet; @throws DeployError E_LAB: damaged, or of something else */
export async function readProgress(folder: string, run: string): Promise<Progress | undefined> {
  const path = pathOf(folder);
  const refuse = (problem: string, cause?: unknown): DeployError => new DeployError('E_LAB', `${path} ${problem}; choose another folder with -o, or delete that one to begin anew`, { cause, details: { path } });
  let progress: Progress;
  try {
    progress = JSON.parse(await readFile(path, 'utf8')) as Progress;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw refuse('is damaged or cannot be read', cause);
  }
  if (progress.run !== run || typeof progress.outcomes !== 'object') throw refuse('belongs to another model, other samples, another target or other settings');
  return progress;
}

export const writeProgress = (folder: string, progress: Progress): Promise<void> => writeFileAtomic(pathOf(folder), `${JSON.stringify(progress, null, 2)}\n`, 0o644);
