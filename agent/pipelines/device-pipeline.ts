/**
 * One pipeline of the daemon: its input, the package that it runs, the updates of that package, its settings, faults and figures. Pipelines share the
 * process, the gallery and the connection; nothing that happens to one of them changes another.
 */
import { join } from 'node:path';
import { LiveSettings, updateRules } from '../config/settings.js';
import type { PipelineSpec } from '../config/pipelines.js';
import { DEFAULT_PIPELINE, type Desired, type OtaGet, type Settings } from '../contracts/index.js';
import { AgentError, agentErrorCodes, toCodedError, type CodedError } from '../errors.js';
import type { FaultPort } from '../ground/faults.js';
import type { ThresholdAdapter } from '../adapt/adapter.js';
import type { Foundation } from '../foundation.js';
import { cameraFaults } from '../inference/camera-faults.js';
import type { Turns } from '../inference/engine-turns.js';
import { InferenceLoop, type Medium } from '../inference/loop.js';
import type { ProcessedFrame } from '../ground/frames.js';
import { FrameObserver } from '../inference/observer.js';
import { PipelineSlot } from '../inference/pipeline-slot.js';
import type { AnySample, Model, RunningModel, RuntimePort, SampleSource, SoundRequest } from '../ground/runtime.js';
import { isLive, isSoundInput } from '../inference/source.js';
import { isSound, type Frame } from '../../runtime/frame.js';
import { keepPicture } from '../../runtime/picture-memory.js';
import { RateFault } from '../inference/sound-faults.js';
import { StreamFaults } from '../inference/stream-faults.js';
import { allowanceOf } from '../ota/allowance.js';
import { diskCodes } from '../ota/failure.js';
import { isBusy } from '../ota/state.js';
import { OtaManager } from '../ota/manager.js';
import type { Announcement } from '../ota/parts.js';
import type { PipelineJournal } from '../ota/pipeline-journal.js';
import { PointerFile } from '../ota/pointer-file.js';
import { PackageStore } from '../ota/store.js';
import { cannotBeWritten } from '../platform/database.js';
import { MaintenanceWindows } from '../platform/maintenance.js';
import { EventRecorder } from '../recordings/event-recorder.js';
import type { Recordings } from '../recordings/recordings.js';
import { endForPipeline } from '../platform/last-run.js';
import { createAdapter, restsFor, storedDigest } from './adaptation.js';
import { GalleryPlan } from './gallery-plan.js';
import { VariantSwitch } from './variant-switch.js';
import type { ReportedPipeline } from '../report/reported.js';
import { Counters, pipelineCounterNames, type PipelineCounters } from '../ground/counters.js';
import { Recorder } from '../telemetry/recorder.js';
import { redact } from '../../runtime/redact.js';

/** How sound is cut into chunks: samples a second, and samples in a chunk. */
type SoundCut = Pick<SoundRequest, 'rate' | 'step'>;

/** The functions of the whole device that a pipeline needs. */
export interface PipelineHost {
  isConnected(): boolean;
  /** Sends a request for blocks. */
  request(request: OtaGet): void;
  /** Ends the telemetry window, because latencies of two packages must not mix in one. */
  closeWindow(): Promise<void>;
  /** Called when another package, or none, runs. */
  switched(): void;
  /** Called when the running package, or a variant of it, cannot be what it was. */
  variantsChanged(): void;
  /** Counts a frame for `/metrics`. */
  observe(pipeline: string, processed: ProcessedFrame): void;
  /** Called when what `reported` says of this pipeline has changed. */
  changed(): void;
  settingsChanged(): void;
  /** Whether heat slows the processor down now. */
  throttled(): Promise<boolean>;
}

export interface PipelineOptions {
  runtime: RuntimePort;
  /** The turns on the engine, which all pipelines share. */
  turns: Turns;
  recordings: Recordings;
  host: PipelineHost;
  /** Delays between attempts to open the input; tests give shorter ones. */
  backoff?: { baseMs: number; capMs: number };
  /** Milliseconds between attempts to write on a full disk; tests give less. */
  diskRetryMs?: number;
}

/** How much of the work is done: the factor for the thresholds of the gates, the share of the frames, and the variant of the package. */
export interface Effort {
  gate: number;
  pace: number;
  /** Null: the package's own networks. */
  variant: string | null;
}

