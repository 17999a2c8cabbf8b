/** `desired/{pipeline}`, down, retained: what a pipeline of this device should run. The whole of it each time, not a delta. */
import { z } from 'zod';
import { ruleFields } from '../../runtime/vision/zones/settings.js';
import { MAX_BLOCK_BYTES, MIN_BLOCK_BYTES } from './block.js';
import { chunkListRef } from './chunk-list.js';
import { count, epochMs, packageRef, schemaVersion } from './codec.js';
import { signedSchema } from './signed.js';
import { updateSettingsSchema } from './update-rules.js';

/** Settings that can be changed remotely; an absent field keeps the value of the device's own configuration. */
export const settingsSchema = z.object({
  /** Of the device: if several pipelines ask for an interval, the shortest holds. */
  telemetry_interval_ms: z.number().int().min(1000).max(3_600_000).optional(),
  /** Frames per second that the pipeline processes. */
  fps: z.number().positive().max(240).optional(),
  /** Smallest cosine similarity that counts as the same person (pipelines that recognize faces). */
  match_threshold: z.number().min(-1).max(1).optional(),
  /** Smallest detection score. */
  detect_threshold: z.number().min(0).max(1).optional(),
  ...ruleFields,
  /** False: no pictures of events are kept (`recordings` of the configuration). True changes nothing where the configuration keeps none. */
  record: z.boolean().optional(),
  /** True: thresholds are adapted to what the camera sees; false: the package's own are in force. Absent: as `adapt` of the configuration says. */
  adapt: z.boolean().optional(),
  /** False: no gate stops a frame, every one runs in full. */
  gates: z.boolean().optional(),
  /** Distance from the background at which a cell of the feature gate is active: lower is stricter. */
  feature_threshold: z.number().min(0).max(1).optional(),
  /** Rules for the packages that this pipeline is offered. */
  update: updateSettingsSchema.optional(),
});
export type Settings = z.infer<typeof settingsSchema>;

/**
 * Up to here a device takes every generation that is larger than the last: room for counters, and for milliseconds since 1970 until the year
 * 2248. Beyond it a generation may be at most `MAX_GENERATION_JUMP` larger than the last, so that no message can use up the numbers that are left.
 */
export const MAX_FREE_GENERATION = 2 ** 43;
export const MAX_GENERATION_JUMP = 2 ** 20;

/**
 * The largest generation that a device accepts after `seen` (`generation_seen` of that pipeline in `reported`; null: none so far). A larger one is refused with the
 * fault `E_OTA_GENERATION`, and nothing of that message is used. A publisher that takes the larger of `seen + 1` and the time stays below it.
 */
export function largestGeneration(seen: number | null): number {
  return Math.max(seen ?? 0, MAX_FREE_GENERATION) + MAX_GENERATION_JUMP;
}

export const desiredSchema = z.object({
  schema_version: schemaVersion,
  /** Monotone: a smaller one than the last seen is ignored (a replay), one above `largestGeneration` is refused, the same one again changes nothing. */
  generation: count,
  /** Null: keep what is there. */
  package: packageRef.extend({
    size_bytes: z.number().int().positive(),
    block_bytes: z.number().int().min(MIN_BLOCK_BYTES).max(MAX_BLOCK_BYTES),
    /** List of its chunks, so that only those travel that the device lacks. Absent: it travels as a whole, in blocks. The signed metadata states the same. */
    chunks: chunkListRef.optional(),
  }).nullable(),
  settings: settingsSchema.default({}),
  time_ms: epochMs.optional(),
  /** Signatures of all that is above. A device takes no message without them, unless it runs in the unsigned mode of development. */
  signed: signedSchema.optional(),
});
export type Desired = z.infer<typeof desiredSchema>;
export type DesiredPackage = NonNullable<Desired['package']>;

/** The text whose SHA-256 the director signs: what of `desired` changes a device, with keys in a fixed order. */
export function desiredText({ generation, package: wanted, settings }: Pick<Desired, 'generation' | 'package' | 'settings'>): string {
  const sorted = Object.entries(settings).filter(([, value]) => value !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, ordered(value)]);
  const named = wanted === null ? null : [wanted.name, wanted.version, wanted.digest, wanted.size_bytes, wanted.block_bytes];
  return JSON.stringify([generation, named, sorted]);
}

/** The text that a release of settings has in the image repository: the settings with the keys of every object in alphabetical order. */
export function settingsText(settings: Settings): string {
  return JSON.stringify(ordered(settings));
}

/** With the keys of every object in alphabetical order: both ends must sign and verify one text, whatever order their JSON has. */
function ordered(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(ordered);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).filter(([, field]) => field !== undefined).sort(([a], [b]) => (a < b ? -1 : 1)).map(([key, field]) => [key, ordered(field)]));
}
