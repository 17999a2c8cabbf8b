import type { DeviceAddress, Event } from '../../agent/contracts/index.js';
import type { DeviceRow, FleetPast, PastRange } from './fleet-past.js';
import type { HistoryRow } from './history-store.js';
import { packageText } from './latency-slots.js';
import { lostFrames, rollupOf } from './rollup.js';
import type { CollectorStore, DeviceRecord } from './store.js';

/** Newest windows of a device that are looked through. */
const WINDOWS = 720;
/** Devices that are read before others get a turn. */
const DEVICES_AT_ONCE = 40;

/** The past in the file of one machine, which has rows of a length that follows from their age. */
export class SqliteFleetPast implements FleetPast {
  readonly source = 'SQLite';
  readonly #store: CollectorStore;

  /** @param store stays open when this one is closed */
  constructor(store: CollectorStore) {
    this.#store = store;
  }

  async rows(devices: readonly DeviceAddress[], range: PastRange & { model?: string | null }): Promise<DeviceRow[]> {
    const rows: DeviceRow[] = [];
    for (const [i, { fleet, device }] of devices.entries()) {
      if (i % DEVICES_AT_ONCE === DEVICES_AT_ONCE - 1) await new Promise((resolve) => { setImmediate(resolve); });
      for (const row of this.#store.history.rows({ fleet, device }, range)) rows.push({ fleet, device, ...row });
    }
    return rows;
  }

  /** Of those that are kept; at their end by the clock of the device, which is that of the chart as long as it is right. */
  windows(device: DeviceAddress, { pipeline, fromMs, toMs }: PastRange): Promise<HistoryRow[]> {
    const windows = this.#store.windows(device, WINDOWS);
    const ofPipeline = windows.map((window) => window.pipelines.find(({ name }) => name === pipeline));
    return Promise.resolve(windows.flatMap((window, i) => {
      const [before, now] = [ofPipeline[i - 1], ofPipeline[i]];
      if (now === undefined || window.end_ms <= fromMs || window.end_ms > toMs) return [];
      const lost = windows[i - 1]?.boot_id === window.boot_id ? Math.max(0, lostFrames(now) - (before === undefined ? 0 : lostFrames(before))) : 0;
      return [{ stepMs: 0, slotMs: window.end_ms, model: packageText(now.model), rollup: rollupOf(window, now, lost) }];
    }));
  }

  oldestMs(device: DeviceAddress): Promise<number | null> {
    return Promise.resolve(this.#store.history.oldestMs(device));
  }

  names(limit: number): Promise<{ packages: string[]; pipelines: string[] }> {
    return Promise.resolve(this.#store.history.names(limit));
  }

  events(device: DeviceAddress, limit: number): Promise<Event[]> {
    return Promise.resolve(this.#store.events(device, limit));
  }

  devices(): Promise<DeviceRecord[]> {
    return Promise.resolve(this.#store.devices());
  }

  newestMs(): Promise<number | null> {
    return Promise.resolve(null);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
