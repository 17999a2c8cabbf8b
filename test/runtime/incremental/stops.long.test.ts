/** Runs that stop half-way on kept maps: the rest of the ladder between the gate on pixels and a run in full. */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CellMask } from '../../../kernels/binding/index.js';
import { openNative } from '../../../runtime/engines/native.js';
import { MissedCells } from '../../../runtime/incremental/missed-cells.js';
import { inspectModel } from '../../../runtime/inspect.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import type { OnnxModel } from '../../../runtime/onnx/types.js';
import type { Session } from '../../../runtime/session-types.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { sharedFile } from '../../support/shared.js';
import { invertedResiduals } from '../support/inverted-residuals.js';
import { model, modelBytes, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { randomModels } from '../support/random-graphs.js';
import { bitsOf, Incremental, randomMask } from './reference.js';

const grid = [7, 6] as const;

function either(a: CellMask, b: CellMask): CellMask {
  return { ...a, bits: a.bits.map((byte, i) => byte | (b.bits[i] ?? 0)) };
}

/** Stops after these shares of the ops, goes on, and compares every value with the reference each time. */
async function stopsAt(parsed: OnnxModel, shares: readonly number[], { threads = 1, seed = 1, active = 0.2 } = {}): Promise<void> {
  const net = Incremental.of(parsed, { threads });
  const picture = (i: number) => new Map(net.inputs.map(({ name, dims }) => [name, randomTensor(dims, i, -1, 1)]));
  for (const share of shares) {
    const cut = Math.round(share * net.ops);
    const [prefix, suffix] = [[0, cut], [cut, net.ops]] as const;
    let before = await net.run(picture(seed));
    const behind = before;
    let missed = randomMask(...grid, 0, seed);
    for (const [stop, i] of [2, 3].entries()) {
      const mask = randomMask(...grid, active, seed + stop);
      const after = await net.runOps(prefix, picture(seed + i), mask);
      expect(net.problems(before, after, mask, { ops: prefix }), `stop ${stop} after ${cut} of ${net.ops} ops`).toEqual([]);
      [before, missed] = [after, either(missed, mask)];
    }
    const after = await net.runOps(suffix, picture(seed + 3), missed);
    const then = new Map([...behind, ...after]);
    expect(net.problems(before, then, missed, { ops: suffix }), `going on after ${cut} of ${net.ops} ops`).toEqual([]);
    const every = randomMask(...grid, 1.1, seed);
    await net.runOps(prefix, picture(seed + 4), every);
    expect(bitsOf(await net.runOps(suffix, picture(seed + 4), every)), 'every cell').toEqual(bitsOf(await net.run(picture(seed + 4))));
  }
  await net.close();
}

describe('MissedCells', () => {
  const mask = (byte: number, width = 8): CellMask => ({ width, height: 1, bits: Uint8Array.of(byte) });

  it('adds up what was left out, and forgets it once it is taken', () => {
    const missed = new MissedCells();
    expect(missed.take(), 'at first everything').toBeUndefined();
    const first = mask(1);
    missed.add(first);
    first.bits[0] = 255; // the caller's own
    missed.add(mask(4));
    expect(missed.take()).toEqual(mask(5));
    missed.add(mask(2));
    expect(missed.take()).toEqual(mask(2));
  });

  it('is everything after everything, and when the grid has changed', () => {
    const missed = new MissedCells();
    missed.take();
    missed.add(undefined);
    missed.add(mask(1));
    expect(missed.take()).toBeUndefined();
    missed.add(mask(1));
    missed.add(mask(1, 7));
    expect(missed.take()).toBeUndefined();
  });
});

describe.skipIf(nativeMissing !== undefined)(`incremental runs that stop half-way${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it.each([['int8', 1], ['float32', 2]] as const)('compute cells from what the maps hold, before and behind the stop: %s, %i threads', { timeout: 120_000 }, async (type, threads) => {
    await stopsAt(model(invertedResiduals(type, 24)), [0.2, 0.5, 0.8], { threads });
  });

  it('do so in generated networks', { timeout: 180_000 }, async () => {
    await fc.assert(fc.asyncProperty(randomModels, fc.nat(1000), fc.double({ min: 0, max: 1, noNaN: true }), async (spec, seed, share) => { await stopsAt(model(spec), [share], { seed: seed + 1 }); }), { numRuns: 30 });
  });

  const side = 64;
  const bytes = modelBytes(invertedResiduals('int8', side));
  const picture = (seed: number): Record<string, Tensor> => ({ x: asTensor(randomTensor([1, 3, side, side], seed)) });
  const [none, some, every] = [0, 0.2, 1.1].map((share) => randomMask(8, 8, share, 3)) as [CellMask, CellMask, CellMask];
  const copyOf = (tensors: Readonly<Record<string, Tensor>>): unknown[] => Object.values(tensors).map(({ data }) => data.slice());

  async function open(): Promise<{ session: Session; split: NonNullable<Session['split']>; kept: NonNullable<Session['kept']>; whole: (seed: number) => Promise<unknown[]>; close: () => Promise<void> }> {
    const { splits } = await inspectModel(bytes);
    const session = await openNative(bytes, { incremental: true, split: splits[Math.floor(splits.length / 2)]?.name ?? '' });
    const plain = await openNative(bytes);
    const { split, kept } = session;
    if (split === undefined || kept === undefined) throw new Error('no split, or no kept maps');
    return { session, split, kept, whole: async (seed) => copyOf(await plain.run(picture(seed))), close: async () => { await Promise.all([session.close(), plain.close()]); } };
  }

  it('do not forget, when they go on, what runs that stopped have left undone', async () => {
    const { session, split, kept, whole, close } = await open();
    await split.prefix(picture(1), some); // nothing is kept yet
    let reused = await split.suffix();
    expect([copyOf(reused), kept.active, kept.share]).toEqual([await whole(1), null, 1]);
    await split.prefix(picture(2), every);
    await split.prefix(picture(2), none);
    reused = await split.suffix(reused);
    expect([copyOf(reused), kept.active]).toEqual([await whole(2), every]);
    await split.prefix(picture(3), every);
    expect(copyOf(await session.run(picture(3), {}, none)), 'a run in one part').toEqual(await whole(3));
    await split.prefix(picture(3), some);
    expect([kept.active, kept.share < 0.9]).toEqual([some, true]);
    await split.suffix();
    expect([kept.active, kept.share < 0.9]).toEqual([some, true]);
    await close();
  });

  it('compute everything when what was kept is lost, also between their parts', async () => {
    const { split, kept, whole, close } = await open();
    await split.prefix(picture(1));
    await split.suffix();
    await split.prefix(picture(2), every);
    kept.drop(); // the maps are in use: they stay until the run has gone on
    expect(copyOf(await split.suffix())).toEqual(await whole(2));
    kept.drop();
    expect(kept.valid).toBe(false);
    await split.prefix(picture(1), none);
    expect([copyOf(await split.suffix()), kept.active]).toEqual([await whole(1), null]);
    await close();
  });

  it('refuse to go on from a part that failed', async () => {
    const { split, close } = await open();
    await split.prefix(picture(1));
    await split.suffix();
    await expect(split.prefix(picture(1), { ...some, width: 0 })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(split.suffix()).rejects.toMatchObject({ code: 'E_INPUT' });
    await close();
  });
});

const folder = sharedFile('models');
const files = ['version-RFB-320.onnx', 'yunet_n_320_320.onnx'].filter((file) => existsSync(sharedFile('models', file)));

describe.skipIf(nativeMissing !== undefined || files.length === 0)(`detectors that stop half-way${files.length === 0 ? ` (no models in ${folder})` : ''}`, () => {
  it.each(files)('%s', { timeout: 600_000 }, async (file) => {
    await stopsAt(parseModel(await readFile(sharedFile('models', file))), [0.4], { threads: 2 });
  });
});
