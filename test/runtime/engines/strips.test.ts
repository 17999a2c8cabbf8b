import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { inspectModel } from '../../../runtime/inspect.js';
import type { SessionOptions } from '../../../runtime/session-types.js';
import { asTensor } from '../../../runtime/tensor.js';
import { invertedResiduals, Network } from '../support/inverted-residuals.js';
import { temporaryFolder } from '../../support/folder.js';
import { modelBytes, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const side = 160;
const feeds = { x: asTensor(randomTensor([1, 3, side, side], 1)) };

describe.skipIf(nativeMissing !== undefined).each(['float32', 'int8'] as const)(`strips of %s in the engine${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, (type) => {
  const bytes = modelBytes(invertedResiduals(type, side));

  async function run(options: SessionOptions): Promise<{ data: unknown; arenaBytes: number; cached: boolean | undefined }> {
    const session = await openNative(bytes, options);
    try {
      const [output] = Object.values(await session.run(feeds));
      return { data: output?.data, arenaBytes: session.stats.arenaBytes ?? 0, cached: session.stats.cached };
    } finally {
      await session.close();
    }
  }

  it('take less memory and give the same bits', async () => {
    const plain = await run({ strips: false });
    for (const threads of [1, 2, 3, 4]) {
      const strips = await run({ threads });
      expect(strips.data, `${threads} threads`).toEqual(plain.data);
      expect(strips.arenaBytes).toBeLessThan(0.7 * plain.arenaBytes);
    }
  });

  it('come from the cache, apart from programs without', async () => {
    const cached = { threads: 2, cache: { dir: temporaryFolder() } };
    const [first, again, plain] = [await run(cached), await run(cached), await run({ ...cached, strips: false })];
    expect([first.cached, again.cached, plain.cached]).toEqual([false, true, false]);
    expect([again.data, again.arenaBytes, plain.data]).toEqual([first.data, first.arenaBytes, first.data]);
    expect(plain.arenaBytes).toBeGreaterThan(first.arenaBytes);
  });

  it('are profiled layer by layer, and told by the inspection', async () => {
    const session = await openNative(bytes, { threads: 2 });
    const layers = (await session.profile?.(feeds)) ?? [];
    await session.close();
    const inspected = (await inspectModel(bytes, { threads: 2 })).layers;
    expect(layers.map(({ name, kernel }) => [name, kernel])).toEqual(inspected.map(({ name, kernel }) => [name, kernel]));
    const inStrips = inspected.flatMap(({ note }, i) => (/in strips of \d+ rows?; strip of 3 layers: /.test(note) ? [i] : []));
    expect(inStrips.length).toBeGreaterThanOrEqual(3);
    for (const i of inStrips) expect(layers[i]?.ms).toBeGreaterThan(0);
  });
});

describe.skipIf(nativeMissing !== undefined)('strips of large maps of floats', () => {
  const net = new Network('float32', [1, 3, 320, 328]);
  net.conv(16, { kernel: 3, stride: 2 });
  net.conv(40, { kernel: 3, stride: 2 });
  const residual = net.conv(64);
  net.conv(64, { kernel: 3, depthwise: true });
  net.conv(64, { residual });
  const bytes = modelBytes(net.build());

  it('are made although they save no memory, and give the same bits', async () => {
    const notes = (await inspectModel(bytes)).layers.map(({ note }) => note);
    expect(notes.filter((note) => /strip of 2 layers: a map of 12\d\d KiB between them stays in the cache/.test(note))).toHaveLength(2);
    expect(notes.filter((note) => note.includes('strip of 2 layers: '))).toHaveLength(4);
    const [plain, ...strips] = await Promise.all([{ strips: false }, {}, { threads: 3 }].map(async (options) => {
      const session = await openNative(bytes, options);
      const data = Object.values(await session.run({ x: asTensor(randomTensor([1, 3, 320, 328], 1)) }))[0]?.data;
      await session.close();
      return data;
    }));
    for (const data of strips) expect(data).toEqual(plain);
  });
});