export class DevicePipeline {
  readonly name: string;
  readonly input: string;
  /** The kind of input, which follows from the input's name. */
  readonly medium: Medium;
  readonly slot = new PipelineSlot();
  readonly counters: PipelineCounters = new Counters(pipelineCounterNames);
  readonly recorder: Recorder;
  readonly settings: LiveSettings;
  readonly eventRecorder: EventRecorder;
  readonly observer: FrameObserver;
  readonly loop: InferenceLoop;
  readonly ota: OtaManager;
  readonly runtime: RuntimePort;
  readonly #f: Foundation;
  readonly #spec: PipelineSpec;
  readonly #host: PipelineHost;
  readonly #faults: FaultPort;
  readonly #journal: PipelineJournal;
  readonly #retryMs: number;
  readonly #gallery: GalleryPlan;
  readonly #store: PackageStore;
  readonly adapter: ThresholdAdapter;
  readonly #variants: VariantSwitch;
  #effort: Effort = { gate: 1, pace: 1, variant: null };
  /** How the source of sound that is open cuts the sound. */
  #cut: SoundCut = usualCut;
  /** The last `desired` that was refused; null again when one is taken. */
  #refused: (CodedError & { generation: number }) | null = null;
  /** Set while a `desired` waits because the disk takes nothing. */
  #again: NodeJS.Timeout | undefined;

