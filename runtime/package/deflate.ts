import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { chunkLength, type ChunkSizes } from './content-chunks.js';

/** What is left when a file shrinks by less than this is not worth the time of every device that opens it. */
const worthwhile = 0.95;

/** Matches help tables and graphs; codes of weights have none, and are smaller without. */
const strategies = [constants.Z_DEFAULT_STRATEGY, constants.Z_HUFFMAN_ONLY] as const;

/** Matches do not reach farther back than 32 KiB anyway, so longer pieces would be hardly smaller. */
const pieceSizes: ChunkSizes = { min: 16_384, average: 65_536, max: 262_144 };

/**
 * A file's smallest raw DEFLATE stream (RFC 1951), undefined when it is hardly smaller than the file. The same Node gives the same bytes.
 * Each piece of the file, cut by its content, begins anew at a whole byte: after a change the other pieces have the bytes that they had before, so
 * that only the changed ones travel to a device.
 */
export function deflate(data: Uint8Array): Uint8Array | undefined {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for (let at = 0; at < data.length || pieces.length === 0;) {
    const piece = data.subarray(at, at + chunkLength(data.subarray(at), pieceSizes));
    at += piece.length;
    const deflated = deflatePiece(piece, at === data.length);
    pieces.push(deflated);
    length += deflated.length;
  }
  return length < data.length * worthwhile ? Buffer.concat(pieces, length) : undefined;
}

/** All pieces but the last end with an empty block at a whole byte, and remember nothing. */
function deflatePiece(piece: Uint8Array, last: boolean): Uint8Array {
  const finishFlush = last ? constants.Z_FINISH : constants.Z_FULL_FLUSH;
  return strategies.map((strategy) => deflateRawSync(piece, { level: 9, strategy, finishFlush })).reduce((a, b) => (b.length < a.length ? b : a));
}

/** The `bytes` bytes that `deflate` made smaller, undefined when the stream is damaged, has another length, or something after its end. */
export function inflate(stream: Uint8Array, bytes: number): Uint8Array | undefined {
  try {
    const { buffer, engine } = inflateRawSync(stream, { maxOutputLength: Math.max(bytes, 1), info: true }) as unknown as { buffer: Uint8Array; engine: { bytesWritten: number } };
    return buffer.length === bytes && engine.bytesWritten === stream.length ? buffer : undefined;
  } catch {
    return undefined;
  }
}
