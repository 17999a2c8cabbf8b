/**
 * Runs a candidate on some of the frames that the serving package processes, and compares the two. The serving package never waits for the candidate.
 */
import { isSound } from '../../runtime/frame.js';
import { keepPicture } from '../../runtime/picture-memory.js';
import { addSample, noAgreement } from '../../runtime/stages/agreement.js';
import { looked } from '../../runtime/stages/types.js';
import { AgentError, toCodedError } from '../errors.js';
import type { ProcessedFrame, Running } from '../ground/frames.js';
import type { ShadowReport } from '../ground/package.js';
import { CandidateError } from '../ground/runtime.js';
import type { ShadowCandidate } from '../ground/shadow.js';
import type { UpdateRules } from '../ground/update-rules.js';
import type { Clock } from '../platform/clock.js';
import { comparable } from './agreement.js';
import { judgeShadow, ownMs, reportShadow, type ShadowLimits, type ShadowTally } from './shadow-rules.js';
import { SoundStretch } from './stretch.js';

/** Milliseconds between two checks whether the time is over, and whether there is still something to compare with. */
const LOOK_MS = 250;
/** Medians are computed from at most this many values, so that a comparison of many samples needs no more memory. */
const KEPT_VALUES = 1000;

export interface ShadowParts {
  candidate: ShadowCandidate;
  /** The package that serves, while frames come; null when there is nothing to compare with. */
  serving: () => Running | null;
  rules: Pick<UpdateRules, 'gate' | 'shadow'>;
  clock: Clock;
  onProgress: (report: ShadowReport) => void;
}

/** The report for a candidate that was not compared. */
export function notCompared(note: string): ShadowReport {
  return {
    state: 'skipped', note, samples: 0, samples_wanted: 0, skipped: 0, errors: 0,
    agreement: { boxes: null, identities: null, classes: null }, p50_ms: null, serving_p50_ms: null, joules: null,
  };
}

/** The report when there is nothing to compare the candidate with. */
export const besideNothing = (): ShadowReport => notCompared('no package serves, or nothing comes from its input, so there is nothing to compare with');

/** Why a candidate cannot be given what the serving package gets; null when it can. */
export function differentInput({ sound: wants }: Pick<ShadowCandidate, 'sound'>, { model }: Running): string | null {
  const { sound: has } = model.pipeline;
  if (wants?.rate === has?.rate) return null;
  if (wants === null || has === undefined) return `the package ${wants === null ? 'sees' : 'listens'}, and the serving one does not`;
  return `the package needs sound of ${wants.rate} samples a second, and the serving one gets ${has.rate}`;
}

const noTally = (): ShadowTally => ({ agreement: noAgreement(), samples: 0, skipped: 0, errors: 0, candidateMs: [], servingMs: [], joules: [] });

export class ShadowRun {
  readonly #parts: ShadowParts;
  readonly #startMs: number;
  #serving: Running;
  #limits: ShadowLimits;
  #tally = noTally();
  /** Number of frames since the last one that was taken. */
  #since = 0;
  #busy = false;
  readonly #stretch = new SoundStretch();
  #settle: { resolve: (report: ShadowReport) => void; reject: (error: unknown) => void } | null = null;

  constructor(serving: Running, parts: ShadowParts) {
    this.#parts = parts;
    this.#serving = serving;
    this.#limits = this.#limitsBeside(serving);
    this.#startMs = parts.clock.monotonicMs();
  }

