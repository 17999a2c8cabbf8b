import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { TensorInfo } from '../../../runtime/tensor.js';
import { pixelLayout, pixelsToFloats } from '../../../runtime/engines/feeds.js';
import { PixelCanvas } from '../../../runtime/stages/pixel-canvas.js';
import { nativePixels } from '../../../runtime/vision/pixels.js';
import type { Feeds } from '../../compress/samples.js';
import { greyPicture } from '../../lab/embedder/pgm.js';

export interface Face {
  person: string;
  feeds: Feeds;
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
