import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';

/** What is left when a file shrinks by less than this is not worth the time of every device that opens it. */
const worthwhile = 0.95;

/** Matches help tables and graphs; codes of weights have none, and are smaller without. */
const strategies = [constants.Z_DEFAULT_STRATEGY, constants.Z_HUFFMAN_ONLY] as const;

/** A file's smallest raw DEFLATE stream (RFC 1951), undefined when it is hardly smaller than the file. The same Node gives the same bytes. */
export function deflate(data: Uint8Array): Uint8Array | undefined {
  const smallest = strategies.map((strategy) => deflateRawSync(data, { level: 9, strategy })).reduce((a, b) => (b.length < a.length ? b : a));
  return smallest.length < data.length * worthwhile ? smallest : undefined;
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
