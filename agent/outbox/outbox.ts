/**
 * Store and forward. What goes up is written to SQLite first and deleted when the broker has it, so a restart or an outage
 * loses nothing that fits. While the disk is full or read-only, the same store in memory takes over, smaller; everything moves
 * to the disk when it can be written again, which is tried with back-off. What does not fit is dropped by class, counted by
 * reason, and telemetry windows are merged before they are dropped.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { encodePayload, telemetrySchema, type TelemetryWindow } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { bootMoment, elapsedSince, type BootClock, type BootMoment } from '../platform/clock.js';
import { openDatabase, type Sqlite } from '../platform/database.js';
import type { Ledger, LedgerRecord } from './ledger.js';
import { addTo, rankOf, sumOf, type DropReason, type OutboxClass, type Tally } from './policy.js';
import { MessageStore, spanOf, type IdRange, type StoredMessage, type StoreState, type WindowSpan } from './store.js';

export type OutboxMessage = StoredMessage;

export interface OutboxOptions {
  /** Opens the database on the disk; called again, with back-off, while it throws. */
  open: () => Sqlite;
  maxBytes: number;
  /** Null where the disk does not allow one. */
  ledger: () => Ledger | null;
  boot: BootClock;
  onFault: (error: CodedError) => void;
  /** After faults: the disk is written again. */
  onRecovered?: () => void;
}

/** The number that the next window gets. */
export interface WindowNumber {
  stream_id: string;
  seq: number;
}

