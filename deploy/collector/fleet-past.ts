/** Where the page reads the past of devices: one interface, with SQLite (sqlite-fleet-past.ts) and PostgreSQL with VictoriaMetrics (postgres/) behind it. */
import type { DeviceAddress, Event } from '../../agent/contracts/index.js';
import type { HistoryRow } from './history-store.js';
import type { DeviceRecord } from './store.js';

/** A part of the past of one pipeline. */
export interface PastRange {
  pipeline: string;
  fromMs: number;
  toMs: number;
}

/** A row with the device whose it is. */
export type DeviceRow = DeviceAddress & HistoryRow;

/** How long the rows are that a reader wants, as far as the store has a choice. */
export type Fineness =
  /** Rows of at most this length, to be added up to the points of a chart. */
  | { stepMs: number }
  /** As few rows as cover the range, within an hour of its ends: to be added up to one sum. */
  | 'sum';

export interface FleetPast {
  /** A few words for the page: where it reads. */
  readonly source: string;
  /**
   * Roll-ups of devices that are at least partly in the range, of each device oldest first. Each window is in exactly one of them.
   * @param range `model`: only those of this package
   * @throws DeployError E_STORE, and so do all others
   */
  rows(devices: readonly DeviceAddress[], range: PastRange & { model?: string | null }, fineness: Fineness): Promise<DeviceRow[]>;
  /** Single windows as rows without a length, at their ends, oldest first, as far as there are any. */
  windows(device: DeviceAddress, range: PastRange): Promise<HistoryRow[]>;
  /** Begin of the oldest row of a device; null without any. */
  oldestMs(device: DeviceAddress): Promise<number | null>;
  /** Packages of which there is a past, and pipelines. */
  names(limit: number): Promise<{ packages: string[]; pipelines: string[] }>;
  /** Newest first. */
  events(device: DeviceAddress, limit: number): Promise<Event[]>;
  /** The devices that the store knows, and what they said last. */
  devices(): Promise<DeviceRecord[]>;
  /** When the store took the latest message of any device; null: never, or what is heard and what is stored are the same. */
  newestMs(): Promise<number | null>;
  close(): Promise<void>;
}
