import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RuntimeError } from '../../../runtime/errors.js';
import { PpmReader } from '../../../runtime/media/ppm.js';

const picture = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 9 }))
  .chain(([width, height]) => fc.uint8Array({ minLength: width * height * 3, maxLength: width * height * 3 }).map((data) => ({ width, height, data })));

const encode = ({ width, height, data }: { width: number; height: number; data: Uint8Array }): Buffer =>
  Buffer.concat([Buffer.from(`P6\n${width} ${height}\n255\n`), data]);

describe('PpmReader', () => {
  it('finds the same pictures however the stream is cut', () => {
    fc.assert(fc.property(fc.array(picture, { maxLength: 4 }).chain((some) => fc.constantFrom(some, some.flatMap((one) => [one, one]))), fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (pictures, cuts) => {
      const stream = Buffer.concat(pictures.map(encode));
      const reader = new PpmReader();
      const found = [];
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = cuts[i % cuts.length] ?? 1;
        found.push(...reader.push(stream.subarray(at, at + size)));
        at += size;
      }
      expect(found.map(({ width, height, data }) => ({ width, height, data: [...data] })))
        .toEqual(pictures.map(({ width, height, data }) => ({ width, height, data: [...data] })));
      expect(reader.pending).toBe(false);
    }));
  });

  it('knows that it is in the middle of a picture', () => {
    const reader = new PpmReader();
    expect([...reader.push(Buffer.from('P6\n2 2\n255\nabc'))]).toEqual([]);
    expect(reader.pending).toBe(true);
  });

  it('refuses what is not PPM, and pictures that are too large', () => {
    expect(() => [...new PpmReader().push(Buffer.alloc(100, 'x'))]).toThrow(RuntimeError);
    expect(() => [...new PpmReader().push(Buffer.from('P6\n99999 99999\n255\n'))]).toThrow(/1 to 67108864 pixels/);
    expect(() => [...new PpmReader().push(Buffer.from('P6\n0 10\n255\n'))]).toThrow(RuntimeError);
  });

  it('never throws anything but our error', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        for (const image of new PpmReader().push(Buffer.from(bytes))) expect(image.data.length).toBe(image.width * image.height * 3);
      } catch (error) {
        expect(error).toBeInstanceOf(RuntimeError);
      }
    }));
  });
});
