/** Adaptation of a package's thresholds to what this device sees. */
import type { Frame } from '../../runtime/frame.js';
import type { PackageId } from './package.js';

/**
 * `gathering` and `judging` take frames, `tuning` computes; `adapted`: other thresholds are in force; `unchanged`: the package's are, because others
 * would not be better or a rule forbids them; `failed`: the process that adapts ended.
 */
export type AdaptState = 'off' | 'waiting' | 'gathering' | 'tuning' | 'judging' | 'adapted' | 'unchanged' | 'failed';

export interface AdaptReport {
  state: AdaptState;
  /** Why thresholds are unchanged, adaptation failed, or it rests; null otherwise. */
  reason: string | null;
  /** Frames that were taken for it so far. */
  frames: number;
  /** Share of the error of the outputs, by rounding activations, that was won back; mean over the models that were adapted. */
  gain: number | null;
  /** SHA-256 of the overlay in force. */
  overlay: string | null;
  /** Processor time that it took so far, milliseconds. */
  cpu_ms: number;
}

/** What became of an adaptation, for the event that tells it. */
export interface AdaptOutcome {
  action: 'accepted' | 'refused' | 'failed' | 'reverted';
  package: PackageId;
  /** SHA-256 of the overlay that was accepted or deleted. */
  overlay: string | null;
  reason: string | null;
  gain: number | null;
  frames: number;
  cpu_ms: number;
}

/** Processor time of the process for one request, milliseconds. */
interface Cost {
  cpuMs: number;
}

/** A process that adapts a package: frames first, then steps until there is a result, then frames that judge it. */
export interface AdaptCandidate {
  /** Processor time until it was ready. */
  readonly openedCpuMs: number;
  gather(frame: Frame): Promise<Cost>;
  /** One run or two of a model. `tuned` is null while there is more to do; its `reason` is null if there is something to judge. */
  step(): Promise<Cost & { tuned: { reason: string | null; gain: number | null } | null }>;
  judge(frame: Frame): Promise<Cost>;
  /** The overlay, or why there is none. */
  verdict(): Promise<Cost & { reason: string | null; overlay: Uint8Array | null }>;
  /** Ends the process. Idempotent. */
  close(): void;
}
