import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import sharp from 'sharp';
import type { Image } from '../../runtime/frame.js';
import { findFfmpeg } from '../../runtime/media/ffmpeg.js';
import { partOf, writing } from '../cli/files.js';
import { DeployError } from '../errors.js';

/** Of ffmpeg's log, for a message. */
const keptLogChars = 4096;

interface Running {
  child: ChildProcessByStdio<Writable, null, Readable>;
  /** Ends with the process: null when all is well, else what ffmpeg said. */
  ended: Promise<string | null>;
  width: number;
  height: number;
}

/** Encodes pictures to an MP4 file with an ffmpeg process. It is written beside its place and renamed when it is whole. */
export class VideoWriter {
  readonly #path: string;
  readonly #temporary: string;
  readonly #ffmpeg: string;
  #running: Running | undefined;

  /** @throws RuntimeError E_FFMPEG_MISSING */
  constructor(path: string) {
    this.#path = path;
    this.#temporary = partOf(path);
    this.#ffmpeg = findFfmpeg();
  }

  /**
   * Adds a picture. The first one decides the video's size and rate; others are fitted into that size.
   * @throws DeployError E_FFMPEG with ffmpeg's last line, E_OUTPUT
   */
  async write(image: Image, fps: number): Promise<void> {
    const running = (this.#running ??= await this.#start(image, fps));
    const { child: { stdin }, ended, width, height } = running;
    const pixels = image.width === width && image.height === height ? image.data : await fitted(image, width, height);
    const taken = stdin.destroyed ? Promise.resolve(false) : new Promise<boolean>((resolve) => stdin.write(pixels, (error) => resolve(error === null || error === undefined)));
    if (await Promise.race([taken, ended.then(() => false)])) return;
    throw this.#failed((await ended) ?? 'it ended early');
  }

  /** Finishes the file; without any picture there is none. @throws DeployError E_FFMPEG, E_OUTPUT */
  async close(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    running.child.stdin.end();
    const problem = await running.ended;
    if (problem !== null) {
      await rm(this.#temporary, { force: true });
      throw this.#failed(problem);
    }
    this.#running = undefined;
    await writing(this.#path, () => rename(this.#temporary, this.#path));
  }

  /** Stops the process and removes what it wrote. Does nothing after `close`. */
  async discard(): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#running = undefined;
    running.child.kill('SIGKILL');
    await running.ended;
    await rm(this.#temporary, { force: true });
  }

  async #start({ width, height }: Image, fps: number): Promise<Running> {
    await writing(this.#path, () => mkdir(dirname(this.#path), { recursive: true }));
    // Most players want chroma of half the size, which needs even sides.
    const child = spawn(this.#ffmpeg, [
      '-hide_banner', '-nostats', '-loglevel', 'error', '-y', '-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', `${width}x${height}`, '-r', String(fps), '-i', 'pipe:0',
      '-vf', 'pad=ceil(iw/2)*2:ceil(ih/2)*2', '-pix_fmt', 'yuv420p', '-movflags', '+faststart', '-f', 'mp4', `file:${this.#temporary}`,
      // In a process group of its own: Ctrl-C in a terminal ends the run, which then finishes the file.
    ], { stdio: ['pipe', 'ignore', 'pipe'], detached: true });
    let log = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => { log = (log + text).slice(-keptLogChars); });
    // A process that ends early closes the pipe: `ended` tells why, not the error of the pipe.
    child.stdin.on('error', () => undefined);
    const ended = Promise.race([
      once(child, 'close').then(([code]) => (code === 0 ? null : log.trim().split('\n').at(-1) || `it ended with code ${String(code)}`)),
      once(child, 'error').then(([error]) => String(error)),
    ]).catch((error: unknown) => String(error));
    return { child, ended, width, height };
  }

  #failed(problem: string): DeployError {
    return new DeployError('E_FFMPEG', `${this.#path} cannot be encoded: ${problem}`, { details: { path: this.#path } });
  }
}

async function fitted({ width, height, data }: Image, toWidth: number, toHeight: number): Promise<Uint8Array> {
  return sharp(data, { raw: { width, height, channels: 3 } }).resize(toWidth, toHeight, { fit: 'contain', background: '#000' }).raw().toBuffer();
}
