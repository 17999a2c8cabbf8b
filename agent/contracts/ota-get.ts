/** `ota/get`, up: the device asks for blocks, and so owns the flow. */
import { z } from 'zod';
import { MAX_BLOCK_BYTES, MIN_BLOCK_BYTES } from './block.js';
import { count, digest, schemaVersion, bytes } from './codec.js';

export const MAX_WINDOW = 16;
/** Blocks that one request can name. */
export const MAX_BITMAP_BLOCKS = 512;

/**
 * The sender answers with the first `window` wanted blocks in ascending order, each once, QoS 0, on
 * `ota/block/{digest8}/{i}`; or, when it has no such package, with one block whose flag says `unavailable`.
 * Requests are idempotent: blocks that arrive twice are ignored.
 */
export const otaGetSchema = z.object({
  schema_version: schemaVersion,
  digest,
  /** The size that the device will accept; a sender whose package differs must not answer with data. */
  size_bytes: bytes,
  /** Size of every block but the last. */
  block_bytes: z.number().int().min(MIN_BLOCK_BYTES).max(MAX_BLOCK_BYTES),
  first_block: count,
  /** Base64; bit k (least significant first) set = block `first_block + k` is wanted. */
  bitmap: z.base64().max(128),
  window: z.number().int().min(1).max(MAX_WINDOW),
  /** SHA-256 of the list of chunks: then the numbers are those of chunks in that list, and `block_bytes` says nothing. Chunks may come deflated. */
  chunks: digest.optional(),
  /** Of the package whose list of chunks is asked for; then `digest` and `size_bytes` are those of the list, which comes in blocks. */
  list_of: digest.optional(),
});
export type OtaGet = z.infer<typeof otaGetSchema>;

/** Bits for the given block numbers, all within `MAX_BITMAP_BLOCKS` of `firstBlock`; others are left out. */
export function encodeBitmap(firstBlock: number, wanted: Iterable<number>): string {
  const offsets = [...wanted].map((index) => index - firstBlock).filter((offset) => offset >= 0 && offset < MAX_BITMAP_BLOCKS);
  const bits = Buffer.alloc(Math.ceil((Math.max(-1, ...offsets) + 1) / 8));
  for (const offset of offsets) bits.writeUInt8(bits.readUInt8(offset >> 3) | (1 << (offset & 7)), offset >> 3);
  return bits.toString('base64');
}

/** Wanted block numbers, ascending, at most `window` of them and all below `blocks`: what the sender sends. */
export function requestedBlocks(request: OtaGet, blocks: number): number[] {
  const bits = Buffer.from(request.bitmap, 'base64');
  const wanted: number[] = [];
  for (let offset = 0; offset < bits.length * 8 && wanted.length < request.window; offset++) {
    const index = request.first_block + offset;
    if (index < blocks && ((bits[offset >> 3] ?? 0) & (1 << (offset & 7))) !== 0) wanted.push(index);
  }
  return wanted;
}
