/**
 * Adapts the thresholds of the package that a pipeline runs to what its camera sees. The work is done in a process of its own, one small request at a time,
 * and after each one the process rests until its share of a core is kept. Nothing is in force before golden vectors and findings have been judged.
 */
import { isSound, type Frame } from '../../runtime/frame.js';
import { keepPicture } from '../../runtime/picture-memory.js';
import { messageOf } from '../../runtime/errors.js';
import { looked } from '../../runtime/stages/types.js';
import type { AdaptCandidate, AdaptOutcome, AdaptReport, AdaptState } from '../ground/adapt.js';
import type { ProcessedFrame } from '../ground/frames.js';
import type { Slot } from '../ground/package.js';
import { CandidateError } from '../ground/runtime.js';
import type { Clock } from '../platform/clock.js';
import type { OverlayFiles } from './overlay-files.js';

export interface AdapterLimits {
  /** Share of a core that the process may take, over time. */
  cpuShare: number;
  /** Frames that are gathered, and frames that judge. */
  frames: number;
  judged: number;
  /** Least time between two frames that are taken, milliseconds: frames of one moment say the same. */
  everyMs: number;
}

export interface AdapterParts {
  files: OverlayFiles;
  /** Starts the process; null where this runtime cannot. */
  open: ((digest: string, signal: AbortSignal) => Promise<AdaptCandidate>) | null;
  /** Opens the package again, and exchanges it between two frames. */
  reload(): void;
  /** Why it must rest now: an update, heat, a battery; null: it may go on. */
  rests(): string | null;
  clock: Pick<Clock, 'monotonicMs'>;
  limits: AdapterLimits;
  onChange(): void;
  /** Told when thresholds were accepted, refused or reverted, and when adapting failed. */
  onOutcome(outcome: AdaptOutcome): void;
  /** Milliseconds between two looks whether it may go on. */
  lookMs?: number;
}

/** What of a processed frame tells whether it is wanted. */
interface OfferedFrame extends Pick<ProcessedFrame, 'frame'> {
  result: Pick<ProcessedFrame['result'], 'exit'>;
  running: { slot: Pick<Slot, 'digest'> };
}

/** Why an overlay is deleted that nothing is wrong with. */
const SWITCHED_OFF = 'adaptation is switched off';

const fresh = (state: AdaptState): AdaptReport => ({ state, reason: null, frames: 0, gain: null, overlay: null, cpu_ms: 0 });

export class ThresholdAdapter {
  readonly #parts: AdapterParts;
  #enabled: boolean;
  #slot: Slot | null = null;
  #report: AdaptReport;
  /** Of the work on one package; aborted when another runs, or when it is switched off. */
  #work: AbortController | null = null;
  /** Takes the frame that comes next; null while none is wanted. */
  #take: ((frame: Frame) => void) | null = null;
  #dueMs = 0;
  /** An overlay that was deleted before its package ran: it is told when that runs. */
  #lost: { digest: string; overlay: string; reason: string } | null = null;
  /** Deletes an overlay; what begins waits for it, so that it never takes for stored what is about to go. */
  #reverting: Promise<void> = Promise.resolve();

  constructor(enabled: boolean, parts: AdapterParts) {
    this.#parts = parts;
    this.#enabled = enabled && parts.open !== null;
    this.#report = fresh(this.#enabled ? 'waiting' : 'off');
  }

  get report(): AdaptReport {
    const rests = this.#work === null ? null : this.#parts.rests();
    return rests === null ? this.#report : { ...this.#report, reason: `rests: ${rests}` };
  }

