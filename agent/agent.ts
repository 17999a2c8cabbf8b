/** The daemon: builds its parts, starts them in order, and stops them in the reverse order. Logic lives in the parts. */
import { createApp } from './api/app.js';
import { Metrics } from './api/metrics.js';
import { ApiServer } from './api/server.js';
import { commandActions } from './commands/actions.js';
import { CommandHandler } from './commands/handler.js';
import { pipelineSpecs, type PipelineSpec } from './config/pipelines.js';
import type { Config } from './config/schema.js';
import { telemetryInterval } from './config/settings.js';
import { Connection, DRAIN_MS } from './connection.js';
import { capsSchema, encodePayload, reportedSchema, type Reported } from './contracts/index.js';
import { batteryHours } from './energy/battery.js';
import { EnergyMonitor, findMeters } from './energy/monitor.js';
import { AgentError, toCodedError } from './errors.js';
import { attempt } from './ground/faults.js';
import { layFoundation, type AgentDeps, type Foundation } from './foundation.js';
import { enrol } from './gallery/enrol.js';
import { Governor, governorSettings } from './governor/governor.js';
import { usableVariants, variantAt } from './governor/ladder.js';
import { Health } from './health.js';
import { MemoryGuard, readMemoryState } from './memory-guard.js';
import { EngineTurns, slotsFor } from './inference/engine-turns.js';
import { runtimePort } from './inference/runtime-port.js';
import { DevicePipeline } from './pipelines/device-pipeline.js';
import { Pipelines } from './pipelines/pipelines.js';
import { systemdServiceManager, type ServiceManager } from './platform/notify.js';
import { startSchedule } from './platform/schedule.js';
import { Recordings } from './recordings/recordings.js';
import { readPmic } from './platform/vcgencmd.js';
import { buildCaps, describeCompute, readInventory } from './report/caps.js';
import { buildReported } from './report/reported.js';
import { Reporter } from './report/reporter.js';
import { ReportSigner } from './report/signer.js';
import { TelemetryCollector } from './telemetry/collector.js';
import { ThermalMonitor } from './thermal/thermal.js';
import { redact } from '../runtime/redact.js';
import { runtimeVersion } from '../runtime/version.js';

export class Agent {
  readonly #f: Foundation;
  readonly #recordings: Recordings;
  readonly #pipelines: Pipelines;
  readonly #connection: Connection;
  readonly #reporter: Reporter;
  readonly #actions: ReturnType<typeof commandActions>;
  readonly #commands: CommandHandler;
  readonly #metrics: Metrics;
  readonly #api: ApiServer;
  readonly #thermal: ThermalMonitor;
  readonly #service: ServiceManager;
  readonly #energy: EnergyMonitor;
  readonly #collector: TelemetryCollector;
  readonly #governor: Governor;
  readonly #startedMs: number;
  readonly #health: Health;
  readonly #memory: MemoryGuard;
  /** How many times `reported` was built for the broker. */
  #reports = 0;
  #stopped: Promise<void> | null = null;