  constructor(foundation: Foundation, spec: PipelineSpec, { runtime, host, turns, recordings, backoff, diskRetryMs = 5000 }: PipelineOptions) {
    this.#retryMs = diskRetryMs;
    this.name = spec.name;
    this.input = spec.input;
    this.medium = isSoundInput(spec.source.input ?? '') ? 'microphone' : 'camera';
    this.runtime = runtime;
    this.#f = foundation;
    this.#spec = spec;
    this.#host = host;
    this.#faults = foundation.faults.of(spec.name);
    this.#journal = foundation.journal.of(spec.name);
    this.settings = new LiveSettings(spec, this.#journal);
    this.recorder = new Recorder(spec.pipeline.deadline_ms);
    this.#gallery = new GalleryPlan({ runtime, gallery: foundation.gallery, pictures: foundation.pictures, slot: this.slot, faults: this.#faults, retryMs: diskRetryMs, onChange: () => host.changed() });
    const folder = join(pipelineFolder(foundation.config.state_dir, spec.name), 'packages');
    this.#store = new PackageStore(folder);
    this.adapter = createAdapter({
      enabled: this.#adapts, config: foundation.config, runtime, store: this.#store, folder, sees: this.medium === 'camera', clock: foundation.clock,
      rests: () => restsFor(this.ota.state, this.#effort), reload: () => this.ota.reload(), onChange: () => host.changed(),
      onOutcome: (outcome) => foundation.events.emit({ type: 'adaptation', pipeline: this.name, ...outcome }),
    });
    this.#variants = new VariantSwitch({ running: () => this.slot.running, faults: this.#faults, changed: () => host.closeWindow(), unusable: () => host.variantsChanged() });
    this.ota = this.#createOta();
    this.eventRecorder = this.#createEventRecorder(recordings);
    this.observer = this.#createObserver();
    this.loop = this.#createLoop(turns, backoff);
  }

  /** Sets how much to do from now on. Packages that are opened later begin with it. */
  setEffort(effort: Effort): void {
    this.#effort = effort;
    this.loop.setPace(effort.pace);
    this.slot.running?.model.pipeline.setGateFactor?.(effort.gate);
    void this.#variants.change(effort.variant);
  }

  /** Cheaper networks of the running package. */
  get variants(): VariantSwitch['usable'] {
    return this.#variants.usable;
  }

  /** Opens the active package; when there is none, it installs that of the configuration. The input is started separately. */
  async start(): Promise<void> {
    await this.ota.start();
    const local = this.#spec.pipeline.package;
    if (local === undefined) return;
    try {
      await this.ota.install(local);
    } catch (error) {
      this.#faults.raise('ota', toCodedError(error));
    }
  }

  /**
   * Takes a `desired` from the broker. Only a verified one is passed on; a refused one is reported, and changes nothing. If the disk takes nothing, the
   * newest `desired` is tried again, because the broker sends it only once in each connection.
   */
  desire(desired: Desired): void {
    clearTimeout(this.#again);
    this.#again = undefined;
    try {
      if (this.#f.trust.accept(this.name, desired, this.ota.state, this.settings.current)) this.ota.desire(desired);
      this.#refused = null;
      for (const code of TRUST_CODES) this.#faults.clear('ota', code);
      this.#clearDiskFaults();
    } catch (error) {
      if (cannotBeWritten(error)) this.#again = setTimeout(() => this.desire(desired), this.#retryMs);
      this.#refused = { generation: desired.generation, ...toCodedError(error) };
      this.#f.counters.add('messages_refused_total');
      const { generation: _, ...coded } = this.#refused;
      this.#faults.raise('ota', coded);
    }
    this.#host.changed();
  }

  /** Ends the updates; what was downloaded is kept. */
  async stopUpdates(): Promise<void> {
    clearTimeout(this.#again);
    this.#gallery.stop();
    this.adapter.stop();
    await this.ota.stop();
  }

  /** The faults of the disk end when nothing waits to be written. */
  #clearDiskFaults(): void {
    if (this.#again !== undefined || this.ota.unwritten) return;
    for (const code of diskCodes) this.#faults.clear('ota', code);
  }

  /** Whether a package runs and no deployment is under way. */
  get resting(): boolean {
    return this.slot.running !== null && !isBusy(this.ota.state);
  }

  model(): RunningModel | null {
    const running = this.slot.running;
    return running === null ? null : { name: running.slot.name, version: running.slot.version, variant: running.model.pipeline.variant ?? null, memoryBytes: running.model.pipeline.memoryBytes, gates: running.model.pipeline.gates };
  }

  /** The newest frame; null before the first one. @throws AgentError E_NO_FRAME when the input is a microphone */
  picture(): Frame | null {
    if (this.medium === 'microphone') throw new AgentError('E_NO_FRAME', `The pipeline ${this.name} listens, so it has no pictures`);
    const frame = this.loop.latest?.frame;
    if (frame === undefined || isSound(frame)) return null;
    keepPicture(frame);
    return frame;
  }

  reported(): ReportedPipeline {
    return { name: this.name, input: this.input, ota: this.ota.state, progress: this.ota.progress, shadow: this.ota.shadow, gallery: this.#gallery.report, adapt: this.adapter.report, settings: this.settings.current, refused: this.#refused };
  }

  /** What `/api/status` shows of this pipeline. */
  status(): Record<string, unknown> {
    const { input } = this.#spec.source;
    this.refreshCounters();
    return {
      name: this.name,
      camera: { name: this.input, state: this.loop.camera, input: input === null ? null : redact(input), frames: this.loop.frames },
      model: this.model(),
      present: this.observer.present,
      rules: this.settings.rules,
      adapt: this.adapter.report,
      records: this.records,
      counters: this.counters.toRecord(),
    };
  }

  /** Copies the totals that other parts keep into the counters. */
  refreshCounters(): void {
    this.counters.set('frames_total', this.loop.frames);
    this.counters.set('model_swaps_total', this.slot.swaps);
  }

  /** Tests golden vectors, latency and memory of the running package, at the configured time. @param test runs the command `test` */
  async scheduledSelfTest(test: () => Promise<unknown>): Promise<void> {
    const running = this.slot.running;
    if (running === null) return;
    try {
      await test();
      for (const code of ['E_OTA_GATE_ACCURACY', 'E_OTA_GATE_LATENCY', 'E_OTA_GATE_MEMORY']) this.#faults.clear('pipeline', code);
    } catch (error) {
      const coded = toCodedError(error);
      this.#faults.raise('pipeline', coded);
      // Slow frames are no reason to go back here, because the camera's frames ran at the same time as the test.
      if (coded.code === 'E_OTA_GATE_ACCURACY') this.ota.activeFailing(running.slot.digest, coded);
    }
  }

  #createOta(): OtaManager {
    const { config, journal, clock, log, lastRun } = this.#f;
    const { ota } = config;
    const folder = pipelineFolder(config.state_dir, this.name);
    return new OtaManager({
      journal: this.#journal, clock, log, lastRun: endForPipeline(lastRun, this.name),
      store: this.#store,
      pointer: new PointerFile(join(folder, 'slots.json')),
      host: {
        open: async (path) => this.#fitting(await this.adapter.open(storedDigest(path), (overlay) => this.runtime.openModel(path, this.#f.gallery, this.settings.overrides, this.settings.rules, overlay))),
        describe: (path) => this.runtime.describePackage(path),
        test: (path, signal) => this.runtime.testCandidate(path, { timeoutMs: ota.warm_timeout_ms, memoryBytes: ota.warm_memory_bytes }, signal),
        shadow: (path, signal) => this.runtime.openShadow(path, { overrides: this.settings.overrides, rules: this.settings.rules, gallery: this.#f.galleryFile },
          { timeoutMs: ota.warm_timeout_ms, memoryBytes: ota.warm_memory_bytes }, signal),
        serving: () => (this.#spec.source.input === null || this.loop.camera === 'ended' ? null : this.slot.running),
        // People of another pipeline's embedder are not counted, because they stay recognized there.
        peopleLost: (space) => this.#f.gallery.foreignTo(space, this.slot.running?.model.pipeline.embeddingSpaceId ?? undefined),
        throttled: () => this.#host.throttled(),
        switchTo: async (model, slot) => {
          await this.#host.closeWindow();
          model?.pipeline.setGateFactor?.(this.#effort.gate);
          await this.slot.exchange(model, slot);
          this.adapter.switched(model === null || slot === null || model.pipeline.sound !== undefined || storedDigest(this.#store.path(slot.digest)) === null ? null : slot);
          this.#cutAgain();
          this.#host.switched();
          this.#host.variantsChanged();
          this.#gallery.begin();
        },
      },
      rules: () => updateRules(ota, this.settings.current),
      link: { isConnected: () => this.#host.isConnected(), request: (request) => this.#request(request) },
      onChange: () => {
        this.#f.trust.settle(this.name, this.ota.state);
        this.#host.changed();
      },
      onAnnounce: (announcement) => this.#announce(announcement),
      onFault: (error) => this.#faults.raise('ota', error),
      onWritten: () => {
        this.#f.trust.settle(this.name, this.ota.state); // It may have failed for the same reason.
        this.#clearDiskFaults();
      },
      onSettings: (next) => this.#applySettings(next),
      onOpening: (digest) => journal.noteOpening(this.name, digest),
    }, {
      window: ota.window, windowBytes: ota.window_bytes, pace: { maxBytesPerS: ota.max_bytes_per_s, minBytesPerS: ota.min_bytes_per_s, slowWindowMs: ota.min_rate_ms },
      allowance: allowanceOf({ maintenance: new MaintenanceWindows(ota.maintenance), metered: { interfaces: ota.metered.interfaces, maxBytes: ota.metered.max_bytes }, now: () => new Date(clock.nowMs()) }),
      web: ota.web, stallMs: ota.stall_ms, maxStalls: ota.max_stalls, maxPackageBytes: ota.max_package_bytes, factory: this.#spec.pipeline.factory ?? null, openTimeoutMs: ota.warm_timeout_ms, journalRetryMs: this.#retryMs,
      limits: { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 1000, max_crashes: ota.max_crashes, probation_ms: ota.probation_ms, max_failed_starts: ota.max_failed_starts, healthy_ms: ota.healthy_ms },
    });
  }

  /** Whether thresholds are adapted to what the camera sees. */
  get #adapts(): boolean {
    return this.settings.current.adapt ?? this.#f.config.adapt.enabled;
  }

  /** Whether pictures of events are kept. The configuration must allow it, and a setting can forbid it. */
  get records(): boolean {
    return this.#f.config.recordings.enabled && (this.settings.current.record ?? true);
  }

  #createEventRecorder(recordings: Recordings): EventRecorder {
    const { snapshot_width: snapshotWidth, clips, clip_before_ms: beforeMs, clip_after_ms: afterMs, clip_fps: fps, clip_width: clipWidth } = this.#f.config.recordings;
    return new EventRecorder({
      pipeline: this.name, camera: this.input,
      store: () => recordings.store,
      enabled: () => this.records,
      encode: (image, options) => this.runtime.encodeJpeg(image, options),
      options: { snapshots: { maxWidth: snapshotWidth }, clips: clips ? { beforeMs, afterMs, fps, maxWidth: clipWidth } : null },
      onFailure: (error) => recordings.failed(error),
      onKept: () => {
        this.counters.add('recordings_total');
        recordings.kept();
      },
    });
  }

  #createObserver(): FrameObserver {
    const { config, events, clock } = this.#f;
    const { appear_frames, unknown_frames, leave_ms } = config.presence;
    return new FrameObserver({
      pipeline: this.name, recorder: this.recorder, counters: this.counters, events, faults: this.#faults, clock,
      recordings: this.eventRecorder,
      observe: (processed) => this.#host.observe(this.name, processed),
      presence: { appearFrames: appear_frames, unknownFrames: unknown_frames, leaveMs: leave_ms },
      onFailing: (running, error) => this.ota.activeFailing(running.slot.digest, error),
    });
  }

  #createLoop(turns: Turns, backoff: PipelineOptions['backoff']): InferenceLoop {
    const { clock, log } = this.#f;
    const stream = new StreamFaults({ faults: this.#faults, counters: this.counters, clock });
    const rate = new RateFault(this.#faults);
    const { input } = this.#spec.source;
    return new InferenceLoop(this.slot, clock, {
      input,
      live: input !== null && isLive(input),
      medium: this.medium,
      open: (signal) => this.#open(signal),
      turns: { name: this.name, of: turns },
      ...(backoff === undefined ? {} : { backoff }),
    }, {
      onArrival: (frame, source) => {
        if (isSound(frame)) rate.note(source.clock ?? null);
        else stream.note(frame, source.broken ?? 0);
      },
      onFrame: (processed) => {
        this.observer.frame(processed);
        // Packages are compared by their own networks, and thresholds are those of them.
        if (processed.result.variant !== undefined) return;
        this.ota.offer(processed);
        this.adapter.offer(processed);
      },
      onPaced: () => this.counters.add('frames_paced_total'),
      onIdleFrame: () => this.counters.add('frames_without_model_total'),
      onPipelineError: (running, error) => {
        this.observer.failed(running, error);
        this.ota.frameFailed(running);
      },
      onCamera: cameraFaults({ medium: this.medium, faults: this.#faults, counters: this.counters, log, onGone: () => {
        rate.gone();
        this.observer.cameraGone();
      } }),
    });
  }

  #open(signal: AbortSignal): SampleSource<AnySample> {
    const { input, loop, realtime, max_side, stall_ms } = this.#spec.source;
    const request = { input: input ?? '', loop, realtime, stallMs: stall_ms, signal };
    if (this.medium === 'camera') return this.runtime.openSource({ ...request, fps: this.settings.fps, maxSide: max_side });
    this.#cut = this.#wantedCut();
    return this.runtime.openSound({ ...request, ...this.#cut });
  }

  /** The cut of sound that the running package needs; without a package, the one that most packages need. */
  #wantedCut(): SoundCut {
    const { rate, step } = this.slot.running?.model.pipeline.sound ?? usualCut;
    return { rate, step };
  }

  /** Opens the source again if the package now needs another rate, or chunks of another length. */
  #cutAgain(): void {
    const { rate, step } = this.#wantedCut();
    if (this.medium === 'microphone' && (rate !== this.#cut.rate || step !== this.#cut.step)) this.loop.restartSource();
  }

  /** Refuses a package for pictures on a microphone, and one for sound on a camera. @throws AgentError E_PACKAGE_MEDIUM; the model is closed then */
  async #fitting(model: Model): Promise<Model> {
    const { pipeline } = model;
    const listens = pipeline.sound !== undefined;
    if (this.#spec.source.input === null || listens === (this.medium === 'microphone')) return model;
    const message = `Expected a package that ${listens ? 'sees' : 'listens'}, because the input ${this.input} is a ${this.medium}, but ${pipeline.name} ${pipeline.version} ${listens ? 'listens' : 'sees pictures'}`;
    await pipeline.close();
    throw new AgentError('E_PACKAGE_MEDIUM', message);
  }

  #request(request: OtaGet): void {
    this.counters.add('ota_requests_total');
    this.#host.request(request);
  }

  #announce({ action, package: subject, previous, error }: Announcement): void {
    this.#f.events.emit({
      type: 'model', pipeline: this.name, action, package: subject, previous, error,
      frames_dropped_by_swap: this.counters.get('frames_dropped_by_swap_total'),
    });
  }

  /** Keeps the settings of a `desired` that was taken, and opens again whatever they change. @throws AgentError of a disk that takes nothing */
  #applySettings(next: Settings): void {
    const changed = this.settings.apply(next);
    if (changed.source) this.loop.restartSource();
    if (changed.rules) this.slot.running?.model.pipeline.setRules?.(this.settings.rules);
    if (changed.pipeline) this.ota.reload();
    this.adapter.setEnabled(this.#adapts);
    this.#host.settingsChanged();
  }
}

/** 16 kHz, and chunks of a tenth of a second. */
const usualCut: SoundCut = { rate: 16_000, step: 1600 };

const TRUST_CODES = [...Object.keys(agentErrorCodes).filter((code) => code.startsWith('E_TRUST_')), 'E_OTA_GENERATION'];

/** Folder of a pipeline's files. The pipeline with the default name keeps its files where devices with only one pipeline always had them. */
export function pipelineFolder(stateDir: string, name: string): string {
  return name === DEFAULT_PIPELINE ? stateDir : join(stateDir, 'pipelines', name);
}
