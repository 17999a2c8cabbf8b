/**
 * Keeps what must survive a kill while the database cannot be written. It is a file of fixed size that is overwritten in place, which needs no new
 * space on a full disk. It has two slots, which are written in turn and each have a checksum, so that a torn write leaves the other slot. It says how
 * far the sequence went, what is only in memory, and what was dropped. On a file system that copies on write, or on a read-only one, writing may
 * fail; the outbox then goes on without it.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fdatasyncSync, ftruncateSync, openSync, readSync, statfsSync, statSync, writeSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { crc32c } from '../contracts/index.js';
import { sumOf, type Tally } from './policy.js';

const count = z.number().int().nonnegative();

const recordSchema = z.object({
  /** Grows with each period in which the database cannot be written. The database knows the last period that it took over. */
  epoch: count,
  /** The database's stream and its next number; null when the database was never open in this period. */
  stream_id: z.string().nullable(),
  next_seq: count,
  /** Windows that are in the database up to this message were sent, but could not be marked as sent there. */
  sent_through: count,
  /** For each class, how many messages (for telemetry: windows) are only in memory. */
  waiting: z.record(z.string(), count),
  /** By `class/reason`, how many were dropped in this period. */
  dropped: z.record(z.string(), count),
});
export type LedgerRecord = z.infer<typeof recordSchema>;

export interface Ledger {
  /** Whether there was no complete file before. The process that wrote the database then had no ledger. */
  readonly fresh: boolean;
  read(): LedgerRecord | null;
  /** @param durable whether the record must also survive a power cut @returns false when it could not be written */
  write(record: LedgerRecord, durable: boolean): boolean;
  close(): void;
}

const SLOT_BYTES = 4096;

/** Opens the ledger, or creates it; null when neither is possible. */
export function openLedger(path: string): Ledger | null {
  let fd: number | null = null;
  try {
    const fresh = !existsSync(path) || statSync(path).size < 2 * SLOT_BYTES;
    fd = openSync(path, fresh ? 'w+' : 'r+', 0o600);
    if (fresh) {
      writeSync(fd, Buffer.alloc(2 * SLOT_BYTES, ' '), 0, 2 * SLOT_BYTES, 0);
      fdatasyncSync(fd);
    }
    return new FileLedger(fd, fresh);
  } catch {
    if (fd !== null) discard(fd);
    return null;
  }
}

/**
 * The ledger on the disk, and one in a file system in memory, which outlives the process but not the machine. While windows are held back from a disk
 * that works, only the latter is written; while the disk fails, both are. So of equal epochs the one in memory is the newer.
 */
export class Ledgers {
  readonly #disk: Ledger | null;
  readonly #memory: Ledger | null;
  /** Whether the disk's may say that something waits. */
  #diskUsed = true;

  constructor(disk: Ledger | null, memory: Ledger | null) {
    this.#disk = disk;
    this.#memory = memory;
  }

  /** Whether an earlier process had no ledger on the disk. */
  get fresh(): boolean {
    return this.#disk === null || this.#disk.fresh;
  }

  /** What windows that are held back need. */
  get inMemory(): Ledger | null {
    return this.#memory;
  }

