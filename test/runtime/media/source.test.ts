import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { releasePicture } from '../../../runtime/picture-memory.js';
import type { Frame, FrameSource } from '../../../runtime/frame.js';
import { findFfmpeg } from '../../../runtime/media/ffmpeg.js';
import { decodeImage, encodeJpeg, openSource } from '../../../runtime/media/index.js';
import { redact } from '../../../runtime/redact.js';
import { ffmpeg, makeVideo } from './ffmpeg-available.js';

const folder = mkdtempSync(join(tmpdir(), 'sterna-media-'));
const at = (name: string): string => join(folder, name);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A picture of one colour. */
const solid = (r: number, width = 8, height = 6) => sharp({ create: { width, height, channels: 3, background: { r, g: 20, b: 30 } } });

async function collect(source: FrameSource): Promise<Frame[]> {
  const frames: Frame[] = [];
  for await (const frame of source) frames.push(frame);
  return frames;
}

describe('pictures', () => {
  beforeAll(async () => {
    mkdirSync(at('photos'));
    for (const [name, r] of [['10.png', 100], ['2.png', 20], ['1.webp', 10]] as const) await solid(r).toFormat(name.endsWith('png') ? 'png' : 'webp', { lossless: true }).toFile(at(`photos/${name}`));
    writeFileSync(at('photos/notes.txt'), 'not a picture');
    mkdirSync(at('photos/deeper.png'));
    mkdirSync(at('empty'));
    await solid(200).jpeg().toFile(at('one.jpg'));
  });

  it('reads a folder in natural order, with sequence numbers and decode times', async () => {
    const frames = await collect(openSource(at('photos')));
    expect(frames.map((frame) => frame.data[0])).toEqual([10, 20, 100]);
    expect(frames.map((frame) => frame.sequence)).toEqual([0, 1, 2]);
    expect(frames.map((frame) => frame.mediaMs)).toEqual([0, 200, 400]);
    expect(frames.every((frame) => frame.width === 8 && frame.height === 6 && frame.data.length === 144 && (frame.decodeMs ?? -1) > 0)).toBe(true);
    expect(frames.every((frame, i) => i === 0 || frame.capturedMs >= (frames[i - 1]?.capturedMs ?? Infinity))).toBe(true);
  });

  it('reads one picture once, or again and again until it is told to stop', async () => {
    expect(await collect(openSource(at('one.jpg')))).toHaveLength(1);
    const sequences: number[] = [];
    for await (const frame of openSource(at('one.jpg'), { loop: true })) if (sequences.push(frame.sequence) === 5) break;
    expect(sequences).toEqual([0, 1, 2, 3, 4]);
  });

  it('turns a picture upright and drops its transparency', async () => {
    const rotated = await solid(50, 8, 4).withMetadata({ orientation: 6 }).jpeg().toBuffer();
    expect(await decodeImage(rotated)).toMatchObject({ width: 4, height: 8 });
    const transparent = await sharp({ create: { width: 2, height: 2, channels: 4, background: { r: 9, g: 8, b: 7, alpha: 0.5 } } }).png().toBuffer();
    expect([...(await decodeImage(transparent)).data.subarray(0, 3)]).toEqual([9, 8, 7]);
  });

  it('reads a grey picture as RGB', async () => {
    const grey = await solid(90).greyscale().png().toBuffer();
    const { data } = await decodeImage(grey);
    expect(data).toHaveLength(144);
    expect(data[0]).toBe(data[1]);
  });

  it('refuses a truncated or corrupt picture by name', async () => {
    const jpeg = readFileSync(at('one.jpg'));
    writeFileSync(at('short.jpg'), jpeg.subarray(0, jpeg.length - 30));
    writeFileSync(at('noise.png'), Buffer.alloc(300, 7));
    await expect(collect(openSource(at('short.jpg')))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('short.jpg') as string });
    await expect(collect(openSource(at('noise.png')))).rejects.toMatchObject({ code: 'E_MEDIA' });
    await expect(decodeImage(Buffer.alloc(0))).rejects.toMatchObject({ code: 'E_MEDIA' });
  });

  it('refuses an input that is not there, an empty folder, and a protocol it does not read', () => {
    expect(() => openSource(at('nowhere.jpg'))).toThrow(expect.objectContaining({ code: 'E_MEDIA' }) as Error);
    expect(() => openSource(at('empty'))).toThrow(/no pictures/);
    expect(() => openSource('ftp://user:secret@example.org/x.mp4')).toThrow(/\*\*\*@example\.org/);
  });

  it('encodes a frame as JPEG, scaled down on request', async () => {
    const image = await decodeImage(await solid(120, 64, 48).png().toBuffer());
    const jpeg = await encodeJpeg(image, { maxWidth: 32 });
    const back = await decodeImage(jpeg);
    expect(back).toMatchObject({ width: 32, height: 24 });
    expect(Math.abs((back.data[0] ?? 0) - 120)).toBeLessThan(8);
  });
});