  /**
   * Opens a package with the thresholds that were adapted for it, if they are in force. An overlay that does not fit is deleted, and the package is opened as it is.
   * @throws what `open` throws without an overlay
   */
  async open<T>(digest: string | null, open: (overlay: Uint8Array | undefined) => Promise<T>): Promise<T> {
    if (digest === null) return open(undefined);
    if (!this.#enabled) this.#dropped(digest, await this.#parts.files.remove(digest).catch(() => null), SWITCHED_OFF);
    const stored = this.#enabled ? await this.#parts.files.read(digest).catch(() => null) : null;
    if (stored === null) return open(undefined);
    try {
      return await open(stored.bytes);
    } catch (error) {
      // Whatever it was: with the package's own thresholds it is an error of the package, and without one the overlay was the reason.
      await this.#parts.files.remove(digest).catch(() => null);
      const opened = await open(undefined);
      const reason = `the package could not be opened with the adapted thresholds: ${messageOf(error)}`.slice(0, 1000);
      if (this.#slot?.digest === digest) this.#set({ state: 'failed', overlay: null, gain: null, reason });
      this.#dropped(digest, stored.hash, reason);
      return opened;
    }
  }

  /** On: begins to adapt the package that runs. Off: the package's own thresholds are in force again between two frames. */
  setEnabled(wanted: boolean): void {
    const enabled = wanted && this.#parts.open !== null;
    if (enabled === this.#enabled) return;
    this.#enabled = enabled;
    const [slot, before] = [this.#slot, this.#report];
    this.#stopWork();
    this.#set(fresh(enabled ? 'waiting' : 'off'));
    if (slot === null) return;
    if (enabled) void this.#begin(slot);
    else this.#reverting = this.#revert(slot, before);
  }

  /** Told of the package that runs from now on; null: none, or one that is never adapted. The same one again goes on. */
  switched(slot: Slot | null): void {
    const same = slot !== null && slot.digest === this.#slot?.digest;
    this.#slot = slot;
    const lost = this.#lost;
    if (slot !== null && lost?.digest === slot.digest) this.#dropped(lost.digest, lost.overlay, lost.reason);
    if (same) return;
    this.#stopWork();
    this.#set(fresh(this.#enabled ? 'waiting' : 'off'));
    if (slot !== null && this.#enabled) void this.#begin(slot);
  }

  /** Takes every frame that was processed. Those that nobody wants cost nothing. */
  offer({ frame, result, running }: OfferedFrame): void {
    const take = this.#take;
    if (take === null || isSound(frame) || !looked(result.exit) || running.slot.digest !== this.#slot?.digest || !this.#mayGoOn()) return;
    this.#take = null;
    keepPicture(frame);
    take(frame);
  }

  stop(): void {
    this.#stopWork();
  }

  #stopWork(): void {
    this.#work?.abort(new Error('adaptation ended'));
    this.#work = null;
    this.#take = null;
  }

  /** Deletes the overlay of a package that runs, and opens the package as it is. */
  async #revert(slot: Slot, before: AdaptReport): Promise<void> {
    // A disk that takes nothing keeps the file, but a package is opened without it while adaptation is off.
    const overlay = await this.#parts.files.remove(slot.digest).catch(() => before.overlay);
    if (overlay === null) return;
    this.#tell(slot, 'reverted', { ...before, overlay, reason: SWITCHED_OFF });
    this.#parts.reload();
  }

  /** Tells of an overlay that was deleted when a package was opened: at once if that package runs, or else as soon as it does. */
  #dropped(digest: string, overlay: string | null, reason: string): void {
    if (overlay === null) return;
    const slot = this.#slot;
    this.#lost = slot?.digest === digest ? null : { digest, overlay, reason };
    if (slot?.digest === digest) this.#tell(slot, 'reverted', { ...this.#report, overlay, reason });
  }

  #tell({ name, version, digest, size_bytes }: Slot, action: AdaptOutcome['action'], { overlay, reason, frames, cpu_ms, gain }: AdaptReport): void {
    this.#parts.onOutcome({ action, package: { name, version, digest, size_bytes }, overlay, reason, gain: action === 'accepted' ? gain : null, frames, cpu_ms });
  }

  /** The end of an adaptation: reported, and told. */
  #ended(slot: Slot, action: AdaptOutcome['action'], change: Partial<AdaptReport>): void {
    this.#set(change);
    this.#tell(slot, action, this.#report);
  }

  #mayGoOn(): boolean {
    return this.#parts.clock.monotonicMs() >= this.#dueMs && this.#parts.rests() === null;
  }

  #set(change: Partial<AdaptReport>): void {
    const before = this.#report.state;
    this.#report = { ...this.#report, ...change };
    if (this.#report.state !== before) this.#parts.onChange();
  }