  read(): LedgerRecord | null {
    const [disk, memory] = [this.#disk?.read() ?? null, this.#memory?.read() ?? null];
    return memory !== null && memory.epoch >= (disk?.epoch ?? 0) ? memory : disk;
  }

  /** @param durable for a ledger on the disk: whether the record must survive a power cut @returns false when it is not written where it has to be */
  write(record: LedgerRecord, { toDisk, durable }: { toDisk: boolean; durable: boolean }): boolean {
    const noted = this.#memory?.write(record, false) ?? false;
    if (!toDisk) return noted;
    this.#diskUsed = true;
    return this.#disk?.write(record, durable) ?? false;
  }

  /** Writes that nothing waits any more. */
  settle(record: LedgerRecord): void {
    this.write(record, { toDisk: this.#diskUsed, durable: false });
    this.#diskUsed = false;
  }

  close(): void {
    this.#disk?.close();
    this.#memory?.close();
  }
}

/** What was lost with a process that was killed while messages were only in memory. */
export function lossesOf({ dropped, waiting }: LedgerRecord): Tally {
  return sumOf(new Map(Object.entries(dropped)), new Map(Object.entries(waiting).map(([name, n]) => [`${name}/restart`, n])));
}

/**
 * Opens the ledger that belongs to a state folder in a folder in memory, which ends with the boot: the runtime folder of systemd (RUNTIME_DIRECTORY) or
 * of the user (XDG_RUNTIME_DIR). Null where neither is in memory.
 */
export function openMemoryLedger(stateFolder: string, env: NodeJS.ProcessEnv, isInMemory = inMemory): Ledger | null {
  const of = createHash('sha256').update(resolve(stateFolder)).digest('hex').slice(0, 16);
  for (const folder of [env['RUNTIME_DIRECTORY']?.split(':')[0], env['XDG_RUNTIME_DIR']]) {
    if (folder === undefined || folder === '' || !isInMemory(folder)) continue;
    const ledger = openLedger(join(folder, `sterna-outbox-${of}.ledger`));
    if (ledger !== null) return ledger;
  }
  return null;
}

/** What statfs(2) calls tmpfs and ramfs. */
const MEMORY_FILE_SYSTEMS = [0x01021994, 0x858458f6];

function inMemory(folder: string): boolean {
  try {
    return MEMORY_FILE_SYSTEMS.includes(statfsSync(folder).type);
  } catch {
    return false;
  }
}

/** Empties a file that was begun but could not be filled, so that the next start does not take it for a ledger. */
function discard(fd: number): void {
  try {
    ftruncateSync(fd);
  } catch {
    // If it cannot be emptied either, its size shows that it is incomplete.
  }
  closeSync(fd);
}

class FileLedger implements Ledger {
  readonly fresh: boolean;
  readonly #fd: number;
  #turn: number;

  constructor(fd: number, fresh: boolean) {
    this.#fd = fd;
    this.fresh = fresh;
    this.#turn = Math.max(0, ...this.#slots().map(({ turn }) => turn));
  }

  read(): LedgerRecord | null {
    return this.#slots().sort((a, b) => b.turn - a.turn)[0]?.record ?? null;
  }

  write(record: LedgerRecord, durable: boolean): boolean {
    const turn = this.#turn + 1;
    const body = `${turn} ${JSON.stringify(record)}`;
    const slot = Buffer.alloc(SLOT_BYTES, ' ');
    if (9 + Buffer.byteLength(body) > SLOT_BYTES) return false;
    slot.write(`${checksum(body)} ${body}`);
    try {
      writeSync(this.#fd, slot, 0, SLOT_BYTES, (turn % 2) * SLOT_BYTES);
      if (durable) fdatasyncSync(this.#fd);
    } catch {
      return false;
    }
    this.#turn = turn;
    return true;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #slots(): { turn: number; record: LedgerRecord }[] {
    const bytes = Buffer.alloc(2 * SLOT_BYTES);
    readSync(this.#fd, bytes, 0, bytes.length, 0);
    return [0, 1].flatMap((i) => parseSlot(bytes.toString('utf8', i * SLOT_BYTES, (i + 1) * SLOT_BYTES)) ?? []);
  }
}

function parseSlot(text: string): { turn: number; record: LedgerRecord } | null {
  const [, sum, body, turn, json] = /^([0-9a-f]{8}) ((\d+) (.*?)) *$/s.exec(text) ?? [];
  if (sum === undefined || body === undefined || json === undefined || checksum(body) !== sum) return null;
  const parsed = recordSchema.safeParse(JSON.parse(json));
  return parsed.success ? { turn: Number(turn), record: parsed.data } : null;
}

function checksum(text: string): string {
  return crc32c(Buffer.from(text)).toString(16).padStart(8, '0');
}
