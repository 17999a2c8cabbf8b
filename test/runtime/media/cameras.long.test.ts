/** What cameras do wrong, with real streams: of an RTSP server that this test brings, and ffmpeg on both sides. */
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { Frame, FrameSource } from '../../../runtime/frame.js';
import { openSource } from '../../../runtime/media/index.js';
import { ffmpeg } from './ffmpeg-available.js';
import { RtspCamera } from './support/rtsp-camera.js';

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const end = Date.now() + 100_000; !condition(); await sleep(20)) if (Date.now() > end) throw new Error(`gave up waiting: ${what}`);
}

interface Watched { source: FrameSource; sizes: string[]; error: () => unknown; ended: () => boolean }

/** Reads a source until the test is over, and notes the size of each picture. */
function watch(camera: RtspCamera, stop: AbortController, stallMs = 60_000): Watched {
  const source = openSource(camera.url, { signal: stop.signal, stallMs });
  const sizes: string[] = [];
  let [ended, error]: [boolean, unknown] = [false, null];
  const note = ({ width, height }: Frame): void => { sizes.push(`${width}x${height}`); };
  void (async () => { for await (const frame of source) note(frame); })().then(() => undefined, (failure: unknown) => { error = failure; }).finally(() => { ended = true; });
  return { source, sizes, error: () => error, ended: () => ended };
}

/** A camera that somebody watches, after its first pictures. */
async function playing(stallMs?: number): Promise<{ camera: RtspCamera; stop: AbortController; watched: ReturnType<typeof watch> }> {
  const camera = await RtspCamera.start(ffmpeg ?? '');
  const stop = new AbortController();
  const watched = watch(camera, stop, ...(stallMs === undefined ? [] : [stallMs]));
  await until('pictures', () => watched.sizes.length > 3);
  return { camera, stop, watched };
}

describe.skipIf(ffmpeg === null)(`an RTSP camera${ffmpeg === null ? ' (skipped: ffmpeg is not installed)' : ''}`, () => {
  it('that changes its resolution delivers pictures of the new size, not of the old one with squeezed contents', async () => {
    const { camera, stop, watched } = await playing();
    camera.film('96x80');
    await until('pictures of the new size', () => watched.sizes.slice(-3).every((size) => size === '96x80'));
    expect(new Set(watched.sizes)).toEqual(new Set(['64x48', '96x80']));
    stop.abort();
    await until('it ends', watched.ended);
    expect(watched.error()).toBeNull();
  }, 240_000);

  it('that sends damaged packets is read on, and the damage is counted', async () => {
    const { camera, stop, watched } = await playing();
    camera.damageEvery = 3;
    await until('damage', () => (watched.source.broken ?? 0) > 2);
    camera.damageEvery = 0;
    const before = watched.sizes.length;
    await until('sound pictures', () => watched.sizes.length > before + 10);
    stop.abort();
    await until('it ends', watched.ended);
    expect(watched.error()).toBeNull();
  }, 240_000);

  it('that stalls is an error after the time that was asked for', async () => {
    const { camera, watched } = await playing(8000);
    camera.stall();
    await until('it gives up', watched.ended);
    expect(watched.error()).toMatchObject({ code: 'E_MEDIA', message: expect.stringContaining('no picture for 8000 ms') as string });
  }, 240_000);

  it('that dies ends, and can be opened again', async () => {
    const camera = await RtspCamera.start(ffmpeg ?? '');
    const watched = watch(camera, new AbortController());
    await until('pictures', () => watched.sizes.length > 3);
    camera.die();
    await until('it ends', watched.ended);
    const stop = new AbortController();
    const again = watch(camera, stop);
    await until('pictures again', () => again.sizes.length > 3);
    stop.abort();
    await until('it ends', again.ended);
  }, 240_000);
});
