import { createHash } from 'node:crypto';
import type { Tensor } from '../../runtime/tensor.js';
import { uniform } from '../compress/random.js';
import { DeployError } from '../errors.js';
import { augmentPatch, cutPatch, withWrongLabels, type Clip, type ClipFolder, type Scaling } from './clips.js';
import type { ClipsConfig } from './config.js';

/** What a model is fed with. */
export interface Geometry {
  rows: number;
  bands: number;
  scaling: Scaling;
}

/** Recordings to learn from and to test on. */
export interface SplitClips {
  train: Clip[];
  test: Clip[];
}

export function splitClips({ clips, classes }: ClipFolder, { data, seed }: ClipsConfig): SplitClips {
  const tested = new Set(data.test_folds);
  const [train, test] = [clips.filter(({ fold }) => !tested.has(fold)), clips.filter(({ fold }) => tested.has(fold))];
  const missing = classes.findIndex((_, label) => !train.some((clip) => clip.label === label));
  if (missing >= 0) throw new DeployError('E_LAB', `Class '${classes[missing] ?? ''}' has no recording outside the test folds [${data.test_folds.join(', ')}]; expected at least one to learn from`);
  if (tested.size > 0 && test.length === 0) throw new DeployError('E_LAB', `No recording is in the test folds [${data.test_folds.join(', ')}]; folds are the numbers before the first '-' of the file names`);
  return { train: withWrongLabels(train, classes.length, data.wrong_labels, seed + 101), test };
}

/** Every recording once in each round, in an order of its own. */
function orderOf(round: number, size: number, seed: number): Uint32Array {
  const next = uniform(seed * 7919 + round);
  const order = Uint32Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [order[i], order[j]] = [order[j] ?? 0, order[i] ?? 0];
  }
  return order;
}

/** The items in rounds, each of them once in each round, in another order: the item at an index that counts on through the rounds. */
export function inRounds<T>(items: readonly T[], seed: number): (index: number) => T | undefined {
  let round = -1;
  let order: Uint32Array = new Uint32Array(0);
  return (index) => {
    const wanted = Math.floor(index / items.length);
    if (wanted !== round) [round, order] = [wanted, orderOf(wanted, items.length, seed)];
    return items[order[index % items.length] ?? 0];
  };
}

/** Numbers for the random choices of a step. */
export const randomOf = (seed: number, step: number): (() => number) => uniform(seed * 104_729 + step);

/** Patches at random places of the recordings, varied, with their labels. */
export function batchesOf(train: readonly Clip[], classes: number, geometry: Geometry, config: ClipsConfig): (step: number) => { input: Tensor; target: Tensor } {
  const { batch, seed } = config;
  const { rows, bands } = geometry;
  const clipAt = inRounds(train, seed);
  return (step) => {
    const next = randomOf(seed, step);
    const input = new Float32Array(batch * rows * bands);
    const target = new Float32Array(batch * classes);
    for (let slot = 0; slot < batch; slot++) {
      const clip = clipAt(step * batch + slot);
      if (clip === undefined) continue;
      const patch = input.subarray(slot * rows * bands, (slot + 1) * rows * bands);
      cutPatch(clip, Math.floor(next() * Math.max(1, clip.features.length / bands - rows + 1)), geometry, patch);
      augmentPatch(patch, geometry, next);
      target[slot * classes + clip.label] = 1;
    }
    return { input: { type: 'float32', dims: [batch, 1, rows, bands], data: input }, target: { type: 'float32', dims: [batch, classes], data: target } };
  };
}

/** Hash of all features and labels. */
export function hashOf(clips: readonly Clip[]): string {
  const hash = createHash('sha256');
  for (const { name, label, features } of clips) hash.update(`${name}:${label}:`).update(Buffer.from(features.buffer, features.byteOffset, features.byteLength));
  return hash.digest('hex');
}
