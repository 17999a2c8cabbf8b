/**
 * The state of deployments that the state machine decides on, in the form in which it is journalled. The phase determines which fields a state has.
 */
import type { CodedError } from '../errors.js';
import type { ChunkListRef } from '../contracts/index.js';
import type { PackageId, Slot } from '../ground/package.js';

/** Phases in which a deployment is under way. */
export const busyPhases = ['checking', 'downloading', 'verifying', 'staged', 'warming', 'shadow'] as const;
export type BusyPhase = (typeof busyPhases)[number];

/** Phases in which no deployment is under way. `rejected` is not among them, because it always names a package and a reason. */
export const restPhases = ['idle', 'committed', 'rolled_back'] as const;
export type RestPhase = (typeof restPhases)[number];

/** The phase of a deployment, as `reported` names it. */
export type OtaPhase = BusyPhase | RestPhase | 'rejected';

export interface Candidate extends PackageId {
  generation: number;
  block_bytes: number;
  /** The list of chunks. If absent, the package travels as a whole, in blocks. */
  chunks?: ChunkListRef | undefined;
}

/** The facts that are known in every phase. */
export interface OtaFacts {
  generation_seen: number | null;
  generation_applied: number | null;
  active: Slot | null;
  previous: Slot | null;
  /**
   * While this is set, crashes and failures of the active package make the device go back. It ends when the package has run long enough without a
   * break.
   */
  probation: { digest: string; crashes: number } | null;
  /** How many runs in a row have crashed or hung before the active package had run for `healthy_ms`. */
  failed_starts: number;
  /** How often the candidate's generation was begun again after a failure that may pass (stall, full disk). */
  tries: number;
  /** How often a process crashed by itself while it opened or tested the candidate. This counts against the package. */
  warm_crashes: number;
  /**
   * How often a test was cut off from outside (power, a kill, want of memory). This does not count against the package; it only makes the next try
   * wait longer.
   */
  interruptions: number;
  /** The slots come from the second copy (recovery.ts). Until an update has succeeded, no package is deleted. */
  keep_all: boolean;
}

export interface BusyState extends OtaFacts {
  phase: BusyPhase;
  candidate: Candidate;
  /** Why the candidate's test must be repeated. */
  error: CodedError | null;
}

export interface RejectedState extends OtaFacts {
  phase: 'rejected';
  /** The package of the deployment that was rejected. */
  candidate: Candidate;
  error: CodedError;
}

export interface RestState extends OtaFacts {
  phase: RestPhase;
  /** The package of the last deployment. */
  candidate: Candidate | null;
  /** Why the active package was rolled back. */
  error: CodedError | null;
}

export type OtaState = BusyState | RejectedState | RestState;

export const initialOtaState: RestState = {
  phase: 'idle', candidate: null, error: null, generation_seen: null, generation_applied: null,
  active: null, previous: null, probation: null, failed_starts: 0, tries: 0, warm_crashes: 0, interruptions: 0, keep_all: false,
};

export function isBusy(state: OtaState): state is BusyState {
  return (busyPhases as readonly OtaPhase[]).includes(state.phase);
}
