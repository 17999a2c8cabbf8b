/** `reported`, up, retained: what this device runs, and how the last deployments went. It can never cause a transition. */
import { z } from 'zod';
import { ContractError } from './errors.js';
import { codedError, count, digest, epochMs, id, longText, milliseconds, openSet, packageRef, shortText, stamp } from './codec.js';
import { labelsSchema } from './caps.js';
import { settingsSchema } from './desired.js';
import { MAX_PIPELINES } from './pipeline.js';

const slot = packageRef.extend({ since_ms: epochMs });

const shareOrNull = z.number().min(0).max(1).nullable();

/** How a new package did beside the serving one. Null: nothing to compare, or not measured. */
const shadowReportSchema = z.object({
  /** `undecided`: too few samples, and the rules let it go on. `skipped`: there was nothing to compare with. */
  state: openSet(['running', 'passed', 'undecided', 'failed', 'skipped']),
  /** What was not compared, and why. */
  note: longText.nullable(),
  samples: count,
  samples_wanted: count,
  /** Samples that were left out because the new package was behind. */
  skipped: count,
  errors: count,
  /** Shares of what either package found that both found. */
  agreement: z.object({ boxes: shareOrNull, identities: shareOrNull, classes: shareOrNull }),
  /** Median time for a frame. */
  p50_ms: milliseconds.nullable(),
  serving_p50_ms: milliseconds.nullable(),
  /** Of a frame, modelled from processor time. */
  joules: z.number().nonnegative().nullable(),
});

const pipelineReportSchema = z.object({
  name: id,
  /** Name of the input that it looks at. */
  input: shortText,
  /** Largest generation seen; null before the first. */
  generation_seen: count.nullable(),
  /** Largest generation whose package is running, or that named no package. */
  generation_applied: count.nullable(),
  ota: z.object({
    state: openSet(['idle', 'checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow', 'committed', 'rejected', 'rolled_back']),
    /** The candidate of the current deployment, or of the last one. */
    package: packageRef.nullable(),
    blocks_done: count,
    blocks_total: count,
    /** While a package is downloaded. */
    transfer: z.object({
      /** Of the package: here, and in all. */
      bytes_done: count,
      bytes_total: count,
      /** Of the package, over the network, since the download began or the device started. */
      received_bytes: count,
      /** Over the last ten seconds. */
      bytes_per_s: count,
      /** Null: unknown. */
      eta_s: count.nullable(),
      /** Why nothing is asked for at the moment. */
      waiting: openSet(['publisher', 'bandwidth', 'maintenance', 'metered']).nullable(),
      /** When it looks again. */
      wait_s: count.nullable(),
      /** Who is asked: the publisher, or the web server of the configuration. */
      source: openSet(['mqtt', 'web']).optional(),
      /** Why the web server was given up; null: it was not. */
      web_error: codedError.nullable().optional(),
    }).optional(),
    /** Why the package was rejected or rolled back. */
    error: codedError.nullable(),
    /** How it does beside the serving package, from then on. */
    shadow: shadowReportSchema.nullable().optional(),
  }),
  slots: z.object({ active: slot.nullable(), previous: slot.nullable() }),
  /** True during the time in which crashes make the device return to the previous package. */
  probation: z.boolean(),
  /** What became of people whom another embedder enrolled, by the plan of the package; null or absent: there were none. */
  gallery: z.object({ plan: openSet(['re-embed', 'enroll']), re_embedded: count, to_enroll: count }).nullable().optional(),
  /** Thresholds that are adapted to what this camera sees; absent where they never were. */
  adapt: z.object({
    state: openSet(['waiting', 'gathering', 'tuning', 'judging', 'adapted', 'unchanged', 'failed']),
    /** Why thresholds are unchanged, it failed, or it rests. */
    reason: longText.nullable(),
    /** Frames that it has taken. */
    frames: count,
    /** Share of the error of the outputs, by rounding activations, that was won back. */
    gain: z.number().nullable(),
    /** SHA-256 of the overlay in force. */
    overlay: digest.nullable(),
    /** Processor time that it took, milliseconds. */
    cpu_ms: milliseconds,
  }).nullable().optional(),
  settings: settingsSchema,
  /** The last `desired` that was not taken, for example because its signatures are not trusted; null once another one is taken. */
  refused: codedError.extend({ generation: count }).nullable().optional(),
});
export type PipelineReport = z.infer<typeof pipelineReportSchema>;

export const reportedSchema = z.object({
  ...stamp,
  pipelines: z.array(pipelineReportSchema).max(MAX_PIPELINES),
  /** Whose signatures the device trusts: versions of the two roots. `unsigned` takes any message; `unprovisioned` takes none. */
  trust: z.object({ mode: openSet(['signed', 'unsigned', 'unprovisioned']), image_root: count.nullable(), director_root: count.nullable() }).optional(),
  /** As in `caps`, and signed here: they choose the devices of a roll-out. Absent: an earlier agent. */
  labels: labelsSchema.optional(),
  /** Present faults, at most 32; `pipeline` is null for those of the whole device. */
  faults: z.array(codedError.extend({ component: shortText, pipeline: id.nullable() })).max(32),
  /** Place of this report among those of the device: number of its connection, which only grows, and of the report since the start. */
  order: z.object({ birth_seq: count, seq: count }).optional(),
  /** Latest fault of any component. */
  last_error: codedError.extend({ time_ms: epochMs }).nullable(),
  /** Of everything else in this report, by the key of the device: SHA-256 of the public key in hexadecimal digits, and the signature in base64. Absent: the device has no key. */
  signature: z.object({ key: digest, value: z.string().regex(/^[A-Za-z0-9+/]{1,1368}={0,2}$/) }).optional(),
});
export type Reported = z.infer<typeof reportedSchema>;

/**
 * What a device is, by its signed report where there is one. In an unsigned report, and in `caps`, whoever controls the broker may have written it.
 */
export function labelsOf({ reported, caps }: { reported: Reported | null; caps: { labels?: Record<string, string> | undefined } | null }): Readonly<Record<string, string>> {
  return (reported?.signature === undefined ? undefined : reported.labels) ?? caps?.labels ?? reported?.labels ?? {};
}

export type ReportOrder = NonNullable<Reported['order']>;

/** Whether a report was written before another one of the same device. */
export function isOlder(next: ReportOrder, known: ReportOrder): boolean {
  return next.birth_seq < known.birth_seq || (next.birth_seq === known.birth_seq && next.seq < known.seq);
}

/**
 * A broker cannot present an old report as new. Devices that do not number their reports are believed. Whoever reads reports keeps the signature of those that it
 * has verified, and of no others: what is verified takes the place of anything that is not, which may have been invented with the largest of all numbers.
 * @throws ContractError E_REPORT_REPLAYED
 */
export function requireNewerReport(next: Reported, known: Reported | null): void {
  if (next.signature !== undefined && known?.signature === undefined) return;
  const [now, before] = [next.order, known?.order];
  if (before === undefined || (now === undefined && next.boot_id !== known?.boot_id)) return;
  if (now !== undefined && !isOlder(now, before)) return;
  const said = now === undefined ? 'without a number' : `${now.birth_seq}/${now.seq}`;
  throw new ContractError('E_REPORT_REPLAYED', `A report ${said} came after the report ${before.birth_seq}/${before.seq} of the same device; it is old, or somebody sent it again`);
}
