import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { drawFindings, overlaySvg } from '../../../deploy/run/overlay.js';
import { VideoWriter } from '../../../deploy/run/video-writer.js';
import type { Image } from '../../../runtime/frame.js';
import { readImage } from '../../../runtime/media/image.js';
import { openSource } from '../../../runtime/media/source.js';
import { findFfmpeg } from '../../../runtime/media/ffmpeg.js';
import { captureCli } from './capture.js';
import { boxesModel } from './single-model.js';

let folder = '';
const at = (name: string): string => join(folder, name);
const size = { width: 65, height: 63 };
const background = [240, 20, 20];

const hasFfmpeg = (() => {
  try {
    return existsSync(findFfmpeg());
  } catch {
    return false;
  }
})();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'sterna-draw-'));
  await mkdir(at('pictures'));
  for (const name of ['1.png', '2.png', '3.png']) await sharp({ create: { ...size, channels: 3, background: { r: 240, g: 20, b: 20 } } }).png().toFile(at(`pictures/${name}`));
  await writeFile(at('boxes.onnx'), boxesModel([[0.25, 0.5, 0.75, 0.9]]));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const plain = (): Image => ({ ...size, data: new Uint8Array(size.width * size.height * 3).map((_, i) => background[i % 3] ?? 0) });
const pixel = ({ width, data }: Image, x: number, y: number): number[] => [...data.subarray((y * width + x) * 3, (y * width + x) * 3 + 3)];
const differs = (image: Image, x: number, y: number): boolean => pixel(image, x, y).some((value, c) => Math.abs(value - (background[c] ?? 0)) > 40);

describe('drawFindings', () => {
  it('draws the border of a box, and leaves the picture itself as it was', async () => {
    const picture = plain();
    const drawn = await drawFindings(picture, [{ type: 'detection', box: [20, 30, 30, 20], score: 0.5, label: 'cat', landmarks: [[35, 40]] }]);
    expect([drawn.width, drawn.height, drawn.data.length]).toEqual([65, 63, 65 * 63 * 3]);
    expect([[20, 40], [50, 40], [35, 50], [35, 40]].map(([x = 0, y = 0]) => differs(drawn, x, y))).toEqual([true, true, true, true]);
    expect([[26, 36], [60, 58], [5, 58]].map(([x = 0, y = 0]) => differs(drawn, x, y))).toEqual([false, false, false]);
    expect(picture.data).toEqual(plain().data);
  });

  it('writes names, tracks and classes as text, whatever they hold', () => {
    const svg = overlaySvg(size, [
      { type: 'detection', box: [0, 0, 9, 9], score: 0.876, label: 'face', track: 3, identity: { personId: 1, name: '<A & "B">\u0001', similarity: 0.9 } },
      { type: 'class', label: 'dog', score: 1 },
    ]);
    expect(svg).toContain('>&#60;A &#38; &#34;B&#34;&#62; #3 88 %</text>');
    expect(svg).toContain('>dog 100 %</text>');
  });
});

describe('sterna run --draw', () => {
  it.each(['png', 'jpg'])('writes a %s for each frame, with the box on it', async (type) => {
    const { code } = await captureCli(['run', at('boxes.onnx'), '--input', at('pictures'), '--no-motion', '--limit', '2', '--draw', at(`out/found.${type}`)]);
    expect(code).toBe(0);
    expect(readdirSync(at('out')).filter((name) => name.endsWith(type)).sort()).toEqual([`found-2.${type}`, `found.${type}`]);
    for (const name of ['found', 'found-2']) {
      const drawn = await readImage(at(`out/${name}.${type}`));
      expect([drawn.width, drawn.height]).toEqual([65, 63]);
      // The left and right edges of the box, and its middle.
      expect([differs(drawn, 16, 45), differs(drawn, 48, 45), differs(drawn, 32, 45)]).toEqual([true, true, false]);
    }
  });

  it('refuses another extension at once', async () => {
    expect(await captureCli(['run', at('none.onnx'), '--input', at('pictures'), '--draw', at('x.gif')]))
      .toMatchObject({ code: 2, err: expect.stringContaining('Expected a file .png, .jpg, .jpeg, .mp4 for --draw') as string });
  });

  it.skipIf(!hasFfmpeg)('writes a video of all frames, also where the sides are odd', async () => {
    const { code, err } = await captureCli(['run', at('boxes.onnx'), '--input', at('pictures'), '--no-motion', '--draw', at('film/found.mp4')]);
    expect([code, err]).toEqual([0, expect.not.stringContaining('E_') as string]);
    const frames: Image[] = [];
    const times: number[] = [];
    for await (const frame of openSource(at('film/found.mp4'))) {
      frames.push(frame);
      times.push(frame.mediaMs ?? NaN);
    }
    expect(frames.map(({ width, height }) => [width, height])).toEqual([[66, 64], [66, 64], [66, 64]]);
    // Pictures of a folder come five a second.
    expect(times).toEqual([0, 200, 400]);
    expect(frames.every((frame) => differs(frame, 16, 45) && !differs(frame, 32, 45))).toBe(true);
    expect(readdirSync(at('film'))).toEqual(['found.mp4']);
  });

  it.skipIf(!hasFfmpeg)('leaves nothing of a video when the run fails', async () => {
    await mkdir(at('broken'));
    await sharp({ create: { ...size, channels: 3, background: '#f00' } }).png().toFile(at('broken/1.png'));
    await sharp({ create: { ...size, channels: 3, background: '#f00' } }).png().toFile(at('broken/2.png'));
    await writeFile(at('broken/3.png'), 'no picture');
    const { code } = await captureCli(['run', at('boxes.onnx'), '--input', at('broken'), '--no-motion', '--draw', at('failed/found.mp4')]);
    expect(code).toBe(3);
    expect(readdirSync(at('failed'))).toEqual([]);
  });

  it.skipIf(!hasFfmpeg)('says what ffmpeg says when it cannot write', async () => {
    const writer = new VideoWriter(at('wide.mp4'));
    // No encoder takes a picture so wide and flat.
    const image = { width: 70_000, height: 2, data: new Uint8Array(70_000 * 2 * 3) };
    await expect((async () => {
      await writer.write(image, 25);
      await writer.close();
    })()).rejects.toMatchObject({ code: 'E_FFMPEG', message: expect.stringMatching(/wide\.mp4 cannot be encoded: \S/) as string });
    await writer.discard();
    expect(readdirSync(folder).filter((name) => name.startsWith('wide'))).toEqual([]);
  });
});
