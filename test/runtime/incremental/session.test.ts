import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { createSession } from '../../../runtime/session.js';
import { inspectModel } from '../../../runtime/inspect.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { temporaryFolder } from '../../support/folder.js';
import { invertedResiduals } from '../support/inverted-residuals.js';
import { floats, modelBytes, node, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { randomMask } from './reference.js';

const side = 64;
const bytes = modelBytes(invertedResiduals('int8', side));
const picture = (seed: number): Record<string, Tensor> => ({ x: asTensor(randomTensor([1, 3, side, side], seed)) });
const some = randomMask(8, 8, 0.1, 3);
const copyOf = (tensors: Readonly<Record<string, Tensor>>): unknown[] => Object.values(tensors).map(({ data }) => data.slice());

describe.skipIf(nativeMissing !== undefined)(`an incremental session${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('keeps its maps between runs, counts their memory, and computes everything when they were dropped', async () => {
    const [session, plain] = [await openNative(bytes, { incremental: true }), await openNative(bytes, { strips: false })];
    const { kept } = session;
    expect([kept?.bytes, kept?.valid, plain.kept]).toEqual([session.stats.arenaBytes, false, undefined]);
    expect(kept?.bytes).toBeGreaterThan(2 * (plain.stats.arenaBytes ?? 0));
    const [first, second] = [await plain.run(picture(1)), await plain.run(picture(2))];
    expect(await session.run(picture(1), {}, some), 'nothing is kept yet').toEqual(first);
    expect([kept?.valid, kept?.share]).toEqual([true, 1]);
    expect(await session.run(picture(1), {}, some)).toEqual(first);
    expect(kept?.share).toBeLessThan(0.9);
    expect(await session.run(picture(2), {}, some)).not.toEqual(second);
    kept?.drop();
    expect(kept?.valid).toBe(false);
    expect(await session.run(picture(2), {}, some)).toEqual(second);
    expect([kept?.valid, kept?.share]).toEqual([true, 1]);
    await Promise.all([session.close(), plain.close()]);
  });

  it('gives the same outputs whether they are written into those of the last run, older ones or new ones', async () => {
    const [a, b] = [await openNative(bytes, { incremental: true }), await openNative(bytes, { incremental: true })];
    const old = await a.run(picture(1));
    let reused = await a.run(picture(2));
    await b.run(picture(1));
    await b.run(picture(2));
    for (const [i, seed] of [3, 4, 5, 6].entries()) {
      const mask = randomMask(8, 8, 0.2, seed);
      reused = await a.run(picture(seed), i === 2 ? old : reused, mask);
      expect(copyOf(reused)).toEqual(copyOf(await b.run(picture(seed), {}, mask)));
    }
    await Promise.all([a.close(), b.close()]);
  });

  it('runs in order what is asked for at once, and drops nothing under a run', async () => {
    const [session, plain] = [await openNative(bytes, { incremental: true }), await openNative(bytes)];
    const runs = [session.run(picture(1)), session.run(picture(1), {}, some)];
    session.kept?.drop();
    expect(session.kept?.valid).toBe(false);
    const expected = await plain.run(picture(1));
    expect(await Promise.all(runs)).toEqual([expected, expected]);
    await Promise.all([session.close(), plain.close()]);
  });

  it('comes from the cache with its table of regions', async () => {
    const options = { incremental: true, cache: { dir: temporaryFolder() } } as const;
    for (const cached of [false, true]) {
      const session = await openNative(bytes, options);
      expect(session.stats.cached).toBe(cached);
      await session.run(picture(1));
      await session.run(picture(1), {}, some);
      expect(session.kept?.share).toBeLessThan(0.9);
      await session.close();
    }
  });

  it('profiles a part, and computes nothing where no cell is active', async () => {
    const session = await openNative(bytes, { incremental: true });
    const whole = await session.run(picture(1));
    expect(await session.run(picture(2), {}, randomMask(8, 8, 0, 1))).toEqual(whole);
    expect(session.kept?.share).toBe(0);
    expect((await session.profile?.(picture(1), some))?.length).toBeGreaterThan(5);
    await session.close();
  });

  it('refuses grids that are none, models without a picture, and options that do not exist', async () => {
    const session = await openNative(bytes, { incremental: true });
    await session.run(picture(1));
    for (const mask of [{ ...some, width: 0 }, { ...some, width: 4097 }, { ...some, bits: new Uint8Array(7) }]) {
      await expect(session.run(picture(1), {}, mask)).rejects.toMatchObject({ code: 'E_INPUT' });
    }
    expect(session.kept?.valid).toBe(true);
    await session.close();
    const vector = modelBytes({ inputs: { x: [1, 8] }, constants: { w: floats([8, 1], 1, 2, 3, 4, 5, 6, 7, 8) }, nodes: [node('MatMul', ['x', 'w'], ['y'])], outputs: ['y'] });
    await expect(createSession(vector, { incremental: true })).rejects.toMatchObject({ code: 'E_OPTION', details: { option: 'incremental' } });
    const wrong: object[] = [{ incremental: 3 }, { incremental: { contxt: 1 } }, { incremental: { context: 1.5 } }];
    for (const options of wrong) await expect(createSession(bytes, options)).rejects.toMatchObject({ code: 'E_OPTION' });
  });

  it('is explained by the inspection: which layers run in part, and why others do not', async () => {
    const pooled = invertedResiduals('float32', side);
    const spec = { ...pooled, nodes: [...pooled.nodes, node('GlobalAveragePool', [pooled.outputs[0] ?? ''], ['pooled'])], outputs: ['pooled'] };
    const { layers } = await inspectModel(modelBytes(spec), { incremental: true });
    expect(layers.filter(({ op }) => op === 'NhwcConv').every(({ inParts }) => inParts === true)).toBe(true);
    expect(layers.at(-1)).toMatchObject({ inParts: false, note: 'computed in full: cells of the picture cannot be told apart in its output' });
    expect((await inspectModel(modelBytes(spec))).layers.every(({ inParts }) => inParts === null)).toBe(true);
  });
});
