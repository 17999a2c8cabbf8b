/** Pictures of the benches: some to calibrate or tune on, others to judge on. */
import { join } from 'node:path';
import { modelInputs } from '../../runtime/quantize/prepare/read-model.js';
import { preparedAs, type PictureOptions } from '../compress/picture-options.js';
import { readPicture, type Feeds } from '../compress/samples.js';
import { listPictures } from '../evaluate/truth.js';

/** Pictures to tune on, and every second one to judge. */
export async function picturesOf(folder: string): Promise<{ tuned: string[]; judged: string[] }> {
  const all = await listPictures(folder);
  return { tuned: all.filter((_, i) => i % 2 === 0), judged: all.filter((_, i) => i % 2 === 1) };
}

/** What a model with one input is fed with, picture by picture. */
export async function fed(model: Uint8Array, folder: string, pictures: readonly string[], prepare: Partial<PictureOptions>): Promise<Feeds[]> {
  const [input] = modelInputs(model);
  const all: Feeds[] = [];
  for (const picture of pictures) if (input !== undefined) all.push((await readPicture(join(folder, picture), input, preparedAs(undefined, prepare))).feeds);
  return all;
}
