import { requireNewerReport, supersedes, type HistogramData } from '../../agent/contracts/index.js';
import { DeployError } from '../errors.js';
import type { FleetMessage } from './fleet-message.js';
import type { FleetStore, FleetTotals, Outcome, Received } from './fleet-store.js';
import { mergeLatencies } from './latency-slots.js';
import type { CollectorStore } from './store.js';

/** The store of one machine: a batch is one transaction. Several collectors may share its file. */
export class SqliteFleetStore implements FleetStore {
  readonly #store: CollectorStore;

  /** @param store is closed with this one */
  constructor(store: CollectorStore) {
    this.#store = store;
  }

  commit(batch: readonly Received[]): Promise<readonly Outcome[]> {
    try {
      return Promise.resolve(this.#store.transaction(() => {
        const outcomes = batch.map(({ message, receivedMs }) => this.#take(message, receivedMs));
        for (const slot of mergeLatencies(batch.filter((_, i) => outcomes[i] === 'added'))) this.#store.addLatency(slot);
        return outcomes;
      }));
    } catch (cause) {
      return Promise.reject(new DeployError('E_COLLECTOR', `The database did not take ${batch.length} messages: ${cause instanceof Error ? cause.message : String(cause)}`, { cause }));
    }
  }

  latency(fleet: string, sinceMs: number): Promise<HistogramData | null> {
    return Promise.resolve(this.#store.latency(fleet, sinceMs));
  }

  totals(): Promise<FleetTotals> {
    return Promise.resolve(this.#store.totals());
  }

  close(): Promise<void> {
    this.#store.close();
    return Promise.resolve();
  }

  #take(message: FleetMessage, receivedMs: number): Outcome {
    const { address } = message;
    if (message.kind === 'telemetry') return this.#store.takeWindow(address, message, receivedMs);
    if (message.kind === 'event') {
      if (!this.#store.touch(address, receivedMs)) return 'refused';
      return this.#store.addEvent(address, message.value) ? 'added' : 'duplicate';
    }
    if (message.kind !== 'caps' && !isNewer(message, this.#store.device(address))) return 'stale';
    return this.#store.note(address, message.kind, message.value, receivedMs) ? 'added' : 'refused';
  }
}

/** Whether a state is newer than what is known of the device: a late will and a report that is sent again are not. */
export function isNewer(message: Extract<FleetMessage, { kind: 'status' | 'reported' }>, known: Pick<NonNullable<ReturnType<CollectorStore['device']>>, 'status' | 'reported'> | null): boolean {
  if (message.kind === 'status') return supersedes(message.value, known?.status ?? null);
  try {
    requireNewerReport(message.value, known?.reported ?? null);
    return true;
  } catch {
    return false;
  }
}
