/**
 * The shell around the deployment machine. It connects these parts: `decisions.ts` decides and journals, `candidate-work.ts` does what takes long,
 * `active-package.ts` changes the running pipeline. Effects whose order matters go through one chain.
 */
import { DEFAULT_BLOCK_BYTES } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { Chain } from '../ground/chain.js';
import { ActivePackage } from './active-package.js';
import { CandidateWork } from './candidate-work.js';
import { Decisions } from './decisions.js';
import type { DownloadProgress } from './download.js';
import { blaming, failure } from './failure.js';
import { DesiredInbox } from './inbox.js';
import { canGoBack, type OtaEffect } from './machine.js';
import type { OtaOptions, OtaParts, Wanted } from './parts.js';
import { ProbationWatch } from './probation.js';
import { reconcile } from './recovery.js';
import { isBusy, type Candidate, type OtaState } from './state.js';
import type { ProcessedFrame, Running } from '../ground/frames.js';
import type { PackageId, ShadowReport, Slot } from '../ground/package.js';
import type { StoredPackage } from './store.js';
import { Unwritten } from './unwritten.js';

const TIME_EVENT_MS = 5000;
/** Milliseconds between two checks within a probation whether heat slows the processor down. */
const HEAT_MS = 1000;
/** Milliseconds between two reports of a comparison that goes on. */
const SHADOW_REPORT_MS = 2000;
const DESIRED_INTERVAL_MS = 250;

export class OtaManager {
  readonly #parts: OtaParts;
  readonly #decisions: Decisions;
  readonly #work: CandidateWork;
  readonly #active: ActivePackage;
  /** Runs the effects on the running pipeline and on the store, in order. */
  readonly #chain: Chain;
  readonly #inbox: DesiredInbox<Wanted>;
  readonly #options: OtaOptions;
  readonly #unwritten: Unwritten;
  #tick: NodeJS.Timeout | undefined;
  #heat: NodeJS.Timeout | undefined;
  #probation: ProbationWatch | null = null;
  #progress: DownloadProgress | null = null;
  #shadow: { generation: number; report: ShadowReport; toldMs: number } | null = null;

