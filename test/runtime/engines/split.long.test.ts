import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { inspectModel } from '../../../runtime/inspect.js';
import type { Session, SplitRun } from '../../../runtime/session-types.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { sharedFile } from '../../support/shared.js';
import { invertedResiduals, Network } from '../support/inverted-residuals.js';
import { modelBytes, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { randomModels } from '../support/random-graphs.js';

type Feeds = Record<string, Tensor>;

const feedsOf = ({ inputs }: Session, seed: number): Feeds => Object.fromEntries(inputs.map(({ name, dims }, i) => [name, asTensor(randomTensor(dims, seed + i))]));
const digest = ({ data }: Tensor): string => createHash('sha256').update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest('hex');
const bits = (outputs: Readonly<Record<string, Tensor>>): [string, string][] => Object.entries(outputs).map(([name, tensor]) => [name, digest(tensor)]);

function partsOf(session: Session): SplitRun {
  if (session.split === undefined) throw new Error('no split');
  return session.split;
}

/** At each of these layers, two runs in parts give the bits of whole ones, also after a run that was stopped. */
async function comparesAt(bytes: Uint8Array, names: readonly string[], threads = 1): Promise<void> {
  const whole = await openNative(bytes, { threads });
  const [a, b] = [feedsOf(whole, 1), feedsOf(whole, 100)];
  const wanted = [bits(await whole.run(a)), bits(await whole.run(b))];
  await whole.close();
  for (const name of names) {
    const session = await openNative(bytes, { threads, split: name });
    const split = partsOf(session);
    const seen = digest(await split.prefix(a));
    expect(bits(await split.suffix()), name).toEqual(wanted[0]);
    await split.prefix(a);
    await split.prefix(b);
    expect(bits(await split.suffix()), name).toEqual(wanted[1]);
    await split.prefix(b);
    expect(bits(await session.run(a)), name).toEqual(wanted[0]);
    expect(digest(await split.prefix(a)), name).toBe(seen);
    await session.close();
  }
}

const splitsOf = async (bytes: Uint8Array): Promise<string[]> => (await inspectModel(bytes)).splits.map(({ name }) => name);

describe.skipIf(nativeMissing !== undefined)('a model in two parts', () => {
  it('gives the bits of a whole run, wherever it is cut', { timeout: 120_000 }, async () => {
    await fc.assert(fc.asyncProperty(randomModels, async (spec) => {
      const bytes = modelBytes(spec);
      await comparesAt(bytes, await splitsOf(bytes));
    }), { numRuns: 8 });
  });

  it.each([['float32', 1], ['int8', 1], ['int8', 2]] as const)('does so across residuals and strips: %s, %i threads', async (type, threads) => {
    const bytes = modelBytes(invertedResiduals(type, 160));
    const { splits, layers } = await inspectModel(bytes);
    expect(splits.length).toBeGreaterThan(4);
    expect(layers.some(({ note }) => note.includes('strip of'))).toBe(true);
    await comparesAt(bytes, splits.map(({ name }) => name), threads);
    expect(splits.map(({ share }) => share)).toEqual([...splits].map(({ share }) => share).sort((x, y) => x - y));
    expect(splits.at(-1)?.share).toBeLessThanOrEqual(1);
  });

  it('says what the features are', async () => {
    const net = new Network('int8', [1, 8, 16, 16]);
    net.conv(24, { kernel: 3, stride: 2 });
    net.conv(16);
    const bytes = modelBytes(net.build());
    const name = (await splitsOf(bytes))[0] ?? '';
    const session = await openNative(bytes, { split: name });
    expect(partsOf(session)).toMatchObject({ name, zeroPoint: 128, features: { type: 'uint8', dims: [1, 8, 8, 24] } });
    expect(session.outputs.map((output) => output.name)).toHaveLength(1);
    expect((await session.profile?.(feedsOf(session, 1)))?.length).toBeGreaterThan(1);
    await session.close();
  });

  it('refuses a layer that it does not have, and going on from nothing', async () => {
    const bytes = modelBytes(invertedResiduals('int8', 32));
    await expect(openNative(bytes, { split: 'nowhere' })).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringContaining('can be split after') as string });
    const session = await openNative(bytes, { split: (await splitsOf(bytes))[1] ?? '' });
    const split = partsOf(session);
    await expect(split.suffix()).rejects.toMatchObject({ code: 'E_INPUT' });
    await split.prefix(feedsOf(session, 1));
    await session.run(feedsOf(session, 1));
    await expect(split.suffix()).rejects.toMatchObject({ code: 'E_INPUT' });
    await session.close();
    const plain = await openNative(bytes);
    expect(plain.split).toBeUndefined();
    await plain.close();
  });
});

const folder = sharedFile('models');
const files = ['version-RFB-320.onnx', 'yunet_n_320_320.onnx', 'ssd_mobilenet_v2_fpnlite_320_w8.onnx', 'mobilenet_v2_224_random_qdq.onnx', 'yolox_nano.onnx'].filter((file) => existsSync(sharedFile('models', file)));

describe.skipIf(nativeMissing !== undefined || files.length === 0)(`real models in two parts${files.length === 0 ? ` (no models in ${folder})` : ''}`, () => {
  it.each(files)('%s', { timeout: 120_000 }, async (file) => {
    const bytes = await readFile(sharedFile('models', file));
    const names = await splitsOf(bytes);
    await comparesAt(bytes, [0.3, 0.7].flatMap((share) => names[Math.floor(share * names.length)] ?? []));
  });
});
