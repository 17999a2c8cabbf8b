/**
 * Does the work on a candidate that takes long: look, download, hash, test and open. At most one piece of work is under way, and it answers with an
 * event. When it is overtaken, it is aborted and answers nothing.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentError } from '../errors.js';
import type { ProcessedFrame } from '../ground/frames.js';
import type { ShadowReport } from '../ground/package.js';
import type { Model } from '../ground/runtime.js';
import { faultPoint } from '../platform/fault.js';
import { Download, type DownloadProgress } from './download.js';
import { blaming, failure, openInTime } from './failure.js';
import { passGallery, passGate } from './gate.js';
import type { OtaEffect, OtaEvent } from './machine.js';
import type { OtaOptions, OtaParts } from './parts.js';
import { besideNothing, differentInput, notCompared, ShadowRun } from './shadow.js';
import type { Candidate } from './state.js';

/** The effects that are work on a candidate. */
export type WorkEffect = Extract<OtaEffect, { type: 'check' | 'download' | 'verify' | 'warm' | 'shadow' }>;

export type CandidateWorkParts = Pick<OtaParts, 'journal' | 'store' | 'link' | 'host' | 'rules' | 'clock'> & {
  dispatch: (event: OtaEvent) => Promise<void>;
  /** Opens a package in the daemon itself. */
  open: (digest: string) => Promise<Model>;
  onProgress: (progress: DownloadProgress) => void;
  onShadow: (report: ShadowReport) => void;
};

export class CandidateWork {
  readonly #parts: CandidateWorkParts;
  readonly #options: OtaOptions;
  /** The work under way. It is aborted when other work overtakes it. */
  #work: { generation: number; abort: AbortController } | null = null;
  /** Resolves when the newest work has ended. Each piece of work waits for the one before, so all earlier work has ended then as well. */
  #worked: Promise<void> = Promise.resolve();
  /** Resolves when no files are being deleted. */
  #deleted: Promise<void> = Promise.resolve();
  #download: Download | null = null;
  #shadow: ShadowRun | null = null;
  #warmed: { generation: number; model: Model } | null = null;

  constructor(parts: CandidateWorkParts, options: OtaOptions) {
    this.#parts = parts;
    this.#options = options;
  }

  /** Ends what is under way, and begins this work. If it fails, the failure is answered as an event. */
  begin(effect: WorkEffect): void {
    this.retire();
    const abort = new AbortController();
    const { generation } = effect.candidate;
    const before = this.#worked; // The work before must have ended, because two downloads of one digest must not share a file.
    const run = async (): Promise<void> => {
      await before;
      await this.#deleted;
      try {
        if (!abort.signal.aborted) this.#answer(await this.#perform(effect, abort.signal), abort.signal);
      } catch (error) {
        this.#answer({ type: 'failed', generation, error: failure(error) }, abort.signal);
      }
    };
    this.#work = { generation, abort };
    this.#worked = run();
  }

  /** Aborts the work under way. With a generation, it does so only for work of that generation. */
  retire(generation?: number): void {
    const work = this.#work;
    if (work === null || (generation !== undefined && work.generation !== generation)) return;
    this.#work = null;
    work.abort.abort(new AgentError('E_OTA_SUPERSEDED', 'The work on this package ended before it was done'));
  }

  /** Makes later work wait for this deletion, because a new file would look like one that no slot needs. */
  waitFor(deletion: Promise<void>): void {
    this.#deleted = deletion.catch(() => undefined); // The caller, who deletes, reports the failure.
  }

  /** Resolves when no work is under way. */
  ended(): Promise<void> {
    return this.#worked;
  }

  receiveBlock(digest8: string, index: number, message: Uint8Array): void {
    this.#download?.receive(digest8, index, message);
  }

  /** Takes a frame that the serving package has processed. Some of these frames are given to the candidate as well. */
  offer(processed: ProcessedFrame): void {
    this.#shadow?.offer(processed);
  }

  /** Tells that the link is back, and that requests which were on the way are lost. */
  resumeDownload(): void {
    this.#download?.resume();
  }

  /** The candidate of this generation, which was opened after its tests; null when there is none. From now on the caller must close it. */
  takeWarmed(generation: number): Model | null {
    const warmed = this.#warmed;
    if (warmed === null || warmed.generation !== generation) return null;
    this.#warmed = null;
    return warmed.model;
  }

