/**
 * Makes a telemetry window in every interval from the recorder, the meters and the counters. The window goes into the outbox and to the local API.
 */
import { SCHEMA_VERSION, type GovernorReport, type PipelineWindow, type TelemetryWindow } from '../contracts/index.js';
import type { EnergyMonitor } from '../energy/monitor.js';
import { toCodedError } from '../errors.js';
import type { RunningModel } from '../ground/runtime.js';
import type { Outbox } from '../outbox/outbox.js';
import type { Clock } from '../platform/clock.js';
import type { HostFiles } from '../platform/host-files.js';
import type { Log } from '../platform/log.js';
import type { ThermalMonitor } from '../thermal/thermal.js';
import type { DeviceCounters, PipelineCounters } from '../ground/counters.js';
import { readMemory } from './memory.js';
import type { Recorder } from './recorder.js';

/** The parts of a pipeline from which telemetry reads. */
export interface MeasuredPipeline {
  name: string;
  /** Name of its input. */
  input: string;
  recorder: Recorder;
  counters: PipelineCounters;
  model(): RunningModel | null;
}

export interface CollectorParts {
  pipelines: readonly MeasuredPipeline[];
  energy: EnergyMonitor;
  thermal: ThermalMonitor;
  counters: DeviceCounters;
  outbox: Outbox;
  files: HostFiles;
  clock: Clock;
  log: Log;
  bootId: string;
  /** Whether packages run and no deployment is under way. A window without an inference then shows the idle power. */
  idle: () => boolean;
  /** The governor's report; null while nothing is governed. */
  governor: () => GovernorReport | null;
  /** Called just before the counters are read, to copy totals that other parts keep. */
  refresh: () => void;
}

/** Milliseconds between two samples within a window, which catch the peaks of temperatures. Temperatures change slowly, so this suffices. */
const PEAK_SAMPLE_MS = 2000;

export class TelemetryCollector {
  readonly #parts: CollectorParts;
  #timer: NodeJS.Timeout | undefined;
  #peaks: NodeJS.Timeout | undefined;
  #intervalMs: number;
  #startMs: number;
  #latest: TelemetryWindow | null = null;
  #busy: Promise<void> = Promise.resolve();
  readonly #listeners = new Set<(window: TelemetryWindow) => void>();

  constructor(parts: CollectorParts, intervalMs: number) {
    this.#parts = parts;
    this.#intervalMs = intervalMs;
    this.#startMs = parts.clock.nowMs();
  }

  get latest(): TelemetryWindow | null {
    return this.#latest;
  }

  listen(listener: (window: TelemetryWindow) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    this.#parts.energy.start();
    this.#peaks ??= setInterval(() => void this.#parts.thermal.sample(), PEAK_SAMPLE_MS);
    this.#peaks.unref();
    this.#arm();
  }

  setInterval(intervalMs: number): void {
    if (intervalMs === this.#intervalMs) return;
    this.#intervalMs = intervalMs;
    if (this.#timer !== undefined) this.#arm();
  }

  /** Stops, and ends the last window. */
  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    clearInterval(this.#peaks);
    this.#timer = undefined;
    await this.close();
    await this.#parts.energy.stop();
  }

  /**
   * Ends the present window now, and puts it into the outbox. It is also called when one package takes another's place, because their latencies must
   * not mix. Calls that overlap run one after another; a failure is logged and loses that window.
   */
  close(): Promise<void> {
    this.#busy = this.#busy.then(() => this.#close()).catch((error: unknown) => {
      this.#parts.log.error('a telemetry window was lost', { ...toCodedError(error) });
    });
    return this.#busy;
  }

  #arm(): void {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => void this.close(), this.#intervalMs);
    this.#timer.unref();
  }

  async #close(): Promise<void> {
    const { energy, thermal, counters, outbox, files, clock, bootId } = this.#parts;
    this.#parts.refresh();
    const measured = this.#parts.pipelines.map(measure);
    const startMs = this.#startMs;
    const endMs = clock.nowMs();
    this.#startMs = endMs;
    const modelFrames = measured.reduce((sum, pipeline) => sum + pipeline.modelFrames, 0);
    const [energyReport, thermalReport] = [await energy.close(modelFrames, this.#parts.idle()), await thermal.close()];
    counters.set('sensor_readings_invalid_total', energy.invalidReadings + thermal.invalidReadings);
    const content = {
      schema_version: SCHEMA_VERSION, boot_id: bootId, backfill: false,
      start_ms: Math.min(startMs, endMs), end_ms: endMs, clock_synchronized: clock.synchronized(),
      pipelines: measured.map(({ window }) => window),
      energy: energyReport,
      thermal: thermalReport,
      memory: await readMemory(files),
      ...governed(this.#parts.governor()),
      counters: { ...counters.counted(), ...outboxLosses(outbox.dropped) },
    };
    const window = outbox.putWindow(({ stream_id, seq }) => ({ ...content, stream_id, seq, first_seq: seq }));
    this.#latest = window;
    for (const listener of this.#listeners) listener(window);
  }
}

function measure(pipeline: MeasuredPipeline): { window: PipelineWindow; modelFrames: number } {
  const { name, input, recorder, counters } = pipeline;
  const running = pipeline.model();
  const { modelFrames, ...series } = recorder.close();
  return {
    window: {
      name, input, model: modelOf(running), memory_bytes: running?.memoryBytes ?? 0, ...series, ...gatesOf(running),
      counters: counters.counted(),
    },
    modelFrames,
  };
}

function modelOf(running: RunningModel | null): PipelineWindow['model'] {
  if (running === null) return null;
  const { name, version, variant } = running;
  return { name, version, ...(variant === null ? {} : { variant }) };
}

const governed = (governor: GovernorReport | null): { governor?: GovernorReport } => (governor === null ? {} : { governor });

/** Rounds to four digits, because the bound of a rate is not known more exactly. */
const digits = (rate: number): number => Number(rate.toPrecision(4));

function gatesOf(running: RunningModel | null): Pick<PipelineWindow, 'gates'> {
  if (running?.gates === undefined) return {};
  const { strictness, missRate: { audits, rate, upper } } = running.gates;
  return { gates: { strictness, miss_rate: rate === null ? null : digits(rate), miss_rate_upper: digits(upper), audits } };
}

/** Losses as labels, which the other end compares with the numbers that are missing in the sequence. Absent while nothing was lost. */
function outboxLosses(dropped: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...dropped].map(([key, n]) => {
    const [name, reason] = key.split('/');
    return [`outbox_dropped_total{class="${name}",reason="${reason}"}`, n];
  }));
}
