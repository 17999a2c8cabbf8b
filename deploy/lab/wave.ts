import { readFile } from 'node:fs/promises';

/** Where a chunk of a RIFF file lies. */
interface Chunk {
  readonly id: string;
  readonly start: number;
  readonly end: number;
}

function chunksOf(bytes: Buffer): Chunk[] {
  const chunks: Chunk[] = [];
  for (let at = 12; at + 8 <= bytes.length;) {
    const size = bytes.readUInt32LE(at + 4);
    chunks.push({ id: bytes.toString('latin1', at, at + 4), start: at + 8, end: Math.min(bytes.length, at + 8 + size) });
    at += 8 + size + (size % 2);
  }
  return chunks;
}

/** Whether a `fmt ` chunk says one channel of 16 bits at this rate. */
const isPlain = (bytes: Buffer, { start, end }: Chunk, rate: number): boolean =>
  end - start >= 16 && bytes.readUInt16LE(start) === 1 && bytes.readUInt16LE(start + 2) === 1 && bytes.readUInt32LE(start + 4) === rate && bytes.readUInt16LE(start + 14) === 16;

/**
 * Samples of -1..1 of a WAV file that needs no conversion: one channel of 16 bits at the wanted rate. Null for all others. Starting
 * ffmpeg takes longer than all the rest of reading a recording.
 */
export async function readPlainWave(path: string, rate: number): Promise<Float32Array | null> {
  if (!/\.wav$/i.test(path)) return null;
  const bytes = await readFile(path);
  if (bytes.length < 12 || bytes.toString('latin1', 0, 4) !== 'RIFF' || bytes.toString('latin1', 8, 12) !== 'WAVE') return null;
  const chunks = chunksOf(bytes);
  const [format, data] = ['fmt ', 'data'].map((id) => chunks.find((chunk) => chunk.id === id));
  if (format === undefined || data === undefined || !isPlain(bytes, format, rate)) return null;
  return Float32Array.from({ length: (data.end - data.start) >> 1 }, (_, i) => bytes.readInt16LE(data.start + 2 * i) / 32_768);
}

/** Mono WAV of 16-bit samples. */
export function waveOf(samples: Float32Array, rate = 16_000): Buffer {
  const bytes = Buffer.alloc(44 + 2 * samples.length);
  bytes.write('RIFF', 0);
  bytes.writeUInt32LE(36 + 2 * samples.length, 4);
  bytes.write('WAVEfmt ', 8);
  bytes.writeUInt32LE(16, 16);
  bytes.writeUInt16LE(1, 20);
  bytes.writeUInt16LE(1, 22);
  bytes.writeUInt32LE(rate, 24);
  bytes.writeUInt32LE(2 * rate, 28);
  bytes.writeUInt16LE(2, 32);
  bytes.writeUInt16LE(16, 34);
  bytes.write('data', 36);
  bytes.writeUInt32LE(2 * samples.length, 40);
  samples.forEach((sample, i) => bytes.writeInt16LE(Math.round(32_767 * Math.max(-1, Math.min(1, sample))), 44 + 2 * i));
  return bytes;
}
