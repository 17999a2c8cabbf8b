import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TensorInfo } from '../../../runtime/tensor.js';
import { pixelLayout, pixelsToFloats } from '../../../runtime/engines/feeds.js';
import { PixelCanvas } from '../../../runtime/stages/pixel-canvas.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import type { Feeds } from '../../compress/samples.js';
import { DeployError } from '../../errors.js';

export interface Face {
  person: string;
  feeds: Feeds;
}

/** A grey picture of 8 bits (PGM, P5) as RGB. @throws DeployError E_BENCH */
function greyPicture(bytes: Buffer, path: string): { width: number; height: number; data: Uint8Array } {
  const [header = '', width, height] = /^P5\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.subarray(0, 64).toString('latin1')) ?? [];
  const grey = bytes.subarray(header.length);
  if (grey.length === 0 || grey.length !== Number(width) * Number(height)) throw new DeployError('E_BENCH', `Expected a grey picture (PGM, P5, 8 bits) but ${path} is none`);
  return { width: Number(width), height: Number(height), data: Uint8Array.from({ length: 3 * grey.length }, (_, i) => grey[Math.floor(i / 3)] ?? 0) };
}

/** Pictures of faces, a folder for each person, as an embedder takes them. */
export async function readFaces(folder: string, info: TensorInfo): Promise<Face[]> {
  const faces: Face[] = [];
  for (const person of (await readdir(folder, { withFileTypes: true })).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort()) {
    for (const name of (await readdir(join(folder, person))).filter((file) => file.endsWith('.pgm')).sort()) {
      const path = join(folder, person, name);
      const drawing = new PixelCanvas({ width: info.dims[3] ?? 0, height: info.dims[2] ?? 0, channels: 'rgb' });
      nativePixels.fit(greyPicture(await readFile(path), path), drawing.canvas, 'stretch', 0);
      drawing.drawn();
      faces.push({ person, feeds: { [info.name]: { type: 'float32', dims: info.dims, data: pixelsToFloats(pixelLayout(info, { mean: [127.5, 127.5, 127.5], std: [128, 128, 128] }), drawing.pixels) } } });
    }
  }
  return faces;
}