  private constructor(foundation: Foundation, deps: AgentDeps, parts: { energy: EnergyMonitor; service: ServiceManager }) {
    const f = foundation;
    this.#f = f;
    this.#service = parts.service;
    this.#energy = parts.energy;
    this.#startedMs = f.clock.monotonicMs();
    this.#thermal = new ThermalMonitor(f.files);
    const { max_bytes: maxBytes, max_age_h: maxAgeHours } = f.config.recordings;
    this.#recordings = new Recordings({ stateDir: f.config.state_dir, clock: f.clock, faults: f.faults, maxBytes, maxAgeMs: maxAgeHours * 3_600_000 });
    const specs = pipelineSpecs(f.config);
    const turns = new EngineTurns(f.clock, { slots: slotsFor(specs.map(({ pipeline }) => pipeline.threads)) });
    this.#pipelines = new Pipelines(specs.map((spec) => this.#createPipeline(spec, turns, deps)));
    this.#connection = this.#createConnection(deps);
    this.#metrics = this.#createMetrics();
    this.#governor = this.#createGovernor();
    this.#collector = this.#createCollector();
    this.#reporter = this.#createReporter(deps.env ?? process.env);
    f.faults.watch(() => this.#reporter.changed());
    this.#actions = commandActions({ pipeline: (name) => this.#pipelines.get(name), reporter: this.#reporter, birth: () => this.#connection.birth(), log: f.log });
    this.#commands = this.#createCommands();
    this.#health = new Health({ pipelines: this.#pipelines.all, faults: f.faults, service: this.#service, clock: f.clock, onHung: (hung) => this.#noteHung(hung) });
    this.#memory = new MemoryGuard({ pipelines: this.#pipelines.all, read: () => readMemoryState(f.files), faults: f.faults });
    this.#api = new ApiServer({
      host: f.config.api.host, port: f.config.api.port,
      onUnavailable: (error) => f.faults.raise('agent', toCodedError(error)),
      onListening: () => f.faults.clear('agent', 'E_API_UNAVAILABLE'),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
    });
    this.#registerParts();
  }

  /**
   * Starts every part, in order. Resolves when the active packages run (as far as there are any) and the local API answers; it does not wait for the
   * broker.
   * @throws AgentError E_STATE_LOCKED, E_STATE, E_CONFIG; everything that was opened before the error is closed again
   */
  static async start(config: Config, deps: AgentDeps = {}): Promise<Agent> {
    deps.signal?.throwIfAborted();
    const foundation = layFoundation(config, deps);
    const { lifecycle } = foundation;
    try {
      const meters = await findMeters(foundation.files, { wattsPerCore: config.energy.watts_per_core, readPmic });
      const service = await systemdServiceManager(deps.env ?? process.env, foundation.log);
      const agent = new Agent(foundation, deps, { energy: new EnergyMonitor(meters, foundation.clock, config.energy.idle_watts), service });
      await unlessAborted(agent.#begin(), deps.signal);
      return agent;
    } catch (error) {
      await lifecycle.stop();
      throw error;
    }
  }

  get config(): Config { return this.#f.config; }
  get bootId(): string { return this.#f.bootId; }

  /** Address of the local API; null when the configuration switches it off. */
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
      pipelines: this.#pipelines.all.map((pipeline) => pipeline.status()),
      broker: this.#connection.status(),
      reported: this.#reported(),
      outbox: { ...outbox.usage(), dropped: Object.fromEntries(outbox.dropped), merged: outbox.merged },
      faults: faults.active,
      governor: this.#governor.report,
      counters: counters.toRecord(),
    };
  }

  /**
   * Sends the last window and what is waiting, says goodbye to the broker, and stops every part. Idempotent, also while the daemon starts; takes at
   * most 10 s, and never rejects.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#f.lifecycle.stop().then(() => this.#f.log.info('stopped'));
    return this.#stopped;
  }

  /**
   * Registers every part after the parts that it needs, because parts are stopped in the reverse order. Pipelines stop at the same time, so that the
   * time which a stop takes does not depend on their number.
   */
  #registerParts(): void {
    const { lifecycle } = this.#f;
    const each = (work: (pipeline: DevicePipeline) => Promise<void>) => (): Promise<unknown> => Promise.all(this.#pipelines.all.map(work));
    lifecycle.add({ name: 'recordings', stop: () => this.#recordings.close() });
    lifecycle.add({ name: 'pictures', stop: each(({ eventRecorder }) => eventRecorder.idle()), stopMs: 1000 });
    lifecycle.add({ name: 'pipelines', stop: each(({ slot }) => slot.exchange(null, null)), stopMs: 1000 });
    lifecycle.add({ name: 'api', stop: () => this.#api.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'link', stop: () => this.#connection.stop(), stopMs: 3000 });
    lifecycle.add({ name: 'reporter', stop: () => this.#reporter.flush().finally(() => this.#reporter.stop()), stopMs: 500 });
    lifecycle.add({ name: 'outbox pump', stop: () => this.#connection.drain(), stopMs: DRAIN_MS + 500 });
    lifecycle.add({ name: 'commands', stop: () => this.#commands.idle(), stopMs: 1000 });
    lifecycle.add({ name: 'updates', stop: () => each((pipeline) => pipeline.stopUpdates())().then(() => this.#markStopped()), stopMs: 2000 });
    lifecycle.add({ name: 'telemetry', stop: () => this.#collector.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'governor', stop: () => this.#governor.stop(), stopMs: 500 });
    lifecycle.add({ name: 'camera', stop: each(({ loop }) => loop.stop()), stopMs: 2000 });
  }

  async #begin(): Promise<void> {
    const { config, log, lifecycle } = this.#f;
    await this.#recordings.open();
    if (config.api.enabled) await this.#api.start(this.#createApp());
    for (const pipeline of this.#pipelines) {
      await pipeline.start(); // Pipelines start one after another, because opening a package takes memory.
      if (lifecycle.stopping) return;
    }
    this.#collector.start();
    this.#governor.start();
    for (const { loop } of this.#pipelines) loop.start();
    this.#connection.start();
    const schedule = startSchedule([
      { cron: config.schedule.self_test, run: () => this.#scheduledSelfTests() },
      { cron: config.schedule.retention, run: () => this.#f.outbox.maintain() },
      { cron: config.schedule.retention, run: () => this.#recordings.trim() },
    ], (error) => this.#f.faults.raise('agent', toCodedError(error)));
    lifecycle.add({ name: 'schedule', stop: () => schedule.stop(), stopMs: 1000 });
    lifecycle.add({ name: 'watchdog', stop: () => this.#health.stop() });
    lifecycle.add({ name: 'memory guard', stop: () => this.#memory.stop() });
    lifecycle.add({ name: 'service manager', stop: () => this.#service.stopping() });
    this.#health.start();
    this.#memory.start();
    this.#service.ready(this.#pipelines.all.some(({ slot }) => slot.running !== null) ? 'running' : 'waiting for a package');
    log.info('started', { device_id: config.device_id, api: this.apiUrl, broker: config.broker.url === null ? null : redact(config.broker.url), version: runtimeVersion });
  }

  #createPipeline(spec: PipelineSpec, turns: EngineTurns, deps: AgentDeps): DevicePipeline {
    const { config, faults } = this.#f;
    const runtime = deps.runtime ?? runtimePort({ ...config, pipeline: spec.pipeline }, (warning) => faults.of(spec.name).raise('pipeline', warning, 'warning'));
    return new DevicePipeline(this.#f, spec, {
      runtime, turns, recordings: this.#recordings,
      host: {
        isConnected: () => this.#connection.connected,
        request: (request) => this.#connection.request(request),
        closeWindow: () => this.#collector.close(),
        observe: (name, processed) => this.#metrics.observe(name, processed),
        switched: () => this.#service.status(this.#pipelines.summary()),
        variantsChanged: () => this.#governor.variantsChanged(),
        throttled: () => this.#thermal.throttledNow(),
        changed: () => this.#reporter.changed(),
        settingsChanged: () => {
          this.#collector.setInterval(this.#telemetryIntervalMs());
          this.#reporter.changed();
        },
      },
      ...(deps.diskRetryMs === undefined ? {} : { diskRetryMs: deps.diskRetryMs }),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
    });
  }

  #createConnection(deps: AgentDeps): Connection {
    return new Connection({
      foundation: this.#f,
      pipelines: this.#pipelines.all.map(({ name }) => name),
      ...(deps.backoff === undefined ? {} : { backoff: deps.backoff }),
      onConnected: () => {
        for (const { ota } of this.#pipelines) ota.connected();
        void this.#reporter.rebirth();
      },
      onDesired: (name, desired) => this.#pipelines.get(name).desire(desired),
      onCommand: (name, payload) => this.#commands.receive(name, payload),
      // A block names its package and not the pipeline that asked for it, so every pipeline sees it, and those that download this package take it.
      onBlock: (digest8, index, message) => { for (const { ota } of this.#pipelines) ota.receiveBlock(digest8, index, message); },
    });
  }

  #createCollector(): TelemetryCollector {
    const { counters, outbox, files, clock, log, bootId } = this.#f;
    return new TelemetryCollector({
      pipelines: this.#pipelines.all,
      energy: this.#energy, thermal: this.#thermal, counters, outbox, files, clock, log, bootId,
      refresh: () => this.#refreshCounters(),
      governor: () => this.#governor.report,
      idle: () => this.#pipelines.all.every((pipeline) => pipeline.resting),
    }, this.#telemetryIntervalMs());
  }

  #createGovernor(): Governor {
    const { config, files, events, clock } = this.#f;
    const pipelines = this.#pipelines.all;
    const settings = governorSettings(config.governor);
    return new Governor({
      settings,
      sensors: {
        thermal: () => this.#thermal.latest,
        watts: () => this.#energy.watts,
        batteryHours: () => batteryHours(files),
        deadlines: () => pipelines.map(({ recorder }) => recorder.deadlines),
      },
      events, clock,
      variants: () => pipelines.map(({ variants }) => usableVariants(variants, settings)),
      apply: ({ variant, ...effort }) => { for (const pipeline of pipelines) pipeline.setEffort({ ...effort, variant: variantAt(usableVariants(pipeline.variants, settings), variant) }); },
    });
  }

  #createReporter(env: NodeJS.ProcessEnv): Reporter {
    const { config, faults } = this.#f;
    const signer = new ReportSigner({ address: { fleet: config.fleet, device: config.device_id }, keyFile: config.trust.report_key ?? config.broker.tls?.key, env, faults });
    return new Reporter({
      connected: () => this.#connection.connected,
      publish: (kind, payload) => this.#connection.publish(kind, payload),
      caps: async () => encodePayload(capsSchema, await this.#caps()),
      reported: () => {
        const connection = this.#connection.birthSeq;
        return encodePayload(reportedSchema, signer.sign(connection, () => ({ ...this.#reported(), order: { birth_seq: connection, seq: ++this.#reports } })));
      },
      onFault: (error) => this.#f.faults.raise('mqtt', error, 'warning'),
    });
  }

  #createCommands(): CommandHandler {
    const { journal, clock, bootId, counters, outbox, trust, faults } = this.#f;
    return new CommandHandler({
      journal, clock, bootId, trust,
      onRefused: (error) => {
        counters.add('messages_refused_total');
        faults.raise('mqtt', error, 'warning');
      },
      actions: this.#actions,
      answer: (id, payload) => {
        outbox.put({ class: 'critical', topic: `res/${id}`, payload });
        this.#connection.kick();
      },
      onExecuted: () => counters.add('commands_total'),
    });
  }

  #createMetrics(): Metrics {
    const { counters, outbox } = this.#f;
    return new Metrics({
      counters, pipelines: () => this.#pipelines.all,
      refresh: () => this.#refreshCounters(), window: () => this.#collector.latest, version: runtimeVersion,
      outbox: () => ({ ...outbox.usage(), dropped: outbox.dropped }),
      connected: () => this.#connection.connected,
    });
  }

  #createApp(): ReturnType<typeof createApp> {
    const { config, events, faults, gallery, pictures: kept, runtime } = this.#f;
    const onNotKept = (error: unknown): void => faults.raise('agent', toCodedError(error), 'warning');
    return createApp({
      guard: () => ({ host: config.api.host, port: this.#api.port, allowedOrigins: config.api.allowed_origins }),
      status: () => this.status(),
      health: () => this.#health.check(),
      token: this.#f.token,
      eventsSince: (id) => events.since(id),
      listenEvents: (listener) => events.listen(listener),
      listenTelemetry: (listener) => this.#collector.listen(listener),
      latestTelemetry: () => this.#collector.latest,
      listenFrames: (listener) => {
        const stops = this.#pipelines.all.map(({ observer }) => observer.listen(listener));
        return () => { for (const stop of stops) stop(); };
      },
      metrics: () => this.#metrics.text(),
      gallery: () => gallery,
      recordings: () => this.#recordings.require(),
      recordingEnabled: () => this.#pipelines.all.some(({ records }) => records),
      personName: (id) => nameOf(gallery, id),
      runtime,
      enrol: async (name, pictures, pipeline) => {
        const done = await this.#pipelines.embedding(pipeline).slot.use((running) => enrol({ runtime, gallery, pictures: kept, onNotKept }, running.model.pipeline, name, pictures));
        if (done === null) throw new AgentError('E_NO_MODEL', 'No package is active yet, so nobody can be enrolled');
        return { person_id: done.person.id, name: done.person.name, samples: done.person.samples, pictures: done.pictures, skipped: done.skipped };
      },
      enrolmentFrame: (pipeline) => this.#pipelines.embedding(pipeline).picture(),
      latestFrame: (pipeline) => this.#pipelines.seeing(pipeline).picture(),
    });
  }

  #telemetryIntervalMs(): number {
    return telemetryInterval(this.#pipelines.all.map(({ settings }) => settings.current), this.#f.config.telemetry.interval_ms);
  }

  async #caps(): Promise<ReturnType<typeof buildCaps>> {
    const { bootId, clock, config, log } = this.#f;
    return buildCaps({
      bootId, version: runtimeVersion, labels: config.labels, energy: this.#energy.sources, thermalZones: await this.#thermal.zoneNames(), sensorsInvalid: this.#thermal.faulty,
      limits: { packageBytes: config.ota.max_package_bytes, outboxBytes: config.outbox.max_bytes },
      compute: await describeCompute(log), inventory: await readInventory(log), timeMs: clock.nowMs(), clockSynchronized: clock.synchronized(),
    });
  }

  #reported(): Reported {
    const { bootId, clock, config, faults, trust } = this.#f;
    return buildReported({
      trust: trust.report(), labels: config.labels,
      bootId, timeMs: clock.nowMs(), clockSynchronized: clock.synchronized(), pipelines: this.#pipelines.all.map((pipeline) => pipeline.reported()),
      faults: faults.active, lastError: faults.last,
    });
  }

  #refreshCounters(): void {
    const { counters, outbox } = this.#f;
    for (const pipeline of this.#pipelines) pipeline.refreshCounters();
    counters.set('mqtt_reconnects_total', this.#connection.reconnects);
    counters.set('outbox_merged_total', outbox.merged);
  }

  /** Runs the self-tests one after another, because two at the same time would slow each other down and falsify both measurements. */
  async #scheduledSelfTests(): Promise<void> {
    for (const pipeline of this.#pipelines) await pipeline.scheduledSelfTest(async () => this.#actions['self-test']({}, pipeline.name));
  }

  /**
   * Notes the pipelines that hang for the next start. If the disk is full, the note is missing, and the next start blames no package for the
   * watchdog's kill.
   */
  #noteHung(hung: readonly string[]): void {
    attempt(this.#f.faults, 'agent', () => this.#f.journal.noteHung(hung));
  }

  /**
   * Notes that this run ended in order. If the disk is full, the note is missing, and the next start takes this end for a kill, which it holds
   * against no package.
   */
  #markStopped(): void {
    attempt(this.#f.faults, 'agent', () => this.#f.journal.markStopped());
  }
}

/**
 * Settles as `work` does, or rejects with the signal's reason as soon as the signal comes. `work` itself is not stopped here: the lifecycle stops its
 * parts.
 */
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

/**
 * Name of a person in a recording. Recordings hold only the number of a person, never the name. The result is '' for somebody who was deleted, and
 * while the gallery is closed.
 */
function nameOf(gallery: Foundation['gallery'], personId: number): string {
  try {
    return gallery.list().find(({ id }) => id === personId)?.name ?? '';
  } catch {
    return '';
  }
}
