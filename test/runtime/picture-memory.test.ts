import { describe, expect, it } from 'vitest';
import { headroomBytes, keepPicture, PictureMemory, releasePicture } from '../../runtime/picture-memory.js';

const bufferOf = (data: Uint8Array): ArrayBufferLike => data.buffer;

describe('PictureMemory', () => {
  it('lends what was released again, with room in front of it', () => {
    const memory = new PictureMemory();
    const data = memory.take(12);
    expect([data.byteLength, data.byteOffset]).toEqual([12, headroomBytes]);
    releasePicture({ data });
    expect(bufferOf(memory.take(12))).toBe(data.buffer);
  });

  it('never lends what is still used', () => {
    const memory = new PictureMemory();
    const [held, kept, released] = [memory.take(12), memory.take(12), memory.take(12)];
    keepPicture({ data: kept });
    releasePicture({ data: kept });
    releasePicture({ data: released });
    const later = Array.from({ length: 6 }, () => bufferOf(memory.take(12)));
    expect(later).not.toContain(held.buffer);
    expect(later).not.toContain(kept.buffer);
    expect(later).toContain(released.buffer);
  });

  it('takes each picture back once, from who has it, and nothing that it did not give', () => {
    const memory = new PictureMemory();
    const data = memory.take(12);
    releasePicture({ data });
    releasePicture({ data });
    releasePicture({ data: new Uint8Array(data.buffer, headroomBytes, 12) });
    releasePicture({ data: new Uint8Array(12) });
    const [first, second] = [memory.take(12), memory.take(12)];
    expect(first.buffer).toBe(data.buffer);
    expect(second.buffer).not.toBe(data.buffer);
    releasePicture({ data }); // The earlier view of what is lent again.
    expect(bufferOf(memory.take(12))).not.toBe(data.buffer);
  });

  it('gives memory of the size that is asked for', () => {
    const memory = new PictureMemory();
    for (const bytes of [12, 12, 12]) releasePicture({ data: memory.take(bytes) });
    const larger = memory.take(48);
    expect(larger.byteLength).toBe(48);
    releasePicture({ data: larger });
    expect(bufferOf(memory.take(48))).toBe(larger.buffer);
  });

  it('keeps a few pictures at most', () => {
    const memory = new PictureMemory();
    const many = Array.from({ length: 20 }, () => memory.take(12));
    for (const data of many) releasePicture({ data });
    const before = new Set(many.map(bufferOf));
    expect(many.map(() => bufferOf(memory.take(12))).filter((buffer) => before.has(buffer))).toHaveLength(4);
  });
});
