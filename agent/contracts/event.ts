/** `event/{type}`, up: something happened, once, at a time. The type in the topic and in the payload agree. */
import { z } from 'zod';
import { bootId, codedError, count, epochMs, id, milliseconds, packageRef, schemaVersion, shortText } from './codec.js';

const base = {
  schema_version: schemaVersion,
  /** Unique; if an event is delivered twice (QoS 1), both have the same id. */
  event_id: id,
  boot_id: bootId,
  time_ms: epochMs,
  clock_synchronized: z.boolean(),
  /** True if the message waited in the outbox and describes the past. */
  backfill: z.boolean(),
};

export const frameRef = z.object({
  sequence: count,
  /** Scheduled time of capture. */
  captured_ms: epochMs,
});

/** Somebody came or went, debounced over frames; `person` is null for a face that is nobody's in the gallery. */
export const recognitionSchema = z.object({
  ...base,
  type: z.literal('recognition'),
  action: z.enum(['appeared', 'left']),
  person: z.object({ person_id: count, name: shortText, similarity: z.number().min(-1).max(1) }).nullable(),
  /** x, y, width, height in pixels of the frame. */
  box: z.tuple([z.number(), z.number(), z.number(), z.number()]),
  score: z.number().min(0).max(1),
  frame: frameRef,
  /** Only with `left`: time between the first and the last frame with the person. */
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
  component: z.enum(['camera', 'pipeline', 'ota', 'mqtt', 'outbox', 'config', 'agent']),
  severity: z.enum(['warning', 'error']),
  cleared: z.boolean(),
  error: codedError,
});

/** The running package changed. */
export const modelSchema = z.object({
  ...base,
  type: z.literal('model'),
  action: z.enum(['activated', 'rejected', 'rolled_back']),
  package: packageRef,
  previous: packageRef.nullable(),
  /** Frames lost during the switch. */
  frames_dropped_by_swap: count,
  error: codedError.nullable(),
});

export const eventSchema = z.discriminatedUnion('type', [recognitionSchema, faultSchema, modelSchema]);
export type Event = z.infer<typeof eventSchema>;
export type RecognitionEvent = z.infer<typeof recognitionSchema>;
export type FaultEvent = z.infer<typeof faultSchema>;
export type ModelEvent = z.infer<typeof modelSchema>;