  async #begin(slot: Slot): Promise<void> {
    const work = new AbortController();
    this.#work = work;
    const { signal } = work;
    try {
      await this.#reverting;
      signal.throwIfAborted();
      const stored = await this.#parts.files.read(slot.digest);
      signal.throwIfAborted();
      if (stored !== null) this.#set({ state: 'adapted', overlay: stored.hash });
      else await this.#adapt(slot, signal);
    } catch (error) {
      if (!signal.aborted) this.#ended(slot, 'failed', { state: 'failed', gain: null, reason: `${error instanceof CandidateError ? `${error.code}: ` : ''}${messageOf(error)}`.slice(0, 1000) });
    } finally {
      if (this.#work === work) this.#work = null;
    }
  }

  async #adapt(slot: Slot, signal: AbortSignal): Promise<void> {
    const { open, limits, files, reload } = this.#parts;
    if (open === null) return;
    await this.#rest(signal);
    const child = await open(slot.digest, signal);
    const end = (): void => child.close();
    signal.addEventListener('abort', end, { once: true });
    try {
      this.#spent(child.openedCpuMs, 0);
      this.#set({ state: 'gathering' });
      await this.#frames(limits.frames, (frame) => child.gather(frame), signal);
      this.#set({ state: 'tuning' });
      const tuned = await this.#tune(child, signal);
      if (tuned.reason !== null) return this.#ended(slot, 'refused', { state: 'unchanged', reason: tuned.reason });
      this.#set({ state: 'judging', gain: tuned.gain });
      await this.#frames(limits.judged, (frame) => child.judge(frame), signal);
      await this.#rest(signal);
      const { reason, overlay } = await this.#costing(() => child.verdict());
      signal.throwIfAborted();
      if (overlay === null) return this.#ended(slot, 'refused', { state: 'unchanged', reason, gain: null });
      const hash = await files.write(slot.digest, overlay);
      if (signal.aborted) await files.remove(slot.digest);
      signal.throwIfAborted();
      this.#ended(slot, 'accepted', { state: 'adapted', overlay: hash });
      reload();
    } finally {
      signal.removeEventListener('abort', end);
      child.close();
    }
  }

  async #tune(child: AdaptCandidate, signal: AbortSignal): Promise<{ reason: string | null; gain: number | null }> {
    for (;;) {
      await this.#rest(signal);
      const { tuned } = await this.#costing(() => child.step());
      signal.throwIfAborted();
      if (tuned !== null) return tuned;
    }
  }

  async #frames(count: number, use: (frame: Frame) => Promise<{ cpuMs: number }>, signal: AbortSignal): Promise<void> {
    for (let taken = 0; taken < count; taken++) {
      const frame = await this.#next(signal);
      const startMs = this.#parts.clock.monotonicMs();
      await this.#costing(() => use(frame));
      signal.throwIfAborted();
      this.#dueMs = Math.max(this.#dueMs, startMs + this.#parts.limits.everyMs);
      this.#set({ frames: this.#report.frames + 1 });
    }
  }

  #next(signal: AbortSignal): Promise<Frame> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const abort = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', abort, { once: true });
      this.#take = (frame) => {
        signal.removeEventListener('abort', abort);
        resolve(frame);
      };
    });
  }

  async #costing<T extends { cpuMs: number }>(work: () => Promise<T>): Promise<T> {
    const startMs = this.#parts.clock.monotonicMs();
    const result = await work();
    this.#spent(result.cpuMs, this.#parts.clock.monotonicMs() - startMs);
    return result;
  }

  /** Rests until the processor time is the allowed share of the time since the work began. */
  #spent(cpuMs: number, tookMs: number): void {
    const now = this.#parts.clock.monotonicMs();
    this.#dueMs = Math.max(this.#dueMs, now) + Math.max(0, cpuMs / this.#parts.limits.cpuShare - tookMs);
    this.#report = { ...this.#report, cpu_ms: this.#report.cpu_ms + cpuMs };
  }

  async #rest(signal: AbortSignal): Promise<void> {
    for (;;) {
      signal.throwIfAborted();
      if (this.#mayGoOn()) return;
      await new Promise((resolve) => { setTimeout(resolve, this.#parts.lookMs ?? 1000).unref(); });
    }
  }
}
