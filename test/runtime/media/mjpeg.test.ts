import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import type { Frame, FrameSource } from '../../../runtime/frame.js';
import { openSource } from '../../../runtime/media/index.js';
import { JpegCutter } from '../../../runtime/media/jpeg-cutter.js';
import { Pace } from '../../../runtime/media/pace.js';
import { mjpegCamera, part } from './support/mjpeg-camera.js';

const pictures: Buffer[] = [];
beforeAll(async () => {
  for (const [index, [width, height]] of ([[32, 24], [32, 24], [48, 40], [32, 24]] as const).entries()) {
    const picture = sharp({ create: { width, height, channels: 3, background: { r: 40 * (index + 1), g: 20, b: 30 } } });
    pictures.push(await picture.jpeg({ progressive: index === 1 }).withExif({ IFD0: { Artist: 'somebody' } }).toBuffer());
  }
});
const [A, B, C] = [0, 1, 2].map((index) => () => pictures[index] ?? Buffer.alloc(0)) as [() => Buffer, () => Buffer, () => Buffer];

function cutAll(bytes: Uint8Array, lengths: readonly number[], cutter = new JpegCutter()): Buffer[] {
  const cut: Buffer[] = [];
  let at = 0;
  for (let turn = 0; at < bytes.length; turn++) {
    const end = at + Math.max(1, lengths[turn % Math.max(1, lengths.length)] ?? 100);
    cut.push(...cutter.push(bytes.subarray(at, end)));
    at = end;
  }
  return cut;
}

describe('cutting JPEG pictures out of a stream', () => {
  it('finds the same pictures however the bytes arrive, whatever stands between them', () => {
    const gap = fc.oneof(fc.constant('\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n'), fc.string({ maxLength: 40 }).map((text) => text.replaceAll(/[^ -~]/g, '.')), fc.constant(''));
    fc.assert(fc.property(fc.array(fc.tuple(gap, fc.nat(3)), { minLength: 1, maxLength: 6 }), fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1, maxLength: 5 }), (parts, lengths) => {
      const chosen = parts.map(([, index]) => pictures[index] ?? Buffer.alloc(0));
      const stream = Buffer.concat(parts.flatMap(([text], index) => [Buffer.from(text), chosen[index] ?? Buffer.alloc(0)]));
      const cutter = new JpegCutter();
      expect(cutAll(stream, lengths, cutter)).toEqual(chosen);
      expect([cutter.broken, cutter.pending]).toEqual([0, false]);
    }), { numRuns: 60 });
  });

  it('does not end a picture at the end of its thumbnail', async () => {
    const thumbnail = A();
    const segment = Buffer.concat([Buffer.from([0xff, 0xe1, (thumbnail.length + 2) >> 8, (thumbnail.length + 2) & 0xff]), thumbnail]);
    const whole = Buffer.concat([B().subarray(0, 2), segment, B().subarray(2)]);
    expect(cutAll(Buffer.concat([whole, C()]), [77])).toEqual([whole, C()]);
    expect((await sharp(whole).metadata()).width).toBe(32);
  });

  it('leaves out pictures that another one interrupts, and counts them', () => {
    const half = A().subarray(0, A().length - 30);
    const cutter = new JpegCutter();
    expect(cutAll(Buffer.concat([part(half), part(B()), part(half), part(C())]), [50], cutter)).toEqual([B(), C()]);
    expect(cutter.broken).toBe(2);
  });

  it('gives up a picture that never ends, and finds the next one', () => {
    const cutter = new JpegCutter(4000);
    const endless = Buffer.concat([A().subarray(0, A().length - 2), Buffer.alloc(9000, 1)]);
    expect(cutAll(Buffer.concat([endless, B()]), [512], cutter)).toEqual([B()]);
    expect(cutter.broken).toBe(1);
  });

  it('survives any bytes', () => {
    fc.assert(fc.property(fc.array(fc.oneof(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...[[0xff, 0xd8, 0xff], [0xff, 0xd9], [0xff, 0xda, 0, 2], [0xff, 0xe0, 0xff, 0xff]].map((bytes) => Uint8Array.from(bytes))))), fc.integer({ min: 1, max: 64 }), (pieces, length) => {
      const cutter = new JpegCutter(500);
      for (const picture of cutAll(Buffer.concat(pieces), [length], cutter)) expect([picture[0], picture[1], picture.at(-2), picture.at(-1)]).toEqual([0xff, 0xd8, 0xff, 0xd9]);
      // Afterwards it still finds a picture, once the bytes before it cannot be part of one.
      cutter.push(Buffer.alloc(600, 1));
      cutter.push(Buffer.alloc(70_000, 1));
      expect(cutter.push(A())).toEqual([A()].slice(A().length > 500 ? 1 : 0));
    }), { numRuns: 60 });
  });
});