  constructor(parts: OtaParts, options: OtaOptions) {
    this.#parts = parts;
    this.#options = options;
    const { journal, store, link, host, rules, clock, log, onChange, onFault } = parts;
    this.#unwritten = new Unwritten({ retryMs: options.journalRetryMs, onFault, onWritten: () => parts.onWritten?.() });
    this.#chain = new Chain((error) => onFault(failure(error)));
    this.#decisions = new Decisions({
      journal, clock, log, onChange, unwritten: this.#unwritten,
      onDecided: (effects, moved) => {
        for (const effect of effects) this.#start(effect);
        if (moved) this.#chain.add(() => this.#writePointer());
      },
    }, options);
    this.#active = new ActivePackage({
      store, host, clock, onFault,
      onOpening: (digest) => this.#noteOpening(digest),
      onPlaced: () => { this.#probation = null; }, // The probation counts anew from the next frame on.
      onUnusable: (slot, error) => void this.#decisions.dispatch({ type: 'active_failed', digest: slot.digest, error, now_ms: clock.nowMs() }),
    });
    this.#work = new CandidateWork({
      journal, store, link, host, rules, clock,
      dispatch: (event) => this.#decisions.dispatch(event),
      open: (digest) => this.#active.open(digest),
      onShadow: (report) => this.#noteShadow(report),
      onProgress: (progress) => {
        this.#progress = progress;
        onChange();
      },
    }, options);
    this.#inbox = new DesiredInbox({
      intervalMs: options.desiredIntervalMs ?? DESIRED_INTERVAL_MS, retryMs: options.journalRetryMs, seen: () => this.state.generation_seen, take: (wanted) => this.#take(wanted),
      onFailed: (error) => this.#unwritten.failed('desired', error),
    });
  }

  get state(): OtaState {
    return this.#decisions.state;
  }

  /** Whether something could not be written to the disk, and still has to be. */
  get unwritten(): boolean {
    return this.#unwritten.size > 0;
  }

  /** Progress of the last download in this run; null before the first. */
  get progress(): DownloadProgress | null {
    return this.#progress;
  }

  /** How the candidate of the last deployment did beside the serving package; null when it has not been compared yet. */
  get shadow(): ShadowReport | null {
    return this.#shadow !== null && this.#shadow.generation === this.state.candidate?.generation ? this.#shadow.report : null;
  }

  /** Goes on with the journalled step, and opens the active package. Resolves when that package runs, or cannot run. */
  async start(): Promise<void> {
    const { store, journal, pointer, clock } = this.#parts;
    await store.open();
    const packages = await store.list();
    const { state, sequence, adopt, finding } = reconcile(journal.load(), await pointer.read(), packages.length);
    this.#decisions.start(state, sequence, await this.#factory());
    if (finding !== null) this.#parts.onFault(finding);
    await pointer.removeAbandoned().catch((error: unknown) => this.#parts.log.warn('files that a kill left cannot be deleted', { ...failure(error) }));
    await this.#decisions.dispatch({ type: 'booted', ...this.#parts.lastRun, now_ms: clock.nowMs() });
    this.#chain.add(() => this.#writePointer()); // Writing the pointer repairs what a power cut between journal and pointer left, and a damaged pointer.
    this.#tick = setInterval(() => {
      if (this.#decisions.idle) void this.#decisions.dispatch({ type: 'time', up_ms: this.#active.upMs });
    }, TIME_EVENT_MS);
    this.#tick.unref();
    this.#heat = setInterval(() => void this.#lookAtHeat().catch((error: unknown) => this.#parts.log.warn('temperatures cannot be read', { ...failure(error) })), HEAT_MS);
    this.#heat.unref();
    await this.settled();
    if (adopt) void this.#adopt(packages);
  }

  /** Finds the factory package. Without it, the device runs what it has, and a fault says that the last resort is missing. */
  async #factory(): Promise<PackageId | null> {
    const { factory: path } = this.#options;
    if (path === null) return null;
    try {
      const { digest, sizeBytes } = await this.#parts.store.adoptFactory(path);
      return { ...(await this.#parts.host.describe(path)), digest, size_bytes: sizeBytes };
    } catch (error) {
      this.#parts.onFault({ code: 'E_OTA_FACTORY', message: `The factory package ${path} cannot be used: ${failure(error).message}` });
      return null;
    }
  }

  /** When the slots are unknown but there are packages, the first that passes the gate runs. A package that is wanted meanwhile has precedence. */
  async #adopt(packages: readonly StoredPackage[]): Promise<void> {
    for (const { digest, sizeBytes } of packages) {
      await this.#decisions.untilRest();
      if (!this.#decisions.running || this.state.active !== null) return;
      try {
        await this.#parts.store.verify(digest, sizeBytes);
        await this.#installStored(digest, sizeBytes);
      } catch (error) {
        const { code, message } = failure(error);
        this.#parts.log.warn('a package in the store cannot be adopted', { digest, code, message });
      }
    }
  }

  /** Ends all work; what was downloaded is kept. The caller must close the running pipeline. */
  async stop(): Promise<void> {
    if (!this.#decisions.running) return;
    this.#decisions.stop();
    clearInterval(this.#tick);
    clearInterval(this.#heat);
    this.#inbox.stop();
    this.#unwritten.stop();
    this.#work.retire();
    await this.#work.ended();
    await this.settled();
    await this.#work.dropWarmed();
  }

  /**
   * Takes a `desired`. Of many at a time only the newest counts. An older generation is ignored, and one that is too far ahead raises the fault
   * E_OTA_GENERATION.
   */
  desire(wanted: Wanted): void {
    if (!this.#decisions.running) return;
    try {
      if (!this.#inbox.receive(wanted)) {
        this.#parts.log.warn('an older generation was ignored', { generation: wanted.generation, seen: this.state.generation_seen });
      }
    } catch (error) {
      this.#parts.onFault(toCodedError(error));
    }
  }

  #take({ generation, package: wanted, settings }: Wanted): void {
    if (settings !== undefined) this.#parts.onSettings?.(settings);
    this.#unwritten.written('desired');
    this.#decisions.dispatchNewest({ type: 'desired', generation, package: wanted });
  }

  /** Installs a package from this device itself, through the same gate, when there is none yet. @throws AgentError E_OTA_PACKAGE */
  async install(path: string): Promise<void> {
    if (this.state.active !== null || isBusy(this.state)) return;
    const { digest, sizeBytes } = await this.#parts.store.import(path);
    await this.#installStored(digest, sizeBytes);
  }

  async #installStored(digest: string, sizeBytes: number): Promise<void> {
    const { name, version } = await blaming(this.#parts.host.describe(this.#parts.store.path(digest)));
    await this.#decisions.dispatch({ type: 'install', package: { name, version, digest, size_bytes: sizeBytes, block_bytes: DEFAULT_BLOCK_BYTES } });
  }

  /** Takes every frame that the serving package has processed. */
  offer(processed: ProcessedFrame): void {
    this.#work.offer(processed);
    const watch = this.#watch(processed.running);
    if (watch !== null) this.#judge(watch, watch.frame(processed));
  }

  /** Takes notice of a frame on which the serving package failed. */
  frameFailed(running: Running): void {
    const watch = this.#watch(running);
    if (watch !== null) this.#judge(watch, watch.failed());
  }

  /** The watch of the package that runs; null outside of its probation. */
  #watch(running: Running): ProbationWatch | null {
    if (this.state.probation?.digest !== running.slot.digest || this.state.active?.digest !== running.slot.digest) return null;
    if (this.#probation?.running !== running) this.#probation = new ProbationWatch(running, this.#parts.rules);
    return this.#probation;
  }

  #judge({ running: { slot } }: ProbationWatch, error: CodedError | null): void {
    if (error === null || this.state.active?.digest !== slot.digest) return;
    const message = `${slot.name} ${slot.version} broke a rule of its probation: ${error.message}`;
    void this.#decisions.dispatch({ type: 'active_failed', digest: slot.digest, error: { code: error.code, message }, now_ms: this.#parts.clock.nowMs() });
  }

  async #lookAtHeat(): Promise<void> {
    const watch = this.#probation;
    if (watch === null || this.state.probation === null) return;
    const hot = await this.#parts.host.throttled();
    if (watch === this.#probation) this.#judge(watch, watch.heat(hot, this.#parts.clock.monotonicMs()));
  }

  receiveBlock(digest8: string, index: number, message: Uint8Array): void {
    this.#work.receiveBlock(digest8, index, message);
  }

  /** Tells that the link is back. */
  connected(): void {
    this.#work.resumeDownload();
  }

  /** The running package keeps failing. Within its probation the device goes back; later it only raises a fault. */
  activeFailing(digest: string, error: CodedError): void {
    if (this.state.probation?.digest !== digest) return;
    void this.#decisions.dispatch({ type: 'active_failed', digest, error: { code: 'E_OTA_PROBATION', message: error.message }, now_ms: this.#parts.clock.nowMs() });
  }

  /** @throws AgentError E_OTA_NO_PREVIOUS */
  async rollback(): Promise<void> {
    if (!canGoBack(this.state, this.#decisions.limits)) throw new AgentError('E_OTA_NO_PREVIOUS', 'There is no previous package to go back to, and no factory package');
    await this.#decisions.dispatch({ type: 'rollback', now_ms: this.#parts.clock.nowMs() });
    await this.settled();
  }

  /** Resolves when everything that was decided has taken effect. A state is known, and reported, before the package of its slot runs. */
  settled(): Promise<void> {
    return this.#chain.settled();
  }

  /** Opens the active package again, with new overrides. */
  reload(): void {
    this.#chain.add(() => this.#active.reload(this.state.active));
  }

  #start(effect: OtaEffect): void {
    switch (effect.type) {
      case 'check':
      case 'download':
      case 'verify':
      case 'warm':
      case 'shadow': return this.#work.begin(effect);
      case 'switch': return this.#chain.add(() => this.#switch(effect.candidate));
      case 'activate': return this.#chain.add(() => this.#active.activate(effect.slot));
      case 'cancel': {
        this.#work.retire(effect.generation);
        return this.#chain.add(() => this.#work.dropWarmed(effect.generation));
      }
      case 'collect': return this.#chain.add(() => this.#collect(effect.keep, effect.keep_partial));
      case 'announce': return this.#chain.add(() => { this.#parts.onAnnounce(effect); return Promise.resolve(); });
    }
  }

  /** Reports the comparison when its state changes, and at intervals in between. */
  #noteShadow(report: ShadowReport): void {
    const { candidate } = this.state;
    if (candidate === null) return;
    const [before, nowMs] = [this.#shadow, this.#parts.clock.monotonicMs()];
    const tell = before === null || before.generation !== candidate.generation || before.report.state !== report.state || nowMs - before.toldMs >= SHADOW_REPORT_MS;
    this.#shadow = { generation: candidate.generation, report, toldMs: tell ? nowMs : before.toldMs };
    if (tell) this.#parts.onChange();
  }

  async #switch(candidate: Candidate): Promise<void> {
    const model = this.#work.takeWarmed(candidate.generation);
    const slot: Slot | null = this.state.active;
    return model === null ? this.#active.activate(slot) : this.#active.switchTo(model, slot);
  }

  /** Without space on the disk the note is missing, and a crash then counts against no package. */
  #noteOpening(digest: string | null): void {
    try {
      this.#parts.onOpening?.(digest);
      this.#unwritten.written('opening');
    } catch (error) {
      this.#unwritten.failed('opening', error, () => this.#noteOpening(digest));
    }
  }

  /** Deletes files that no slot needs. */
  async #collect(keep: string[], keepPartial: string | null): Promise<void> {
    // A candidate may have begun since this effect was decided. Its files are collected when its deployment has ended.
    if (isBusy(this.state)) return this.#unwritten.written('files');
    // A package may also have become a slot since, or be one for a restart, because the newest state is not on the disk yet.
    const { active, previous } = this.#decisions.pointer;
    const slots = [this.state.active, this.state.previous, active, previous].flatMap((slot) => (slot === null ? [] : [slot.digest]));
    const collect = async (): Promise<void> => {
      await this.#writePointer();
      // On a full disk only the deletion of files makes room, so it does not wait for the journal.
      await this.#parts.store.collect([...keep, ...slots], keepPartial);
      this.#parts.journal.forgetProgressExcept(keepPartial);
    };
    const collecting = collect();
    this.#work.waitFor(collecting);
    try {
      await collecting;
      this.#unwritten.written('files');
    } catch (error) {
      this.#unwritten.failed('files', error, () => this.#chain.add(() => this.#collect(keep, keepPartial)));
    }
  }

  /**
   * Writes the newest state, because several changes may have come while earlier effects ran. If this fails, the journal still holds the state, so
   * the failure only raises a fault, and it is tried again.
   */
  async #writePointer(): Promise<void> {
    try {
      await this.#parts.pointer.write(this.#decisions.pointer);
      this.#unwritten.written('pointer');
    } catch (error) {
      this.#unwritten.failed('pointer', error, () => this.#chain.add(() => this.#writePointer()));
    }
  }
}
