import { describe, expect, it } from 'vitest';
import { createSession, type Session } from '../../../runtime/session.js';
import type { Tensor } from '../../../runtime/tensor.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const skipped = nativeMissing === undefined ? '' : ` (${nativeMissing})`;

const net: ModelSpec = {
  inputs: { x: [1, 64] }, constants: { w: randomTensor([64, 32], 1) },
  nodes: [node('MatMul', ['x', 'w'], ['product']), node('Relu', ['product'], ['y']), node('ArgMax', ['y'], ['best'], { axis: 1, keepdims: 0 })],
  outputs: ['y', 'best'], outputTypes: { best: 'int64' },
};
const feedsOf = (seed: number): Record<string, Tensor> => ({ x: { type: 'float32', dims: [1, 64], data: randomTensor([1, 64], seed).data as Float32Array } });

async function withSession<T>(engine: 'native' | 'onnxruntime', work: (session: Session) => Promise<T>): Promise<T> {
  const session = await createSession(modelBytes(net), { engine });
  try {
    return await work(session);
  } finally {
    await session.close();
  }
}

describe.skipIf(nativeMissing !== undefined)(`outputs of an earlier run${skipped}`, () => {
  it.each(['native', 'onnxruntime'] as const)('are written into again by %s, with the values that new ones get', (engine) => withSession(engine, async (session) => {
    const first = await session.run(feedsOf(1));
    const wanted = await session.run(feedsOf(2));
    const [y, best] = [first['y']?.data, first['best']?.data];
    const second = await session.run(feedsOf(2), first);
    expect(second).toEqual(wanted);
    expect(second['y']?.data).toBe(y);
    expect(second['best']?.data).toBe(best);
  }));

  it('may be some of them', () => withSession('native', async (session) => {
    const { y } = await session.run(feedsOf(1));
    const wanted = await session.run(feedsOf(2));
    const second = await session.run(feedsOf(2), y === undefined ? {} : { y });
    expect(second).toEqual(wanted);
    expect(second['y']).toBe(y);
  }));

  it.each([
    ['another name', { z: { type: 'float32', dims: [1, 32], data: new Float32Array(32) } }, 'received "z"'],
    ['another shape', { y: { type: 'float32', dims: [32], data: new Float32Array(32) } }, 'Expected float32[1, 32] for output "y" but received float32[32]'],
    ['another length', { y: { type: 'float32', dims: [1, 32], data: new Float32Array(31) } }, 'Float32Array of 32 elements for output "y"'],
    ['another type', { y: { type: 'int32', dims: [1, 32], data: new Int32Array(32) } }, 'received int32[1, 32]'],
  ] as const)('are refused when they have %s', (_, reused, message) => withSession('native', async (session) => {
    await expect(session.run(feedsOf(1), reused as Record<string, Tensor>)).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringContaining(message) as string });
  }));

  it('are refused where a feed has its memory', () => withSession('native', async (session) => {
    const memory = new Float32Array(80);
    const feeds: Record<string, Tensor> = { x: { type: 'float32', dims: [1, 64], data: memory.subarray(0, 64) } };
    const y: Tensor = { type: 'float32', dims: [1, 32], data: memory.subarray(48, 80) };
    await expect(session.run(feeds, { y })).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringContaining('shares memory with a feed') as string });
  }));

  it('are refused while a run writes into them, and free again when it has ended, even in failure', () => withSession('native', async (session) => {
    const reused = await session.run(feedsOf(1));
    const running = session.run(feedsOf(2), reused);
    await expect(session.run(feedsOf(3), reused)).rejects.toMatchObject({ code: 'E_INPUT', message: expect.stringContaining('has not ended') as string });
    await running;
    await expect(session.run({}, reused)).rejects.toMatchObject({ code: 'E_INPUT' });
    expect(await session.run(feedsOf(3), reused)).toEqual(await session.run(feedsOf(3)));
  }));
});
