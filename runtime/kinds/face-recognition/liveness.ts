/**
 * Whether a face is that of somebody in front of the camera, or a picture of one (presentation attack detection, ISO/IEC 30107-1). The model sees
 * the face with its surroundings, where the border of a sheet or a screen shows. Pure.
 */
import { z } from 'zod';
import { positiveInteger, share } from '../../stages/contract.js';
import type { Box, Liveness } from '../../stages/finding.js';
import type { Region } from '../../vision/pixels.js';
import { softmax } from '../softmax.js';

export const livenessSettings = z.object({
  /** Sides of the crop as a multiple of those of the face's box. The crop is stretched to the model's picture. */
  crop_scale: z.number().min(1).max(8),
  /** `softmax`: the output holds logits; `none`: it holds probabilities. */
  activation: z.enum(['softmax', 'none']),
  /** How many classes the model tells apart. */
  classes: positiveInteger.max(4096),
  /** Number of the class of live faces, from 0. */
  live_class: z.number().int().nonnegative(),
  /** Probability from which a sight is that of a live face. Only such sights tell who somebody is. */
  threshold: share,
  /** A track that was live stays so while its mean is not below the threshold by more than this. */
  hysteresis: share,
  /** Weight of the newest sight in a track's mean; 1: only the newest counts. */
  newest_weight: z.number().gt(0).max(1),
}).refine(({ classes, live_class: live }) => live < classes, { path: ['live_class'], message: 'expected the number of a class, from 0' });

export type LivenessSettings = z.output<typeof livenessSettings>;

export const defaultLiveness = { crop_scale: 2.7, live_class: 0, threshold: 0.5, hysteresis: 0.1, newest_weight: 0.5 };

/** Probability that a face is live, 0..1. What is not a number is not live. */
export function livenessScore(output: Float32Array, { activation, live_class: index }: LivenessSettings): number {
  const score = (activation === 'softmax' ? softmax(output) : output)[index] ?? 0;
  return Number.isNaN(score) ? 0 : Math.min(1, Math.max(0, score));
}

export const isLive = (score: number, { threshold }: LivenessSettings): boolean => score >= threshold;

/** A track with one more sight. @param before undefined: it is the first one */
export function stepLiveness(before: Liveness | undefined, newest: number, settings: LivenessSettings): Liveness {
  if (before === undefined) return { score: newest, live: isLive(newest, settings) };
  const score = before.score + settings.newest_weight * (newest - before.score);
  return { score, live: score >= settings.threshold - (before.live ? settings.hysteresis : 0) };
}

/**
 * The face with its surroundings: the box, enlarged as far as the picture allows, and moved into it. As the models of Silent-Face-Anti-Spoofing
 * are trained (minivision-ai, `CropImage._get_new_box`).
 */
export function livenessCrop([x, y, width, height]: Box, picture: { width: number; height: number }, wanted: number): Region {
  const scale = Math.min(wanted, picture.width / width, picture.height / height);
  const inside = (middle: number, side: number, length: number): number => Math.min(Math.max(0, middle - side / 2), length - side);
  const [w, h] = [width * scale, height * scale];
  return { x: inside(x + width / 2, w, picture.width), y: inside(y + height / 2, h, picture.height), width: w, height: h };
}
