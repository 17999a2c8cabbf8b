/** What a pipeline found, as events and live frames carry it: one shape for every kind of pipeline. */
import { z } from 'zod';
import { count, epochMs, milliseconds, openSet, shortText } from './codec.js';

/**
 * A reader renders what it finds in it: the name of `identity` or else `label` and `score`, and `box` where there is one. So it can
 * show types that it does not know.
 */
export const findingSchema = z.looseObject({
  /** `detection`: something at a place in the frame. `track`: the same, followed from frame to frame. `class`: what the whole frame shows. `sound`: what is heard. */
  type: openSet(['detection', 'track', 'class', 'sound']),
  /** What it is: face, person, siren, ... */
  label: shortText,
  score: z.number().min(0).max(1),
  /** x, y, width, height in pixels of the frame. */
  box: z.tuple([z.number(), z.number(), z.number(), z.number()]).optional(),
  /** Number of the track, if the pipeline follows objects from frame to frame. */
  track: count.optional(),
  /** Of a track. `seen`: found in this frame. `held`: nothing moved at its place, so that nobody looked. */
  status: openSet(['seen', 'held']).optional(),
  /** Of a track: time since it was first seen. */
  age_ms: milliseconds.optional(),
  /** Of a track: speed of the box's centre, pixels a second. */
  velocity: z.tuple([z.number(), z.number()]).optional(),
  /** Names of the include zones that it is in. */
  zones: z.array(shortText).optional(),
  /** Of a sound: when it began. */
  onset_ms: epochMs.optional(),
  /** Of a sound: from its onset to the newest time at which it was heard; with `left`, until its end. */
  duration_ms: milliseconds.optional(),
  /** Who it is; null if the gallery knows nobody like that; absent if the pipeline does not identify it. */
  identity: z.object({ person_id: count, name: shortText, similarity: z.number().min(-1).max(1) }).nullable().optional(),
  /** Of a face, where the pipeline asks whether it is live: `score` is the probability. Nobody is identified by a picture: without `live`, `identity` is null. */
  liveness: z.object({ score: z.number().min(0).max(1), live: z.boolean() }).optional(),
});
export type WireFinding = z.infer<typeof findingSchema>;
