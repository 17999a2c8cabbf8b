import { randomUUID } from 'node:crypto';
import { labelsOf, quantile, type DeviceAddress, type HistogramData, type TelemetryWindow } from '../../agent/contracts/index.js';
import type { Collector } from './collector.js';
import { healthOf, type HealthLevel } from './health.js';
import type { CollectorStore, DeviceRecord } from './store.js';

/** A device as a row of the fleet's table. */
export interface FleetRow extends DeviceAddress {
  seen_ms: number;
  state: string;
  /** Of the agent; null before it has reported. */
  version: string | null;
  /** What its pipelines run, such as `faces 1.2.0`. */
  packages: string[];
  health: HealthLevel;
  alarms: string[];
  labels: Record<string, string>;
  /** Of the newest window: the hottest zone, the energy of an inference (net where that is known), and the slowest pipeline. */
  celsius: number | null;
  millijoules: number | null;
  p99_ms: number | null;
  /** Of the table, when this row changed last. */
  revision: number;
}

/** The latencies of a device's newest window: of warm frames, one histogram a pipeline. */
export interface DeviceLatencies {
  fleet: string;
  seenMs: number;
  histograms: readonly HistogramData[];
}

/** The beginning of the table, as the page sorts it before anybody chooses otherwise. */
export interface FirstRows {
  /** Devices of the whole table, and of each health. */
  size: number;
  levels: Partial<Record<HealthLevel, number>>;
  rows: FleetRow[];
}

/** What the page shows first, first. */
const ORDER: readonly HealthLevel[] = ['bad', 'warning', 'unknown', 'good'];

type Facts = Pick<FleetRow, 'celsius' | 'millijoules' | 'p99_ms'>;
const NO_FACTS: Facts = { celsius: null, millijoules: null, p99_ms: null };

/**
 * All devices in short, kept up to date by what the collector takes: a page of thousands of rows must not read thousands of documents. A reader that
 * knows a revision gets only the rows that changed since.
 */
export class FleetTable {
  /** Another one after each start: revisions of an earlier run mean nothing. */
  readonly instance = randomUUID();
  readonly #collector: Collector;
  readonly #store: CollectorStore;
  readonly #rows = new Map<string, FleetRow>();
  readonly #windows = new Map<string, DeviceLatencies & { endMs: number }>();
  #revision = 0;
  #running = false;

  constructor(collector: Collector, store: CollectorStore) {
    this.#collector = collector;
    this.#store = store;
  }

  start(): void {
    if (this.#running) return;
    this.#running = true;
    for (const record of this.#store.devices()) {
      this.#onDevice(record);
      for (const window of this.#store.windows(record, 1)) this.#facts(record, window, record.seenMs);
    }
    this.#collector.on('device', this.#onDevice).on('telemetry', this.#onTelemetry);
  }

  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    this.#collector.off('device', this.#onDevice).off('telemetry', this.#onTelemetry);
    this.#rows.clear();
    this.#windows.clear();
  }

  get revision(): number {
    return this.#revision;
  }

  /** Rows that changed after a revision; 0: all. Without a broker nothing that is known is current. */
  rows(since = 0): FleetRow[] {
    const changed = [...this.#rows.values()].filter(({ revision }) => revision > since);
    return this.#collector.connected ? changed : changed.map((row): FleetRow => ({ ...row, health: 'unknown', alarms: [] }));
  }

  /** The devices that need attention first, at most `limit` of them; devices of equal health by their names. */
  first(limit: number): FirstRows {
    const [all, levels, rows]: [FleetRow[], FirstRows['levels'], FleetRow[]] = [this.rows(), {}, []];
    for (const level of ORDER) {
      const alike = all.filter(({ health }) => health === level);
      if (alike.length > 0) levels[level] = alike.length;
      if (rows.length < limit) rows.push(...alike.sort((a, b) => (a.device < b.device ? -1 : a.device > b.device ? 1 : 0)).slice(0, limit - rows.length));
    }
    return { size: all.length, levels, rows };
  }

  /** Of the devices that have sent telemetry. */
  latencies(): Iterable<DeviceLatencies> {
    return this.#windows.values();
  }

  readonly #onDevice = (record: DeviceRecord): void => {
    const { status, reported, caps } = record;
    const { level, alarms } = healthOf(record, true, this.#collector.guard.refused(record));
    const packages = (reported?.pipelines ?? []).flatMap(({ slots: { active } }) => (active === null ? [] : [`${active.name} ${active.version}`]));
    this.#set(record, {
      seen_ms: record.seenMs, state: status?.state ?? 'unknown', version: status?.version ?? caps?.version ?? null, packages: [...new Set(packages)],
      health: level, alarms: alarms.map(({ title }) => title), labels: labelsOf(record),
    });
  };

  readonly #onTelemetry = (address: DeviceAddress, window: TelemetryWindow): void => this.#facts(address, window, Date.now());

  /** A window that came late does not replace what a newer one said. */
  #facts(address: DeviceAddress, window: TelemetryWindow, seenMs: number): void {
    const key = keyOf(address);
    const newest = window.end_ms >= (this.#windows.get(key)?.endMs ?? 0);
    const latencies = warmLatencies(window);
    if (newest) this.#windows.set(key, { fleet: address.fleet, endMs: window.end_ms, seenMs, histograms: latencies.map(({ latency_ms }) => latency_ms) });
    this.#set(address, { seen_ms: seenMs, ...(newest ? factsOf(window, latencies) : {}) });
  }

  #set(address: DeviceAddress, over: Partial<FleetRow>): void {
    const key = keyOf(address);
    const { fleet, device } = address;
    const known = this.#rows.get(key) ?? { fleet, device, seen_ms: 0, state: 'unknown', version: null, packages: [], health: 'unknown' as const, alarms: [], labels: {}, ...NO_FACTS };
    this.#rows.set(key, { ...known, ...over, revision: ++this.#revision });
  }
}

const keyOf = ({ fleet, device }: DeviceAddress): string => `${fleet}/${device}`;

type Series = TelemetryWindow['pipelines'][number]['end_to_end'][number];

const warmLatencies = ({ pipelines }: TelemetryWindow): Series[] => pipelines.flatMap(({ end_to_end }) => end_to_end.filter(({ clock, kind }) => clock === 'raw' && kind === 'warm'));

function factsOf({ thermal, energy }: TelemetryWindow, latencies: readonly Series[]): Facts {
  const p99s = latencies.map(({ p99_ms, latency_ms }) => p99_ms ?? quantile(latency_ms, 0.99));
  const joules = energy.inference?.net_joules ?? energy.inference?.gross_joules ?? null;
  return { celsius: largest(thermal.zones.map(({ celsius }) => celsius)), millijoules: joules === null ? null : joules * 1000, p99_ms: largest(p99s.filter((value) => value !== null)) };
}

const largest = (values: readonly number[]): number | null => (values.length === 0 ? null : Math.max(...values));
