/**
 * The shell around the deployment machine: one event at a time, journal first, effects after. Effects that take long
 * (download, hash, warming) run beside and answer with events; effects on the running pipeline run in order, in one chain.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_BLOCK_BYTES, type DesiredPackage, type Settings } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import type { Model } from '../inference/ports.js';
import type { Clock } from '../platform/clock.js';
import type { RunEnd } from '../platform/last-run.js';
import type { Log } from '../platform/log.js';
import { Download, type BlockLink, type DownloadOptions } from './download.js';
import { blamesPackage, blaming, failure, openInTime } from './failure.js';
import { passGate, type GateReport } from './gate.js';
import { DesiredInbox } from './inbox.js';
import { initialOtaState, isBusy, stepOta, type Candidate, type OtaEffect, type OtaEvent, type OtaLimits, type OtaState, type Slot } from './machine.js';
import type { PipelineJournal } from './pipeline-journal.js';
import type { PointerFile } from './pointer-file.js';
import { reconcile } from './recovery.js';
import type { PackageStore, StoredPackage } from './store.js';
import { encodePointer, pointerOf } from './stored-state.js';

/** The running pipeline, as the manager moves it. */
export interface ModelHost {
  open(path: string): Promise<Model>;
  /** What the package calls itself, without opening its models. */
  describe(path: string): Promise<{ name: string; version: string }>;
  /** Opens and tests a package in a process of its own; see `RuntimePort.testCandidate`. */
  test(path: string, signal: AbortSignal): Promise<GateReport>;
  /** Puts a model (or none) in place between two frames, then closes the old one. */
  switchTo(model: Model | null, slot: Slot | null): Promise<void>;
}

export interface OtaOptions extends DownloadOptions {
  maxPackageBytes: number;
  /** For the daemon itself to open a package that passed its test. */
  openTimeoutMs: number;
  /** Between attempts to write the journal on a full disk. */
  journalRetryMs: number;
  limits: OtaLimits;
}

export type Announcement = Extract<OtaEffect, { type: 'announce' }>;

export interface OtaParts {
  journal: PipelineJournal;
  store: PackageStore;
  pointer: Pick<PointerFile, 'read' | 'write' | 'removeAbandoned'>;
  host: ModelHost;
  link: BlockLink;
  clock: Clock;
  log: Log;
  /** How the run before this one ended, and what it was opening. */
  lastRun: { ended: RunEnd; opening: string | null };
  /** The state or the progress changed. */
  onChange: () => void;
  onAnnounce: (announcement: Announcement) => void;
  /** Trouble that is not a rejected package: a journal that cannot be written, a slot that cannot be opened. */
  onFault: (error: CodedError) => void;
  /** The settings of a `desired` that is taken, before its package. */
  onSettings?: (settings: Settings) => void;
  /** The daemon itself opens this package now, or (null) is done: if it crashes meanwhile, the next start knows on what. */
  onOpening?: (digest: string | null) => void;
}

/** What of `desired` concerns this device's package and settings. */
export interface Wanted {
  generation: number;
  package: DesiredPackage | null;
  settings?: Settings;
}

const TIME_EVENT_MS = 5000;
/** Each `desired` that is taken costs a durable transaction, so a flood of them is thinned out to this. */
const DESIRED_INTERVAL_MS = 250;

export class OtaManager {
  readonly #parts: OtaParts;
  readonly #options: OtaOptions;
  #state: OtaState = initialOtaState;
  #queue: { event: OtaEvent; done: () => void }[] = [];
  #running = false;
  /** Work on the candidate, by generation; aborted when it is overtaken. */
  #work: { generation: number; abort: AbortController } | null = null;
  /** Resolves when the newest work has ended, and with it all before it: each waits for the one before. */
  #worked: Promise<void> = Promise.resolve();
  #download: Download | null = null;
  #warmed: { generation: number; model: Model } | null = null;
  /** Effects on the running pipeline and on the store, in order. */
  #chain: Promise<void> = Promise.resolve();
  /** Resolves when no files are being deleted. */
  #collecting: Promise<void> = Promise.resolve();
  #retry: NodeJS.Timeout | undefined;
  #tick: NodeJS.Timeout | undefined;
  #progress = { done: 0, total: 0 };
  /** How often the slots have changed, over all runs. */
  #sequence = 0;
  /** The pointer file's content, when this run has written it. */
  #written = '';
  /** To be asked again after every event. */
  readonly #atRest: (() => void)[] = [];
  /** Monotonic, since when the active package runs. */
  #activeSinceMs = 0;
  readonly #inbox: DesiredInbox<Wanted>;

