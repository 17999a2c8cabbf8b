/**
 * The list of a package's chunks (runtime/package/content-chunks.ts), little-endian:
 *
 *     0      4        5         8       12      16
 *     | STNC | version | zero | count | bytes | count entries: SHA-256 of the chunk (32), its length (4)
 *
 * The signed metadata of a package states SHA-256 and length of its list, so each chunk is checked by a signed hash as soon as it is there, whoever sent it.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { packageChunks } from '../../runtime/package/content-chunks.js';
import { MAX_BLOCK_BYTES } from './block.js';
import { digest } from './codec.js';
import { ContractError } from './errors.js';

/** 256 MiB in the shortest chunks take less. */
export const MAX_CHUNK_LIST_BYTES = 4 * 1024 * 1024;
const MAGIC = 0x434e5453; // "STNC" read as little-endian u32
const VERSION = 1;
const HEAD_BYTES = 16;
const HASH_BYTES = 32;
const ENTRY_BYTES = HASH_BYTES + 4;

/** How `desired` and the signed metadata name the list of a package. */
export const chunkListRef = z.object({ digest, size_bytes: z.number().int().min(HEAD_BYTES).max(MAX_CHUNK_LIST_BYTES) });
export type ChunkListRef = z.infer<typeof chunkListRef>;

/** A list that was read. Chunks have numbers 0..count-1, in the order in which they make up the package. */
export class ChunkList {
  readonly count: number;
  /** Of the package. */
  readonly sizeBytes: number;
  readonly #bytes: Buffer;
  readonly #offsets: Float64Array;

  /** @throws ContractError E_CHUNK_LIST */
  constructor(bytes: Uint8Array, sizeBytes: number) {
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const count = view.length >= HEAD_BYTES ? view.readUInt32LE(8) : 0;
    if (view.length < HEAD_BYTES || view.readUInt32LE(0) !== MAGIC) throw malformed('expected a list that starts with "STNC"');
    if (view.readUInt32LE(4) !== VERSION) throw malformed(`expected version ${VERSION} but received ${view.readUInt8(4)}`);
    if (view.length > MAX_CHUNK_LIST_BYTES || view.length !== HEAD_BYTES + count * ENTRY_BYTES) throw malformed(`${view.length} bytes cannot be a list of ${count} chunks`);
    this.#bytes = view;
    this.count = count;
    this.sizeBytes = sizeBytes;
    this.#offsets = new Float64Array(count + 1);
    for (let i = 0; i < count; i++) {
      const length = view.readUInt32LE(HEAD_BYTES + i * ENTRY_BYTES + HASH_BYTES);
      if (length < 1 || length > MAX_BLOCK_BYTES) throw malformed(`chunk ${i} would have ${length} bytes, but 1 to ${MAX_BLOCK_BYTES} are allowed`);
      this.#offsets[i + 1] = this.offset(i) + length;
    }
    if (view.readUInt32LE(12) !== sizeBytes || this.offset(count) !== sizeBytes) throw malformed(`the chunks have ${this.offset(count)} bytes in all, but the package has ${sizeBytes}`);
  }

  /** Where the chunk begins in the package. */
  offset(index: number): number {
    return this.#offsets[index] ?? 0;
  }

  length(index: number): number {
    return this.offset(index + 1) - this.offset(index);
  }

  /** SHA-256 of the chunk, lower-case hex. */
  hash(index: number): string {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    return this.#bytes.toString('hex', at, at + HASH_BYTES);
  }

  /** Whether these bytes are the chunk. */
  is(index: number, bytes: Uint8Array): boolean {
    const at = HEAD_BYTES + index * ENTRY_BYTES;
    return bytes.byteLength === this.length(index) && createHash('sha256').update(bytes).digest().equals(this.#bytes.subarray(at, at + HASH_BYTES));
  }
}

/** The list of a package, ready to be signed and sent. */
export interface WrittenChunkList extends ChunkListRef {
  bytes: Buffer;
}

/** Null for a package that needs none: one that fits into one message, or is empty; and for one whose list would be too long. */
export function chunkListOf(packageBytes: Uint8Array): WrittenChunkList | null {
  if (packageBytes.byteLength <= MAX_BLOCK_BYTES / 4) return null;
  const entries: Buffer[] = [];
  for (const { bytes } of packageChunks((offset, length) => packageBytes.subarray(offset, offset + length), packageBytes.byteLength)) {
    const entry = Buffer.alloc(ENTRY_BYTES);
    createHash('sha256').update(bytes).digest().copy(entry);
    entry.writeUInt32LE(bytes.byteLength, HASH_BYTES);
    entries.push(entry);
  }
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(VERSION, 4);
  head.writeUInt32LE(entries.length, 8);
  head.writeUInt32LE(packageBytes.byteLength, 12);
  const list = Buffer.concat([head, ...entries]);
  if (list.length > MAX_CHUNK_LIST_BYTES) return null;
  return { bytes: list, digest: createHash('sha256').update(list).digest('hex'), size_bytes: list.length };
}

function malformed(problem: string): ContractError {
  return new ContractError('E_CHUNK_LIST', `The list of chunks is malformed: ${problem}`);
}