describe('findFfmpeg', () => {
  it('prefers STERNA_FFMPEG, and says what is wrong with it', () => {
    writeFileSync(at('fake-ffmpeg'), '');
    expect(() => findFfmpeg({ STERNA_FFMPEG: at('fake-ffmpeg') })).toThrow(expect.objectContaining({ code: 'E_FFMPEG_MISSING' }) as Error);
    chmodSync(at('fake-ffmpeg'), 0o755);
    expect(findFfmpeg({ STERNA_FFMPEG: at('fake-ffmpeg'), PATH: '' })).toBe(at('fake-ffmpeg'));
  });

  it('searches PATH', () => {
    mkdirSync(at('bin'));
    writeFileSync(at('bin/ffmpeg'), '');
    chmodSync(at('bin/ffmpeg'), 0o755);
    expect(findFfmpeg({ PATH: `${at('empty')}:${at('bin')}` })).toBe(at('bin/ffmpeg'));
  });

  it('says how to install it', () => {
    try {
      // npm's ffmpeg may be installed: then there is nothing to complain about.
      expect(findFfmpeg({ PATH: at('empty') })).toContain('ffmpeg-installer');
    } catch (error) {
      expect(error).toMatchObject({ code: 'E_FFMPEG_MISSING', message: expect.stringContaining('apt-get install ffmpeg') as string });
    }
  });

  it('never shows credentials of a stream', () => {
    expect(redact('rtsp://admin:p4ss@10.0.0.9:554/live failed')).toBe('rtsp://***@10.0.0.9:554/live failed');
    expect(redact('rtsp://10.0.0.9/live')).toBe('rtsp://10.0.0.9/live');
  });
});