describe('the pace', () => {
  it('never lets more pass than the rate and one more, and all of a camera of that rate with jitter', () => {
    fc.assert(fc.property(fc.integer({ min: 1, max: 60 }), fc.array(fc.integer({ min: 0, max: 50 }), { maxLength: 300 }), (fps, gaps) => {
      const pace = new Pace(fps);
      let now = 0;
      const passed: number[] = [];
      for (const gap of gaps) {
        now += gap;
        if (pace.passes(now)) passed.push(now);
      }
      for (const [index, from] of passed.entries()) for (let to = index; to < passed.length; to++) expect(to - index + 1).toBeLessThanOrEqual(((passed[to] ?? 0) - from) / (1000 / fps) + 2 + 1e-6);
    }));
    fc.assert(fc.property(fc.array(fc.double({ min: -0.45, max: 0.45, noNaN: true }), { maxLength: 200 }), (jitter) => {
      const pace = new Pace(10);
      expect(jitter.every((share, index) => pace.passes((index + share) * 100))).toBe(true);
    }));
  });

  it('lets everything pass without a rate', () => {
    const pace = new Pace(undefined);
    expect([0, 0, 0, 1].every((now) => pace.passes(now))).toBe(true);
  });
});

/** A picture with all its markers that no decoder can decode: its Huffman tables are empty. */
function withoutTables(picture: Buffer): Buffer {
  const wrong = Buffer.from(picture);
  for (let at = wrong.indexOf('ffc4', 0, 'hex'); at >= 0; at = wrong.indexOf('ffc4', at + 2, 'hex')) wrong.fill(0, at + 4, at + 2 + wrong.readUInt16BE(at + 2));
  return wrong;
}

/** The frames of a source, as they come. */
function collecting(source: FrameSource): { frames: Frame[]; done: Promise<void> } {
  const frames: Frame[] = [];
  const done = (async () => { for await (const frame of source) frames.push(frame); })();
  done.catch(() => undefined); // whoever waits for it is told; a test that fails before must not bring a second failure
  return { frames, done };
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 40_000; !condition(); await sleep(5)) if (Date.now() > end) throw new Error(`gave up waiting: ${what}`);
}

