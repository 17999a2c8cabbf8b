/** The state of a roll-out as it is stored: the whole, and a row for each device. */
import { z } from 'zod';
import { packageRef } from '../../agent/contracts/codec.js';

/**
 * `running`: waves open and pass. `paused`: an operator stopped new starts. `halted`: a rule did. `aborting`: devices go back. The others are the end.
 */
export const rolloutPhases = ['running', 'paused', 'halted', 'aborting', 'aborted', 'complete'] as const;
export type RolloutPhase = (typeof rolloutPhases)[number];

/**
 * waiting > asking > asked > proving > succeeded, or failed, superseded, absent; after an abort withdrawing > returning > returned, or kept.
 *
 * `asking`: it is about to be told, `asked`: it was told. `proving`: it runs the package, and its probation goes on. `superseded`: somebody else asked it to run
 * another package. `absent`: away at the timeout. `withdrawing`: it is about to be told that nothing is wanted. `returning`: it shall run its previous package again.
 * `kept`: it could not be made to return.
 */
export const devicePhases = ['waiting', 'asking', 'asked', 'proving', 'succeeded', 'failed', 'superseded', 'absent', 'withdrawing', 'returning', 'returned', 'kept'] as const;
export type DevicePhase = (typeof devicePhases)[number];

const coded = z.object({ code: z.string(), message: z.string() });
export type CodedFailure = z.infer<typeof coded>;

export const deviceSchema = z.object({
  device: z.string(),
  pipeline: z.string(),
  wave: z.number(),
  offset_ms: z.number(),
  phase: z.enum(devicePhases),
  /** When it got this phase. */
  changed_ms: z.number(),
  asked_ms: z.number().nullable(),
  /** Of the `desired` that it is sent. It is noted before, so that a device which is told again after a kill hears the same once more, and takes it once. */
  generation: z.number().nullable(),
  error: coded.nullable(),
  /** What it ran when it was asked. */
  before: packageRef.nullable(),
});
export type RolloutDevice = z.infer<typeof deviceSchema>;

export const haltRules = ['errors', 'success', 'samples', 'unpublishable'] as const;
const haltSchema = z.object({
  /** `errors`: too many failures. `success`: too few can succeed. `samples`: no device gave a result. `unpublishable`: the fleet side cannot sign or state it. */
  rule: z.enum(haltRules),
  wave: z.number(),
  time_ms: z.number(),
  failed: z.number(),
  samples: z.number(),
  /** Failures by their code. */
  codes: z.record(z.string(), z.number()),
  /** The first of them that failed. */
  devices: z.array(coded.extend({ device: z.string() })),
  text: z.string(),
});
export type Halt = z.infer<typeof haltSchema>;

const waveSchema = z.object({
  size: z.number(),
  /** Moved on by pauses, so that the starts keep their distances. */
  opened_ms: z.number().nullable(),
  /** When enough had succeeded. */
  passed_ms: z.number().nullable(),
  counts: z.record(z.enum(devicePhases), z.number()),
  /** Failures that an operator accepted by resuming after a halt. */
  forgiven: z.number(),
  accepted: z.boolean(),
  codes: z.record(z.string(), z.number()),
  failures: z.array(coded.extend({ device: z.string() })),
});
export type WaveState = z.infer<typeof waveSchema>;

export const stateSchema = z.object({
  phase: z.enum(rolloutPhases),
  /** Index of the newest wave that is open. */
  wave: z.number(),
  /** Since when it is paused or halted. */
  stopped_ms: z.number().nullable(),
  aborted_ms: z.number().nullable(),
  halt: haltSchema.nullable(),
  waves: z.array(waveSchema),
});
export type RolloutState = z.infer<typeof stateSchema>;

/** Of these a wave keeps the first. */
export const MAX_FAILURES = 20;

/** @param sizes devices of each wave */
export function newRollout(sizes: readonly number[]): RolloutState {
  return {
    phase: 'running', wave: 0, stopped_ms: null, aborted_ms: null, halt: null,
    waves: sizes.map((size) => ({
      size, opened_ms: null, passed_ms: null, forgiven: 0, accepted: false, codes: {}, failures: [],
      counts: Object.fromEntries(devicePhases.map((phase) => [phase, phase === 'waiting' ? size : 0])) as WaveState['counts'],
    })),
  };
}

export const isFinished = ({ phase }: Pick<RolloutState, 'phase'>): boolean => phase === 'aborted' || phase === 'complete';

export const countOfPhases = ({ counts }: Pick<WaveState, 'counts'>, phases: readonly DevicePhase[]): number => phases.reduce((sum, phase) => sum + counts[phase], 0);

/** A device of these has no result yet. */
export const OPEN: readonly DevicePhase[] = ['waiting', 'asking', 'asked', 'proving'];
/** A device of these was told to run the package, and has to be told otherwise when the roll-out is aborted. */
export const TOUCHED: readonly DevicePhase[] = ['asking', 'asked', 'proving', 'succeeded', 'failed', 'absent'];
/** A device of these waits for work of the fleet side. */
export const WORKING: readonly DevicePhase[] = ['asking', 'withdrawing', 'returning'];
