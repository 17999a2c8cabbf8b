/** Where collectors that share a fleet write: one interface, with SQLite (sqlite-fleet-store.ts) and PostgreSQL with VictoriaMetrics (postgres/) behind it. */
import type { HistogramData } from '../../agent/contracts/index.js';
import type { FleetMessage } from './fleet-message.js';

/** A message with the time at which the collector received it, by its own clock. */
export interface Received {
  message: FleetMessage;
  receivedMs: number;
}

/**
 * What became of a message. `duplicate`: known already. `overlap`: a window of which only some numbers are known (see `Arrival`). `stale`: an older state
 * than the known one. `refused`: its device is one too many, or it has a text that the store cannot hold.
 */
export type Outcome = 'added' | 'duplicate' | 'overlap' | 'stale' | 'refused';

/** Sums over all devices. */
export interface FleetTotals {
  devices: number;
  /** Windows by their numbers: a merged window counts as many as were merged. */
  windows: number;
  events: number;
}

export interface FleetStore {
  /**
   * Writes a batch, all of it or nothing, and resolves when it is durable. A batch may be given again, by this or another collector, and counts once: windows are
   * known by (fleet, device, stream, number), events by their id.
   * @returns an outcome for each message
   * @throws DeployError E_COLLECTOR when nothing was written; the same batch may succeed later
   */
  commit(batch: readonly Received[]): Promise<readonly Outcome[]>;
  /** All raw latencies from end to end of a fleet since then, merged exactly; null without any. */
  latency(fleet: string, sinceMs: number): Promise<HistogramData | null>;
  totals(): Promise<FleetTotals>;
  close(): Promise<void>;
}