describe('a camera that sends MJPEG over HTTP', () => {
  it('delivers its pictures with the time at which they came, also when their size changes', async () => {
    const camera = await mjpegCamera();
    const source = openSource(camera.url);
    const { frames, done } = collecting(source);
    await until('connected', () => camera.streams.length === 1);
    for (const [index, picture] of [A(), B(), C()].entries()) {
      camera.streams[0]?.write(part(picture));
      await until('it comes', () => frames.length === index + 1);
    }
    camera.streams[0]?.end();
    await done;
    expect(frames.map(({ width, height, sequence }) => [width, height, sequence])).toEqual([[32, 24, 0], [32, 24, 1], [48, 40, 2]]);
    expect(frames.every(({ capturedMs, decodeMs, mediaMs }, i) => mediaMs === undefined && (decodeMs ?? -1) > 0 && capturedMs >= (frames[i - 1]?.capturedMs ?? 0) && capturedMs < performance.now())).toBe(true);
    expect([source.dropped, source.broken]).toEqual([0, 0]);
  });

  it('goes on after damaged pictures, and counts them', async () => {
    const camera = await mjpegCamera();
    const source = openSource(camera.url);
    const { frames, done } = collecting(source);
    await until('connected', () => camera.streams.length === 1);
    const wrong = withoutTables(A());
    const [stream] = camera.streams;
    stream?.write(part(A()));
    await until('the first', () => frames.length === 1);
    stream?.write(part(B().subarray(0, B().length - 40))); // interrupted by the next one
    stream?.write(part(wrong));
    await until('counted', () => source.broken === 2);
    stream?.write(part(C()));
    await until('the last', () => frames.length === 2);
    stream?.end();
    await done;
  });

  it('decodes the newest picture only, and counts the others', async () => {
    const camera = await mjpegCamera();
    const source = openSource(camera.url);
    const { frames, done } = collecting(source);
    await until('connected', () => camera.streams.length === 1);
    camera.streams[0]?.write(Buffer.concat(Array.from({ length: 200 }, () => part(A()))));
    camera.streams[0]?.end(part(C()));
    await done;
    expect(frames.at(-1)).toMatchObject({ width: 48, sequence: 200 });
    expect(frames.length + source.dropped).toBe(201);
    expect(source.dropped).toBeGreaterThan(100);
  });

  it('is held to the rate that is asked for, and scaled down', async () => {
    const camera = await mjpegCamera();
    const source = openSource(camera.url, { fps: 5, maxSide: 16 });
    const { frames, done } = collecting(source);
    await until('connected', () => camera.streams.length === 1);
    for (let i = 0; i < 40; i++) { // a picture every 10 ms, where one every 200 ms is asked for
      camera.streams[0]?.write(part(A()));
      await sleep(10);
    }
    camera.streams[0]?.end();
    await done;
    const [first, last] = [frames[0], frames.at(-1)];
    expect(first).toMatchObject({ width: 16, height: 12 });
    expect(frames.length).toBeLessThanOrEqual(((last?.capturedMs ?? 0) - (first?.capturedMs ?? 0)) / 200 + 2);
    expect(frames.length + source.dropped).toBe(40);
  });

  it('gives up when it stalls, or sends damaged pictures only', async () => {
    const camera = await mjpegCamera((request, response) => {
      response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=frame' });
      response.write(part(A()));
      const timer = setInterval(() => { if (request.url === '/damaged') response.write(part(withoutTables(A()))); }, 20);
      response.once('close', () => clearInterval(timer));
    });
    for (const url of [camera.url, new URL('/damaged', camera.url).href]) {
      const { frames, done } = collecting(openSource(url, { stallMs: 300 }));
      await expect(done).rejects.toMatchObject({ code: 'E_MEDIA', message: `${url} cannot be decoded: no picture for 300 ms` });
      expect(frames).toHaveLength(1);
    }
  });

  it('says what is wrong: refused, no MJPEG, broken off', async () => {
    const camera = await mjpegCamera((request, response) => {
      if (request.url === '/login') response.writeHead(401, { 'www-authenticate': 'Digest realm="camera"' }).end();
      else if (request.url === '/page') response.writeHead(200, { 'content-type': 'text/html' }).end('<p>a page');
      else {
        response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace; boundary=x', 'content-length': '100000' });
        response.write(part(A()), () => setTimeout(() => response.destroy(), 50));
      }
    });
    const failure = (path: string): Promise<unknown> => collecting(openSource(new URL(path, camera.url).href.replace('//', '//admin:p4ss@'))).done.then(() => null, (error: unknown) => error);
    expect(await failure('/login')).toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/^http:\/\/\*\*\*@127.*HTTP 401 .*digest authentication/) as string });
    expect(await failure('/page')).toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('it sends text/html and no MJPEG') as string });
    expect(await failure('/cut')).toMatchObject({ code: 'E_MEDIA', message: expect.not.stringContaining('p4ss') as string });
    expect(await collecting(openSource('http://127.0.0.1:9/video')).done.then(() => null, (error: unknown) => error)).toMatchObject({ code: 'E_MEDIA' });
  });

  it('sends name and password of the address as a header', async () => {
    const camera = await mjpegCamera((_, response) => { response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace' }).end(part(A())); });
    const { frames, done } = collecting(openSource(camera.url.replace('//', '//admin:p%40ss@')));
    await done;
    expect(frames).toHaveLength(1);
    expect(camera.requests[0]?.headers.authorization).toBe(`Basic ${Buffer.from('admin:p@ss').toString('base64')}`);
  });

  it('is closed when its consumer leaves', async () => {
    const camera = await mjpegCamera((_, response) => { response.writeHead(200, { 'content-type': 'multipart/x-mixed-replace' }); response.write(Buffer.concat([part(A()), part(A())])); camera.streams.push(response); });
    for await (const _ of openSource(camera.url)) break;
    await until('closed', () => camera.streams[0]?.closed === true);
  });
});
