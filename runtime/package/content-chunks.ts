/**
 * Cuts bytes where their content says so (FastCDC; Xia et al., USENIX ATC 2016): a change moves only the cuts near it, so that the chunks of two releases
 * of a package are mostly the same ones. The table, the sizes and the rule are part of the format of chunk lists: another rule finds no chunk of an older package.
 */

export interface ChunkSizes {
  /** Bytes. Only the end of the data, or of a part that is cut for itself, is shorter. */
  min: number;
  /** A power of two. */
  average: number;
  max: number;
}

/** One chunk fits into one MQTT message. Measured on packages of 0.4 to 5 MB: smaller chunks cost more in lists and messages than they save. */
export const packageChunkSizes: ChunkSizes = { min: 4096, average: 16_384, max: 65_536 };

/** The rolling hash forgets what is more than 32 bytes back. */
const WINDOW = 32;
const TAR_BLOCK = 512;

/** Random numbers by a fixed rule (splitmix32). */
const gear = ((): Int32Array => {
  let state = 0x5715_20a1;
  return Int32Array.from({ length: 256 }, () => {
    state = (state + 0x9e37_79b9) | 0;
    let z = Math.imul(state ^ (state >>> 16), 0x21f0_aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
    return z ^ (z >>> 15);
  });
})();

/**
 * Length of the first chunk of `bytes`, which must reach to the end of the data or hold at least `max` bytes. Cuts are rarer before the average
 * length and more frequent after it (normalized chunking), so that most chunks have about the average length.
 */
export function chunkLength(bytes: Uint8Array, { min, average, max }: ChunkSizes): number {
  const end = Math.min(bytes.length, max);
  if (end <= min) return end;
  const bits = 31 - Math.clz32(average);
  const [rare, frequent] = [31 - bits, 33 - bits];
  const middle = Math.min(average, end);
  let hash = 0;
  let at = Math.max(0, min - WINDOW);
  for (; at < min; at++) hash = (hash << 1) + (gear[bytes[at] ?? 0] ?? 0) | 0;
  for (; at < middle; at++) {
    hash = (hash << 1) + (gear[bytes[at] ?? 0] ?? 0) | 0;
    if (hash >>> rare === 0) return at + 1;
  }
  for (; at < end; at++) {
    hash = (hash << 1) + (gear[bytes[at] ?? 0] ?? 0) | 0;
    if (hash >>> frequent === 0) return at + 1;
  }
  return end;
}

/** A chunk of a package file. */
export interface PackageChunk {
  offset: number;
  /** A view that holds until the next chunk is taken. */
  bytes: Uint8Array;
}

/**
 * The chunks of a package file in order. The manifest, which is the first file of the archive and changes with every release, is cut for itself.
 * Takes any bytes: of what is no package the chunks are merely less useful.
 * @param read `length` bytes at `offset`; fewer only at the end
 */
export function* packageChunks(read: (offset: number, length: number) => Uint8Array, size: number): Generator<PackageChunk> {
  const manifestEnd = firstMemberEnd(read(0, Math.min(size, TAR_BLOCK)), size);
  for (let offset = 0; offset < size;) {
    const end = offset < manifestEnd ? manifestEnd : size;
    const ahead = read(offset, Math.min(packageChunkSizes.max, end - offset));
    if (ahead.length === 0) return; // the file became shorter
    const bytes = ahead.subarray(0, chunkLength(ahead, packageChunkSizes));
    yield { offset, bytes };
    offset += bytes.length;
  }
}

/** Where the first file of a ustar archive ends, with its header and padding. */
function firstMemberEnd(header: Uint8Array, size: number): number {
  const octal = String.fromCharCode(...header.subarray(124, 136)).replace(/[\0 ]+$/, '');
  if (!/^[0-7]{1,11}$/.test(octal)) return size;
  const end = TAR_BLOCK * (1 + Math.ceil(Number.parseInt(octal, 8) / TAR_BLOCK));
  return Math.min(end, size);
}
