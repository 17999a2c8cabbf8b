/**
 * Watches the package that runs within its probation: failures, time, what the gates miss, and heat. Everything is counted from the switch on, by the
 * monotonic clock. Crashes and hangs end the process, so the machine counts them at the next start (machine.ts).
 */
import { medianOf } from '../../runtime/percentile.js';
import type { AgentErrorCode, CodedError } from '../errors.js';
import type { ProcessedFrame, Running } from '../ground/frames.js';
import { COLD_FRAMES } from '../ground/frames.js';
import type { UpdateRules } from '../ground/update-rules.js';

/** With fewer frames than this, neither failures nor times are judged. */
const FRAMES_FROM = 20;
/** Only this many of the newest frames count. */
const KEPT_FRAMES = 100;

export class ProbationWatch {
  readonly running: Running;
  readonly #rules: () => Pick<UpdateRules, 'gate' | 'probation'>;
  /** The last frames, newest last: milliseconds of a frame that ran in full, or NaN for one that failed. */
  readonly #frames: number[] = [];
  #failed = 0;
  /** Whether heat has slowed the processor down without a break since before the switch; null before the first look. */
  #hotBefore: boolean | null = null;
  #hotSinceMs: number | null = null;

  constructor(running: Running, rules: () => Pick<UpdateRules, 'gate' | 'probation'>) {
    this.running = running;
    this.#rules = rules;
  }

  /** Adds a frame. @returns the error of the rule that is broken now; null when none is */
  frame({ result, running }: ProcessedFrame): CodedError | null {
    if (result.exit === 'full' && running.frames > COLD_FRAMES) this.#note(result.totalMs);
    return this.#brokenByTime() ?? this.#brokenByGates();
  }

  failed(): CodedError | null {
    this.#note(NaN);
    const { error_share: most } = this.#rules().probation;
    const share = this.#failed / this.#frames.length;
    if (this.#frames.length < FRAMES_FROM || share <= most) return null;
    return broken('E_OTA_PROBATION_ERRORS', `${this.#failed} of the last ${this.#frames.length} frames failed, and at most ${percent(most)} may (update.probation.error_share)`);
  }

  /** Adds a look at the heat. @param hot whether heat slows the processor down now */
  heat(hot: boolean, nowMs: number): CodedError | null {
    this.#hotBefore ??= hot;
    if (!hot) this.#hotBefore = false;
    this.#hotSinceMs = hot ? this.#hotSinceMs ?? nowMs : null;
    const { throttled_ms: most } = this.#rules().probation;
    // If the machine was hot already before the switch, its heat proves nothing about the package.
    if (this.#hotBefore || this.#hotSinceMs === null || nowMs - this.#hotSinceMs < most) return null;
    return broken('E_OTA_PROBATION_HEAT', `Heat has slowed the processor down for ${Math.round(nowMs - this.#hotSinceMs)} ms, and not before the switch (update.probation.throttled_ms)`);
  }

  #note(ms: number): void {
    this.#frames.push(ms);
    if (Number.isNaN(ms)) this.#failed += 1;
    if (this.#frames.length > KEPT_FRAMES && Number.isNaN(this.#frames.shift())) this.#failed -= 1;
  }

  #brokenByTime(): CodedError | null {
    const { gate, probation } = this.#rules();
    const budget = Math.min(this.running.model.budget?.p99_ms ?? Infinity, gate.p99_ms ?? Infinity);
    const times = this.#frames.filter((ms) => !Number.isNaN(ms));
    const most = budget * probation.latency_ratio;
    if (times.length < FRAMES_FROM || !Number.isFinite(most)) return null;
    const median = medianOf(times) ?? 0;
    return median <= most ? null : broken('E_OTA_PROBATION_LATENCY', `The median of the last ${times.length} frames is ${median.toFixed(1)} ms, and at most ${most} ms are allowed (update.probation.latency_ratio)`);
  }

  /** Judges by the lower bound of the miss rate, so that a few audits decide only in clear cases. */
  #brokenByGates(): CodedError | null {
    const gates = this.running.model.pipeline.gates;
    const { miss_rate: most } = this.#rules().probation;
    if (gates === undefined || (gates.strictness !== 'off' && !(gates.missRate.lower > most))) return null;
    const what = gates.strictness === 'off' ? 'had to be switched off' : `miss at least ${percent(gates.missRate.lower)} of what is new in the frames that they stop, and may miss ${percent(most)}`;
    return broken('E_OTA_PROBATION_AUDIT', `The gates of the package ${what}: ${gates.misses} of ${gates.audits} audits (update.probation.miss_rate)`);
  }
}

function broken(code: AgentErrorCode, message: string): CodedError {
  return { code, message };
}

const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;
