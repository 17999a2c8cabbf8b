/**
 * Stores and forwards. Every message to the broker is written to SQLite first and deleted when the broker has it, so a restart or an outage loses
 * nothing that fits. Windows that are delivered at once are held back from the disk instead, and a kill loses those that had not arrived.
 * While the disk is full or read-only, the same store in memory takes over, with a smaller cap; when the disk can be written again, which is tried
 * with back-off, everything moves to the disk. What does not fit is dropped by class and counted by reason, and telemetry windows are merged before
 * they are dropped.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { encodePayload, telemetrySchema, type TelemetryWindow } from '../contracts/index.js';
import { AgentError, toCodedError, type CodedError } from '../errors.js';
import { bootMoment, elapsedSince, type BootClock, type BootMoment } from '../platform/clock.js';
import { openDatabase, type Sqlite } from '../platform/database.js';
import { Ledgers, lossesOf, type Ledger, type LedgerRecord } from './ledger.js';
import { addTo, rankOf, sumOf, type DropReason, type OutboxClass, type Tally } from './policy.js';
import { MessageStore, spanOf, type IdRange, type StoredMessage, type StoreState, type WindowSpan } from './store.js';

export type OutboxMessage = StoredMessage;

export interface OutboxOptions {
  /** Opens the database on the disk. While it throws, it is called again, with back-off. */
  open: () => Sqlite;
  maxBytes: number;
  /** Opens the ledger; null where the disk does not allow one. */
  ledger: () => Ledger | null;
  /** Opens a ledger in a file system in memory, with which windows are held back from the disk while they are delivered; null where there is none. */
  memoryLedger?: () => Ledger | null;
  boot: BootClock;
  onFault: (error: CodedError) => void;
  /** Called when the disk can be written again after a fault. */
  onRecovered?: () => void;
}

/** The number that the next window gets. */
export interface WindowNumber {
  stream_id: string;
  seq: number;
}

/** Upper bound of the store in memory. */
const MEMORY_BYTES = 2 * 1024 * 1024;
const RETRY_MS = { base: 1000, cap: 60_000 };
/** Windows are held back from the disk until one waits for so long, or they have so many bytes. Of QoS 0 the next ping tells that it arrived. */
const HELD = { ms: 120_000, bytes: 256 * 1024 };
/**
 * How many numbers of the sequence are reserved with one durable write. After a power cut the sequence goes on above all reserved numbers, because
 * they may have been used.
 */
const RESERVED_NUMBERS = 128;
/** Id for messages that come before the database was ever open. It lies above the ids in the database, and differs at each start. */
const unknownId = (): number => 2 ** 40 * (1 + randomInt(4096)) + randomInt(2 ** 32);

export class Outbox {
  readonly #options: OutboxOptions;
  readonly #handed = new Set<number>();
  /** Messages that were delivered (null) or dropped (the reason), and are not yet deleted on the disk. */
  readonly #toDelete = new Map<number, DropReason | null>();
  /** Losses that are counted, but not yet on the disk. */
  readonly #dropped: Tally = new Map();
  readonly #ledgers: Ledgers;
  /** Whether messages arrive at the broker as they come. The pump says it. */
  delivering = false;
  #disk: MessageStore | null = null;
  #memory: MessageStore | null = null;
  /** The newest state, on the disk or ahead of it; null when the database was never open. */
  #state: StoreState | null = null;
  /** The record that an earlier process left in the ledger. It is kept until the database is open and shows whether it knows the record already. */
  #inherited: LedgerRecord | null;
  #lastEpoch: number;
  /** Number of the present period in which the disk cannot be written; null when it can be. */
  #epoch: number | null = null;
  /** A sequence of this process alone, for windows whose numbers cannot be recorded anywhere. */
  #loose: WindowNumber | null = null;
  /** Windows up to this message were sent while they could not be marked as sent. */
  #sentThrough = 0;
  /** Whether messages, deletions or counts wait for the disk. */
  #unsettled = false;
  #closed = false;
  #failing: { code: string; retryAtMs: number; waitMs: number } | null = null;
  /** The outbox's clock showed `ageMs` at `moment`. This clock counts while the machine is on, and does not depend on the date. */
  #age: { ageMs: number; moment: BootMoment };
  #nextId = 1;