describe.skipIf(process.platform === 'win32')('cameras, with a stand-in for ffmpeg', () => {
  const frame = "printf 'P6\\n1 1\\n255\\nabc'";
  /** Any character device is taken for a camera. */
  const device = '/dev/null';
  const before = process.env.STERNA_FFMPEG;
  afterEach(() => {
    if (before === undefined) delete process.env.STERNA_FFMPEG;
    else process.env.STERNA_FFMPEG = before;
  });

  function standIn(script: string): void {
    writeFileSync(at('stand-in'), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    process.env.STERNA_FFMPEG = at('stand-in');
  }

  it('gives up when no picture comes for too long, after delivering what came', async () => {
    standIn(`${frame}; exec sleep 60`);
    const frames: Frame[] = [];
    const reading = (async () => { for await (const one of openSource(device, { stallMs: 200 })) frames.push(one); })();
    await expect(reading).rejects.toMatchObject({ code: 'E_MEDIA', message: '/dev/null cannot be decoded: no picture for 200 ms' });
    expect(frames).toHaveLength(1);
    expect(frames[0]).not.toHaveProperty('mediaMs');
  });

  it('ends a process that does not want to', async () => {
    standIn(`trap '' TERM; ${frame}; while :; do :; done`);
    for await (const one of openSource(device)) {
      expect([...one.data]).toEqual([97, 98, 99]);
      break;
    }
  });

  it('keeps the newest pictures for a slow consumer', async () => {
    standIn(`for i in 1 2 3 4 5 6 7 8 9; do ${frame}; done`);
    const source = openSource(device);
    const sequences: number[] = [];
    for await (const one of source) {
      sequences.push(one.sequence);
      if (sequences.length === 1) await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(sequences.slice(-2)).toEqual([7, 8]);
    expect(sequences.length + source.dropped).toBe(9);
  });

  it('reports a camera that breaks off in the middle of a picture, with the last line of the log', async () => {
    standIn("printf 'P6\\n2 2\\n255\\nab'; echo 'first line' >&2; echo 'device unplugged' >&2; exit 0");
    await expect(collect(openSource(device))).rejects.toMatchObject({ code: 'E_MEDIA', message: '/dev/null cannot be decoded: device unplugged' });
  });

  it('reports an ffmpeg that does not start', async () => {
    writeFileSync(at('stand-in'), 'no program', { mode: 0o755 });
    process.env.STERNA_FFMPEG = at('stand-in');
    await expect(collect(openSource(device))).rejects.toMatchObject({ code: expect.stringMatching(/^E_(FFMPEG_MISSING|MEDIA)$/) as string });
  });
});

describe.skipIf(ffmpeg === null)(`video${ffmpeg === null ? ' (skipped: ffmpeg is not installed)' : ''}`, () => {
  beforeAll(() => {
    makeVideo(at('clip.mp4'), '-movflags', '+faststart');
    writeFileSync(at('cut.mp4'), readFileSync(at('clip.mp4')).subarray(0, -2000));
    writeFileSync(at('text.mp4'), 'this is no video');
  });

  it('decodes every frame of a file, however slow the consumer', async () => {
    const frames: number[] = [];
    const source = openSource(at('clip.mp4'));
    for await (const frame of source) {
      expect(frame).toMatchObject({ width: 64, height: 48, mediaMs: frame.sequence * 100 });
      frames.push(frame.sequence);
      if (frames.length < 4) await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(frames).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(source.dropped).toBe(0);
  });

  it('resamples to a frame rate, scales down, and loops', async () => {
    expect(await collect(openSource(at('clip.mp4'), { fps: 5 }))).toHaveLength(10);
    expect((await collect(openSource(at('clip.mp4'), { maxSide: 32, fps: 1 })))[0]).toMatchObject({ width: 32, height: 24 });
    let count = 0;
    for await (const _ of openSource(at('clip.mp4'), { loop: true })) if (++count === 45) break;
    expect(count).toBe(45);
  });

  it('decodes the right pixels', async () => {
    makeVideo(at('red.mkv'), '-vf', 'drawbox=color=red:t=fill', '-c:v', 'ffv1');
    const [first] = await collect(openSource(at('red.mkv'), { fps: 1 }));
    const [r = 0, g = 255, b = 255] = first?.data ?? [];
    expect(r).toBeGreaterThan(240);
    expect(Math.max(g, b)).toBeLessThan(15);
  });

  it('writes over pictures that are released, and over no others', async () => {
    const all = await collect(openSource(at('clip.mp4')));
    const buffers = new Set<ArrayBufferLike>();
    let sequence = 0;
    for await (const frame of openSource(at('clip.mp4'))) {
      buffers.add(frame.data.buffer);
      expect(Buffer.compare(frame.data, all[sequence]?.data ?? Buffer.alloc(0))).toBe(0);
      releasePicture(frame);
      sequence++;
    }
    expect(sequence).toBe(20);
    expect(buffers.size).toBeLessThanOrEqual(3);
    expect(new Set(all.map(({ data }) => data.buffer)).size).toBe(20);
  });

  it('reads BMP', async () => {
    makeVideo(at('still.bmp'), '-frames:v', '1');
    expect((await collect(openSource(at('still.bmp'))))[0]).toMatchObject({ width: 64, height: 48, still: true });
  });

  it('plays in real time: frames are due by the time-table, and a slow consumer misses the old ones', async () => {
    const source = openSource(at('clip.mp4'), { realtime: true });
    const frames: Frame[] = [];
    for await (const frame of source) {
      frames.push(frame);
      if (frames.length === 2) await new Promise((resolve) => setTimeout(resolve, 700));
    }
    const [first, ...rest] = frames;
    for (const frame of rest) expect(frame.capturedMs - (first?.capturedMs ?? 0)).toBeCloseTo(100 * frame.sequence, 3);
    expect(source.dropped).toBeGreaterThan(0);
    expect(frames.length + source.dropped).toBe(20);
  });

  it('ends without an error when it is aborted', async () => {
    const stop = new AbortController();
    let count = 0;
    for await (const _ of openSource(at('clip.mp4'), { realtime: true, loop: true, signal: stop.signal })) if (++count === 3) stop.abort();
    expect(count).toBe(3);
    expect(await collect(openSource(at('clip.mp4'), { signal: AbortSignal.abort() }))).toEqual([]);
  });

  it('delivers what is whole of a truncated file, then says what ffmpeg said', async () => {
    const frames: Frame[] = [];
    const reading = (async () => { for await (const frame of openSource(at('cut.mp4'))) frames.push(frame); })();
    await expect(reading).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringMatching(/cut\.mp4 cannot be decoded: .+/) as string });
    expect(frames.length).toBeGreaterThan(0);
    expect(frames.length).toBeLessThan(20);
  });

  it('refuses what is no video', async () => {
    await expect(collect(openSource(at('text.mp4')))).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('Invalid data') as string });
  });

  it('reports a stream that nobody serves, without its password', async () => {
    const reading = collect(openSource('rtsp://admin:p4ss@127.0.0.1:9/live'));
    await expect(reading).rejects.toMatchObject({ code: 'E_MEDIA', message: expect.not.stringContaining('p4ss') as string });
  });
});
