/** Finds what of a package is on this device already: in its own partial file, and as chunks of other packages. */
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { packageChunks } from '../../runtime/package/content-chunks.js';
import { MAX_BLOCK_BYTES, type ChunkList } from '../contracts/index.js';
import { faultPoint } from '../platform/fault.js';
import type { Assembly } from './assembly.js';

/** Bytes that are read and hashed between two turns of the event loop. This takes some milliseconds on a small board. */
const SLICE_BYTES = 512 * 1024;

/** Reads pieces of one file. It reads synchronously because they are small, and lets other work run in between. */
class SlicedReader {
  readonly #file: number;
  readonly #buffer = Buffer.alloc(MAX_BLOCK_BYTES);
  #sinceTurn = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'r');
  }

  get sizeBytes(): number {
    return fstatSync(this.#file).size;
  }

  /** Returns a view of the bytes, which is valid until the next call. */
  readonly read = (offset: number, length: number): Uint8Array => {
    this.#sinceTurn += length;
    const wanted = this.#buffer.subarray(0, Math.min(length, this.#buffer.length));
    return wanted.subarray(0, readSync(this.#file, wanted, 0, wanted.length, offset));
  };

  /** Lets other work run when a slice has been read. @throws the signal's reason when it is aborted */
  async rest(signal: AbortSignal): Promise<void> {
    if (this.#sinceTurn < SLICE_BYTES) return;
    this.#sinceTurn = 0;
    await turn();
    signal.throwIfAborted();
  }

  close(): void {
    closeSync(this.#file);
  }
}

/**
 * Notes the chunks that the partial file holds. This needs no record of its own, because the hashes say what is there, also after a power cut that
 * lost some of it.
 */
export async function resumeFrom(partial: string, assembly: Assembly, list: ChunkList, signal: AbortSignal): Promise<void> {
  const reader = new SlicedReader(partial);
  try {
    for (let index = 0; index < list.count; index++) {
      if (list.is(index, reader.read(list.offset(index), list.length(index)))) assembly.note(index);
      await reader.rest(signal);
    }
  } finally {
    reader.close();
  }
}

/** Copies the chunks that other packages on this device have. A package that cannot be read is taken to have none. */
export async function seedFrom(packages: readonly string[], assembly: Assembly, list: ChunkList, signal: AbortSignal): Promise<void> {
  const wanted = new Map<string, number[]>();
  for (let index = 0; index < list.count; index++) {
    if (!assembly.have.has(index)) wanted.set(list.hash(index), [...(wanted.get(list.hash(index)) ?? []), index]);
  }
  for (const path of packages) {
    if (wanted.size === 0) break;
    const reader = openReader(path);
    if (reader === null) continue;
    try {
      for (const { bytes } of packageChunks(reader.read, reader.sizeBytes)) {
        const hash = createHash('sha256').update(bytes).digest('hex');
        for (const index of wanted.get(hash) ?? []) await assembly.put({ index, bytes });
        if (wanted.delete(hash)) faultPoint('download.seeded');
        await reader.rest(signal);
      }
    } finally {
      reader.close();
    }
  }
  await assembly.commit();
}

function openReader(path: string): SlicedReader | null {
  try {
    return new SlicedReader(path);
  } catch {
    return null; // The file was deleted meanwhile, or the flash cannot be read; its chunks are fetched instead.
  }
}
