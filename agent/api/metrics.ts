/**
 * `/metrics` in Prometheus text format. Names and units follow Prometheus' conventions: base units (seconds, bytes, joules), and `_total` for
 * counters.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { PipelineWindow, TelemetryWindow } from '../contracts/index.js';
import { kindOf, latencyOf, type ProcessedFrame } from '../ground/frames.js';
import type { RunningModel } from '../ground/runtime.js';
import { deviceCounterNames, pipelineCounterNames, type DeviceCounter, type DeviceCounters, type PipelineCounter, type PipelineCounters } from '../ground/counters.js';

/** Buckets from half a millisecond to 8 s, each twice the one before. They are coarse, as Prometheus expects; the exact histograms go over MQTT. */
const BUCKETS_SECONDS = Array.from({ length: 15 }, (_, i) => 0.0005 * 2 ** i);

/** What `/metrics` shows of a pipeline. */
export interface PipelineMetrics {
  name: string;
  counters: PipelineCounters;
  model(): RunningModel | null;
}

export interface MetricsSources {
  counters: DeviceCounters;
  pipelines: () => readonly PipelineMetrics[];
  refresh: () => void;
  window: () => TelemetryWindow | null;
  version: string;
  outbox: () => { bytes: number; messages: number; dropped: ReadonlyMap<string, number> };
  connected: () => boolean;
}

export class Metrics {
  readonly #registry = new Registry();
  readonly #stages: Histogram<'pipeline' | 'stage' | 'kind'>;
  readonly #endToEnd: Histogram<'pipeline' | 'kind'>;