  constructor(parts: OtaParts, options: OtaOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#inbox = new DesiredInbox({ intervalMs: DESIRED_INTERVAL_MS, seen: () => this.#state.generation_seen, take: (wanted) => this.#take(wanted) });
  }

  get state(): OtaState {
    return this.#state;
  }

  get progress(): { done: number; total: number } {
    return this.#progress;
  }

  /** Goes on where the journal says, and opens the active package. Resolves when that one runs (or cannot). */
  async start(): Promise<void> {
    const { store, journal, pointer } = this.#parts;
    await store.open();
    const packages = await store.list();
    const { state, sequence, adopt, finding } = reconcile(journal.load(), await pointer.read(), packages.length);
    this.#state = state;
    this.#sequence = sequence;
    if (finding !== null) this.#parts.onFault(finding);
    this.#running = true;
    await pointer.removeAbandoned().catch((error: unknown) => this.#parts.log.warn('files that a kill left cannot be deleted', { ...failure(error) }));
    await this.dispatch({ type: 'booted', ...this.#parts.lastRun, now_ms: this.#parts.clock.nowMs() });
    this.#enqueue(() => this.#writePointer()); // a cut between journal and pointer, and a damaged pointer, end here
    this.#tick = setInterval(() => {
      if (this.#queue.length === 0) void this.dispatch({ type: 'time', up_ms: this.#parts.clock.monotonicMs() - this.#activeSinceMs });
    }, TIME_EVENT_MS);
    this.#tick.unref();
    await this.#settled();
    if (adopt) void this.#adopt(packages);
  }

  /** The slots are unknown, but packages are here: the first that passes the gate runs. What was wanted meanwhile comes first. */
  async #adopt(packages: readonly StoredPackage[]): Promise<void> {
    for (const { digest, sizeBytes } of packages) {
      await this.#untilRest();
      if (!this.#running || this.#state.active !== null) return;
      try {
        await this.#parts.store.verify(digest, sizeBytes);
        await this.#installStored(digest, sizeBytes);
      } catch (error) {
        const { code, message } = failure(error);
        this.#parts.log.warn('a package in the store cannot be adopted', { digest, code, message });
      }
    }
  }

  #untilRest(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!isBusy(this.#state) || !this.#running) return resolve();
        this.#atRest.push(look);
      };
      look();
    });
  }

  /** Ends all work; what was downloaded is kept. The running pipeline is the caller's to close. */
  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    clearInterval(this.#tick);
    clearTimeout(this.#retry);
    for (const { done } of this.#queue.splice(0)) done();
    this.#inbox.stop();
    this.#retireWork();
    await this.#worked;
    await this.#settled();
    await this.#dropWarmed();
    for (const look of this.#atRest.splice(0)) look();
  }

  /** Of a flood only the newest counts. An older generation is ignored, and one that is too far ahead raises the fault E_OTA_GENERATION. */
  desire(wanted: Wanted): void {
    if (!this.#running) return;
    try {
      if (!this.#inbox.receive(wanted)) {
        this.#parts.log.warn('an older generation was ignored', { generation: wanted.generation, seen: this.#state.generation_seen });
      }
    } catch (error) {
      this.#parts.onFault(toCodedError(error));
    }
  }

  #take({ generation, package: wanted, settings }: Wanted): void {
    if (settings !== undefined) this.#parts.onSettings?.(settings);
    const event: OtaEvent = { type: 'desired', generation, package: wanted };
    // While the journal cannot be written events wait; of those that say what is wanted only the newest needs to.
    const waiting = this.#queue.findIndex((entry, i) => i > 0 && entry.event.type === 'desired');
    if (waiting < 0) return void this.dispatch(event);
    this.#queue[waiting]?.done();
    this.#queue[waiting] = { event, done: () => undefined };
  }

  /** A package from this device itself, when there is none yet: through the same gate. @throws AgentError E_OTA_PACKAGE */
  async install(path: string): Promise<void> {
    if (this.#state.active !== null || isBusy(this.#state)) return;
    const { digest, sizeBytes } = await this.#parts.store.import(path);
    await this.#installStored(digest, sizeBytes);
  }

  async #installStored(digest: string, sizeBytes: number): Promise<void> {
    const { name, version } = await blaming(this.#parts.host.describe(this.#parts.store.path(digest)));
    await this.dispatch({ type: 'install', package: { name, version, digest, size_bytes: sizeBytes, block_bytes: DEFAULT_BLOCK_BYTES } });
  }

  receiveBlock(digest8: string, index: number, message: Uint8Array): void {
    if (this.#download?.candidate.digest.startsWith(digest8) === true) this.#download.receive(message, index);
  }

  /** The link is back: requests that were on the way are lost. */
  connected(): void {
    this.#download?.resume();
  }

  /** The running package keeps failing. Within its probation that leads back; later it is only a fault. */
  activeFailing(digest: string, error: CodedError): void {
    if (this.#state.probation?.digest !== digest) return;
    void this.dispatch({ type: 'active_failed', digest, error: { code: 'E_OTA_PROBATION', message: error.message }, now_ms: this.#parts.clock.nowMs() });
  }

  /** @throws AgentError E_OTA_NO_PREVIOUS */
  async rollback(): Promise<void> {
    if (this.#state.previous === null) throw new AgentError('E_OTA_NO_PREVIOUS', 'There is no previous package to go back to');
    await this.dispatch({ type: 'rollback', now_ms: this.#parts.clock.nowMs() });
    await this.#settled();
  }

  /** Opens the active package again, with new overrides. */
  reload(): void {
    this.#enqueue(async () => {
      const slot = this.#state.active;
      if (slot === null) return;
      await this.#parts.host.switchTo(await this.#parts.host.open(this.#parts.store.path(slot.digest)), slot);
    });
  }

  /** Resolves when the event has been journalled and its effects have been started. */
  dispatch(event: OtaEvent): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((done) => {
      this.#queue.push({ event, done });
      if (this.#queue.length === 1) this.#drain();
    });
  }

  #drain(): void {
    for (let next = this.#queue[0]; next !== undefined && this.#running; next = this.#queue[0]) {
      const { state, effects } = stepOta(this.#state, next.event, this.#options.limits);
      // What a start decides it decides again at the next one: a disk that takes no more must not keep the last model from running.
      if (!this.#save(state, next.event) && next.event.type !== 'booted') return;
      const moved = !samePointer(state, this.#state);
      this.#state = state;
      for (const effect of effects) this.#start(effect);
      if (moved) this.#enqueue(() => this.#writePointer());
      this.#queue.shift();
      next.done();
      for (const look of this.#atRest.splice(0)) look();
    }
  }

  /** A full disk stops decisions, not the device: the event waits and is tried again. */
  #save(state: OtaState, event: OtaEvent): boolean {
    if (state === this.#state) return true;
    const sequence = this.#sequence + (samePointer(state, this.#state) ? 0 : 1);
    try {
      this.#parts.journal.save(state, { event: event.type, timeMs: this.#parts.clock.nowMs(), sequence });
      this.#sequence = sequence;
      this.#parts.log.info('deployment', { phase: state.phase, event: event.type, version: state.candidate?.version, code: state.error?.code });
      queueMicrotask(() => this.#parts.onChange());
      return true;
    } catch (error) {
      this.#parts.onFault(toCodedError(error));
      clearTimeout(this.#retry);
      this.#retry = setTimeout(() => this.#drain(), this.#options.journalRetryMs);
      return false;
    }
  }

  /** The newest state: several changes may have come while earlier effects ran. Without it the journal still knows, so a failure is only a fault. */
  async #writePointer(): Promise<void> {
    const pointer = pointerOf(this.#sequence, this.#state);
    if (encodePointer(pointer) === this.#written) return;
    try {
      await this.#parts.pointer.write(pointer);
      this.#written = encodePointer(pointer);
    } catch (error) {
      this.#parts.onFault(failure(error));
    }
  }

  #start(effect: OtaEffect): void {
    switch (effect.type) {
      case 'check': return this.#perform(effect.candidate, () => this.#check(effect.candidate));
      case 'download': return this.#perform(effect.candidate, (signal) => this.#fetch(effect.candidate, signal));
      case 'verify': return this.#perform(effect.candidate, (signal) => this.#verify(effect.candidate, signal));
      case 'warm': return this.#perform(effect.candidate, (signal) => this.#warm(effect, signal));
      // Running a candidate beside the active one, without acting on it, has its place here; until it measures something it passes.
      case 'shadow': return void this.dispatch({ type: 'shadowed', generation: effect.candidate.generation, now_ms: this.#parts.clock.nowMs() });
      case 'switch': return this.#enqueue(() => this.#switch(effect.candidate));
      case 'activate': return this.#enqueue(() => this.#activate(effect.slot));
      case 'cancel': return this.#cancel(effect.generation);
      case 'collect': return this.#enqueue(() => this.#collect(effect.keep, effect.keep_partial));
      case 'announce': return this.#enqueue(() => { this.#parts.onAnnounce(effect); return Promise.resolve(); });
    }
  }

  /** Work on a candidate; it answers with an event, and a failure is an event too. */
  #perform(candidate: Candidate, work: (signal: AbortSignal) => Promise<OtaEvent>): void {
    this.#retireWork();
    const abort = new AbortController();
    const { generation } = candidate;
    const before = this.#worked; // two downloads of one digest must not share a file
    const run = async (): Promise<void> => {
      await before;
      await this.#collecting;
      try {
        if (!abort.signal.aborted) await this.#answer(await work(abort.signal), abort.signal);
      } catch (error) {
        await this.#answer({ type: 'failed', generation, error: failure(error) }, abort.signal);
      }
    };
    this.#work = { generation, abort };
    this.#worked = run();
  }

  async #answer(event: OtaEvent, signal: AbortSignal): Promise<void> {
    // Not awaited by the work itself: the event may start the next work, which waits for this one.
    if (!signal.aborted) void this.dispatch(event);
    await Promise.resolve();
  }

  #retireWork(): void {
    const work = this.#work;
    if (work === null) return;
    this.#work = null;
    work.abort.abort(new AgentError('E_OTA_SUPERSEDED', 'The work on this package ended before it was done'));
  }

  #cancel(generation: number): void {
    if (this.#work?.generation === generation) this.#retireWork();
    this.#enqueue(() => this.#dropWarmed(generation));
  }

  async #check(candidate: Candidate): Promise<OtaEvent> {
    const { maxPackageBytes } = this.#options;
    if (candidate.size_bytes > maxPackageBytes) {
      throw new AgentError('E_OTA_SIZE', `Expected a package of at most ${maxPackageBytes} bytes but ${candidate.size_bytes} are declared`);
    }
    const present = await this.#parts.store.has(candidate.digest, candidate.size_bytes);
    if (!present) await this.#parts.store.requireSpace(candidate.size_bytes);
    return { type: 'checked', generation: candidate.generation, present };
  }

  async #fetch(candidate: Candidate, signal: AbortSignal): Promise<OtaEvent> {
    const { store, journal, link } = this.#parts;
    const onProgress = (done: number, total: number): void => {
      this.#progress = { done, total };
      this.#parts.onChange();
    };
    const download = await Download.open(candidate, { store, journal, link, onProgress }, this.#options);
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

  /** In a process of its own first; a package that passes there is opened here. */
  async #warm({ candidate, delay_ms: delayMs }: Extract<OtaEffect, { type: 'warm' }>, signal: AbortSignal): Promise<OtaEvent> {
    const { generation, digest } = candidate;
    await sleep(delayMs, undefined, { signal });
    await this.dispatch({ type: 'warming', generation });
    signal.throwIfAborted();
    passGate(candidate, await blaming(this.#parts.host.test(this.#parts.store.path(digest), signal)));
    signal.throwIfAborted();
    const model = await openInTime(this.#open(digest), this.#options.openTimeoutMs, signal);
    await this.#dropWarmed();
    this.#warmed = { generation, model };
    return { type: 'warmed', generation };
  }

  async #open(digest: string): Promise<Model> {
    this.#parts.onOpening?.(digest);
    try {
      return await blaming(this.#parts.host.open(this.#parts.store.path(digest)));
    } finally {
      this.#parts.onOpening?.(null);
    }
  }

  async #switch(candidate: Candidate): Promise<void> {
    const warmed = this.#warmed;
    if (warmed === null || warmed.generation !== candidate.generation) return this.#activate(this.#state.active);
    this.#warmed = null;
    await this.#parts.host.switchTo(warmed.model, this.#state.active);
    this.#activeSinceMs = this.#parts.clock.monotonicMs();
  }

  /** A slot was accepted before; its file is hashed again all the same, flash forgets. */
  async #activate(slot: Slot | null): Promise<void> {
    if (slot === null) return this.#parts.host.switchTo(null, null);
    try {
      await this.#parts.store.verify(slot.digest, slot.size_bytes);
      await this.#parts.host.switchTo(await this.#open(slot.digest), slot);
      this.#activeSinceMs = this.#parts.clock.monotonicMs();
    } catch (cause) {
      const { message } = failure(cause);
      const code = cause instanceof Error && 'code' in cause && cause.code === 'EIO' ? 'E_OTA_HASH' : failure(cause).code; // flash that cannot be read is a damaged file
      // A missing addon or a full memory is no reason to give up an accepted package: it would take the previous one as well.
      if (!blamesPackage(code)) return this.#parts.onFault({ code, message });
      const error = { code: 'E_ACTIVE_UNUSABLE', message: `${slot.name} ${slot.version} cannot run: ${message}` };
      this.#parts.onFault(error);
      void this.dispatch({ type: 'active_failed', digest: slot.digest, error, now_ms: this.#parts.clock.nowMs() });
    }
  }

  /** Deletes what no slot needs. Work that begins meanwhile waits for it: its file would look like one of nobody's. */
  async #collect(keep: string[], keepPartial: string | null): Promise<void> {
    // A candidate may have begun since the effect was decided; it is collected when it comes to rest.
    if (isBusy(this.#state)) return;
    // It may also have become a slot since.
    const slots = [this.#state.active, this.#state.previous].flatMap((slot) => (slot === null ? [] : [slot.digest]));
    const collect = async (): Promise<void> => {
      await this.#writePointer();
      this.#parts.journal.forgetProgressExcept(keepPartial);
      await this.#parts.store.collect([...keep, ...slots], keepPartial);
    };
    const collecting = collect();
    this.#collecting = collecting.catch(() => undefined); // the chain says so
    await collecting;
  }

  async #dropWarmed(generation?: number): Promise<void> {
    const warmed = this.#warmed;
    if (warmed === null || (generation !== undefined && warmed.generation !== generation)) return;
    this.#warmed = null;
    await warmed.model.pipeline.close();
  }

  /** Resolves when the chain is empty, also of what its links added. */
  async #settled(): Promise<void> {
    for (let seen: Promise<void> | null = null; seen !== this.#chain;) {
      seen = this.#chain;
      await seen;
    }
  }

  #enqueue(work: () => Promise<void>): void {
    this.#chain = this.#chain.then(work).catch((error: unknown) => this.#parts.onFault(toCodedError(error)));
  }
}

function samePointer(a: OtaState, b: OtaState): boolean {
  return encodePointer(pointerOf(0, a)) === encodePointer(pointerOf(0, b));
}
