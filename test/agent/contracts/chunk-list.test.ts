import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ChunkList, chunkListOf, ContractError, MAX_BLOCK_BYTES } from '../../../agent/contracts/index.js';
import { chunkLength, packageChunkSizes, packageChunks } from '../../../runtime/package/content-chunks.js';
import { writeArchive } from '../../../runtime/package/archive.js';
import { random } from '../../runtime/support/random.js';

function noise(bytes: number, seed: number): Buffer {
  const next = random(seed);
  return Buffer.from(Array.from({ length: bytes }, () => Math.floor(next() * 256)));
}

function listOf(bytes: Uint8Array): { list: ChunkList; bytes: Buffer } {
  const written = chunkListOf(bytes);
  if (written === null) throw new Error('expected a list');
  return { list: new ChunkList(written.bytes, bytes.byteLength), bytes: written.bytes };
}

const hashes = (list: ChunkList): string[] => Array.from({ length: list.count }, (_, i) => list.hash(i));

describe('content-defined chunks', () => {
  it('make up the data, and keep to their lengths', () => {
    fc.assert(fc.property(fc.nat(400_000), fc.nat(), fc.boolean(), (bytes, seed, constant) => {
      const data = constant ? Buffer.alloc(bytes, seed & 255) : noise(bytes, seed);
      let at = 0;
      while (at < data.length) {
        const length = chunkLength(data.subarray(at), packageChunkSizes);
        expect(length).toBeLessThanOrEqual(packageChunkSizes.max);
        if (at + length < data.length) expect(length).toBeGreaterThanOrEqual(packageChunkSizes.min);
        expect(length).toBeGreaterThan(0);
        at += length;
      }
      expect(at).toBe(data.length);
    }), { numRuns: 20 });
  });

  it('are the same after an insertion, except near it', () => {
    const before = noise(600_000, 1);
    const after = Buffer.concat([before.subarray(0, 300_000), noise(10, 2), before.subarray(300_000)]);
    const known = new Set(hashes(listOf(before).list));
    const { list } = listOf(after);
    const missing = Array.from({ length: list.count }, (_, i) => (known.has(list.hash(i)) ? 0 : list.length(i))).reduce((a, b) => a + b, 0);
    expect(missing).toBeLessThanOrEqual(2 * packageChunkSizes.max);
  });

  it('have the average length that they should have', () => {
    const { list } = listOf(noise(2_000_000, 3));
    expect(2_000_000 / list.count).toBeGreaterThan(packageChunkSizes.average / 2);
    expect(2_000_000 / list.count).toBeLessThan(packageChunkSizes.average * 2);
  });

  it('end at the end of the manifest, which changes with every release', async () => {
    const archive = await writeArchive([{ path: 'manifest.json', data: Buffer.alloc(3000, 32) }, { path: 'model', data: noise(100_000, 4) }]);
    const cuts = [...packageChunks((offset, length) => archive.subarray(offset, offset + length), archive.length)].map(({ offset }) => offset);
    expect(cuts.slice(0, 2)).toEqual([0, 512 + 3072]);
  });
});

describe('the list of chunks', () => {
  const data = noise(200_000, 5);

  it('states offset, length and SHA-256 of each', () => {
    const { list } = listOf(data);
    for (let i = 0; i < list.count; i++) {
      const chunk = data.subarray(list.offset(i), list.offset(i + 1));
      expect(list.hash(i)).toBe(createHash('sha256').update(chunk).digest('hex'));
      expect(list.is(i, chunk)).toBe(true);
      expect(list.is(i, chunk.subarray(1))).toBe(false);
    }
    expect(list.offset(list.count)).toBe(data.length);
  });

  it('is not made for what fits into one small message', () => {
    expect(chunkListOf(Buffer.alloc(16_384))).toBeNull();
    expect(chunkListOf(Buffer.alloc(16_385))).not.toBeNull();
  });

  const { bytes } = listOf(data);
  const changed = (at: number, value: number): Buffer => {
    const copy = Buffer.from(bytes);
    copy.writeUInt32LE(value, at);
    return copy;
  };

  it.each([
    ['nothing', Buffer.alloc(0)], ['another file', Buffer.from('STNB and more than sixteen bytes')], ['a newer version', changed(4, 2)], ['a cut list', bytes.subarray(0, -1)],
    ['a longer list', Buffer.concat([bytes, Buffer.alloc(36)])], ['a count that wraps around', changed(8, 0xffff_ffff)], ['another size', changed(12, 1)],
    ['an empty chunk', changed(16 + 32, 0)], ['a chunk that is too long', changed(16 + 32, MAX_BLOCK_BYTES + 1)], ['lengths with another sum', changed(16 + 32, 1)],
  ])('refuses %s with E_CHUNK_LIST', (_, list) => {
    expect(() => new ChunkList(list, data.length)).toThrow(expect.objectContaining({ code: 'E_CHUNK_LIST' }) as Error);
  });

  it('throws nothing else, whatever the bytes are', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(bytes.length - 4), fc.nat(0xffff_ffff)), { maxLength: 4 }), fc.nat(bytes.length), (edits, length) => {
      const copy = Buffer.from(bytes);
      for (const [at, value] of edits) copy.writeUInt32LE(value, at);
      try {
        new ChunkList(copy.subarray(0, length), data.length);
      } catch (error) {
        expect(error).toBeInstanceOf(ContractError);
      }
    }), { numRuns: 200 });
  });
});
