import { describe, expect, it } from 'vitest';
import { mersenne, normal } from '../../../runtime/ops/random.js';
import { compile } from '../../../runtime/lower/compile.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor } from '../../../runtime/tensor.js';
import { floats, modelBytes, node, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

it('draws what numpy.random.RandomState(0) draws', () => {
  const uniform = mersenne(0);
  expect([uniform(), uniform(), uniform()]).toEqual([0.5488135039273248, 0.7151893663724195, 0.6027633760716439]);
  const next = normal(mersenne(0));
  [1.764052345967664, 0.4001572083672233, 0.9787379841057392, 2.240893199201458].forEach((value) => expect(next()).toBeCloseTo(value, 14));
});

it('goes on after the first 624 words', () => {
  const uniform = mersenne(5489);
  const drawn = Array.from({ length: 2000 }, uniform);
  expect(new Set(drawn).size).toBe(2000);
  expect(drawn.reduce((sum, value) => sum + value, 0) / 2000).toBeCloseTo(0.5, 1);
});

/** Outputs of two runs of one session. */
async function twice(spec: ModelSpec, x = floats([4], 1, 1, 1, 1)): Promise<number[][]> {
  const session = await createSession(modelBytes(spec));
  try {
    const runs: number[][] = [];
    for (let i = 0; i < 2; i++) runs.push(Array.from((await session.run({ x: asTensor(x) }))['y']?.data ?? [], Number));
    return runs;
  } finally {
    await session.close();
  }
}
const one = (op: string, attributes: Parameters<typeof node>[3], options: Partial<ModelSpec> = {}): ModelSpec =>
  ({ opset: 15, inputs: { x: [4] }, nodes: [node(op, ['x', ...Object.keys(options.constants ?? {})], ['y'], attributes)], outputs: ['y'], ...options });

describe.skipIf(nativeMissing !== undefined)(`operators that draw${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('Dropout in training with a seed, as the reference implementation', async () => {
    // numpy.random.seed(0); numpy.random.uniform(0, 1, 4) >= 0.5625: 0.549, 0.715, 0.603, 0.545
    const training = { constants: { r: floats([], 0.5625), t: { dtype: 'bool', dims: [], data: Uint8Array.of(1) } }, outputTypes: { y: 'float32' } } as const;
    const [first, second] = await twice(one('Dropout', { seed: 0 }, training));
    expect(first).toEqual([0, Math.fround(1 / 0.4375), Math.fround(1 / 0.4375), 0]);
    expect(second).toEqual(first);
  });

  it('with a seed every run draws the same numbers, and without one each draws others', async () => {
    const shape = { type: 'ints', value: [50] } as const;
    const sum = (attributes: Parameters<typeof node>[3]): ModelSpec => ({ inputs: { x: [4] }, nodes: [node('RandomNormal', [], ['n'], { shape, ...attributes }), node('ReduceSum', ['x'], ['s']), node('Add', ['n', 's'], ['y'])], outputs: ['y'] });
    const [a, b] = await twice(sum({ seed: { float: 3 } }));
    expect(a).toEqual(b);
    const [c, d] = await twice(sum({}));
    expect(c).not.toEqual(d);
  });

  it('Bernoulli of certainties, RandomUniformLike in its range, Multinomial of one class', async () => {
    expect(await twice(one('Bernoulli', {}), floats([4], 0, 1, 0, 1))).toEqual([[0, 1, 0, 1], [0, 1, 0, 1]]);
    const [drawn = []] = await twice(one('RandomUniformLike', { low: { float: 3 }, high: { float: 4 } }));
    expect(drawn.every((value) => value >= 3 && value < 4)).toBe(true);
    const rows: ModelSpec = { inputs: { x: [2, 3] }, nodes: [node('Multinomial', ['x'], ['y'], { sample_size: 3 })], outputs: ['y'], outputTypes: { y: 'int32' } };
    expect(await twice(rows, floats([2, 3], -99, 0, -99, 0, -99, -99))).toEqual([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 0]]);
  });
});

it.each([
  ['a type that is no float', 'E_MODEL_OP', { inputs: { x: [2] }, nodes: [node('RandomUniformLike', ['x'], ['y'], { dtype: 6 })], outputs: ['y'], outputTypes: { y: 'int32' } }],
  ['no shape', 'E_MODEL_MALFORMED', { inputs: { x: [2] }, nodes: [node('RandomNormal', [], ['y'])], outputs: ['y'] }],
  ['no rows of classes', 'E_MODEL_SHAPE', { inputs: { x: [2] }, nodes: [node('Multinomial', ['x'], ['y'])], outputs: ['y'], outputTypes: { y: 'int32' } }],
  ['more elements than the limit', 'E_MODEL_LIMIT', { inputs: { x: [2] }, nodes: [node('RandomNormal', [], ['y'], { shape: [2 ** 20, 2 ** 20] })], outputs: ['y'] }],
  ['operands of two types', 'E_MODEL_OP', { inputs: { x: [2], z: [2] }, types: { x: 'int32', z: 'int64' }, opset: 18, nodes: [node('BitwiseAnd', ['x', 'z'], ['y'])], outputs: ['y'], outputTypes: { y: 'int32' } }],
  ['bits of floats', 'E_MODEL_OP', { inputs: { x: [2] }, opset: 18, nodes: [node('BitwiseNot', ['x'], ['y'])], outputs: ['y'] }],
  ['a shift of signed numbers', 'E_MODEL_OP', { inputs: { x: [2] }, types: { x: 'int64' }, nodes: [node('BitShift', ['x', 'x'], ['y'], { direction: 'LEFT' })], outputs: ['y'], outputTypes: { y: 'int64' } }],
] satisfies [string, string, ModelSpec][])('%s: %s', (_name, code, spec) => {
  expect(() => compile(modelBytes(spec))).toThrow(expect.objectContaining({ code }));
});

it('what a seed is given for is never folded', () => {
  expect(() => compile(modelBytes({ inputs: { x: [4] }, nodes: [node('RandomUniform', [], ['n'], { shape: [4] }), node('Add', ['n', 'x'], ['y'])], outputs: ['y'] }))).toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: expect.objectContaining({ op: 'RandomUniform' }) }));
});
