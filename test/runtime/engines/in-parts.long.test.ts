import { describe, expect, it } from 'vitest';
import { SessionInParts } from '../../../runtime/engines/in-parts.js';
import { openNative } from '../../../runtime/engines/native.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, ints64, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference, oracle, oracleMissing } from '../support/oracle.js';
import { examples, graph, total, type Example } from './in-parts-cases.js';

const missing = nativeMissing ?? oracleMissing;

describe.skipIf(missing !== undefined)(`models that are no single program${missing === undefined ? '' : ` (${missing})`}`, () => {
  it.each(examples)('$name: as onnxruntime, compiled once', async ({ spec, feeds }) => {
    const session = await openNative(modelBytes(spec));
    for (const seed of [1, 2, 3, 4]) {
      const got = await session.run(Object.fromEntries(Object.entries(feeds(seed)).map(([name, value]) => [name, asTensor(value)])));
      for (const [name, want] of Object.entries(await oracle(modelBytes(spec), feeds(seed), false))) {
        expect(got[name]?.dims, `dims of ${name}`).toEqual([...want.dims]);
        const { maximum, range } = difference(got[name]?.data ?? [], want.data);
        expect(maximum, name).toBeLessThanOrEqual(1e-5 * Math.max(1, range));
      }
    }
    expect(session.stats.recompilations).toBe(0);
    await session.close();
  });
});

