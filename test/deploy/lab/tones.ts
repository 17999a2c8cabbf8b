/** Recordings of tones that tests synthesize. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { random } from '../../runtime/support/random.js';

const rate = 16_000;

/** A second of a tone in noise as a WAV file of 16 bits. */
export function tone(hertz: number, seed: number): Buffer {
  const next = random(seed);
  const samples = Int16Array.from({ length: rate }, (_, i) => 6000 * Math.sin((2 * Math.PI * hertz * i) / rate + seed) + 2000 * (next() - 0.5));
  const header = Buffer.alloc(44);
  header.write('RIFF', 0); header.writeUInt32LE(36 + samples.byteLength, 4); header.write('WAVEfmt ', 8); header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20); header.writeUInt16LE(1, 22); header.writeUInt32LE(rate, 24); header.writeUInt32LE(2 * rate, 28); header.writeUInt16LE(2, 32); header.writeUInt16LE(16, 34);
  header.write('data', 36); header.writeUInt32LE(samples.byteLength, 40);
  return Buffer.concat([header, Buffer.from(samples.buffer)]);
}

/** Folders of low and of high tones: three recordings of fold 1 and one of fold 2 each. */
export async function writeTones(folder: string): Promise<string> {
  for (const [name, hertz] of [['low', 300], ['high', 3000]] as const) {
    await mkdir(join(folder, name), { recursive: true });
    for (const fold of [1, 1, 1, 2].keys()) await writeFile(join(folder, name, `${fold < 3 ? 1 : 2}-${fold}.wav`), tone(hertz * (1 + 0.05 * fold), fold + hertz));
  }
  return folder;
}
