/** `event/{type}`, up: something happened, once, at a time. The type in the topic and in the payload agree. */
import { z } from 'zod';
import { bootId, codedError, count, digest, epochMs, id, longText, milliseconds, openSet, packageRef, schemaVersion, shortText } from './codec.js';
import { findingSchema } from './finding.js';

const base = {
  schema_version: schemaVersion,
  /** Unique; if an event is delivered twice (QoS 1), both have the same id. */
  event_id: id,
  boot_id: bootId,
  time_ms: epochMs,
  clock_synchronized: z.boolean(),
  /** True if the message waited in the outbox and describes the past. */
  backfill: z.boolean(),
  /** The pipeline that it is about; null: the whole device. */
  pipeline: id.nullable(),
};

export const frameRef = z.object({
  sequence: count,
  /** Scheduled time of capture. */
  captured_ms: epochMs,
  /** How far the pipeline took it. */
  exit: openSet(['pixels', 'features', 'partial', 'full', 'silence', 'late']).optional(),
});

/** Somebody or something came or went, debounced over frames. `identity` of the finding is null for a face that is nobody's in the gallery. */
export const findingEventSchema = z.object({
  ...base,
  type: z.literal('finding'),
  action: openSet(['appeared', 'left']),
  /** The best sight of it so far. */
  finding: findingSchema,
  frame: frameRef,
  /** Only with `left`: time between the first and the last frame with it. */
  visible_ms: milliseconds.optional(),
  stages_ms: z.record(shortText, milliseconds),
  total_ms: milliseconds,
  /** From the scheduled capture to the event. */
  latency_ms: milliseconds,
  model: z.object({ name: shortText, version: shortText }),
});

/** Something is wrong, or (`cleared`) right again. */
export const faultSchema = z.object({
  ...base,
  type: z.literal('fault'),
  component: openSet(['camera', 'microphone', 'pipeline', 'ota', 'mqtt', 'outbox', 'config', 'agent']),
  severity: openSet(['warning', 'error']),
  cleared: z.boolean(),
  error: codedError,
});

/** The running package of a pipeline changed. */
export const modelSchema = z.object({
  ...base,
  type: z.literal('model'),
  action: openSet(['activated', 'rejected', 'rolled_back']),
  package: packageRef,
  previous: packageRef.nullable(),
  /** Frames lost during the switch. */
  frames_dropped_by_swap: count,
  error: codedError.nullable(),
});

/** The governor changed how much the pipelines do. Rung 0 is all of it. */
export const governorSchema = z.object({
  ...base,
  type: z.literal('governor'),
  action: openSet(['lowered', 'raised']),
  /** `variants`: the ladder is another, because another package serves or a variant of it cannot be opened. */
  reason: openSet(['temperature', 'power', 'battery', 'deadline', 'recovered', 'variants']),
  from: count,
  to: count,
  /** Of the ladder. */
  rungs: count,
  /** Factor for the thresholds of the gates. */
  gate_factor: z.number().positive(),
  /** Share of the frames that are processed. */
  pace: z.number().min(0).max(1),
  /** How far down the variants of the packages; 0: their own networks. */
  variant: count.optional(),
  /** What was read; null: no sensor. */
  reading: z.object({
    celsius: z.number().nullable(),
    watts: z.number().nullable(),
    battery_hours: z.number().nonnegative().nullable(),
    /** Share of the frames that missed their deadline. */
    late: z.number().min(0).max(1).nullable(),
  }),
});

/** Thresholds that this device adapted to what its camera sees are in force, are not, or are no longer. */
export const adaptationSchema = z.object({
  ...base,
  type: z.literal('adaptation'),
  /**
   * `accepted`: adapted thresholds are in force; `refused`: the package's stay, because others are not better or a rule forbids them; `failed`: there was no
   * result; `reverted`: the package's are in force again.
   */
  action: openSet(['accepted', 'refused', 'failed', 'reverted']),
  package: packageRef,
  /** SHA-256 of the overlay in force, or with `reverted` of the one that was deleted; null: there is none. */
  overlay: digest.nullable(),
  /** With `accepted`: share of the error of the outputs, by rounding activations, that was won back. */
  gain: z.number().nullable(),
  /** Frames that were taken for it. */
  frames: count,
  /** Processor time that it took, milliseconds. */
  cpu_ms: milliseconds,
  /** Why; null when thresholds were accepted. */
  reason: longText.nullable(),
});

const known = ['finding', 'fault', 'model', 'governor', 'adaptation'] as const;

/** Only in types: any other word, so that comparing `type` with a known one narrows the union. */
type OtherType = `other/${string}`;

/** An event of a newer device: what it shares with all events is checked, and the rest is passed on. */
const otherEventSchema = z.looseObject({
  ...base,
  type: id.refine((type) => !known.some((name) => name === type), { message: 'an event of this type has other fields' }) as z.ZodType<OtherType, string>,
});

export const eventSchema = z.union([z.discriminatedUnion('type', [findingEventSchema, faultSchema, modelSchema, governorSchema, adaptationSchema]), otherEventSchema]);
export type Event = z.infer<typeof eventSchema>;
export type FindingEvent = z.infer<typeof findingEventSchema>;
export type FaultEvent = z.infer<typeof faultSchema>;
export type ModelEvent = z.infer<typeof modelSchema>;
export type GovernorEvent = z.infer<typeof governorSchema>;
export type AdaptationEvent = z.infer<typeof adaptationSchema>;
