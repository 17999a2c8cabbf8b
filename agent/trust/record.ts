/** Everything that a device remembers of what it has verified, in one record that is saved as a whole. Pure. */
import { z } from 'zod';
import type { TrustedVersions } from './repository.js';

const versionsSchema = z.object({
  online_keys: z.string(), targets_keys: z.string(), timestamp: z.number(), snapshot: z.number(), roles: z.record(z.string(), z.number()), issued_ms: z.number(),
});

const rootSchema = z.object({
  /** SHA-256 of the pinned root from which this record began. If the device is provisioned with another root, a new record begins. */
  pinned_sha256: z.string(),
  /** Text of the newest verified root. */
  root: z.string(),
});

/**
 * Each pipeline keeps versions of its own. Otherwise a message for one pipeline that was published before the message for another would look like a
 * rollback.
 */
const pipelineSchema = z.object({
  image: versionsSchema.nullable(),
  director: versionsSchema.nullable(),
  /** Generation and SHA-256 of the last message that was verified. */
  accepted: z.object({ generation: z.number(), sha256: z.string() }).nullable(),
  /** Release counters of packages that were accepted, by digest. Only those of slots and of the candidate are kept. */
  releases: z.record(z.string(), z.object({ name: z.string(), counter: z.number() })),
  /** Largest release counter that has passed its probation, by the package's name. */
  floors: z.record(z.string(), z.number()),
  /** Largest release counter of settings that were taken, by their name. */
  settings_floors: z.record(z.string(), z.number()).default({}),
});

export const trustRecordSchema = z.object({
  version: z.literal(1),
  image: rootSchema,
  director: rootSchema,
  pipelines: z.record(z.string(), pipelineSchema),
});
export type TrustRecord = z.infer<typeof trustRecordSchema>;
export type PipelineTrust = z.infer<typeof pipelineSchema>;

export const noPipelineTrust: PipelineTrust = { image: null, director: null, accepted: null, releases: {}, floors: {}, settings_floors: {} };

export function pipelineTrust(record: TrustRecord, pipeline: string): PipelineTrust {
  return Object.hasOwn(record.pipelines, pipeline) ? record.pipelines[pipeline] ?? noPipelineTrust : noPipelineTrust;
}

export function withPipeline(record: TrustRecord, pipeline: string, trust: PipelineTrust): TrustRecord {
  return { ...record, pipelines: { ...record.pipelines, [pipeline]: trust } };
}

/** The latest time that a trusted key has signed. */
export function latestSignedMs(record: TrustRecord): number {
  const all: (TrustedVersions | null)[] = Object.values(record.pipelines).flatMap(({ image, director }) => [image, director]);
  return Math.max(0, ...all.map((versions) => versions?.issued_ms ?? 0));
}

/**
 * Handles a package that has passed its probation, or has left its slots. Smaller counters of a proven package's name are refused from now on, and
 * counters of packages without a slot are forgotten.
 */
export function settleReleases(trust: PipelineTrust, { proven, kept }: { proven: string | null; kept: readonly string[] }): PipelineTrust {
  const releases = Object.fromEntries(Object.entries(trust.releases).filter(([digest]) => kept.includes(digest)));
  const release = proven === null ? undefined : trust.releases[proven];
  const floor = release === undefined ? -1 : trust.floors[release.name] ?? -1;
  const floors = release === undefined || release.counter <= floor ? trust.floors : { ...trust.floors, [release.name]: release.counter };
  const same = floors === trust.floors && Object.keys(releases).length === Object.keys(trust.releases).length;
  return same ? trust : { ...trust, releases, floors };
}

/** Smallest counters that may be installed: those that passed their probation, and that of the package that runs now. */
export function floorsWith(trust: PipelineTrust, active: string | null): Record<string, number> {
  const running = active === null ? undefined : trust.releases[active];
  return running === undefined ? trust.floors : { ...trust.floors, [running.name]: Math.max(running.counter, trust.floors[running.name] ?? 0) };
}

/** The smallest counters of settings after these were taken. */
export function withSettings({ settings_floors: floors }: PipelineTrust, taken: { name: string; counter: number } | null): PipelineTrust['settings_floors'] {
  return taken === null ? floors : { ...floors, [taken.name]: taken.counter };
}