  constructor(sources: MetricsSources) {
    const registers = [this.#registry];
    this.#stages = new Histogram({
      name: 'sterna_stage_latency_seconds', help: 'Wall time of a stage of a frame', labelNames: ['pipeline', 'stage', 'kind'], buckets: BUCKETS_SECONDS, registers,
    });
    this.#endToEnd = new Histogram({
      name: 'sterna_frame_latency_seconds', help: 'From the scheduled capture of a frame to its result', labelNames: ['pipeline', 'kind'], buckets: BUCKETS_SECONDS, registers,
    });
    this.#registerCounters(sources);
    this.#registerGauges(sources);
  }

  observe(pipeline: string, processed: ProcessedFrame): void {
    const kind = kindOf(processed);
    for (const { stage, ms } of processed.result.stages) this.#stages.observe({ pipeline, stage, kind }, ms / 1000);
    this.#endToEnd.observe({ pipeline, kind }, latencyOf(processed) / 1000);
  }

  text(): Promise<string> {
    return this.#registry.metrics();
  }

  #registerCounters({ counters, pipelines, refresh, outbox, window }: MetricsSources): void {
    const registers = [this.#registry];
    for (const [name, help] of Object.entries(pipelineCounterNames)) {
      new Counter({
        name: `sterna_${name}`, help, labelNames: ['pipeline'], registers,
        collect() {
          refresh();
          this.reset();
          for (const pipeline of pipelines()) this.inc({ pipeline: pipeline.name }, pipeline.counters.get(name as PipelineCounter));
        },
      });
    }
    for (const [name, help] of Object.entries(deviceCounterNames)) {
      new Counter({
        name: `sterna_${name}`, help, registers,
        collect() { refresh(); this.reset(); this.inc(counters.get(name as DeviceCounter)); },
      });
    }
    new Counter({
      name: 'sterna_outbox_dropped_total', help: 'Messages that were dropped, by class and reason', labelNames: ['class', 'reason'], registers,
      collect() {
        this.reset();
        for (const [key, n] of outbox().dropped) {
          const [messageClass = '', reason = ''] = key.split('/');
          this.inc({ class: messageClass, reason }, n);
        }
      },
    });
    new Counter({
      name: 'sterna_energy_joules_total', help: 'Energy used; overlapping scopes must not be added', labelNames: ['source', 'scope', 'quality'], registers,
      collect() {
        this.reset();
        for (const { source, scope, quality, joules_total } of window()?.energy.sources ?? []) if (quality !== 'invalid') this.inc({ source, scope, quality }, joules_total);
      },
    });
  }

  #registerGauges({ window, pipelines, version, outbox, connected }: MetricsSources): void {
    const gauge = (name: string, help: string, value: () => number | null | undefined): void => {
      new Gauge({
        name, help, registers: [this.#registry],
        collect() {
          const now = value();
          if (now == null) this.reset();
          else this.set(now);
        },
      });
    };
    const perPipeline = (name: string, help: string, value: (pipeline: PipelineWindow) => number | null): void => {
      new Gauge({
        name, help, labelNames: ['pipeline'], registers: [this.#registry],
        collect() {
          this.reset();
          for (const pipeline of window()?.pipelines ?? []) {
            const now = value(pipeline);
            if (now !== null) this.set({ pipeline: pipeline.name }, now);
          }
        },
      });
    };
    perPipeline('sterna_frame_jitter_rfc3550_seconds', 'Inter-arrival jitter of results, RFC 3550', ({ jitter }) => seconds(jitter.rfc3550_ms));
    perPipeline('sterna_frame_pdv_p99_seconds', 'p99 of the packet delay variation (delay above the minimum) in the last window, RFC 5481', ({ jitter }) => seconds(jitter.pdv_p99_ms));
    gauge('sterna_inference_energy_joules', 'Gross energy per inference in the last window', () => window()?.energy.inference?.gross_joules);
    gauge('sterna_process_resident_bytes', 'Resident memory of the daemon', () => process.memoryUsage.rss());
    perPipeline('sterna_pipeline_bytes', 'Memory of the sessions of the running package', ({ memory_bytes: bytes }) => bytes);
    gauge('sterna_outbox_bytes', 'Size of the stored messages', () => outbox().bytes);
    gauge('sterna_outbox_messages', 'Number of stored messages', () => outbox().messages);
    gauge('sterna_mqtt_connected', '1 while connected to the broker', () => (connected() ? 1 : 0));
    gauge('sterna_throttled', '1 while the processor is slowed down because of heat', () => (window()?.thermal.throttled === true ? 1 : 0));
    gauge('sterna_governor_rung', 'How far down its ladder the governor went to keep its limits; 0 is all of the work', () => window()?.governor?.rung);
    new Gauge({
      name: 'sterna_temperature_celsius', help: 'Temperature of a thermal zone', labelNames: ['zone'], registers: [this.#registry],
      collect() {
        this.reset();
        for (const { zone, celsius } of window()?.thermal.zones ?? []) this.set({ zone }, celsius);
      },
    });
    new Gauge({
      name: 'sterna_sensor_invalid', help: '1 for a sensor whose readings in the last window cannot be true; the label gives the reason', labelNames: ['sensor', 'reason'], registers: [this.#registry],
      collect() {
        this.reset();
        const { energy, thermal } = window() ?? {};
        for (const { source, scope, quality, reason } of energy?.sources ?? []) if (quality === 'invalid') this.set({ sensor: `${source}/${scope}`, reason: reason ?? '' }, 1);
        for (const { sensor, reason } of thermal?.invalid ?? []) this.set({ sensor, reason }, 1);
      },
    });
    new Gauge({
      name: 'sterna_info', help: 'Versions of the daemon and of the package that a pipeline runs, as labels', labelNames: ['version', 'pipeline', 'model', 'model_version'], registers: [this.#registry],
      collect() {
        this.reset();
        for (const pipeline of pipelines()) {
          const model = pipeline.model();
          this.set({ version, pipeline: pipeline.name, model: model?.name ?? '', model_version: model?.version ?? '' }, 1);
        }
      },
    });
  }
}

function seconds(ms: number | null | undefined): number | null {
  return ms == null ? null : ms / 1000;
}
