import type { DeviceAddress } from '../../agent/contracts/index.js';
import type { Outcome, Received } from '../collector/fleet-store.js';
import { openDatabase, type FleetDatabase } from '../database.js';
import { DeployError } from '../errors.js';
import { DeviceState, type Moment } from './device-state.js';
import type { DeviceExport, Receiver } from './receiver.js';

export interface ExportOptions {
  /** SQLite file that keeps the totals; null: in memory, and they begin at zero with each start. */
  file: string | null;
  /** Others are counted as refused. */
  maxDevices: number;
  /** Whether gauges and counters of windows are sent that are older than one that has been sent. */
  sendLate: boolean;
  /** What the receiver refuses for good, for people. */
  onRefused?: (message: string) => void;
}

export interface ExportStats {
  /** Windows of which something was sent. */
  windows: number;
  /** Windows that came late: their latencies are in the totals. */
  late: number;
  requests: number;
  /** Windows that the receiver refused for good. Their latencies are in the totals, and come with the next window. */
  windowsRefused: number;
  /** Points that the receiver says it left out of a batch that it took. */
  pointsRejected: number;
}

interface Staged {
  address: DeviceAddress;
  state: DeviceState;
  moments: Moment[];
}

const MIGRATIONS = ['CREATE TABLE device (name TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID'];

/**
 * Sends windows to a receiver of metrics, as the store of a `SharedCollector`: a message is acknowledged when it has been taken or refused for good, so the broker
 * keeps what the receiver could not take. The totals are written after the receiver took them. A crash in between sends the same totals at the same times again.
 */
export class ExportStore {
  readonly stats: ExportStats = { windows: 0, late: 0, requests: 0, windowsRefused: 0, pointsRejected: 0 };
  readonly #receiver: Receiver;
  readonly #options: ExportOptions;
  readonly #db: FleetDatabase | null;
  readonly #states = new Map<string, DeviceState>();

  /** @throws DeployError E_EXPORT for a file that cannot be used */
  constructor(receiver: Receiver, options: ExportOptions) {
    this.#receiver = receiver;
    this.#options = options;
    this.#db = options.file === null ? null : openDatabase(options.file, { migrations: MIGRATIONS, durability: 'full', code: 'E_EXPORT', user: 'The state of an export' });
    try {
      for (const { name, state } of this.#db?.prepare<[], { name: string; state: string }>('SELECT name, state FROM device').all() ?? []) this.#states.set(name, DeviceState.from(state));
    } catch (cause) {
      this.close();
      throw new DeployError('E_EXPORT', `The state of the export in ${options.file ?? ''} is damaged. Without it the totals begin at zero: delete it, and start again`, { cause });
    }
  }

  get devices(): number {
    return this.#states.size;
  }

  /** @throws DeployError E_EXPORT when nothing was sent; the same batch may be taken later */
  async commit(batch: readonly Received[]): Promise<readonly Outcome[]> {
    const staged = new Map<string, Staged>();
    let late = 0;
    const outcomes = batch.map((received) => {
      const taken = this.#take(staged, received);
      if (taken.late) late += 1;
      return taken.outcome;
    });
    const devices = [...staged.values()].filter(({ moments }) => moments.length > 0);
    await this.#send(devices.map(({ address, state, moments }) => ({ address, host: state.host, moments: [...moments].sort((a, b) => a.timeMs - b.timeMs) })));
    this.#keep(staged);
    this.stats.late += late;
    return outcomes;
  }

  close(): void {
    this.#db?.close();
  }

  #take(staged: Map<string, Staged>, { message, receivedMs }: Received): { outcome: Outcome; late: boolean } {
    if (message.kind !== 'telemetry' && message.kind !== 'caps') return { outcome: 'added', late: false };
    const name = `${message.address.fleet}/${message.address.device}`;
    const known = this.#states.get(name);
    if (known === undefined && !staged.has(name) && this.#states.size + this.#newIn(staged) >= this.#options.maxDevices) return { outcome: 'refused', late: false };
    const device = staged.get(name) ?? { address: message.address, state: known?.copy() ?? new DeviceState(), moments: [] };
    staged.set(name, device);
    if (message.kind === 'caps') {
      device.state.describe(message.value);
      return { outcome: 'added', late: false };
    }
    const { outcome, moment, late } = device.state.take(message.address, message.value, { receivedMs, sendLate: this.#options.sendLate });
    if (moment !== null) device.moments.push(moment);
    return { outcome, late };
  }

  #newIn(staged: ReadonlyMap<string, Staged>): number {
    return [...staged.keys()].filter((name) => !this.#states.has(name)).length;
  }

  /** A batch that is refused is divided, until only what is refused stays out: one device with a wrong clock must not silence the others. */
  async #send(devices: readonly DeviceExport[]): Promise<void> {
    if (devices.length === 0) return;
    const verdict = await this.#receiver.send(devices);
    this.stats.requests += 1;
    const windows = devices.reduce((sum, { moments }) => sum + moments.length, 0);
    if (verdict.taken) {
      this.stats.windows += windows;
      this.stats.pointsRejected += verdict.rejectedPoints;
      if (verdict.rejectedPoints > 0 || verdict.message !== '') this.#options.onRefused?.(`${this.#receiver.name} left out ${verdict.rejectedPoints} points: ${verdict.message}`);
      return;
    }
    const parts = verdict.divisible ? halves(devices) : null;
    if (parts !== null) {
      await this.#send(parts[0]);
      return this.#send(parts[1]);
    }
    this.stats.windowsRefused += windows;
    const which = devices.length === 1 ? `of ${devices[0]?.address.fleet ?? ''}/${devices[0]?.address.device ?? ''}` : `of ${devices.length} devices`;
    this.#options.onRefused?.(`${this.#receiver.name} refused ${windows} windows ${which}: ${verdict.message}`);
  }

  /** @throws DeployError E_EXPORT */
  #keep(staged: ReadonlyMap<string, Staged>): void {
    const db = this.#db;
    try {
      db?.transaction(() => {
        for (const [name, { state }] of staged) db.prepare('INSERT OR REPLACE INTO device (name, state) VALUES (?, ?)').run(name, state.toString());
      });
    } catch (cause) {
      throw new DeployError('E_EXPORT', `The state of the export cannot be written: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
    for (const [name, { state }] of staged) this.#states.set(name, state);
  }
}

/** By devices; of one device by time, since Prometheus refuses old windows that it has already together with new ones. Null for a single window. */
function halves(devices: readonly DeviceExport[]): [DeviceExport[], DeviceExport[]] | null {
  const [only] = devices;
  if (only === undefined || devices.length > 1) return split(devices);
  if (only.moments.length < 2) return null;
  const [older, newer] = split(only.moments);
  return [[{ ...only, moments: older }], [{ ...only, moments: newer }]];
}

const split = <T>(all: readonly T[]): [T[], T[]] => [all.slice(0, Math.ceil(all.length / 2)), all.slice(Math.ceil(all.length / 2))];