describe.skipIf(nativeMissing !== undefined)(`a session in parts${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const [nms, places] = examples;
  const open = async (each: Example | undefined, options = {}) => openNative(modelBytes(each?.spec ?? { inputs: {}, nodes: [], outputs: [] }), options);
  const fed = (each: Example | undefined, seed: number) => Object.fromEntries(Object.entries(each?.feeds(seed) ?? {}).map(([name, value]) => [name, asTensor(value)]));

  it('compiles nothing in a thousand runs with fresh data', async () => {
    const session = await open(places);
    for (let seed = 0; seed < 1000; seed++) await session.run(fed(places, seed));
    expect(session.stats).toMatchObject({ recompilations: 0, interpretedNodes: 3 });
    await session.close();
  });

  it('says what it interprets, and leaves the rest to programs', async () => {
    const session = await open(nms);
    expect(session).toBeInstanceOf(SessionInParts);
    const layers = await session.profile?.(fed(nms, 1));
    expect(layers?.map(({ op, kernel }) => [op, kernel === 'interpreted'])).toEqual([['SelectBoxes', false], ['Gather', true], ['Gather', true]]);
    await session.close();
    await expect(session.run(fed(nms, 1))).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('answers in order, and goes on after a run that fails', async () => {
    const session = await open(places);
    const refused = session.run({ x: asTensor(floats([1], 1)) });
    const results = [fed(places, 1), fed(places, 2)].map((feeds) => session.run(feeds));
    await expect(refused).rejects.toMatchObject({ code: 'E_INPUT' });
    const again = await session.run(fed(places, 2));
    expect((await Promise.all(results))[1]).toEqual(again);
    await session.close();
  });

  it('takes a branch although the other one is impossible for the shapes at hand', async () => {
    const impossible = graph({}, [node('MatMul', ['x', 'w'], ['t'])], { t: 'float32' }, { w: randomTensor([5, 2], 1) });
    const possible = graph({}, [node('Neg', ['x'], ['e'])], { e: 'float32' });
    const spec: ModelSpec = { inputs: { x: [2, 2], c: [] }, types: { c: 'bool' }, nodes: [node('If', ['c'], ['y'], { then_branch: impossible, else_branch: possible })], outputs: ['y'], outputTypes: { y: 'float32' } };
    const session = await openNative(modelBytes(spec));
    const run = (c: number) => session.run({ x: asTensor(floats([2, 2], 1, 2, 3, 4)), c: { type: 'bool', dims: [], data: Uint8Array.of(c) } });
    expect([...(await run(0))['y']?.data ?? []]).toEqual([-1, -2, -3, -4]);
    await expect(run(1)).rejects.toMatchObject({ code: 'E_MODEL_SHAPE' });
    await session.close();
  });

  it.each(['an initializer', 'a constant node'])('compiles the branch that a fed number chooses, with weights that are %s of the branch', async (kind) => {
    const inner = kind === 'an initializer';
    const branch = (columns: number) => graph({}, [...(inner ? [] : [node('Constant', [], ['w'], { value: { type: 'tensor', value: randomTensor([columns, 70], 1) } })]), node('Slice', ['x', 'none', 'end', 'one'], ['part']), node('MatMul', ['part', 'w'], ['t'])],
      { t: 'float32' }, { none: ints64(0), end: ints64(columns), one: ints64(1), ...(inner ? { w: randomTensor([columns, 70], 1) } : {}) });
    const cut = graph({}, [node('ReduceSum', ['x'], ['e'])], { e: 'float32' });
    const spec: ModelSpec = { inputs: { x: [2, 64], rate: [] }, types: { rate: 'int64' }, constants: { fast: { dtype: 'int64', dims: [], data: BigInt64Array.of(16000n) } }, nodes: [node('Equal', ['rate', 'fast'], ['c']), node('If', ['c'], ['y'], { then_branch: branch(64), else_branch: cut })], outputs: ['y'], outputTypes: { y: 'float32' } };
    const session = await openNative(modelBytes(spec));
    for (const rate of [16000n, 8000n, 16000n, 8000n]) {
      const { y } = await session.run({ x: asTensor(randomTensor([2, 64], 3)), rate: { type: 'int64', dims: [], data: BigInt64Array.of(rate) } });
      expect(y?.dims).toEqual(rate === 16000n ? [2, 70] : [1, 1]);
    }
    expect([session.stats.recompilations, session.stats.interpretedNodes]).toEqual([2, undefined]);
    await session.close();
  });

  it('ends a run that computes too much with a code', async () => {
    const endless = graph({ i: 'int64', on: 'bool', s: 'float32' }, [node('Abs', ['s'], ['next']), node('GreaterOrEqual', ['next', 'zero'], ['again'])], { again: 'bool', next: 'float32' }, { zero: floats([], 0) });
    const loop = await openNative(modelBytes({ opset: 18, inputs: { x: [] }, constants: { zero: floats([], 0) }, nodes: [node('GreaterOrEqual', ['x', 'zero'], ['c']), node('Loop', ['', 'c', 'x'], ['y'], { body: endless })], outputs: ['y'], outputTypes: { y: 'float32' } }));
    await expect(loop.run({ x: asTensor(floats([], 1)) })).rejects.toMatchObject({ code: 'E_MODEL_LIMIT' });
    expect((await loop.run({ x: asTensor(floats([], -1)) })).y?.data).toEqual(Float32Array.of(-1));
    await loop.close();
    const wide = graph({ i: 'int64', on: 'bool', s: 'float32' }, [node('Concat', ['s', 's'], ['next'], { axis: 0 }), node('Identity', ['on'], ['again'])], { again: 'bool', next: 'float32' });
    const growing = await openNative(modelBytes({ opset: 18, inputs: { x: [4] }, constants: { zero: floats([], 0) }, nodes: [total('x', 's'), node('GreaterOrEqual', ['s', 'zero'], ['c']), node('Loop', ['', 'c', 'x'], ['y'], { body: wide })], outputs: ['y'], outputTypes: { y: 'float32' } }), { limits: { constantElements: 1 << 16 } });
    await expect(growing.run({ x: asTensor(floats([4], 1, 1, 1, 1)) })).rejects.toMatchObject({ code: 'E_MODEL_LIMIT' });
    await growing.close();
  });

  it('refuses regions far larger than any map, and of pictures that are not there, and goes on', async () => {
    const spec: ModelSpec = { opset: 16, inputs: { x: [1, 1, 4, 4], rois: [1, 4], batch: [1] }, types: { batch: 'int64' }, nodes: [node('RoiAlign', ['x', 'rois', 'batch'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' } };
    const session = await openNative(modelBytes(spec));
    const run = (batch: number, ...roi: number[]) => session.run({ x: asTensor(floats([1, 1, 4, 4], ...new Array<number>(16).fill(2))), rois: asTensor(floats([1, 4], ...roi)), batch: asTensor(ints64(batch)) });
    for (const far of [1e6, 1e30, Infinity, NaN]) await expect(run(0, 0, 0, far, far), String(far)).rejects.toMatchObject({ code: 'E_MODEL_LIMIT' });
    await expect(run(3, 0, 0, 2, 2)).rejects.toMatchObject({ code: 'E_MODEL_VALUE' });
    expect((await run(0, 0, 0, 2, 2)).y?.data).toEqual(Float32Array.of(2));
    await session.close();
  });

  it('does not take the number of rows that a suppression may select for the number that it selects', async () => {
    if (nms === undefined) throw new Error('there is no example');
    const { spec, feeds } = nms;
    const session = await openNative(modelBytes({ ...spec, nodes: [...spec.nodes.slice(0, 1), node('Shape', ['selected'], ['y'])], outputs: ['selected', 'y'], outputTypes: { selected: 'int64', y: 'int64' }, constants: { ...spec.constants, least: floats([1], 0.9) } }));
    const given = Object.fromEntries(Object.entries(feeds(1)).map(([name, value]) => [name, asTensor(value)]));
    const { selected, y } = await session.run(given);
    expect(selected?.dims[0]).toBeLessThan(10);
    expect(Array.from(y?.data ?? [], Number)).toEqual(selected?.dims);
    await session.close();
  });
});

describe.skipIf(nativeMissing !== undefined)(`a model with open sizes${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const net: ModelSpec = { inputs: { x: ['n', 2, undefined, 'w'] }, constants: { w: randomTensor([3, 2, 3, 3], 1) }, nodes: [node('Conv', ['x', 'w'], ['y'])], outputs: ['y'] };

  it('takes whatever it is fed, and compiles once for each of its shapes', async () => {
    const session = await openNative(modelBytes(net)); // a picture of one pixel does not fit the kernel
    const run = async (...dims: number[]) => (await session.run({ x: asTensor(randomTensor(dims, 2)) })).y?.dims;
    expect(await run(1, 2, 5, 4)).toEqual([1, 3, 3, 2]);
    expect(await run(4, 2, 3, 3)).toEqual([4, 3, 1, 1]);
    expect(await run(1, 2, 5, 4)).toEqual([1, 3, 3, 2]);
    expect(session.stats.recompilations).toBe(2);
    expect(await run(0, 2, 5, 4)).toEqual([0, 3, 3, 2]);
    await expect(run(1, 2, 2, 2)).rejects.toMatchObject({ code: 'E_MODEL_SHAPE' });
    await expect(run(1, 3, 5, 4)).rejects.toMatchObject({ code: 'E_INPUT' });
    expect(await run(4, 2, 3, 3)).toEqual([4, 3, 1, 1]);
    await session.close();
    await expect(run(4, 2, 3, 3)).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('refuses one symbol of two sizes', async () => {
    const session = await openNative(modelBytes({ inputs: { a: ['n'], b: ['n'] }, nodes: [node('Add', ['a', 'b'], ['y'])], outputs: ['y'] }));
    const run = (a: number, b: number) => session.run({ a: asTensor(randomTensor([a], 1)), b: asTensor(randomTensor([b], 1)) });
    expect((await run(3, 3)).y?.dims).toEqual([3]);
    await expect(run(3, 4)).rejects.toMatchObject({ code: 'E_INPUT' });
    await session.close();
  });
});