/** Of the store in memory. */
const MEMORY_BYTES = 2 * 1024 * 1024;
const RETRY_MS = { base: 1000, cap: 60_000 };
/** After a power cut the sequence goes on above what may have been used: one durable write for so many windows. */
const RESERVED_NUMBERS = 64;
/** Ids of messages that came before the database was ever open: above those in it, and different at each start. */
const unknownId = (): number => 2 ** 40 * (1 + randomInt(4096)) + randomInt(2 ** 32);

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #handed = new Set<number>();
  /** Delivered, or with a reason dropped, and not yet deleted on the disk. */
  readonly #toDelete = new Map<number, DropReason | null>();
  /** Counted, and not yet on the disk. */
  readonly #dropped: Tally = new Map();
  readonly #ledger: Ledger | null;
  #disk: MessageStore | null = null;
  #memory: MessageStore | null = null;
  /** The newest, on the disk or ahead of it; null while the database was never open. */
  #state: StoreState | null = null;
  /** What an earlier process left in the ledger, until the database tells whether it knows. */
  #inherited: LedgerRecord | null;
  #lastEpoch: number;
  /** Of the present period without a disk that can be written; null in between. */
  #epoch: number | null = null;
  /** A sequence of this process alone, for windows whose numbers cannot be written down anywhere. */
  #loose: WindowNumber | null = null;
  /** Windows up to this message were sent while they could not be marked. */
  #sentThrough = 0;
  /** Something waits for the disk: messages, deletions, counts. */
  #unsettled = false;
  #closed = false;
  #failing: { code: string; retryAtMs: number; waitMs: number } | null = null;
  /** The outbox's clock was `ageMs` at `moment`. It counts while the machine is on, whatever becomes of the date. */
  #age: { ageMs: number; moment: BootMoment };
  #nextId = 1;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#age = { ageMs: 0, moment: bootMoment(options.boot) };
    this.#ledger = options.ledger();
    this.#inherited = this.#ledger?.read() ?? null;
    this.#lastEpoch = this.#inherited?.epoch ?? 0;
    this.#onDisk(() => undefined);
    if (this.#state === null) this.#nextId = unknownId();
  }

  /** Never throws: a message that cannot be stored on the disk is kept in memory, or counted as dropped. */
  put(message: { class: OutboxClass; topic: string; payload: Buffer }): void {
    const stored = this.#toStored(message, null);
    if (!this.#onDisk((disk) => this.#commit(disk, {}, () => disk.insert(stored)))) this.#keepInMemory(stored);
  }

  /**
   * Numbers a window and stores it as telemetry. `make` is called again when the number must be one of another stream.
   * @throws what `make` throws, and ContractError for a window that its schema refuses: then no number was used
   */
  putWindow(make: (number: WindowNumber) => TelemetryWindow): TelemetryWindow {
    let made = this.#prepare(make, this.#loose ?? this.#number() ?? { stream_id: randomUUID(), seq: 0 });
    const useNumber = (number: WindowNumber): StoredMessage => {
      if (made.window.stream_id !== number.stream_id || made.window.seq !== number.seq) made = this.#prepare(make, number);
      return made.stored;
    };
    const written = this.#onDisk((disk) => {
      const number = this.#number();
      if (number === null || this.#state === null) throw new AgentError('E_INTERNAL', 'The outbox is open and has no sequence');
      const stored = useNumber(number);
      if (number.seq >= this.#state.reserved_seq) this.#commit(disk, { reserved_seq: number.seq + RESERVED_NUMBERS }, () => undefined, true);
      this.#commit(disk, { next_seq: number.seq + 1 }, () => disk.insert(stored));
      this.#loose = null;
    });
    if (!written) this.#keepInMemory(useNumber(this.#numberInMemory()));
    return made.window;
  }

  /** Of the newest message; those with a larger number come later. */
  lastId(): number {
    return this.#nextId - 1;
  }

  /** The next messages by class, oldest first, without those that are on their way: `newerThan` or `upTo` an id. */
  next(limit: number, range: IdRange = {}): OutboxMessage[] {
    if (limit <= 0) return [];
    const busy = (id: number): boolean => this.#handed.has(id) || this.#toDelete.has(id);
    const found = [this.#disk, this.#memory].flatMap((store) => {
      try {
        return store?.next(limit, busy, range) ?? [];
      } catch (error) {
        this.#failed(toCodedError(error));
        return [];
      }
    });
    return found.sort((a, b) => rankOf(a.class) - rankOf(b.class) || a.id - b.id).slice(0, limit);
  }

  /** They are about to be sent. From now on they never change: a window that may have arrived is not merged any more. */
  handOver(messages: readonly OutboxMessage[]): void {
    for (const { id } of messages) this.#handed.add(id);
    const windows = messages.filter((message) => message.span !== null && !message.sent).map(({ id }) => id);
    const inMemory = windows.filter((id) => this.#memory?.has(id) === true);
    if (inMemory.length > 0) this.#memory?.commit(null, () => this.#memory?.markSent(inMemory));
    const onDisk = windows.filter((id) => !inMemory.includes(id));
    if (onDisk.length === 0 || this.#onDisk((disk) => disk.commit(null, () => disk.markSent(onDisk)))) return;
    this.#sentThrough = Math.max(this.#sentThrough, ...onDisk);
    this.#unsettled = true;
    this.#writeLedger();
  }

  /** It did not arrive, or nobody knows: it will be sent again. */
  giveBack(id: number): void {
    this.#handed.delete(id);
  }

  /** The broker has it. Never throws: what cannot be deleted now is not sent again, and deleted later. */
  remove(id: number): void {
    this.#discard(id, null);
  }

  /** It can never be delivered. */
  drop(message: OutboxMessage, reason: DropReason): void {
    this.#discard(message.id, reason);
  }

  /** Tries the disk again when something waits for it and it is time. Cheap when nothing does. */
  retry(): void {
    if (this.#failing !== null || this.#unsettled) this.#onDisk(() => undefined);
  }

  /** Bytes of stored messages, and how many; `in_memory` of them are not on the disk. */
  usage(): { bytes: number; messages: number; in_memory: number } {
    const none = { bytes: 0, messages: 0 };
    const [disk, memory] = [this.#disk?.usage() ?? none, this.#memory?.usage() ?? none];
    return { bytes: disk.bytes + memory.bytes, messages: disk.messages + memory.messages, in_memory: memory.messages };
  }

  /** `class/reason` to the number lost since the database exists: windows of telemetry, messages of the rest. */
  get dropped(): ReadonlyMap<string, number> {
    return sumOf(this.#disk?.dropped ?? new Map(), this.#memory?.dropped ?? new Map(), this.#dropped);
  }

  /** Windows that were merged into a neighbour. */
  get merged(): number {
    return (this.#disk?.merged ?? 0) + (this.#memory?.merged ?? 0);
  }

  /** Expiry by the outbox's own clock, and free pages back to the file system. The scheduled job. */
  maintain(): void {
    this.#onDisk((disk) => {
      this.#commit(disk, {}, () => disk.expire(this.#ageNow()));
      disk.reclaim();
    });
    this.#memory?.commit(null, () => this.#memory?.expire(this.#ageNow()));
  }

  /** Idempotent. Writes what it can, and closes the files. What is only in memory then is counted as lost at the next start. */
  close(): void {
    if (this.#closed) return;
    this.#failing = null;
    this.#onDisk((disk) => this.#commit(disk, { reserved_seq: this.#state?.next_seq ?? 0 }, () => undefined, true));
    this.#disk?.close();
    this.#memory?.close();
    this.#ledger?.close();
    this.#disk = null;
    this.#memory = null;
    this.#closed = true;
  }

  #toStored(message: { class: OutboxClass; topic: string; payload: Buffer }, span: WindowSpan | null): StoredMessage {
    this.#nextId += 1;
    return { ...message, id: this.#nextId - 1, storedMs: this.#ageNow(), sent: false, span };
  }

  #prepare(make: (number: WindowNumber) => TelemetryWindow, number: WindowNumber): { window: TelemetryWindow; stored: StoredMessage } {
    const window = make(number);
    const payload = encodePayload(telemetrySchema, window);
    return { window, stored: this.#toStored({ class: 'summary', topic: 'telemetry', payload }, spanOf(window)) };
  }

  /** The next of the persistent sequence; null while the database was never open. */
  #number(): WindowNumber | null {
    return this.#state === null ? null : { stream_id: this.#state.stream_id, seq: this.#state.next_seq };
  }

  /** Takes a number for a window that is only in memory: of the persistent sequence when the ledger can hold its place. */
  #numberInMemory(): WindowNumber {
    const number = this.#loose === null ? this.#number() : null;
    if (number !== null && this.#state !== null && this.#writeLedger(number.seq + 1)) {
      this.#state = { ...this.#state, next_seq: number.seq + 1 };
      return number;
    }
    const loose = this.#loose ?? { stream_id: randomUUID(), seq: 0 };
    this.#loose = { ...loose, seq: loose.seq + 1 };
    return loose;
  }

  #ageNow(): number {
    return this.#age.ageMs + Math.max(0, this.#options.boot.ms() - this.#age.moment.ms);
  }

  /** One transaction with the state; `#state` follows only when it is on the disk. */
  #commit(disk: MessageStore, change: Partial<StoreState>, work: () => void, durable = false): void {
    const moment = bootMoment(this.#options.boot);
    const base = this.#state ?? { stream_id: randomUUID(), next_seq: 0, reserved_seq: 0, ledger_epoch: this.#lastEpoch, merged: 0 };
    const state = { ...base, next_id: this.#nextId, age_ms: Math.round(this.#ageNow()), boot: moment.boot, boot_ms: moment.ms, ...change };
    disk.commit(state, work, durable);
    this.#state = state;
  }

  /** Runs `work` with a database that can be written, after everything that waited for it. @returns false when there is none */
  #onDisk(work: (disk: MessageStore) => void): boolean {
    if (this.#closed || (this.#failing !== null && this.#options.boot.ms() < this.#failing.retryAtMs)) return false;
    try {
      // A connection that was opened on a read-only file system stays read-only.
      if (this.#disk === null || this.#failing?.code === 'E_STATE_READ_ONLY') this.#open();
      const disk = this.#disk;
      if (disk === null) return false;
      if (this.#unsettled) this.#settle(disk);
      work(disk);
    } catch (error) {
      this.#failed(toCodedError(error));
      return false;
    }
    const recovered = this.#failing !== null;
    this.#failing = null;
    if (recovered) this.#options.onRecovered?.();
    return true;
  }

  #failed(error: CodedError): void {
    const waitMs = Math.min(RETRY_MS.cap, 2 * (this.#failing?.waitMs ?? RETRY_MS.base / 2));
    this.#failing = { code: error.code, waitMs, retryAtMs: this.#options.boot.ms() + waitMs };
    this.#options.onFault(error);
  }

  #open(): void {
    const store = new MessageStore(this.#options.open(), { maxBytes: this.#options.maxBytes, handed: this.#handed });
    const saved = store.loadState();
    this.#disk?.close();
    this.#disk = store;
    this.#unsettled = true;
    if (this.#state !== null) return; // only the connection is new
    const elapsedMs = saved === null ? null : elapsedSince({ boot: saved.boot, ms: saved.boot_ms }, this.#options.boot);
    const ageMs = (saved?.age_ms ?? 0) + (elapsedMs ?? 0);
    this.#memory?.commit(null, () => this.#memory?.shiftAges(ageMs - this.#ageNow()));
    this.#age = { ageMs, moment: bootMoment(this.#options.boot) };
    this.#nextId = Math.max(this.#nextId, saved?.next_id ?? 0, store.lastId() + 1);
    // Without a ledger nobody could have noted what was sent while it could not be marked.
    if (this.#ledger === null || this.#ledger.fresh) this.#sentThrough = store.lastId();
    if (saved !== null) this.#state = this.#resume(saved, elapsedMs !== null);
    else for (const [key, n] of this.#inherited === null ? [] : lossesOf(this.#inherited)) addTo(this.#dropped, key, n);
    this.#inherited = null;
  }

  /** Where an earlier process stopped. After a power cut the newest transactions may be missing, and their numbers were used. */
  #resume(saved: StoreState, sameBoot: boolean): StoreState {
    const inherited = this.#inherited !== null && this.#inherited.epoch > saved.ledger_epoch ? this.#inherited : null;
    const known = inherited?.stream_id === saved.stream_id ? Math.max(saved.next_seq, inherited.next_seq) : saved.next_seq;
    const next = sameBoot ? known : Math.max(known, saved.reserved_seq);
    addTo(this.#dropped, 'summary/restart', next - known);
    if (inherited !== null) {
      for (const [key, n] of lossesOf(inherited)) addTo(this.#dropped, key, n);
      this.#sentThrough = Math.max(this.#sentThrough, inherited.sent_through);
    }
    this.#lastEpoch = Math.max(this.#lastEpoch, saved.ledger_epoch);
    return { ...saved, next_seq: next };
  }

  /** Everything that waited goes to the disk, in one transaction; then the ledger is empty again. */
  #settle(disk: MessageStore): void {
    const memory = this.#memory;
    const epoch = this.#epoch ?? this.#lastEpoch;
    this.#commit(disk, { ledger_epoch: epoch }, () => {
      for (const [id, reason] of this.#toDelete) disk.delete(id, reason);
      disk.markSentThrough(this.#sentThrough);
      for (const [key, n] of sumOf(this.#dropped, memory?.dropped ?? new Map())) disk.addDropped(key, n);
      for (const message of memory?.next(Infinity, () => false) ?? []) disk.insert(message);
    });
    memory?.close();
    this.#memory = null;
    this.#toDelete.clear();
    this.#dropped.clear();
    this.#sentThrough = 0;
    this.#unsettled = false;
    this.#lastEpoch = epoch;
    this.#epoch = null;
    this.#ledger?.write({ epoch, stream_id: this.#state?.stream_id ?? null, next_seq: this.#state?.next_seq ?? 0, sent_through: 0, waiting: {}, dropped: {} }, false);
  }

  #keepInMemory(message: StoredMessage): void {
    if (this.#closed) return; // a part that stops after the outbox has nobody to speak to
    const { maxBytes } = this.#options;
    this.#memory ??= new MessageStore(openDatabase(':memory:', { durability: 'normal' }), {
      maxBytes: Math.min(maxBytes, MEMORY_BYTES), handed: this.#handed, fullReason: () => lossReason(this.#failing?.code),
    });
    const memory = this.#memory;
    memory.commit(null, () => memory.insert(message));
    this.#unsettled = true;
    this.#writeLedger();
  }

  #discard(id: number, reason: DropReason | null): void {
    this.#handed.delete(id);
    if (this.#memory?.has(id) === true) {
      this.#memory.commit(null, () => this.#memory?.delete(id, reason));
      this.#writeLedger();
    } else if (!this.#onDisk((disk) => disk.commit(null, () => disk.delete(id, reason)))) {
      this.#toDelete.set(id, reason);
      this.#unsettled = true;
    }
  }

  /** @param nextSeq a number that is about to be used: it is durable when this returns true */
  #writeLedger(nextSeq?: number): boolean {
    if (this.#ledger === null || this.#closed) return false;
    const [state, inherited] = [this.#state, this.#inherited];
    this.#epoch ??= this.#lastEpoch + 1;
    const dropped = sumOf(this.#dropped, this.#memory?.dropped ?? new Map(), inherited === null ? new Map() : lossesOf(inherited));
    return this.#ledger.write({
      epoch: this.#epoch,
      stream_id: state?.stream_id ?? inherited?.stream_id ?? null,
      next_seq: nextSeq ?? state?.next_seq ?? inherited?.next_seq ?? 0,
      sent_through: Math.max(this.#sentThrough, inherited?.sent_through ?? 0),
      waiting: Object.fromEntries(this.#memory?.units() ?? []),
      dropped: Object.fromEntries(dropped),
    }, nextSeq !== undefined);
  }
}

/** What a process that was killed in such a period has cost. */
function lossesOf({ dropped, waiting }: LedgerRecord): Tally {
  return sumOf(new Map(Object.entries(dropped)), new Map(Object.entries(waiting).map(([name, n]) => [`${name}/restart`, n])));
}

function lossReason(code: string | undefined): DropReason {
  return code === 'E_DISK_FULL' ? 'disk_full' : code === 'E_STATE_READ_ONLY' ? 'read_only' : 'storage';
}
