/** The daemon: builds its parts, starts them in order, and stops them in the reverse order. Logic lives in the parts. */
import { join } from 'node:path';
import { createApp } from './api/app.js';
import { Metrics } from './api/metrics.js';
import { ApiServer } from './api/server.js';
import { CommandHandler } from './commands/handler.js';
import { commandActions } from './commands/actions.js';
import type { Config } from './config/schema.js';
import { LiveSettings } from './config/settings.js';
import {
  capsSchema, deviceSubscriptions, deviceTopic, encodePayload, otaGetSchema, reportedSchema, statusSchema,
  type DeviceTopic, type OtaGet,
} from './contracts/index.js';
import { applySettings } from './desired.js';
import { EnergyMonitor, findMeters } from './energy/monitor.js';
import { AgentError, toCodedError } from './errors.js';
import { layFoundation, type AgentDeps, type Foundation } from './foundation.js';
import { Health } from './health.js';
import { cameraFaults } from './inference/camera-faults.js';
import { InferenceLoop } from './inference/loop.js';
import { FrameObserver } from './inference/observer.js';
import { PipelineSlot } from './inference/pipeline-slot.js';
import { isLive } from './inference/source.js';
import { Downlink } from './mqtt/downlink.js';
import { MAX_IN_FLIGHT, MqttLink } from './mqtt/link.js';
import { isBusy } from './ota/machine.js';
import { OtaManager, type Announcement } from './ota/manager.js';
import { PointerFile } from './ota/pointer-file.js';
import { PackageStore } from './ota/store.js';
import { OutboxPump } from './outbox/pump.js';
import { systemdServiceManager, type ServiceManager } from './platform/notify.js';
import { startSchedule } from './platform/schedule.js';
import { readPmic } from './platform/vcgencmd.js';
import { buildCaps, describeCompute, readInventory } from './report/caps.js';
import { buildReported } from './report/reported.js';
import { Reporter } from './report/reporter.js';
import { redact } from '../runtime/redact.js';
import { runtimeVersion } from '../runtime/version.js';
import { TelemetryCollector } from './telemetry/collector.js';
import { Recorder } from './telemetry/recorder.js';
import { ThermalMonitor } from './thermal/thermal.js';

const DRAIN_MS = 2000;

export class Agent {
  readonly #f: Foundation;
  readonly #slot = new PipelineSlot();
  readonly #observer: FrameObserver;
  readonly #loop: InferenceLoop;
  readonly #ota: OtaManager;
  readonly #link: MqttLink | null;
  readonly #pump: OutboxPump | null;
  readonly #reporter: Reporter;
  readonly #actions: ReturnType<typeof commandActions>;
  readonly #commands: CommandHandler;
  readonly #metrics: Metrics;
  readonly #api: ApiServer;
  readonly #thermal: ThermalMonitor;
  readonly #service: ServiceManager;
  readonly #energy: EnergyMonitor;
  readonly #collector: TelemetryCollector;
  readonly #startedMs: number;
  readonly #settings: LiveSettings;
  readonly #health: Health;
  #birthSeq = 0;
  #stopped: Promise<void> | null = null;

