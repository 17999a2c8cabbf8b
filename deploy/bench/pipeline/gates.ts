import { MotionGrid } from '../../../kernels/binding/image.js';
import type { Frame } from '../../../runtime/frame.js';
import { VisionPipeline } from '../../../runtime/kinds/vision-pipeline.js';
import { inFull } from '../../../runtime/kinds/vision-work.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import { defaultMotion } from '../../../runtime/vision/settings.js';
import type { Bar } from '../bars.js';
import { noise } from '../../../runtime/noise.js';
import { cpuMsOf } from './cpu-time.js';

const rounds = 5;
const framesARound = 200;

/** A still scene with a grey level of noise: frames of it, made beforehand. */
function quietScene(width: number, height: number): Frame[] {
  const next = noise();
  const scene = new Uint8Array(width * height * 3).map((_, i) => 60 + ((i >> 7) % 120));
  return Array.from({ length: 8 }, (_, sequence) => {
    const data = scene.map((value) => value + ((next() >>> 30) % 3) - 1);
    return { width, height, sequence, capturedMs: sequence * 40, data };
  });
}

/** CPU time of one call, milliseconds: the least of several rounds, since neighbours only ever add. */
async function cpuMs(work: (i: number) => unknown): Promise<number> {
  let least = Infinity;
  for (let round = 0; round < rounds; round++) {
    const ms = await cpuMsOf(async () => { for (let i = 0; i < framesARound; i++) await work(round * framesARound + i); });
    least = Math.min(least, ms / framesARound);
  }
  return least;
}

const atMost = (id: string, what: string, value: number, bar: number): Bar => ({ id, what, value, unit: 'ms', bar: `<= ${bar} ms`, met: value <= bar });

/** What a pipeline costs while nothing moves, and what the pixel gate alone costs. Needs no models. */
export async function gateBars(): Promise<Bar[]> {
  const quiet = quietScene(640, 480);
  const pipeline = new VisionPipeline(
    { name: 'quiet', version: '0', embeddingSpaceId: null, stages: {}, pixels: nativePixels, gallery: undefined },
    { motion: { ...defaultMotion, full_pass_every_ms: 1e12 } }, { process: () => Promise.resolve(inFull([])), rehearse: () => Promise.resolve() },
  );
  const frameAt = (i: number): Frame => ({ ...(quiet[i % quiet.length] as Frame), sequence: i, capturedMs: i * 40 });
  for (let i = 0; i < 100; i++) await pipeline.process(frameAt(i));
  const stopped = await pipeline.process(frameAt(100));
  if (stopped.exit !== 'pixels') throw new Error(`the quiet scene ran until ${stopped.exit}`);
  const camera = await cpuMs((i) => pipeline.process(frameAt(101 + i)));
  await pipeline.close();
  const wide = quietScene(1280, 720);
  const grid = new MotionGrid();
  const gate = await cpuMs((i) => grid.update(wide[i % wide.length] as Frame, defaultMotion.cell_threshold));
  return [
    atMost('quiet_camera', 'a frame of a quiet camera at 640 x 480, CPU time', camera, 0.6),
    atMost('pixel_gate_720p', 'the pixel gate at 1280 x 720, CPU time', gate, 0.5),
  ];
}
