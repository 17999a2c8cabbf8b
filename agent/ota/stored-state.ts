/** The form of the two copies of a device's decisions on the disk, and how old forms are converted to the present one. Pure. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { chunkListRef, MAX_FREE_GENERATION, MAX_GENERATION_JUMP } from '../contracts/index.js';
import { busyPhases, initialOtaState, isBusy, restPhases, type OtaState } from './state.js';
import type { Slot } from '../ground/package.js';

/** A copy that was read back. `unsound`: there is a copy, but it cannot be believed. */
export type Stored<T> = { kind: 'none' } | { kind: 'unsound'; problem: string } | { kind: 'sound'; value: T };

/** Version 0 was the bare state, without a version number. A change that an older agent would misread must take the next number. */
export const STATE_VERSION = 1;

/** The state, and how often the slots had changed by then; null when a version wrote it that did not count. */
export interface StoredState {
  sequence: number | null;
  state: OtaState;
}

const packageId = { name: z.string(), version: z.string(), digest: z.string(), size_bytes: z.number() };
const slot = z.object({ ...packageId, since_ms: z.number() });
const candidate = z.object({ ...packageId, generation: z.number(), block_bytes: z.number(), chunks: chunkListRef.optional() });
const error = z.object({ code: z.string(), message: z.string() });
const facts = {
  generation_seen: z.number().nullable(),
  generation_applied: z.number().nullable(),
  active: slot.nullable(),
  previous: slot.nullable(),
  probation: z.object({ digest: z.string(), crashes: z.number() }).nullable(),
  tries: z.number(),
};

/** The union of `OtaState`, in which the phase determines which fields may be null. */
function byPhase<T extends z.ZodRawShape>(rest: T) {
  return z.discriminatedUnion('phase', [
    z.object({ ...rest, phase: z.enum(busyPhases), candidate, error: error.nullable() }),
    z.object({ ...rest, phase: z.literal('rejected'), candidate, error }),
    z.object({ ...rest, phase: z.enum(restPhases), candidate: candidate.nullable(), error: error.nullable() }),
  ]);
}

const stateSchema = byPhase({ ...facts, failed_starts: z.number().default(0), warm_crashes: z.number(), interruptions: z.number(), keep_all: z.boolean() });
const envelopeSchema = z.object({ version: z.literal(STATE_VERSION), sequence: z.number().int().nonnegative(), state: stateSchema });
const version0Schema = byPhase(facts);

export function encodeState({ sequence, state }: { sequence: number; state: OtaState }): unknown {
  return { version: STATE_VERSION, sequence, state };
}

/** @param value the value that JSON.parse returned */
export function decodeState(value: unknown): Stored<StoredState> {
  const version = typeof value === 'object' && value !== null && 'version' in value ? value.version : 0;
  if (typeof version === 'number' && version > STATE_VERSION) {
    return { kind: 'unsound', problem: `it has version ${version}, written by a newer agent; this one reads ${STATE_VERSION}` };
  }
  if (version === 0) {
    const old = version0Schema.safeParse(value);
    return old.success ? { kind: 'sound', value: { sequence: null, state: fromVersion0(old.data) } } : unsound(old.error);
  }
  const parsed = envelopeSchema.safeParse(value);
  return parsed.success ? { kind: 'sound', value: { sequence: parsed.data.sequence, state: parsed.data.state } } : unsound(parsed.error);
}

/**
 * Version 0 had no bound on generations. A generation that no publisher can have reached by counting came from a single hostile message, and would
 * disable updates for good. It is forgotten, so that the next honest `desired` counts again.
 */
function fromVersion0(old: z.infer<typeof version0Schema>): OtaState {
  const sane = (generation: number | null): number | null => (generation !== null && generation > MAX_FREE_GENERATION + MAX_GENERATION_JUMP ? null : generation);
  const { failed_starts, warm_crashes, interruptions, keep_all } = initialOtaState;
  const state: OtaState = {
    ...old, failed_starts, warm_crashes, interruptions, keep_all,
    generation_seen: sane(old.generation_seen), generation_applied: sane(old.generation_applied),
    probation: old.probation === null ? null : { digest: old.probation.digest, crashes: 0 },
  };
  if (state.candidate === null || sane(state.candidate.generation) !== null) return state;
  return isBusy(state) ? { ...state, phase: 'idle', candidate: null } : { ...state, candidate: { ...state.candidate, generation: 0 } };
}

/** The second copy of the active pointer. It is a small file beside the journal, and is written after it. */
export interface Pointer {
  sequence: number;
  generation_applied: number | null;
  active: Slot | null;
  previous: Slot | null;
}

const pointerSchema = z.object({
  version: z.literal(STATE_VERSION),
  sequence: z.number().int().nonnegative(),
  generation_applied: z.number().nullable(),
  active: slot.nullable(),
  previous: slot.nullable(),
});

export function pointerOf(sequence: number, { generation_applied, active, previous }: OtaState): Pointer {
  return { sequence, generation_applied, active, previous };
}

/** One line of JSON, and the SHA-256 of that line. */
export function encodePointer(pointer: Pointer): string {
  const line = JSON.stringify({ version: STATE_VERSION, ...pointer });
  return `${line}\n${sha256(line)}\n`;
}

export function decodePointer(text: string): Stored<Pointer> {
  const [line = '', checksum = ''] = text.split('\n');
  if (sha256(line) !== checksum) return { kind: 'unsound', problem: 'its checksum does not match' };
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return { kind: 'unsound', problem: 'it is not JSON' };
  }
  const parsed = pointerSchema.safeParse(value);
  if (!parsed.success) return unsound(parsed.error);
  const { sequence, generation_applied, active, previous } = parsed.data;
  return { kind: 'sound', value: { sequence, generation_applied, active, previous } };
}

function unsound(error: z.ZodError): { kind: 'unsound'; problem: string } {
  const issue = error.issues[0];
  return { kind: 'unsound', problem: `field "${issue?.path.join('.') ?? ''}": ${issue?.message ?? 'invalid'}` };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