  private constructor(foundation: Foundation, deps: AgentDeps, parts: { energy: EnergyMonitor; service: ServiceManager }) {
    const f = foundation;
    this.#f = f;
    this.#service = parts.service;
    this.#energy = parts.energy;
    this.#startedMs = f.clock.monotonicMs();
    this.#settings = new LiveSettings(f.config, f.journal);
    this.#thermal = new ThermalMonitor(f.files);
    this.#link = this.#createLink(deps);
    this.#pump = this.#link === null ? null : new OutboxPump(f.outbox, this.#link, f.clock, {
      prefix: this.#topicPrefix(), backfillPerSecond: f.config.outbox.backfill_per_s, maxInFlight: MAX_IN_FLIGHT,
      onFault: (error) => f.faults.raise('outbox', error),
    });
    this.#ota = this.#createOta();
    this.#metrics = this.#createMetrics();
    const recorder = new Recorder(f.config.pipeline.deadline_ms);
    this.#observer = this.#createObserver(recorder);
    this.#collector = new TelemetryCollector({
      recorder, energy: this.#energy, thermal: this.#thermal, counters: f.counters, outbox: f.outbox, files: f.files, clock: f.clock, log: f.log,
      bootId: f.bootId, model: () => this.#runningModel(), refresh: () => this.#refreshCounters(),
      idle: () => this.#slot.running !== null && !isBusy(this.#ota.state),
    }, this.#settings.telemetryIntervalMs);
    this.#loop = this.#createLoop(deps);
    this.#reporter = this.#createReporter();
    f.faults.watch(() => this.#reporter.changed());
    this.#actions = commandActions({ slot: this.#slot, ota: this.#ota, reporter: this.#reporter, log: f.log });
    this.#commands = this.#createCommands();
    this.#health = new Health({ loop: this.#loop, faults: f.faults, service: this.#service, clock: f.clock, onHung: (hung) => this.#noteHung(hung) });
    this.#api = new ApiServer({
      host: f.config.api.host, port: f.config.api.port,
      onUnavailable: (error) => f.faults.raise('agent', toCodedError(error)),
      onListening: () => f.faults.clear('agent', 'E_API_UNAVAILABLE'),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
    });
    this.#registerParts();
  }

  /**
   * Starts everything; resolves when the active package runs (if there is one) and the local API answers. The broker may be away.
   * @throws AgentError E_STATE_LOCKED, E_STATE, E_CONFIG: then nothing stays open
   */
  static async start(config: Config, deps: AgentDeps = {}): Promise<Agent> {
    deps.signal?.throwIfAborted();
    const foundation = layFoundation(config, deps);
    const { lifecycle } = foundation;
    try {
      const meters = await findMeters(foundation.files, { wattsPerCore: config.energy.watts_per_core, readPmic });
      const service = await systemdServiceManager(deps.env ?? process.env, foundation.log);
      const agent = new Agent(foundation, deps, { energy: new EnergyMonitor(meters, foundation.clock), service });
      await unlessAborted(agent.#begin(), deps.signal);
      return agent;
    } catch (error) {
      await lifecycle.stop();
      throw error;
    }
  }

  get config(): Config { return this.#f.config; }
  get bootId(): string { return this.#f.bootId; }

  /** Of the local API; null when it is switched off. */
  get apiUrl(): string | null {
    const { host } = this.#f.config.api;
    return this.#api.port === 0 ? null : `http://${host.includes(':') ? `[${host}]` : host}:${this.#api.port}`;
  }

  /** What `/api/status` shows. */
  status(): Record<string, unknown> {
    const { config, clock, outbox, faults, counters } = this.#f;
    this.#refreshCounters();
    return {
      device_id: config.device_id, fleet: config.fleet, version: runtimeVersion, boot_id: this.bootId,
      uptime_ms: Math.round(clock.monotonicMs() - this.#startedMs),
      camera: { state: this.#loop.camera, input: config.camera.input === null ? null : redact(config.camera.input), frames: this.#loop.frames },
      model: this.#runningModel(),
      broker: this.#link === null ? null : { state: this.#link.state, protocol: this.#link.protocol === 5 ? '5' : '3.1.1', reconnects: this.#link.reconnects, last_error: this.#link.lastError },
      reported: this.#reported(),
      people: this.#observer.people,
      outbox: { ...outbox.usage(), dropped: Object.fromEntries(outbox.dropped), merged: outbox.merged },
      faults: faults.active,
      counters: counters.toRecord(),
    };
  }

  /** Graceful: the last window, what is waiting, goodbye. Idempotent, also while it starts; takes at most 10 s, and never rejects. */
  stop(): Promise<void> {
    this.#stopped ??= this.#f.lifecycle.stop().then(() => this.#f.log.info('stopped'));
    return this.#stopped;
  }

  /** Whoever needs a part comes after it, and so is stopped before it. */
  #registerParts(): void {
    const { lifecycle } = this.#f;
    lifecycle.add({ name: 'pipeline', stop: () => this.#slot.exchange(null, null), stopMs: 1000 });
    lifecycle.add({ name: 'api', stop: () => this.#api.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'link', stop: () => this.#link?.stop(), stopMs: 3000 });
    lifecycle.add({ name: 'reporter', stop: () => this.#reporter.flush().finally(() => this.#reporter.stop()), stopMs: 500 });
    lifecycle.add({ name: 'outbox pump', stop: () => this.#pump?.drain(DRAIN_MS).finally(() => this.#pump?.stop()), stopMs: DRAIN_MS + 500 });
    lifecycle.add({ name: 'commands', stop: () => this.#commands.idle(), stopMs: 1000 });
    lifecycle.add({ name: 'updates', stop: () => this.#ota.stop(), stopMs: 2000 });
    lifecycle.add({ name: 'telemetry', stop: () => this.#collector.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'camera', stop: () => this.#loop.stop(), stopMs: 2000 });
  }

  async #begin(): Promise<void> {
    const { config, log, lifecycle } = this.#f;
    if (config.api.enabled) await this.#api.start(this.#createApp());
    await this.#ota.start();
    if (config.pipeline.package !== undefined) await this.#installLocal(config.pipeline.package);
    if (lifecycle.stopping) return;
    this.#collector.start();
    this.#loop.start();
    this.#pump?.start();
    this.#link?.start();
    const schedule = startSchedule([
      { cron: config.schedule.self_test, run: () => this.#scheduledSelfTest() },
      { cron: config.schedule.retention, run: () => this.#f.outbox.maintain() },
    ], (error) => this.#f.faults.raise('agent', toCodedError(error)));
    lifecycle.add({ name: 'schedule', stop: () => schedule.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'watchdog', stop: () => this.#health.stop() });
    lifecycle.add({ name: 'service manager', stop: () => this.#service.stopping() });
    this.#health.start();
    this.#service.ready(this.#slot.running === null ? 'waiting for a package' : 'running');
    log.info('started', { device_id: config.device_id, api: this.apiUrl, broker: config.broker.url === null ? null : redact(config.broker.url), version: runtimeVersion });
  }

  async #installLocal(path: string): Promise<void> {
    try {
      await this.#ota.install(path);
    } catch (error) {
      this.#f.faults.raise('ota', toCodedError(error));
    }
  }

  #topic(topic: DeviceTopic): string {
    const { fleet, device_id: device } = this.#f.config;
    return deviceTopic({ fleet, device }, topic);
  }

  #topicPrefix(): string {
    return this.#topic({ kind: 'status' }).replace(/\/status$/, '');
  }

  #createLink(deps: AgentDeps): MqttLink | null {
    const { config, clock, faults, log, bootId } = this.#f;
    const { url } = config.broker;
    if (url === null) return null;
    const address = { fleet: config.fleet, device: config.device_id };
    const downlink = new Downlink({
      address, counters: this.#f.counters, faults, clock,
      onDesired: (desired) => this.#ota.desire(desired),
      onCommand: (name, payload) => this.#commands.receive(name, payload),
      onBlock: (digest8, index, message) => this.#ota.receiveBlock(digest8, index, message),
    });
    this.#f.lifecycle.add({ name: 'downlink', stop: () => downlink.stop() });
    return new MqttLink({
      broker: { ...config.broker, url },
      clientId: `sterna-${config.fleet}-${config.device_id}`,
      statusTopic: this.#topic({ kind: 'status' }),
      subscriptions: deviceSubscriptions(address),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
    }, {
      nextBirth: () => this.#nextBirth(),
      status: (state, birthSeq) => encodePayload(statusSchema, {
        schema_version: 1, state, boot_id: bootId, birth_seq: birthSeq, version: runtimeVersion, time_ms: clock.nowMs(), clock_synchronized: clock.synchronized(),
      }),
      onConnected: () => this.#onConnected(),
      onDisconnected: (error) => log.info('the connection to the broker ended', { ...error }),
      onFailed: (error) => { if (error.code !== 'E_BROKER_AWAY') faults.raise('mqtt', error); },
      onMessage: (topic, payload, retained) => downlink.receive(topic, payload, retained),
    }, log);
  }

  /** On a full disk the note is missing, and the watchdog's kill counts as nobody's. */
  #noteHung(hung: boolean): void {
    try {
      this.#f.journal.noteHung(hung);
    } catch (error) {
      this.#f.faults.raise('agent', toCodedError(error));
    }
  }

  /** On a full disk the number grows in memory: a device that cannot write must still be able to say so. */
  #nextBirth(): number {
    try {
      this.#birthSeq = this.#f.journal.nextBirth();
    } catch (error) {
      this.#f.faults.raise('agent', toCodedError(error));
      this.#birthSeq += 1;
    }
    return this.#birthSeq;
  }

  #onConnected(): void {
    for (const code of ['E_BROKER_REFUSED', 'E_BROKER_PROTOCOL', 'E_PACKET_SIZE']) this.#f.faults.clear('mqtt', code);
    this.#ota.connected();
    this.#pump?.connected();
    void this.#reporter.rebirth();
  }

  #createOta(): OtaManager {
    const { config, journal, clock, log, faults } = this.#f;
    const { ota } = config;
    return new OtaManager({
      journal, clock, log, lastRun: this.#f.lastRun,
      store: new PackageStore(join(config.state_dir, 'packages')),
      pointer: new PointerFile(join(config.state_dir, 'slots.json')),
      host: {
        open: (path) => this.#f.runtime.openModel(path, this.#f.gallery, this.#settings.overrides),
        describe: (path) => this.#f.runtime.describePackage(path),
        test: (path, signal) => this.#f.runtime.testCandidate(path, { timeoutMs: ota.warm_timeout_ms, memoryBytes: ota.warm_memory_bytes }, signal),
        switchTo: async (model, slot) => {
          await this.#collector.close(); // latencies of two packages must not mix in one window
          await this.#slot.exchange(model, slot);
          this.#service.status(slot === null ? 'waiting for a package' : `running ${slot.name} ${slot.version}`);
          this.#warnOfForeignGallery();
        },
      },
      link: { isConnected: () => this.#link?.connected ?? false, request: (request) => this.#requestBlocks(request) },
      onChange: () => this.#reporter.changed(),
      onAnnounce: (announcement) => this.#announce(announcement),
      onFault: (error) => faults.raise('ota', error),
      onSettings: (next) => applySettings({ settings: this.#settings, faults, loop: this.#loop, ota: this.#ota, collector: this.#collector, reporter: this.#reporter }, next),
    }, {
      window: ota.window, stallMs: ota.stall_ms, maxStalls: ota.max_stalls, maxPackageBytes: ota.max_package_bytes, openTimeoutMs: ota.warm_timeout_ms, journalRetryMs: 5000,
      limits: { max_tries: 3, max_warm_crashes: 2, retry_base_ms: 1000, max_crashes: ota.max_crashes, probation_ms: ota.probation_ms },
    });
  }

  #requestBlocks(request: OtaGet): void {
    this.#f.counters.add('ota_requests_total');
    // A request that is lost is asked again by the stall timer.
    this.#link?.publish(this.#topic({ kind: 'ota_get' }), encodePayload(otaGetSchema, request), { qos: 1 }).catch(() => undefined);
  }

  #announce({ action, package: subject, previous, error }: Announcement): void {
    this.#f.events.emit({
      type: 'model', action, package: subject, previous, error,
      frames_dropped_by_swap: this.#f.counters.get('frames_dropped_by_swap_total'),
    });
  }

  /** A new embedder cannot recognize faces that another one enrolled: that must not go unnoticed. */
  #warnOfForeignGallery(): void {
    const space = this.#slot.running?.model.pipeline.embeddingSpaceId ?? null;
    const foreign = space === null ? 0 : this.#f.gallery.foreignTo(space);
    if (foreign > 0) {
      this.#f.faults.raise('pipeline', { code: 'E_GALLERY_SPACE', message: `${foreign} enrolled people belong to another embedder and must be enrolled again` }, 'warning');
    } else {
      this.#f.faults.clear('pipeline', 'E_GALLERY_SPACE');
    }
  }

  #createObserver(recorder: Recorder): FrameObserver {
    const { config, counters, events, faults, clock } = this.#f;
    const { appear_frames, unknown_frames, leave_ms } = config.presence;
    return new FrameObserver({
      recorder, metrics: this.#metrics, counters, events, faults, clock,
      presence: { appearFrames: appear_frames, unknownFrames: unknown_frames, leaveMs: leave_ms },
      onFailing: (running, error) => this.#ota.activeFailing(running.slot.digest, error),
    });
  }

  #createLoop(deps: AgentDeps): InferenceLoop {
    const { config, clock, runtime, counters, faults, log } = this.#f;
    const { camera } = config;
    const input = camera.input;
    return new InferenceLoop(this.#slot, clock, {
      input,
      live: input !== null && isLive(input),
      open: (signal) => runtime.openSource({
        input: input ?? '', fps: this.#settings.fps, loop: camera.loop, realtime: camera.realtime, maxSide: camera.max_side, stallMs: camera.stall_ms, signal,
      }),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
    }, {
      onFrame: (processed) => this.#observer.frame(processed),
      onIdleFrame: () => counters.add('frames_without_model_total'),
      onPipelineError: (running, error) => this.#observer.failed(running, error),
      onCamera: cameraFaults({ faults, counters, log, onGone: () => this.#observer.cameraGone() }),
    });
  }

  #createReporter(): Reporter {
    return new Reporter({
      connected: () => this.#link?.connected ?? false,
      publish: async (kind, payload) => this.#link?.publish(this.#topic({ kind }), payload, { qos: 1, retain: true }),
      caps: async () => encodePayload(capsSchema, await this.#caps()),
      reported: () => encodePayload(reportedSchema, this.#reported()),
      onFault: (error) => this.#f.faults.raise('mqtt', error, 'warning'),
    });
  }

  async #caps(): Promise<ReturnType<typeof buildCaps>> {
    const { bootId, clock, config, log } = this.#f;
    return buildCaps({
      bootId, version: runtimeVersion, energy: this.#energy.sources, thermalZones: await this.#thermal.zoneNames(), sensorsInvalid: this.#thermal.faulty,
      limits: { packageBytes: config.ota.max_package_bytes, outboxBytes: config.outbox.max_bytes },
      compute: await describeCompute(log), inventory: await readInventory(log), timeMs: clock.nowMs(), clockSynchronized: clock.synchronized(),
    });
  }

  #reported(): ReturnType<typeof buildReported> {
    const { bootId, clock, faults } = this.#f;
    return buildReported({
      bootId, timeMs: clock.nowMs(), clockSynchronized: clock.synchronized(), ota: this.#ota.state, progress: this.#ota.progress,
      settings: this.#settings.current, faults: faults.active, lastError: faults.last,
    });
  }

  #createCommands(): CommandHandler {
    const { journal, clock, bootId, counters, outbox } = this.#f;
    return new CommandHandler({
      journal, clock, bootId,
      actions: this.#actions,
      answer: (id, payload) => {
        outbox.put({ class: 'critical', topic: `res/${id}`, payload });
        this.#pump?.kick();
      },
      onExecuted: () => counters.add('commands_total'),
    });
  }

  #createMetrics(): Metrics {
    const { counters, outbox } = this.#f;
    return new Metrics({
      counters, refresh: () => this.#refreshCounters(), window: () => this.#collector.latest,
      info: () => ({ version: runtimeVersion, model: this.#slot.running?.slot.name ?? '', model_version: this.#slot.running?.slot.version ?? '' }),
      outbox: () => ({ ...outbox.usage(), dropped: outbox.dropped }),
      connected: () => this.#link?.connected ?? false,
    });
  }

  #createApp(): ReturnType<typeof createApp> {
    const { config, events, gallery, runtime } = this.#f;
    return createApp({
      guard: () => ({ host: config.api.host, port: this.#api.port, allowedOrigins: config.api.allowed_origins }),
      status: () => this.status(),
      health: () => this.#health.check(),
      token: this.#f.token,
      eventsSince: (id) => events.since(id),
      listenEvents: (listener) => events.listen(listener),
      listenTelemetry: (listener) => this.#collector.listen(listener),
      latestTelemetry: () => this.#collector.latest,
      listenFrames: (listener) => this.#observer.listen(listener),
      metrics: () => this.#metrics.text(),
      gallery: () => gallery,
      runtime,
      enrol: async (name, pictures) => {
        const done = await this.#slot.use((running) => runtime.enrol(running.model.pipeline, gallery, name, pictures));
        if (done === null) throw new AgentError('E_NO_MODEL', 'No package is active yet, so nobody can be enrolled');
        return { person_id: done.person.id, name: done.person.name, samples: done.person.samples, pictures: done.pictures, skipped: done.skipped };
      },
      latestFrame: () => this.#loop.latest?.frame ?? null,
    });
  }

  #runningModel(): { name: string; version: string; memoryBytes: number } | null {
    const running = this.#slot.running;
    return running === null ? null : { name: running.slot.name, version: running.slot.version, memoryBytes: running.model.pipeline.memoryBytes };
  }

  #refreshCounters(): void {
    const { counters, outbox } = this.#f;
    counters.set('frames_total', this.#loop.frames);
    counters.set('model_swaps_total', this.#slot.swaps);
    counters.set('mqtt_reconnects_total', this.#link?.reconnects ?? 0);
    counters.set('outbox_merged_total', outbox.merged);
  }

  async #scheduledSelfTest(): Promise<void> {
    const running = this.#slot.running;
    if (running === null) return;
    try {
      await this.#actions['self-test']({});
      for (const code of ['E_OTA_GATE_ACCURACY', 'E_OTA_GATE_LATENCY', 'E_OTA_GATE_MEMORY']) this.#f.faults.clear('pipeline', code);
    } catch (error) {
      const coded = toCodedError(error);
      this.#f.faults.raise('pipeline', coded);
      // Latency is no reason to go back here: the camera's frames ran at the same time.
      if (coded.code === 'E_OTA_GATE_ACCURACY') this.#ota.activeFailing(running.slot.digest, coded);
    }
  }
}

/** Settles as `work` does, or rejects with the signal's reason; what `work` does after that is for the lifecycle to stop. */
async function unlessAborted(work: Promise<void>, signal: AbortSignal | undefined): Promise<void> {
  if (signal === undefined) return work;
  let stopWaiting = (): void => undefined;
  const aborted = new Promise<never>((_resolve, reject) => {
    const onAbort = (): void => reject(signal.reason instanceof Error ? signal.reason : new Error(String(signal.reason)));
    stopWaiting = (): void => signal.removeEventListener('abort', onAbort);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
  await Promise.race([work, aborted]).finally(stopWaiting);
}
