import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import type { Decoded, Tally } from '../../../runtime/media/decoded.js';
import { openSource } from '../../../runtime/media/index.js';
import { parseStdin, RawReader, type RawFormat } from '../../../runtime/media/raw-frames.js';
import { stdinPictures } from '../../../runtime/media/stdin.js';

const never = new AbortController().signal;
const tally = (): Tally => ({ dropped: 0, broken: 0 });
const options = { fps: undefined, stallMs: undefined };

async function collect(spec: string, stream: PassThrough, counts = tally()): Promise<Decoded[]> {
  const pictures: Decoded[] = [];
  for await (const picture of stdinPictures(spec, stream, options)(never, counts)) pictures.push(picture);
  return pictures;
}

describe('what standard input may be', () => {
  it('is stated by size and layout', () => {
    expect(parseStdin('stdin:640x480')).toEqual({ type: 'raw', width: 640, height: 480, pixels: 'rgb24' });
    expect(parseStdin('stdin:2x2:nv12')).toEqual({ type: 'raw', width: 2, height: 2, pixels: 'nv12' });
    expect([parseStdin('stdin:ppm'), parseStdin('STDIN:mjpeg')]).toEqual([{ type: 'ppm' }, { type: 'mjpeg' }]);
  });

  it.each(['stdin:', 'stdin:640', 'stdin:0x5', 'stdin:640x480:yuv9', 'stdin:99999x99999', 'stdin:3x2:yuv420p'])('refuses %s and says what it could be', (spec) => {
    expect(() => openSource(spec)).toThrow(expect.objectContaining({ code: 'E_MEDIA', message: expect.stringMatching(/^Expected .* but received "stdin:/) as string }) as Error);
  });
});

describe('raw frames', () => {
  const layouts: Record<RawFormat, (r: number, g: number, b: number) => number[]> = {
    rgb24: (r, g, b) => Array.from({ length: 4 }, () => [r, g, b]).flat(),
    bgr24: (r, g, b) => Array.from({ length: 4 }, () => [b, g, r]).flat(),
    gray8: (r, g, b) => Array.from({ length: 4 }, () => luma(r, g, b)),
    yuv420p: (r, g, b) => yuv(r, g, b),
    nv12: (r, g, b) => yuv(r, g, b),
  };
  const luma = (r: number, g: number, b: number): number => Math.round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255);
  /** ITU-R BT.601, in floating point: four pixels of one color. */
  const yuv = (r: number, g: number, b: number): number[] => [
    ...Array.from({ length: 4 }, () => luma(r, g, b)), Math.round(128 + (-37.797 * r - 74.203 * g + 112 * b) / 255), Math.round(128 + (112 * r - 93.786 * g - 18.214 * b) / 255),
  ];

  it.each(['rgb24', 'bgr24'] as const)('of %s keep every value', (pixels) => {
    fc.assert(fc.property(fc.nat(255), fc.nat(255), fc.nat(255), (r, g, b) => {
      const [image] = new RawReader({ type: 'raw', width: 2, height: 2, pixels }).push(Uint8Array.from(layouts[pixels](r, g, b)));
      expect([...(image?.data ?? [])]).toEqual([r, g, b, r, g, b, r, g, b, r, g, b]);
    }));
  });

  it.each(['yuv420p', 'nv12'] as const)('of %s become the color that they were made of, within rounding', (pixels) => {
    fc.assert(fc.property(fc.nat(255), fc.nat(255), fc.nat(255), (r, g, b) => {
      const [image] = new RawReader({ type: 'raw', width: 2, height: 2, pixels }).push(Uint8Array.from(layouts[pixels](r, g, b)));
      for (const [index, value] of (image?.data ?? []).entries()) expect(Math.abs(value - ([r, g, b][index % 3] ?? 0))).toBeLessThanOrEqual(3);
    }));
  });

  it('place the color differences of both layouts', () => {
    // 4 x 2 pixels, the left half blue and the right half red.
    const planes = { y: Array.from({ length: 8 }, (_, i) => (i % 4 < 2 ? 41 : 81)), u: [240, 90], v: [110, 240] };
    const read = (pixels: RawFormat, bytes: number[]): Uint8Array | undefined => new RawReader({ type: 'raw', width: 4, height: 2, pixels }).push(Uint8Array.from(bytes))[0]?.data;
    const planar = read('yuv420p', [...planes.y, ...planes.u, ...planes.v]);
    expect(read('nv12', [...planes.y, planes.u[0] ?? 0, planes.v[0] ?? 0, planes.u[1] ?? 0, planes.v[1] ?? 0])).toEqual(planar);
    const [left, right] = [planar?.subarray(0, 3), planar?.subarray(9, 12)];
    expect((left?.[2] ?? 0) > 240 && (left?.[0] ?? 255) < 15 && (right?.[0] ?? 0) > 240 && (right?.[2] ?? 255) < 15).toBe(true);
    expect(new RawReader({ type: 'raw', width: 1, height: 1, pixels: 'gray8' }).push(Uint8Array.of(7))[0]?.data).toEqual(Uint8Array.of(7, 7, 7));
  });

  it('are the same however the bytes arrive', () => {
    fc.assert(fc.property(fc.uint8Array({ minLength: 30, maxLength: 90 }), fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1 }), (bytes, lengths) => {
      const reader = new RawReader({ type: 'raw', width: 5, height: 1, pixels: 'rgb24' });
      const images = [];
      for (let at = 0, turn = 0; at < bytes.length; turn++) {
        const end = at + (lengths[turn % lengths.length] ?? 1);
        images.push(...reader.push(bytes.subarray(at, end)));
        at = end;
      }
      expect(Buffer.concat(images.map(({ data }) => data))).toEqual(Buffer.from(bytes.subarray(0, Math.floor(bytes.length / 15) * 15)));
      expect(reader.pending).toBe(bytes.length % 15 !== 0);
    }));
  });
});

describe('pictures on standard input', () => {
  it('of all three forms come until the other program ends', async () => {
    const raw = new PassThrough();
    raw.end(Buffer.from([1, 2, 3, 4, 5, 6]));
    expect((await collect('stdin:1x1', raw)).map(({ data }) => [...data])).toEqual([[1, 2, 3], [4, 5, 6]]);
    const ppm = new PassThrough();
    ppm.end(Buffer.from('P6\n1 1\n255\nabcP6\n2 1\n255\nabcdef'));
    expect((await collect('stdin:ppm', ppm)).map(({ width }) => width)).toEqual([1, 2]);
    const mjpeg = new PassThrough();
    const jpeg = await sharp({ create: { width: 8, height: 6, channels: 3, background: '#336699' } }).jpeg().toBuffer();
    mjpeg.end(Buffer.concat([jpeg, jpeg.subarray(0, jpeg.length - 20), jpeg]));
    const counts = tally();
    expect((await collect('stdin:mjpeg', mjpeg, counts)).map(({ width, decodeMs }) => [width, (decodeMs ?? 0) > 0])).toEqual([[8, true], [8, true]]);
    expect(counts.broken).toBe(1);
  });

  it('that end in the middle of one are an error, after what was whole', async () => {
    const stream = new PassThrough();
    stream.end(Buffer.from([1, 2, 3, 4]));
    const pictures: Decoded[] = [];
    const reading = (async () => { for await (const picture of stdinPictures('stdin:1x1', stream, options)(never, tally())) pictures.push(picture); })();
    await expect(reading).rejects.toMatchObject({ code: 'E_MEDIA', message: 'Standard input ended in the middle of a picture' });
    expect(pictures).toHaveLength(1);
  });

  it('go on where the last reader stopped, in step', async () => {
    const stream = new PassThrough();
    stream.write(Buffer.from([1, 2, 3, 4, 5, 6, 7]));
    for await (const picture of stdinPictures('stdin:1x1', stream, options)(never, tally())) {
      expect([...picture.data]).toEqual([1, 2, 3]);
      break;
    }
    stream.end(Buffer.from([8, 9]));
    expect((await collect('stdin:1x1', stream)).map(({ data }) => [...data])).toEqual([[4, 5, 6], [7, 8, 9]]);
    await expect(collect('stdin:2x1', stream)).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('is being read as stdin:1x1 already') as string });
  });

  it('that do not come are an error where somebody waits for a camera', async () => {
    const reading = (async () => { for await (const _ of stdinPictures('stdin:1x1', new PassThrough(), { fps: 10, stallMs: 50 })(never, tally())); })();
    await expect(reading).rejects.toMatchObject({ code: 'E_MEDIA', message: 'Standard input delivered no picture for 50 ms' });
  });

  it('stop without an error when they are told to', async () => {
    const stop = new AbortController();
    const reading = (async () => { for await (const _ of stdinPictures('stdin:1x1', new PassThrough(), options)(stop.signal, tally())); })();
    await sleep(10);
    stop.abort();
    await reading;
  });
});
