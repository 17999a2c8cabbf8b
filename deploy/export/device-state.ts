/**
 * What has been exported of one device, as totals: receivers of metrics want counters and histograms that only grow, and devices send histograms of windows.
 * Base-2 exponential histograms of one scale add up bucket by bucket, so a total holds every value of its windows.
 */
import { mergeHistograms, type Caps, type DeviceAddress, type TelemetryWindow } from '../../agent/contracts/index.js';
import { latenciesOf, samplesOf, seriesKey, type LatencySample, type Sample } from '../collector/device-samples.js';
import { NumberRanges } from '../collector/number-ranges.js';
import type { Outcome } from '../collector/fleet-store.js';

/** Of a device; the one that was touched longest ago is forgotten, and would begin anew. Package versions and invented names must not grow for ever. */
const MOST_SERIES = 256;
/** Streams of a device whose numbers are known. */
const MOST_STREAMS = 8;
/** A clock that is further ahead than this is wrong, whatever the device says of it. */
const MOST_AHEAD_MS = 600_000;

/** A total of latencies. `sinceMs`: the beginning of the first window in it. */
export interface LatencyTotal extends LatencySample {
  sinceMs: number;
}

/** What one window says, for receivers. */
export interface Moment {
  timeMs: number;
  /** When counters began at zero, as far as is known: the first window of this run of the agent. */
  countersSinceMs: number;
  samples: readonly Sample[];
  latencies: readonly LatencyTotal[];
}

/** Facts about the device itself. */
export type HostFacts = Pick<Caps, 'version' | 'machine' | 'labels'>;

export interface Taken {
  outcome: Outcome;
  /** Null when there is nothing to send. */
  moment: Moment | null;
  /** Whether the window was older than one that has been sent. */
  late: boolean;
}

type Series = LatencyTotal & { unsent: boolean };

interface StateData {
  host: HostFacts | null;
  lastMs: number;
  boot: { id: string; sinceMs: number } | null;
  streams: [string, string][];
  series: [string, Series][];
}

export class DeviceState {
  #host: HostFacts | null = null;
  #lastMs = 0;
  #boot: StateData['boot'] = null;
  #streams = new Map<string, string>();
  /** Least recently touched first. */
  #series = new Map<string, Series>();

  /** @param text what `toString` gave @throws SyntaxError for another text */
  static from(text: string): DeviceState {
    const data = JSON.parse(text) as StateData;
    const state = new DeviceState();
    state.#host = data.host;
    state.#lastMs = data.lastMs;
    state.#boot = data.boot;
    state.#streams = new Map(data.streams);
    state.#series = new Map(data.series);
    return state;
  }

  toString(): string {
    const data: StateData = { host: this.#host, lastMs: this.#lastMs, boot: this.#boot, streams: [...this.#streams], series: [...this.#series] };
    return JSON.stringify(data);
  }

  /** For a batch that may fail: this one stays as it is. */
  copy(): DeviceState {
    const copy = new DeviceState();
    copy.#host = this.#host;
    copy.#lastMs = this.#lastMs;
    copy.#boot = this.#boot;
    copy.#streams = new Map(this.#streams);
    copy.#series = new Map(this.#series);
    return copy;
  }

  get host(): HostFacts | null {
    return this.#host;
  }

  describe({ version, machine, labels }: Caps): void {
    this.#host = { version, machine, ...(labels === undefined ? {} : { labels }) };
  }

  /**
   * Adds a window. Its latencies count whenever it comes. One that comes late says nothing else, because receivers such as Prometheus refuse a batch with
   * samples that are older than the newest of their series; with `sendLate` its gauges and counters are sent with their own time.
   * @param receivedMs stands for the time of a device that does not know it
   */
  take(address: DeviceAddress, window: TelemetryWindow, { receivedMs, sendLate }: { receivedMs: number; sendLate: boolean }): Taken {
    const outcome = this.#number(window);
    if (outcome !== 'added') return { outcome, moment: null, late: false };
    const timeMs = Math.round(window.clock_synchronized && window.end_ms <= receivedMs + MOST_AHEAD_MS ? window.end_ms : receivedMs);
    const sinceMs = timeMs - Math.max(0, Math.round(window.end_ms - window.start_ms));
    for (const latency of latenciesOf(address, window)) this.#add(latency, sinceMs);
    const samples = (): Sample[] => [...new Map(samplesOf(address, window).map((sample) => [seriesKey(sample), sample])).values()];
    if (timeMs <= this.#lastMs) {
      const moment = sendLate ? { timeMs, countersSinceMs: Math.min(sinceMs, this.#boot?.id === window.boot_id ? this.#boot.sinceMs : sinceMs), samples: samples(), latencies: [] } : null;
      return { outcome, moment, late: true };
    }
    this.#lastMs = timeMs;
    if (this.#boot?.id !== window.boot_id) this.#boot = { id: window.boot_id, sinceMs };
    return { outcome, late: false, moment: { timeMs, countersSinceMs: this.#boot.sinceMs, samples: samples(), latencies: this.#unsent() } };
  }

  #number({ stream_id: stream, first_seq: first, seq }: TelemetryWindow): Outcome {
    const ranges = new NumberRanges(this.#streams.get(stream) ?? '');
    const outcome = ranges.take(first, seq);
    this.#streams.delete(stream);
    this.#streams.set(stream, ranges.toString());
    dropOldest(this.#streams, MOST_STREAMS);
    return outcome;
  }

  #add({ name, labels, histogram }: LatencySample, sinceMs: number): void {
    const key = seriesKey({ name, labels });
    const known = this.#series.get(key);
    this.#series.delete(key);
    this.#series.set(key, { name, labels, sinceMs: known?.sinceMs ?? sinceMs, unsent: true, histogram: known === undefined ? histogram : mergeHistograms(known.histogram, histogram) });
    dropOldest(this.#series, MOST_SERIES);
  }

  /** Of this window, and of late ones before it. */
  #unsent(): LatencyTotal[] {
    const totals: LatencyTotal[] = [];
    for (const [key, series] of this.#series) {
      if (!series.unsent) continue;
      const { unsent: _, ...sent } = series;
      totals.push(sent);
      this.#series.set(key, { ...series, unsent: false });
    }
    return totals;
  }
}

function dropOldest(map: Map<string, unknown>, most: number): void {
  for (const key of map.keys()) {
    if (map.size <= most) return;
    map.delete(key);
  }
}
