import { extname } from 'node:path';
import sharp from 'sharp';
import type { Frame, Image } from '../../runtime/frame.js';
import type { Finding } from '../../runtime/stages/finding.js';
import { writeOutputFile } from '../cli/files.js';
import { DeployError } from '../errors.js';
import { drawFindings } from './overlay.js';
import { VideoWriter } from './video-writer.js';

/** Takes every frame with its findings, and finishes its files at the end. */
export interface Drawing {
  add(frame: Frame, findings: readonly Finding[]): Promise<void>;
  /** @throws DeployError E_FFMPEG, E_OUTPUT */
  close(): Promise<void>;
  /** Gives up: nothing half-written stays. */
  discard(): Promise<void>;
}

const pictureTypes = ['.png', '.jpg', '.jpeg'];

/**
 * What `--draw FILE` writes: pictures (the first frame as FILE, the others as FILE-2, FILE-3, ...) or a video.
 * @param fps frame rate of a video; default: that of the source
 * @throws DeployError E_USAGE for another extension, RuntimeError E_FFMPEG_MISSING
 */
export function openDrawing(path: string, fps?: number): Drawing {
  const type = extname(path).toLowerCase();
  if (type === '.mp4') return new VideoDrawing(new VideoWriter(path), fps);
  if (pictureTypes.includes(type)) return new PictureDrawing(path, type);
  throw new DeployError('E_USAGE', `Expected a file ${[...pictureTypes, '.mp4'].join(', ')} for --draw but received ${path}`);
}

class PictureDrawing implements Drawing {
  readonly #path: string;
  readonly #type: string;
  #count = 0;

  constructor(path: string, type: string) {
    this.#path = path;
    this.#type = type;
  }

  async add(frame: Frame, findings: readonly Finding[]): Promise<void> {
    const { width, height, data } = await drawFindings(frame, findings);
    const picture = sharp(data, { raw: { width, height, channels: 3 } });
    const bytes = await (this.#type === '.png' ? picture.png() : picture.jpeg({ quality: 90 })).toBuffer();
    this.#count++;
    const stem = this.#path.slice(0, -this.#type.length);
    await writeOutputFile(this.#count === 1 ? this.#path : `${stem}-${this.#count}${this.#path.slice(-this.#type.length)}`, bytes);
  }

  async close(): Promise<void> {
    // Every picture is written when it is added.
  }

  async discard(): Promise<void> {
    // A picture that is written is whole.
  }
}

/** Of pictures and cameras without times that would tell. */
const usualFps = 25;
/** A frame is repeated for those that were dropped before it, but not for a camera that was silent for minutes. */
const mostRepeats = 250;

/** Frames wait until the next one tells how fast the source plays. */
class VideoDrawing implements Drawing {
  readonly #writer: VideoWriter;
  readonly #fps: number | undefined;
  #waiting: { frame: Frame; drawn: Image } | undefined;

  constructor(writer: VideoWriter, fps: number | undefined) {
    this.#writer = writer;
    this.#fps = fps;
  }

  async add(frame: Frame, findings: readonly Finding[]): Promise<void> {
    const drawn = await drawFindings(frame, findings);
    const before = this.#waiting;
    this.#waiting = { frame, drawn };
    if (before !== undefined) await this.#write(before, frame);
  }

  async close(): Promise<void> {
    if (this.#waiting !== undefined) await this.#write(this.#waiting);
    await this.#writer.close();
  }

  discard(): Promise<void> {
    return this.#writer.discard();
  }

  async #write({ frame, drawn }: { frame: Frame; drawn: Image }, next?: Frame): Promise<void> {
    const steps = next === undefined ? 1 : Math.max(1, next.sequence - frame.sequence);
    const at = ({ mediaMs, capturedMs }: Frame): number => mediaMs ?? capturedMs;
    const measured = next === undefined ? usualFps : (1000 * steps) / (at(next) - at(frame));
    const rate = this.#fps ?? (Number.isFinite(measured) && measured > 0 ? Math.min(120, Math.max(1, measured)) : usualFps);
    for (let i = 0; i < Math.min(steps, mostRepeats); i++) await this.#writer.write(drawn, rate);
  }
}
