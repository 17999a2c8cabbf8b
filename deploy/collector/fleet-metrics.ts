/**
 * The fleet in the Prometheus text format: one line a device for what its table shows, and latencies of each fleet as quantiles of its devices'
 * merged histograms, because a mean of p99s is nobody's p99.
 */
import { Counter, Gauge, Registry } from 'prom-client';
import { Histogram, quantile, type HistogramData } from '../../agent/contracts/index.js';
import type { Collector } from './collector.js';
import type { FleetRow, FleetTable } from './fleet-table.js';

const PERCENTILES = [50, 90, 99];
/** A device that has been silent for longer no longer counts in the quantiles of its fleet. */
const RECENT_MS = 120_000;

interface DeviceGauge {
  name: string;
  help: string;
  value: (row: FleetRow) => number | null;
}

const deviceGauges: readonly DeviceGauge[] = [
  { name: 'sterna_device_up', help: '1 while the device says that it is online', value: ({ state }) => (state === 'online' ? 1 : 0) },
  { name: 'sterna_device_last_seen_timestamp_seconds', help: 'When the device was heard last, by the clock of the collector', value: ({ seen_ms }) => seen_ms / 1000 },
  { name: 'sterna_device_alarms', help: 'Number of alarms of the device', value: ({ alarms }) => alarms.length },
  { name: 'sterna_device_temperature_celsius', help: 'Hottest thermal zone in the newest window', value: ({ celsius }) => celsius },
  { name: 'sterna_device_inference_energy_joules', help: 'Energy of an inference in the newest window, net of the idle power where that is known', value: ({ millijoules }) => (millijoules === null ? null : millijoules / 1000) },
  { name: 'sterna_device_latency_p99_seconds', help: 'p99 from the capture of a frame to its result, of the slowest pipeline in the newest window', value: ({ p99_ms }) => (p99_ms === null ? null : p99_ms / 1000) },
];

export class FleetMetrics {
  readonly #registry = new Registry();
  readonly #collector: Collector;
  readonly #table: FleetTable;
  /** What the scrape under way shows: read once, for all of its metrics. */
  #rows: readonly FleetRow[] = [];
  #merged: ReadonlyMap<string, HistogramData> = new Map();

  constructor(collector: Collector, table: FleetTable) {
    this.#collector = collector;
    this.#table = table;
    this.#registerDevices();
    this.#registerFleets();
    this.#registerCollector();
  }

  text(): Promise<string> {
    this.#rows = this.#table.rows();
    this.#merged = mergedByFleet(this.#table);
    return this.#registry.metrics();
  }

  #registerDevices(): void {
    const registers = [this.#registry], rows = () => this.#rows, connected = () => this.#collector.connected;
    for (const { name, help, value } of deviceGauges) {
      new Gauge({
        name, help, labelNames: ['fleet', 'device'], registers,
        collect() {
          this.reset();
          // Without the broker nothing that is known is current: no value is better than an old one.
          for (const row of connected() ? rows() : []) {
            const now = value(row);
            if (now !== null) this.set({ fleet: row.fleet, device: row.device }, now);
          }
        },
      });
    }
    new Gauge({
      name: 'sterna_device_info', help: 'Version of the agent and packages of a device, as labels', labelNames: ['fleet', 'device', 'version', 'packages'], registers,
      collect() {
        this.reset();
        for (const { fleet, device, version, packages } of rows()) this.set({ fleet, device, version: version ?? '', packages: packages.join(', ') }, 1);
      },
    });
  }

  #registerFleets(): void {
    const registers = [this.#registry], rows = () => this.#rows, merged = () => this.#merged;
    new Gauge({
      name: 'sterna_fleet_devices', help: 'Number of devices by health: good, warning, bad, unknown', labelNames: ['fleet', 'health'], registers,
      collect() {
        this.reset();
        for (const { fleet, health } of rows()) this.inc({ fleet, health });
      },
    });
    for (const percentile of PERCENTILES) {
      new Gauge({
        name: `sterna_fleet_latency_p${percentile}_seconds`, labelNames: ['fleet'], registers,
        help: `p${percentile} from the capture of a frame to its result, of all frames in the newest windows of a fleet: of merged histograms, within 1.1 %`,
        collect() {
          this.reset();
          for (const [fleet, histogram] of merged()) {
            const milliseconds = quantile(histogram, percentile / 100);
            if (milliseconds !== null) this.set({ fleet }, milliseconds / 1000);
          }
        },
      });
    }
  }

  #registerCollector(): void {
    const registers = [this.#registry], collector = this.#collector;
    new Gauge({ name: 'sterna_collector_connected', help: '1 while the collector is connected to the broker', registers, collect() { this.set(collector.connected ? 1 : 0); } });
    const counters = {
      messages: 'Messages received', malformed: 'Messages that were malformed', duplicates: 'Events and windows that had been received before',
      overlaps: 'Windows of which a part had been received before', devicesRefused: 'Messages of devices beyond the limit of the collector',
      reportsRefused: 'Reports that were not believed: forged, unsigned or replayed',
    } as const;
    for (const [key, help] of Object.entries(counters)) {
      const name = `sterna_collector_${key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}_total`;
      new Counter({ name, help, registers, collect() { this.reset(); this.inc(collector.stats[key as keyof typeof counters]); } });
    }
  }
}

function mergedByFleet(table: FleetTable): Map<string, HistogramData> {
  const byFleet = new Map<string, Histogram>();
  for (const { fleet, seenMs, histograms } of table.latencies()) {
    if (Date.now() - seenMs > RECENT_MS) continue;
    const sum = byFleet.get(fleet) ?? new Histogram();
    for (const histogram of histograms) sum.merge(histogram);
    byFleet.set(fleet, sum);
  }
  return new Map([...byFleet].map(([fleet, sum]) => [fleet, sum.toData()]));
}
