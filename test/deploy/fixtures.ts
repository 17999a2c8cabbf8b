import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:http';
import { Histogram, withQuantiles, type Caps, type Event, type PipelineReport, type PipelineWindow, type Reported, type Status, type TelemetryWindow } from '../../agent/contracts/index.js';

export const BOOT = 'boot-0000-1111';
export const DOOR = { fleet: 'demo', device: 'door-1' } as const;
const DIGEST = 'ab'.repeat(32);
const slot = { name: 'faces', version: '1.0.0', digest: DIGEST, size_bytes: 3_200_000 };

/** A histogram of `count` values that spread around a median, the same at every call. */
export function spread(median: number, count: number): ReturnType<Histogram['toData']> {
  const h = new Histogram();
  for (let i = 0; i < count; i++) h.record(median * (0.85 + 0.3 * ((i * 37) % 100) / 100) + (i % 90 === 89 ? median : 0));
  return h.toData();
}

export function status(over: Partial<Status> = {}): Status {
  return { schema_version: 2, state: 'online', boot_id: BOOT, birth_seq: 3, version: '0.1.0', time_ms: 1_700_000_000_000, clock_synchronized: true, ...over };
}

/** What a device with one pipeline reports: fields of the device and of the pipeline. */
export function reported(over: Partial<Reported> & Partial<PipelineReport> = {}): Reported {
  const { boot_id, time_ms, faults, last_error, pipelines, ...own } = over;
  return {
    schema_version: 2, boot_id: boot_id ?? BOOT, time_ms: time_ms ?? 1_700_000_000_000, clock_synchronized: true, faults: faults ?? [], last_error: last_error ?? null,
    pipelines: pipelines ?? [pipelineReport(own)],
  };
}

export function pipelineReport(over: Partial<PipelineReport> = {}): PipelineReport {
  return {
    name: 'main', input: 'camera', generation_seen: 4, generation_applied: 4,
    ota: { state: 'committed', package: slot, blocks_done: 49, blocks_total: 49, error: null },
    slots: { active: { ...slot, since_ms: Date.now() - 65_000 }, previous: { ...slot, version: '0.9.0', since_ms: Date.now() - 900_000 } },
    probation: true, settings: {}, ...over,
  };
}

export function caps(): Caps {
  return {
    schema_version: 2, boot_id: BOOT, time_ms: 1_700_000_000_000, clock_synchronized: true, version: '0.1.0',
    machine: { arch: 'x64', os: 'linux', kernel: '6.1.0', model: 'Test bench', cpu: 'Example CPU', cores: 4, memory_bytes: 8e9 },
    compute: { isa: 'avx512vnni', isas: [{ isa: 'avx512vnni', built: true, runnable: true, reason: '' }, { isa: 'avx2', built: true, runnable: true, reason: '' }], features: ['avx2'] },
    slots: 2, energy: [{ source: 'cpu_model', scope: 'process', quality: 'modelled' }], thermal_zones: ['cpu'], commands: ['rebirth'],
    limits: { package_bytes: 2 ** 28, block_bytes: 65_536, window: 4, outbox_bytes: 2 ** 24 },
  };
}

/** A window of a device with one pipeline: fields of the device and of the pipeline. */
export function telemetry(seq: number, endMs: number, over: Partial<Omit<TelemetryWindow, 'counters'>> & Partial<PipelineWindow> = {}): TelemetryWindow {
  const { name, input, model, memory_bytes, stages: given, end_to_end, jitter, counters, ...device } = over;
  const stages: [string, number][] = [['decode', 0.4], ['motion', 0.2], ['letterbox', 0.5], ['detect', 2.1], ['decode_boxes', 0.1], ['nms', 0.05], ['landmarks', 0.6], ['align', 0.2], ['embed', 6.3], ['match', 0.02]];
  return {
    schema_version: 2, boot_id: BOOT, stream_id: device.boot_id ?? BOOT, seq, first_seq: seq, backfill: false, start_ms: endMs - 5000, end_ms: endMs, clock_synchronized: true,
    pipelines: [{
      name: name ?? 'main', input: input ?? 'camera', model: model === undefined ? { name: 'faces', version: '1.0.0' } : model, memory_bytes: memory_bytes ?? 2e7,
      stages: given ?? stages.map(([stage, median]) => ({ stage, kind: 'warm' as const, ...withQuantiles(spread(median, 40)) })),
      end_to_end: end_to_end ?? [
        { clock: 'raw', kind: 'warm', ...withQuantiles(spread(12 + (seq % 5), 40)) },
        { clock: 'corrected', kind: 'warm', ...withQuantiles(spread(13 + (seq % 5), 40)) },
        { clock: 'raw', kind: 'pixels', ...withQuantiles(spread(1.5, 35)) },
      ],
      jitter: jitter ?? { rfc3550_ms: 1.1 + 0.2 * (seq % 4), pdv_p50_ms: 1.9, pdv_p99_ms: 9.4, deadline_ms: 250, deadlines_missed: 1, deadlines: 75 },
      counters: { frames_total: 75 * seq },
    }],
    energy: { sources: [{ source: 'cpu_model', scope: 'process', quality: 'modelled', joules: 4.1 + (seq % 3), joules_total: 4.1 * seq }], inference: { source: 'cpu_model', scope: 'process', quality: 'modelled', gross_joules: 0.031, net_joules: 0.027 } },
    thermal: { zones: [{ zone: 'cpu', celsius: 51.5, celsius_max: 55, trip_celsius: 95 }], cooling: [], throttled: false, throttled_since_boot: false, cpus: [{ policy: 'policy0', current_hertz: 2.4e9, cap_hertz: 3e9, max_hertz: 3e9 }] },
    memory: { rss_bytes: 96e6 + 1e5 * (seq % 7), rss_peak_bytes: 112e6, heap_bytes: 3e7, system_available_bytes: 4e9 },
    counters: counters ?? {},
    ...device,
  };
}

type Recognition = Extract<Event, { type: 'finding' }>;

export function recognition(id: string, timeMs: number, over: Partial<Recognition> = {}): Recognition {
  return {
    schema_version: 2, event_id: id, boot_id: BOOT, time_ms: timeMs, clock_synchronized: true, backfill: false, pipeline: 'main', type: 'finding', action: 'appeared',
    finding: { type: 'detection', label: 'face', score: 0.99, box: [200, 100, 120, 150], identity: { person_id: 1, name: 'Ada', similarity: 0.71 } },
    frame: { sequence: 12, captured_ms: timeMs - 20 }, stages_ms: { detect: 2 }, total_ms: 9.5, latency_ms: 14, model: { name: 'faces', version: '1.0.0' }, ...over,
  };
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export const topic = (suffix: string, address: { fleet: string; device: string } = DOOR): string => `sterna/v2/${address.fleet}/${address.device}/${suffix}`;

/** A server on a free loopback port. */
export async function listenOn(server: Server, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

export { createServer };
