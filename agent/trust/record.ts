/** What a device remembers of everything that it has verified: one record, saved as a whole. Pure. */
import { z } from 'zod';
import type { TrustedVersions } from './repository.js';

const versionsSchema = z.object({
  online_keys: z.string(), targets_keys: z.string(), timestamp: z.number(), snapshot: z.number(), roles: z.record(z.string(), z.number()), issued_ms: z.number(),
});

const rootSchema = z.object({
  /** SHA-256 of the pinned root that this record grew from: whoever provisions the device anew begins a new record. */
  pinned_sha256: z.string(),
  /** Text of the newest verified root. */
  root: z.string(),
});

/** Each pipeline is a client of its own: a message that was published before another pipeline's is no rollback. */
const pipelineSchema = z.object({
  image: versionsSchema.nullable(),
  director: versionsSchema.nullable(),
  /** Generation and SHA-256 of the last message that was verified. */
  accepted: z.object({ generation: z.number(), sha256: z.string() }).nullable(),
  /** Release counters of packages that were accepted, by digest; only those of slots and of the candidate are kept. */
  releases: z.record(z.string(), z.object({ name: z.string(), counter: z.number() })),
  /** Largest release counter that has passed its probation, by name of the package. */
  floors: z.record(z.string(), z.number()),
});

export const trustRecordSchema = z.object({
  version: z.literal(1),
  image: rootSchema,
  director: rootSchema,
  pipelines: z.record(z.string(), pipelineSchema),
});
export type TrustRecord = z.infer<typeof trustRecordSchema>;
export type PipelineTrust = z.infer<typeof pipelineSchema>;

export const noPipelineTrust: PipelineTrust = { image: null, director: null, accepted: null, releases: {}, floors: {} };

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

/** A package has passed its probation, or left its slots: smaller counters of its name are refused from now on, and counters of others are forgotten. */
export function settleReleases(trust: PipelineTrust, { proven, kept }: { proven: string | null; kept: readonly string[] }): PipelineTrust {
  const releases = Object.fromEntries(Object.entries(trust.releases).filter(([digest]) => kept.includes(digest)));
  const release = proven === null ? undefined : trust.releases[proven];
  const floor = release === undefined ? -1 : trust.floors[release.name] ?? -1;
  const floors = release === undefined || release.counter <= floor ? trust.floors : { ...trust.floors, [release.name]: release.counter };
  const same = floors === trust.floors && Object.keys(releases).length === Object.keys(trust.releases).length;
  return same ? trust : { ...trust, releases, floors };
}

/** Smallest counters that may be installed: those that are proven, and that of the package that runs now. */
export function floorsWith(trust: PipelineTrust, active: string | null): Record<string, number> {
  const running = active === null ? undefined : trust.releases[active];
  return running === undefined ? trust.floors : { ...trust.floors, [running.name]: Math.max(running.counter, trust.floors[running.name] ?? 0) };
}