  /**
   * Resolves when the candidate may go on. That includes the case of too few samples, when the rules leave the judgement to the probation.
   * @throws AgentError E_OTA_SHADOW_*, E_OTA_GATE_* when its process ended; the signal's reason
   */
  async run(signal: AbortSignal): Promise<ShadowReport> {
    const abort = (): void => this.#finish(() => { throw signal.reason as Error; });
    const look = setInterval(() => this.#look(), LOOK_MS);
    try {
      const done = new Promise<ShadowReport>((resolve, reject) => { this.#settle = { resolve, reject }; });
      signal.addEventListener('abort', abort, { once: true });
      if (signal.aborted) abort();
      this.#look();
      return await done;
    } finally {
      clearInterval(look);
      signal.removeEventListener('abort', abort);
      this.#parts.candidate.close();
    }
  }

  /** Takes every frame that the serving package has processed. A frame that comes while the candidate is at work is not kept for later. */
  offer({ frame, result, running }: ProcessedFrame): void {
    if (this.#settle === null || running !== this.#serving) return;
    // Sound without a result belongs to what the next one was heard in.
    const heard = isSound(frame) && this.#stretch.add(frame, this.#limits.rules.every);
    if (!looked(result.exit)) return;
    this.#since += 1;
    if (isSound(frame) ? !heard : this.#since < this.#limits.rules.every) return;
    if (this.#busy) {
      this.#tally.skipped += 1;
      return;
    }
    this.#since = 0;
    this.#busy = true;
    if (!isSound(frame)) keepPicture(frame);
    void this.#compare(heard ? this.#stretch.take() : frame, result, this.#shareOfChunk(frame)).finally(() => { this.#busy = false; });
  }

  /** How much longer a chunk of the candidate is than this one of the serving package; 1 for frames. */
  #shareOfChunk(frame: ProcessedFrame['frame']): number {
    const { sound } = this.#parts.candidate;
    return isSound(frame) && sound !== null ? sound.step / frame.samples.length : 1;
  }

  async #compare(frame: ProcessedFrame['frame'], result: ProcessedFrame['result'], share: number): Promise<void> {
    const tally = this.#tally;
    try {
      const sample = await this.#parts.candidate.process(frame);
      const { comparable: which } = this.#limits;
      if (which.findings) tally.agreement = addSample(tally.agreement, result.findings, sample.findings, which);
      tally.samples += 1;
      keep(tally.candidateMs, ownMs(sample));
      keep(tally.joules, sample.joules);
      if (result.exit === 'full') keep(tally.servingMs, result.totalMs * share);
    } catch (error) {
      if (!(error instanceof CandidateError)) return this.#finish(() => { throw error; });
      tally.errors += 1;
    }
    if (tally === this.#tally) this.#look();
  }

  #look(): void {
    if (this.#settle === null) return;
    const { serving, clock, onProgress } = this.#parts;
    const now = serving();
    if (now === null) return this.#finish(besideNothing);
    if (now.slot.digest !== this.#serving.slot.digest) this.#tally = noTally(); // Earlier samples were compared with another package.
    if (now !== this.#serving) {
      this.#limits = this.#limitsBeside(now);
      this.#serving = now;
    }
    const verdict = judgeShadow(this.#tally, this.#limits, clock.monotonicMs() - this.#startMs);
    const report = reportShadow(this.#tally, this.#limits, verdict.state);
    onProgress(report);
    if (verdict.state === 'failed') this.#finish(() => { throw new AgentError(verdict.code, verdict.message); });
    else if (verdict.state !== 'running') this.#finish(() => report);
  }

  #limitsBeside({ model }: Running): ShadowLimits {
    const { candidate, rules } = this.#parts;
    const unknown = { findings: false, identities: false, labels: null, note: 'findings are not compared: the serving package does not say what it finds' };
    return {
      rules: rules.shadow, gate: rules.gate, budget: candidate.budget,
      comparable: model.vocabulary === undefined ? unknown : comparable(model.vocabulary, candidate.vocabulary),
    };
  }

  /** Ends the comparison; later calls do nothing. */
  #finish(outcome: () => ShadowReport): void {
    const settle = this.#settle;
    if (settle === null) return;
    this.#settle = null;
    try {
      settle.resolve(outcome());
    } catch (error) {
      settle.reject(error instanceof Error ? error : new AgentError('E_INTERNAL', toCodedError(error).message));
    }
  }
}

function keep(values: number[], value: number): void {
  values.push(value);
  if (values.length > KEPT_VALUES) values.shift();
}