  constructor(options: OutboxOptions) {
    this.#options = options;
    this.#age = { ageMs: 0, moment: bootMoment(options.boot) };
    this.#ledgers = new Ledgers(options.ledger(), options.memoryLedger?.() ?? null);
    this.#inherited = this.#ledgers.read();
    this.#lastEpoch = this.#inherited?.epoch ?? 0;
    this.#onDisk(() => undefined);
    if (this.#state === null) this.#nextId = unknownId();
  }

  /** Stores a message. Never throws: a message that cannot be stored on the disk is kept in memory, or counted as dropped. */
  put(message: { class: OutboxClass; topic: string; payload: Buffer }): void {
    const stored = this.#toStored(message, null);
    if (!this.#write((disk) => this.#commit(disk, {}, () => disk.insert(stored)))) this.#keepInMemory(stored);
  }

  /**
   * Numbers a window and stores it as telemetry. `make` is called again if the number turns out to belong to another stream.
   * @throws what `make` throws, and ContractError for a window that its schema refuses; no number was used then
   */
  putWindow(make: (number: WindowNumber) => TelemetryWindow): TelemetryWindow {
    let made = this.#prepare(make, this.#loose ?? this.#number() ?? { stream_id: randomUUID(), seq: 0 });
    const useNumber = (number: WindowNumber): StoredMessage => {
      if (made.window.stream_id !== number.stream_id || made.window.seq !== number.seq) made = this.#prepare(make, number);
      return made.stored;
    };
    const written = !this.#canHold() && this.#onDisk((disk) => {
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

  /** Id of the newest message. Later messages have larger ids. */
  lastId(): number {
    return this.#nextId - 1;
  }

  /** The next messages by class, oldest first, without those that are on their way. The range limits their ids (`newerThan`, `upTo`). */
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

  /** Notes that these messages are about to be sent. From now on they never change: a window that may have arrived must not be merged. */
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

  /** Notes that a message did not arrive, or that nobody knows whether it did. It will be sent again. */
  giveBack(id: number): void {
    this.#handed.delete(id);
  }

  /** Notes that the broker has a message. Never throws: what cannot be deleted now is not sent again, and is deleted later. */
  remove(id: number): void {
    this.#discard(id, null);
  }

  /** Drops a message that can never be delivered, and counts it. */
  drop(message: OutboxMessage, reason: DropReason): void {
    this.#discard(message.id, reason);
  }

  /** Tries the disk again when something waits for it and the back-off is over. This costs little when nothing waits. */
  retry(): void {
    if (this.#failing !== null || (this.#unsettled && !this.#holding())) this.#onDisk(() => undefined);
  }

  /** Bytes and number of stored messages. `in_memory` of them are not on the disk. */
  usage(): { bytes: number; messages: number; in_memory: number } {
    const none = { bytes: 0, messages: 0 };
    const [disk, memory] = [this.#disk?.usage() ?? none, this.#memory?.usage() ?? none];
    return { bytes: disk.bytes + memory.bytes, messages: disk.messages + memory.messages, in_memory: memory.messages };
  }

  /** By `class/reason`, how many were lost since the database exists: windows for telemetry, messages for the rest. */
  get dropped(): ReadonlyMap<string, number> {
    return sumOf(this.#disk?.dropped ?? new Map(), this.#memory?.dropped ?? new Map(), this.#dropped);
  }

  /** Number of windows that were merged into a neighbour. */
  get merged(): number {
    return (this.#disk?.merged ?? 0) + (this.#memory?.merged ?? 0);
  }

  /** Removes messages that are too old by the outbox's own clock, and returns free pages to the file system. A scheduled job calls it. */
  maintain(): void {
    if (!this.#holding() || this.#disk?.tidy !== true) {
      this.#onDisk((disk) => {
        this.#commit(disk, {}, () => disk.expire(this.#ageNow()));
        disk.reclaim();
      });
    }
    this.#memory?.commit(null, () => this.#memory?.expire(this.#ageNow()));
  }

  /** Writes what can be written, and closes the files. What is only in memory then is counted as lost at the next start. Idempotent. */
  close(): void {
    if (this.#closed) return;
    this.#failing = null;
    this.#onDisk((disk) => this.#commit(disk, { reserved_seq: this.#state?.next_seq ?? 0, held: false }, () => undefined, true));
    this.#disk?.close();
    this.#memory?.close();
    this.#ledgers.close();
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

  /** The next number of the persistent sequence; null when the database was never open. */
  #number(): WindowNumber | null {
    return this.#state === null ? null : { stream_id: this.#state.stream_id, seq: this.#state.next_seq };
  }

  /** A number for a window that is only in memory. It comes from the persistent sequence if the ledger can record that it was used. */
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

  /** Changes the database and the state in one transaction. `#state` changes only when the transaction is on the disk. */
  #commit(disk: MessageStore, change: Partial<StoreState>, work: () => void, durable = false): void {
    const moment = bootMoment(this.#options.boot);
    const base = this.#state ?? { stream_id: randomUUID(), next_seq: 0, reserved_seq: 0, held: false, ledger_epoch: this.#lastEpoch, merged: 0 };
    const state = { ...base, next_id: this.#nextId, age_ms: Math.round(this.#ageNow()), boot: moment.boot, boot_ms: moment.ms, ...change };
    disk.commit(state, work, durable);
    this.#state = state;
  }

  /** Runs `work` with a database that can be written, after everything that waited for the disk. @returns false when there is none */
  #onDisk(work: (disk: MessageStore) => void): boolean {
    if (this.#closed || (this.#failing !== null && this.#options.boot.ms() < this.#failing.retryAtMs)) return false;
    try {
      // A connection that was opened on a read-only file system stays read-only, so it is opened again.
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

  /** Runs `work` with a database that can be written. Windows that are held back from it stay where they are. @returns false when there is none */
  #write(work: (disk: MessageStore) => void): boolean {
    const disk = this.#disk;
    if (disk === null || !this.#holding()) return this.#onDisk(work);
    try {
      work(disk);
      return true;
    } catch (error) {
      this.#failed(toCodedError(error));
      return false;
    }
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
    if (this.#state !== null) return; // The state is known already; only the connection is new.
    const elapsedMs = saved === null ? null : elapsedSince({ boot: saved.boot, ms: saved.boot_ms }, this.#options.boot);
    const ageMs = (saved?.age_ms ?? 0) + (elapsedMs ?? 0);
    this.#memory?.commit(null, () => this.#memory?.shiftAges(ageMs - this.#ageNow()));
    this.#age = { ageMs, moment: bootMoment(this.#options.boot) };
    this.#nextId = Math.max(this.#nextId, saved?.next_id ?? 0, store.lastId() + 1);
    // Without a ledger nobody could have noted which messages were sent while they could not be marked, so all of them may have been sent.
    if (this.#ledgers.fresh) this.#sentThrough = store.lastId();
    if (saved !== null) this.#state = this.#resume(saved, elapsedMs !== null);
    else for (const [key, n] of this.#inherited === null ? [] : lossesOf(this.#inherited)) addTo(this.#dropped, key, n);
    this.#inherited = null;
  }

  /**
   * The state with which to go on after an earlier process. After a power cut the newest transactions may be missing although their numbers were
   * used.
   */
  #resume(saved: StoreState, sameBoot: boolean): StoreState {
    const inherited = this.#inherited !== null && this.#inherited.epoch > saved.ledger_epoch ? this.#inherited : null;
    // Numbers of windows that were held back are in the ledger in memory alone. Where it is gone, all that were reserved may have been used.
    const complete = sameBoot && (!saved.held || this.#ledgers.inMemory?.read()?.stream_id === saved.stream_id);
    const known = inherited?.stream_id === saved.stream_id ? Math.max(saved.next_seq, inherited.next_seq) : saved.next_seq;
    const next = complete ? known : Math.max(known, saved.reserved_seq);
    addTo(this.#dropped, 'summary/restart', next - known);
    if (inherited !== null) {
      for (const [key, n] of lossesOf(inherited)) addTo(this.#dropped, key, n);
      this.#sentThrough = Math.max(this.#sentThrough, inherited.sent_through);
    }
    this.#lastEpoch = Math.max(this.#lastEpoch, saved.ledger_epoch);
    return { ...saved, next_seq: next };
  }

  /** Moves everything that waited to the disk, in one transaction. The ledger is empty afterwards. */
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
    this.#ledgers.settle({ epoch, stream_id: this.#state?.stream_id ?? null, next_seq: this.#state?.next_seq ?? 0, sent_through: 0, waiting: {}, dropped: {} });
  }

  /** Whether what waits for the disk are only windows that were held back from it, of which none has waited for long. */
  #holding(): boolean {
    if (!this.delivering || this.#failing !== null || this.#ledgers.inMemory === null || this.#toDelete.size + this.#dropped.size + this.#sentThrough > 0) return false;
    const memory = this.#memory;
    const oldestMs = memory?.oldestMs() ?? null;
    if (memory === null || oldestMs === null) return true;
    return memory.usage().bytes < Math.min(HELD.bytes, this.#options.maxBytes / 8) && this.#ageNow() - oldestMs < HELD.ms;
  }

  /** Whether the next window may be held back. Its number is then reserved on the disk, to which nothing that is held back moves for that. */
  #canHold(): boolean {
    const state = this.#state;
    if (this.#disk === null || state === null || this.#loose !== null || !this.#holding()) return false;
    if (state.held && state.next_seq < state.reserved_seq) return true;
    return this.#write((disk) => this.#commit(disk, { reserved_seq: state.next_seq + RESERVED_NUMBERS, held: true }, () => undefined, true));
  }

  #keepInMemory(message: StoredMessage): void {
    if (this.#closed) return; // A part that stops after the outbox has nobody left to report to.
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
    if (this.#memory?.has(id) === true) {
      this.#memory.commit(null, () => this.#memory?.delete(id, reason));
      this.#writeLedger();
    } else if (!this.#write((disk) => disk.commit(null, () => disk.delete(id, reason)))) {
      this.#toDelete.set(id, reason);
      this.#unsettled = true;
    }
    this.#handed.delete(id); // Not before: what moves to the disk with it would make room by dropping it, and count it as lost.
  }

  /** @param nextSeq a number that is about to be used; when this returns true, it is durable */
  #writeLedger(nextSeq?: number): boolean {
    if (this.#closed) return false;
    const [state, inherited] = [this.#state, this.#inherited];
    this.#epoch ??= this.#lastEpoch + 1;
    const dropped = sumOf(this.#dropped, this.#memory?.dropped ?? new Map(), inherited === null ? new Map() : lossesOf(inherited));
    return this.#ledgers.write({
      epoch: this.#epoch,
      stream_id: state?.stream_id ?? inherited?.stream_id ?? null,
      next_seq: nextSeq ?? state?.next_seq ?? inherited?.next_seq ?? 0,
      sent_through: Math.max(this.#sentThrough, inherited?.sent_through ?? 0),
      waiting: Object.fromEntries(this.#memory?.units() ?? []),
      dropped: Object.fromEntries(dropped),
    }, { toDisk: !this.#holding(), durable: nextSeq !== undefined });
  }
}

function lossReason(code: string | undefined): DropReason {
  return code === 'E_DISK_FULL' ? 'disk_full' : code === 'E_STATE_READ_ONLY' ? 'read_only' : 'storage';
}
