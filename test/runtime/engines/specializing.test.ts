import { describe, expect, it } from 'vitest';
import { openNative } from '../../../runtime/engines/native.js';
import { SpecializingSession, type SpecializedSession } from '../../../runtime/engines/specializing.js';
import { toNumbers } from '../../../runtime/graph/tensor-value.js';
import { compile } from '../../../runtime/lower/compile.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, ints64, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const reshape: ModelSpec = {
  inputs: { x: [2, 6], shape: [2] }, types: { shape: 'int64' },
  nodes: [node('Cast', ['shape'], ['same'], { to: 7 }), node('Reshape', ['x', 'same'], ['r']), node('Neg', ['r'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' },
};
const x = randomTensor([2, 6], 1);
const feeds = (...shape: number[]) => ({ x: asTensor(x), shape: asTensor(ints64(...shape)) });

describe('a model with an input that decides a shape', () => {
  it('is refused by the compiler, which names the input', () => {
    expect(() => compile(modelBytes(reshape))).toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: expect.objectContaining({ node: 'r', inputs: ['shape'] }) }));
  });

  it('is compiled once for each value of that input, and a few programs are kept', async () => {
    const compiled: string[] = [];
    const closed: string[] = [];
    const session = new SpecializingSession(modelBytes(reshape), {}, async (fixed) => {
      const values = fixed['shape'] === undefined ? undefined : Array.from(fixed['shape'].data, Number).join();
      const program = compile(modelBytes(reshape), { fixed }); // throws without the shape
      compiled.push(values ?? '');
      const y = { name: 'y', type: 'float32' as const, dims: program.outputs[0]?.dims ?? [] };
      return {
        inputs: program.inputs, outputs: [y], stats: { engine: 'native', threads: 1, loadMs: 1 },
        run: () => Promise.resolve({}), profile: () => Promise.resolve([]), close: () => Promise.resolve(void closed.push(values ?? '')),
      } satisfies SpecializedSession;
    });
    expect(session.outputs).toEqual([{ name: 'y', type: 'float32', dims: [] }]);
    for (const [a, b] of [[3, 4], [4, 3], [3, 4]] as const) await session.run(feeds(a, b));
    expect(compiled).toEqual(['3,4', '4,3']);
    expect(session.outputs[0]?.dims).toEqual([3, 4]);
    for (const [a, b] of [[1, 12], [12, 1], [2, 6], [6, 2], [-1, 3], [-1, 4], [-1, 6]] as const) await session.run(feeds(a, b));
    expect(closed).toEqual(['4,3']); // the least recently used of nine
    await session.close();
    expect(closed).toHaveLength(9);
    await expect(session.run(feeds(3, 4))).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('takes large weights from an input without compiling them in', async () => {
    const spec: ModelSpec = { inputs: { x: [1, 1, 4, 4], w: [70_000, 1, 1, 1] }, nodes: [node('Conv', ['x', 'w'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' } };
    const session = await openNative(modelBytes(spec));
    const x = asTensor(randomTensor([1, 1, 4, 4], 1));
    for (const seed of [2, 3]) {
      const w = asTensor(randomTensor([70_000, 1, 1, 1], seed));
      const { y } = await session.run({ x, w });
      expect(y?.dims).toEqual([1, 70_000, 4, 4]);
      expect(y?.data[69_999 * 16 + 5]).toBeCloseTo(Number(w.data[69_999]) * Number(x.data[5]), 5);
    }
    await session.close();
  });
});

describe.skipIf(nativeMissing !== undefined)(`in the native engine${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('answers in order, whatever has to be compiled in between', async () => {
    const session = await openNative(modelBytes(reshape));
    const results = await Promise.all([session.run(feeds(3, 4)), session.run(feeds(12, 1)), session.run(feeds(3, 4))]);
    expect(results.map(({ y }) => y?.dims)).toEqual([[3, 4], [12, 1], [3, 4]]);
    for (const { y } of results) expect(Array.from(y?.data ?? [], Number)).toEqual(Array.from(toNumbers(x), (v) => -v));
    await session.close();
  });

  it('refuses a value that fits no shape, and goes on', async () => {
    const session = await openNative(modelBytes(reshape));
    await expect(session.run(feeds(5, 5))).rejects.toMatchObject({ code: 'E_MODEL_SHAPE' });
    await expect(session.run({ x: asTensor(x) })).rejects.toMatchObject({ code: 'E_INPUT' });
    expect((await session.run(feeds(6, 2))).y?.dims).toEqual([6, 2]);
    await session.close();
  });

  it('takes lists of any length where the file leaves it open', async () => {
    const spec: ModelSpec = { inputs: { x: [2, 3], axes: ['count'] }, types: { axes: 'int64' }, nodes: [node('ReduceSum', ['x', 'axes'], ['y'], { keepdims: 0 })], outputs: ['y'], outputTypes: { y: 'float32' } };
    const session = await openNative(modelBytes(spec));
    const sum = async (...axes: number[]) => (await session.run({ x: asTensor(floats([2, 3], 1, 2, 3, 4, 5, 6)), axes: asTensor(ints64(...axes)) })).y;
    expect(await sum(0)).toEqual({ type: 'float32', dims: [3], data: Float32Array.of(5, 7, 9) });
    expect(await sum()).toEqual({ type: 'float32', dims: [], data: Float32Array.of(21) });
    expect(await sum(0, 1)).toEqual({ type: 'float32', dims: [], data: Float32Array.of(21) });
    await session.close();
  });

  it('takes other inputs of any size where the file leaves them open, and counts what it compiles', async () => {
    const session = await openNative(modelBytes({ ...reshape, inputs: { x: ['rows', 6], shape: [2] }, constants: { w: randomTensor([100, 100], 2) }, nodes: [...reshape.nodes.slice(0, 2), node('MatMul', ['r', 'w'], ['y'])] }));
    const run = async (rows: number, ...shape: number[]) => (await session.run({ x: asTensor(randomTensor([rows, 6], 1)), shape: asTensor(ints64(...shape)) })).y?.dims;
    expect(await run(50, 3, 100)).toEqual([3, 100]);
    expect(await run(100, 6, 100)).toEqual([6, 100]);
    expect(await run(50, -1, 100)).toEqual([3, 100]);
    expect(await run(100, 6, 100)).toEqual([6, 100]);
    expect(session.stats.recompilations).toBe(3);
    await session.close();
  });

  it('finds every such input in turn', async () => {
    const spec: ModelSpec = {
      inputs: { x: [1, 1, 2, 2], low: [], w: [1, 1, 1, 1] },
      nodes: [node('Clip', ['x', 'low'], ['c']), node('Conv', ['c', 'w'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' },
    };
    const session = await openNative(modelBytes(spec));
    const run = async (low: number, w: number) => (await session.run({ x: asTensor(floats([1, 1, 2, 2], -2, -1, 1, 2)), low: asTensor(floats([], low)), w: asTensor(floats([1, 1, 1, 1], w)) })).y?.data;
    expect(await run(0, 3)).toEqual(Float32Array.of(0, 0, 3, 6));
    expect(await run(-1, 2)).toEqual(Float32Array.of(-2, -2, 2, 4));
    await session.close();
  });
});
