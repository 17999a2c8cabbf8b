import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { sharedFile } from '../../support/shared.js';
import { randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { bitsOf, Incremental, randomMask } from './reference.js';

const folder = sharedFile('models');
/** Sound, and a network that the engine refuses. */
const withoutPicture = new Set(['yamnet_w8.onnx', 'silero_vad_v6.onnx']);
const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.onnx') && !withoutPicture.has(name)) : [];
/** The interpreter takes minutes for all nodes of a detector. STERNA_INCREMENTAL=all has it evaluate all, not two of a kind. */
const alike = process.env['STERNA_INCREMENTAL'] === 'all' ? Infinity : 2;
const reason = nativeMissing ?? (files.length === 0 ? `no models in ${folder}` : undefined);

describe.skipIf(reason !== undefined)(`incremental runs of whole models${reason === undefined ? '' : ` (${reason})`}`, () => {
  it.each(files)('%s', { timeout: 600_000 }, async (file) => {
    const parsed = parseModel(await readFile(join(folder, file)));
    for (const threads of [1, 2]) {
      const net = Incremental.of(parsed, { threads });
      const picture = (seed: number) => new Map(net.inputs.map(({ name, dims }) => [name, randomTensor(dims, seed, -1, 1)]));
      const before = await net.run(picture(1));
      const bits = bitsOf(before);
      for (const share of [0.03, 0.4]) expect(bitsOf(await net.run(picture(1), randomMask(20, 20, share, threads))), 'parts of the same picture').toEqual(bits);
      const mask = randomMask(20, 20, 0.1, threads);
      const after = await net.run(picture(2), mask);
      // The reference takes a while, and sees the same values for any number of threads.
      if (threads === 1) expect(net.problems(before, after, mask, { alike })).toEqual([]);
      const every = await net.run(picture(2), randomMask(20, 20, 1.1, 1));
      expect(bitsOf(every), 'every cell').toEqual(bitsOf(await net.run(picture(2))));
      await net.close();
    }
  });
});