  /** Closes an opened candidate. With a generation, it does so only for the candidate of that generation. */
  async dropWarmed(generation?: number): Promise<void> {
    const warmed = this.#warmed;
    if (warmed !== null) await this.takeWarmed(generation ?? warmed.generation)?.pipeline.close();
  }

  /** The event is not awaited: it may start the next work, which waits for this one to end. */
  #answer(event: OtaEvent, signal: AbortSignal): void {
    if (!signal.aborted) void this.#parts.dispatch(event);
  }

  #perform(effect: WorkEffect, signal: AbortSignal): Promise<OtaEvent> {
    switch (effect.type) {
      case 'check': return this.#check(effect.candidate);
      case 'download': return this.#fetch(effect.candidate, signal);
      case 'verify': return this.#verify(effect.candidate, signal);
      case 'warm': return this.#warm(effect, signal);
      case 'shadow': return this.#beside(effect.candidate, signal);
    }
  }

  async #check({ generation, digest, size_bytes: sizeBytes }: Candidate): Promise<OtaEvent> {
    const { maxPackageBytes } = this.#options;
    if (sizeBytes > maxPackageBytes) {
      throw new AgentError('E_OTA_SIZE', `Expected a package of at most ${maxPackageBytes} bytes but ${sizeBytes} are declared`);
    }
    const present = await this.#parts.store.has(digest, sizeBytes);
    if (!present) await this.#parts.store.requireSpace(digest, sizeBytes);
    return { type: 'checked', generation, present };
  }

  async #fetch(candidate: Candidate, signal: AbortSignal): Promise<OtaEvent> {
    const { store, journal, link, clock, onProgress } = this.#parts;
    const download = new Download(candidate, { store, journal, link, now: () => clock.monotonicMs(), onProgress }, this.#options);
    this.#download = download;
    try {
      await download.run(signal);
    } finally {
      this.#download = null;
    }
    return { type: 'downloaded', generation: candidate.generation };
  }

  async #verify(candidate: Candidate, signal: AbortSignal): Promise<OtaEvent> {
    await this.#parts.store.verify(candidate.digest, candidate.size_bytes, signal);
    return { type: 'verified', generation: candidate.generation };
  }

  /** Tests the candidate in a process of its own, which is gone afterwards. */
  async #warm({ candidate, delay_ms: delayMs }: Extract<WorkEffect, { type: 'warm' }>, signal: AbortSignal): Promise<OtaEvent> {
    const { generation, digest } = candidate;
    await sleep(delayMs, undefined, { signal });
    await this.#parts.dispatch({ type: 'warming', generation });
    signal.throwIfAborted();
    const report = await blaming(this.#parts.host.test(this.#parts.store.path(digest), signal));
    passGate(candidate, report, this.#parts.rules().gate);
    passGallery(report, report.embedding_space_id === null ? 0 : this.#parts.host.peopleLost(report.embedding_space_id));
    return { type: 'warmed', generation };
  }

  /** Runs the candidate beside the serving package, in a process of its own. Only a candidate that passes there too is opened in the daemon. */
  async #beside({ generation, digest }: Candidate, signal: AbortSignal): Promise<OtaEvent> {
    this.#parts.onShadow(await this.#compare(digest, signal));
    signal.throwIfAborted();
    const model = await openInTime(this.#parts.open(digest), this.#options.openTimeoutMs, signal);
    await this.dropWarmed();
    this.#warmed = { generation, model };
    return { type: 'shadowed', generation, now_ms: this.#parts.clock.nowMs() };
  }

  async #compare(digest: string, signal: AbortSignal): Promise<ShadowReport> {
    const { host, store, rules, clock, onShadow } = this.#parts;
    if (rules().shadow.every === 0) return notCompared('the rules of this device ask for no comparison (update.shadow.every is 0)');
    if (host.serving() === null) return besideNothing();
    faultPoint('shadow.open');
    const candidate = await blaming(host.shadow(store.path(digest), signal));
    const serving = host.serving(); // It may have changed while the candidate was opened.
    try {
      if (serving === null) return notCompared('the serving package ended before the comparison began');
      const different = differentInput(candidate, serving);
      if (different !== null) return notCompared(different);
      this.#shadow = new ShadowRun(serving, { candidate, serving: () => host.serving(), rules: rules(), clock, onProgress: onShadow });
      return await this.#shadow.run(signal);
    } finally {
      this.#shadow = null;
      candidate.close();
    }
  }
}
