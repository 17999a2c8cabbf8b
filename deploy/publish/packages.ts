import { readFile } from 'node:fs/promises';
import { constants, deflateRawSync } from 'node:zlib';
import {
  ChunkList, chunkListOf, DEFAULT_BLOCK_BYTES, blockCount, encodeBlock, type ChunkListRef, type DesiredPackage, type OtaGet, type PackageRef, type WrittenChunkList,
} from '../../agent/contracts/index.js';
import { openPackage } from '../../runtime/package/package.js';

/** A package that this publisher can serve. */
export interface HeldPackage {
  readonly name: string;
  readonly version: string;
  /** Of its manifest. */
  readonly releaseCounter: number;
  /** SHA-256 of `bytes`, lower-case hex. */
  readonly digest: string;
  readonly bytes: Uint8Array;
}

/**
 * Reads and completely checks a package: what this side could not open, no device should have to download.
 * @throws RuntimeError E_PACKAGE, E_PACKAGE_VERSION
 */
export async function loadPackage(path: string): Promise<HeldPackage> {
  const { manifest, sha256 } = await openPackage(path);
  const bytes = await readFile(path);
  return { name: manifest.name, version: manifest.version, releaseCounter: manifest.release_counter, digest: sha256, bytes };
}

/** How `desired` names it. */
export function desiredPackage(held: HeldPackage, blockBytes = DEFAULT_BLOCK_BYTES): DesiredPackage {
  return desiredOf({ name: held.name, version: held.version, digest: held.digest, size_bytes: held.bytes.byteLength }, blockBytes);
}

/** How `desired` names a package that a device reports. */
export function desiredOf({ name, version, digest, size_bytes }: PackageRef, blockBytes = DEFAULT_BLOCK_BYTES): DesiredPackage {
  return { name, version, digest, size_bytes, block_bytes: blockBytes };
}

/** A package that shrinks by less on the way is not worth the time of the device. */
const WORTHWHILE = 0.95;

/** Bits in a byte of what no compressor makes smaller by a twentieth. Of 4 KiB of noise, counting its bytes gives 7.95. */
const RANDOM = 7.9;
/** Bytes of a chunk that are counted, spread evenly over it. */
const SAMPLE_BYTES = 8192;

/** A package, or its list of chunks, as it goes out: messages by number. */
export interface Pieces {
  readonly count: number;
  message(index: number): Buffer;
}

/** What a publisher has to send of one package. Chunks are made, and deflated, when they are first asked for. */
export class ServedPackage {
  readonly held: HeldPackage;
  readonly #written: WrittenChunkList | null;
  readonly #list: ChunkList | null;
  /** Null: it is sent as it is. */
  readonly #deflated = new Map<number, Uint8Array | null>();

  constructor(held: HeldPackage) {
    this.held = held;
    this.#written = chunkListOf(held.bytes);
    this.#list = this.#written === null ? null : new ChunkList(this.#written.bytes, held.bytes.byteLength);
  }

  /** How `desired` names the list of its chunks; undefined for a small package, which has none. */
  get chunks(): ChunkListRef | undefined {
    return this.#written === null ? undefined : { digest: this.#written.digest, size_bytes: this.#written.size_bytes };
  }

  /** What a request asks for; null when this package cannot satisfy it: another size, or another list. */
  pieces(request: Pick<OtaGet, 'digest' | 'size_bytes' | 'block_bytes' | 'chunks' | 'list_of'>): Pieces | null {
    const listed = request.list_of === undefined ? request.chunks : request.digest;
    if (listed !== undefined && listed !== this.#written?.digest) return null;
    if (request.list_of !== undefined) return blocksOf(this.#written?.bytes ?? new Uint8Array(0), request);
    if (request.chunks === undefined) return blocksOf(this.held.bytes, request);
    const list = this.#list;
    if (list === null || request.size_bytes !== list.sizeBytes) return null;
    return { count: list.count, message: (index) => this.#chunk(list, index) };
  }

  #chunk(list: ChunkList, index: number): Buffer {
    const raw = this.held.bytes.subarray(list.offset(index), list.offset(index + 1));
    const known = this.#deflated.get(index);
    const deflated = known === undefined ? worthwhile(raw) : known;
    this.#deflated.set(index, deflated);
    return encodeBlock({ index, last: index === list.count - 1, deflated: deflated !== null, payload: deflated ?? raw });
  }
}

/** The bytes deflated; null when that is not worth it. Most of a package is deflated or random already, and counting some of its bytes shows that. */
function worthwhile(raw: Uint8Array): Uint8Array | null {
  if (entropy(raw) > RANDOM) return null;
  const deflated = deflateRawSync(raw, { level: constants.Z_BEST_COMPRESSION });
  return deflated.byteLength < raw.byteLength * WORTHWHILE ? deflated : null;
}

/** Shannon entropy of single bytes, in bits, of a sample. Its stride is odd, so that it meets every byte of words of 2, 4 and 8 bytes. */
function entropy(bytes: Uint8Array): number {
  const counts = new Uint32Array(256);
  const stride = Math.max(1, Math.ceil(bytes.length / SAMPLE_BYTES) | 1);
  let sampled = 0;
  for (let at = 0; at < bytes.length; at += stride, sampled++) counts[bytes[at] ?? 0] = (counts[bytes[at] ?? 0] ?? 0) + 1;
  return counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / sampled) * Math.log2(count / sampled)), 0);
}

function blocksOf(bytes: Uint8Array, { size_bytes, block_bytes }: Pick<OtaGet, 'size_bytes' | 'block_bytes'>): Pieces | null {
  if (bytes.byteLength !== size_bytes) return null;
  const count = blockCount(size_bytes, block_bytes);
  return {
    count,
    message: (index) => encodeBlock({ index, last: index === count - 1, payload: bytes.subarray(index * block_bytes, (index + 1) * block_bytes) }),
  };
}
