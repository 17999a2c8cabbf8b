/** Windows of simulated devices: bytes as the agent makes them, from a small number of bodies whose latencies are known one by one. */
import { encodePayload, Histogram, onlyHistogram, SCHEMA_VERSION, telemetrySchema, withQuantiles, type Caps, type PipelineWindow, type Reported, type Status, type TelemetryWindow } from '../../../agent/contracts/index.js';
import { uniform } from '../../compress/random.js';

const STAGES: readonly (readonly [string, number])[] = [
  ['decode', 0.4], ['motion', 0.2], ['letterbox', 0.5], ['detect', 2.1], ['decode_boxes', 0.1], ['nms', 0.05], ['landmarks', 0.6], ['align', 0.2], ['embed', 6.3], ['match', 0.02],
];
const FRAMES = 50;
const BODIES = 64;
const DIGEST = 'ab'.repeat(32);
const SLOT = { name: 'faces', version: '1.0.0', digest: DIGEST, size_bytes: 3_200_000 };

type Measured = Pick<TelemetryWindow, 'pipelines' | 'energy' | 'thermal' | 'memory' | 'counters'>;

/** What all windows of a body have in common, as the end of a JSON text, and the latencies in its raw series, milliseconds. */
export interface Body {
  text: string;
  latencies: readonly number[];
}

/** A few devices are ten times as slow as the others, so that the p99 of a fleet is not that of any of its devices. */
export function makeBodies(seed = 1): Body[] {
  const random = uniform(seed);
  /** Log-normal (Box and Muller), rounded as the agent rounds. */
  const around = (median: number): number => Number((median * Math.exp(0.3 * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random()))).toPrecision(5));
  return Array.from({ length: BODIES }, (_, i) => {
    const median = i % 31 === 0 ? 200 : 12 + (i % 11);
    const latencies = Array.from({ length: FRAMES }, () => around(median));
    const measured = measuredOf(latencies, (typical) => Array.from({ length: FRAMES }, () => around(typical)));
    encodePayload(telemetrySchema, { ...headOf('boot-of-no-device', 0, 0), ...measured } satisfies TelemetryWindow);
    return { text: JSON.stringify(measured).slice(1), latencies };
  });
}

const histogramOf = (values: readonly number[]): ReturnType<Histogram['toData']> => {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram.toData();
};

function measuredOf(latencies: readonly number[], draw: (median: number) => number[]): Measured {
  const pipeline: PipelineWindow = {
    name: 'main', input: 'camera', model: { name: 'faces', version: '1.0.0' }, memory_bytes: 21_340_160,
    stages: STAGES.map(([stage, median]) => ({ stage, kind: 'warm', ...withQuantiles(histogramOf(draw(median))) })),
    end_to_end: [
      { clock: 'raw', kind: 'warm', ...withQuantiles(histogramOf(latencies)) },
      { clock: 'corrected', kind: 'warm', ...onlyHistogram(histogramOf(latencies)) },
    ],
    jitter: { rfc3550_ms: 1.13, pdv_p50_ms: 1.92, pdv_p99_ms: 9.41, deadline_ms: 250, deadlines_missed: 0, deadlines: FRAMES },
    counters: { frames_total: 123_456 },
  };
  return {
    pipelines: [pipeline],
    energy: { sources: [{ source: 'cpu_model', scope: 'process', quality: 'modelled', joules: 14.1, joules_total: 120_434.5 }], inference: { source: 'cpu_model', scope: 'process', quality: 'modelled', gross_joules: 0.031, net_joules: 0.027 } },
    thermal: { zones: [{ zone: 'cpu', celsius: 51.5, celsius_max: 55, trip_celsius: 95 }], cooling: [], throttled: false, throttled_since_boot: false, cpus: [{ policy: 'policy0', current_hertz: 1.5e9, cap_hertz: 1.8e9, max_hertz: 1.8e9 }] },
    memory: { rss_bytes: 96_468_992, rss_peak_bytes: 112_197_632, heap_bytes: 31_457_280, system_available_bytes: 4_123_168_604 },
    counters: { mqtt_reconnects_total: 3 },
  };
}

const headOf = (stream: string, seq: number, endMs: number): Omit<TelemetryWindow, keyof Measured> => ({
  schema_version: SCHEMA_VERSION, boot_id: stream, stream_id: stream, seq, first_seq: seq, backfill: false, start_ms: Math.max(0, endMs - 10_000), end_ms: endMs, clock_synchronized: true,
});

export const windowBytes = (body: Body, { stream, seq, endMs, backfill }: { stream: string; seq: number; endMs: number; backfill: boolean }): Buffer =>
  Buffer.from(`${JSON.stringify({ ...headOf(stream, seq, endMs), backfill }).slice(0, -1)},${body.text}`);

/** What a device says of itself at each connection, and its will. */
export function birthOf(stream: string, birthSeq: number): { status: Status; will: Status; caps: Caps; reported: Reported } {
  const stamp = { schema_version: SCHEMA_VERSION, boot_id: stream, time_ms: Date.now(), clock_synchronized: true };
  const status = { ...stamp, birth_seq: birthSeq, version: '0.1.0' };
  return {
    status: { ...status, state: 'online' }, will: { ...status, state: 'offline' },
    caps: {
      ...stamp, version: '0.1.0', labels: { ring: 'rest', site: 'site-1' }, machine: { arch: 'arm64', os: 'linux', kernel: '6.1.0', model: 'Door', cpu: 'Cortex-A72', cores: 4, memory_bytes: 4e9 },
      compute: { isa: 'neon', isas: [{ isa: 'neon', built: true, runnable: true, reason: '' }], features: ['neon'] }, slots: 2, energy: [{ source: 'cpu_model', scope: 'process', quality: 'modelled' }],
      thermal_zones: ['cpu'], commands: ['rebirth'], limits: { package_bytes: 2 ** 28, block_bytes: 65_536, window: 4, outbox_bytes: 2 ** 24 },
    },
    reported: {
      ...stamp, order: { birth_seq: birthSeq, seq: 0 }, faults: [], last_error: null,
      pipelines: [{
        name: 'main', input: 'camera', generation_seen: 4, generation_applied: 4, ota: { state: 'committed', package: SLOT, blocks_done: 49, blocks_total: 49, error: null },
        slots: { active: { ...SLOT, since_ms: 1_700_000_000_000 }, previous: null }, probation: false, settings: {},
      }],
    },
  };
}

/** Nearest-rank quantile of all latencies of the windows, where body `i` was sent `uses[i]` times; NaN of none. */
export function exactQuantile(bodies: readonly Body[], uses: readonly number[], q: number): number {
  const weighted = bodies.flatMap(({ latencies }, i) => latencies.map((value) => ({ value, n: uses[i] ?? 0 }))).sort((a, b) => a.value - b.value);
  const rank = Math.max(1, Math.ceil(q * weighted.reduce((sum, { n }) => sum + n, 0)));
  let seen = 0;
  return weighted.find(({ n }) => (seen += n) >= rank)?.value ?? NaN;
}
