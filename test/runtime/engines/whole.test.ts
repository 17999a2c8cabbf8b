import { describe, expect, it } from 'vitest';
import { loadProgram } from '../../../kernels/binding/index.js';
import { openNative } from '../../../runtime/engines/native.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { compile } from '../../../runtime/lower/compile.js';
import { flipBytes } from '../../../runtime/lower/flip-bytes.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { floats, ints64, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

const wide = (...values: bigint[]): TensorValue => ({ dtype: 'int64', dims: [values.length], data: BigInt64Array.from(values) });

const sum: ModelSpec = { inputs: { a: [2], b: [2] }, types: { a: 'int64', b: 'int64' }, nodes: [node('Add', ['a', 'b'], ['y'])], outputs: ['y'] };
const boxes: ModelSpec = {
  inputs: { boxes: [1, 3, 4], scores: [1, 1, 3] }, constants: { limit: ints64(3), iou: floats([1], 0.5), score: floats([1], 0.4) },
  nodes: [node('NonMaxSuppression', ['boxes', 'scores', 'limit', 'iou', 'score'], ['y'])], outputs: ['y'],
};

async function run(spec: ModelSpec, feeds: Readonly<Record<string, TensorValue>>): Promise<Record<string, Tensor>> {
  const session = await openNative(modelBytes(spec));
  try {
    return await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)])));
  } finally {
    await session.close();
  }
}

describe('what cannot be right is refused by the compiler', () => {
  const refused = (spec: ModelSpec, code: string, details: Record<string, unknown>): void => {
    expect(() => compile(modelBytes(spec))).toThrow(expect.objectContaining({ code, details: expect.objectContaining(details) }));
  };
  it('constants beyond 32 bits', () => {
    refused({ ...sum, inputs: { a: [2] }, constants: { b: wide(1n, 1n << 40n) } }, 'E_MODEL_VALUE', { initializer: 'b' });
  });
  it('computing with the selection of boxes', () => {
    refused({ ...boxes, nodes: [...boxes.nodes, node('Cast', ['y'], ['z'], { to: 6 })], outputs: ['z'] }, 'E_MODEL_OP', { node: 'z', op: 'Cast', operand: 'y' });
  });
  it('means of whole numbers', () => {
    const types = { x: 'int32' } as const;
    refused({ inputs: { x: [2] }, types, nodes: [node('ReduceMean', ['x'], ['y'])], outputs: ['y'] }, 'E_MODEL_OP', { op: 'ReduceMean' });
  });
  it('a remainder of floats that does not say which', () => {
    refused({ inputs: { a: [2], b: [2] }, nodes: [node('Mod', ['a', 'b'], ['y'])], outputs: ['y'] }, 'E_MODEL_OP', { attribute: 'fmod' });
  });
  it('blocks that do not fit, and more of the best than there are', () => {
    refused({ inputs: { x: [1, 6, 2, 2] }, nodes: [node('DepthToSpace', ['x'], ['y'], { blocksize: 2 })], outputs: ['y'] }, 'E_MODEL_SHAPE', { node: 'y' });
    refused({ inputs: { x: [4] }, constants: { k: ints64(5) }, nodes: [node('TopK', ['x', 'k'], ['y', 'i'])], outputs: ['y', 'i'] }, 'E_MODEL_SHAPE', { node: 'y' });
  });
});

describe.skipIf(nativeMissing !== undefined)(`whole numbers and booleans at the border of the engine${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  it('numbers beyond 32 bits are errors where they are fed and where they arise', async () => {
    expect((await run(sum, { a: wide(1n, -5n), b: wide(2n, 3n) })).y?.data).toEqual(BigInt64Array.of(3n, -2n));
    await expect(run(sum, { a: wide(1n, 1n << 31n), b: wide(2n, 3n) })).rejects.toMatchObject({ code: 'E_INPUT' });
    await expect(run(sum, { a: wide(1n, (1n << 31n) - 1n), b: wide(2n, 3n) })).rejects.toMatchObject({ code: 'E_ARGUMENT' });
  });

  it('int32 wraps as everywhere', async () => {
    const spec = { ...sum, types: { a: 'int32', b: 'int32' } } as const;
    expect((await run(spec, { a: fromNumbers('int32', [2], [2 ** 31 - 1, 0]), b: fromNumbers('int32', [2], [1, 0]) })).y?.data).toEqual(Int32Array.of(-(2 ** 31), 0));
  });

  it('arithmetic of bytes is modulo 256, whatever their sign', async () => {
    for (const [dtype, expected] of [['uint8', Uint8Array.of(4, 254)], ['int8', Int8Array.of(-126, -2)]] as const) {
      const spec: ModelSpec = { inputs: { a: [2], b: [2] }, types: { a: dtype, b: dtype }, nodes: [node('Add', ['a', 'b'], ['y'])], outputs: ['y'], outputTypes: { y: dtype } };
      const [a, b] = dtype === 'uint8' ? [[250, 200], [10, 54]] : [[127, -1], [3, -1]];
      expect((await run(spec, { a: fromNumbers(dtype, [2], a), b: fromNumbers(dtype, [2], b) })).y?.data).toEqual(expected);
    }
  });

  it.each(['uint8', 'int8'] as const)('bytes mean the same in a program of %s, and booleans stay as they are', async (activation) => {
    const bytes = Uint8Array.of(0, 99, 100, 101, 200, 255);
    const spec: ModelSpec = {
      inputs: { x: [6] }, types: { x: 'uint8' }, constants: { k: fromNumbers('uint8', [], [100]) }, outputs: ['mask', 'sum', 'float'], outputTypes: { mask: 'bool', sum: 'uint8' },
      nodes: [node('Greater', ['x', 'k'], ['mask']), node('Where', ['mask', 'x', 'k'], ['w']), node('Add', ['w', 'x'], ['sum']), node('Cast', ['sum'], ['float'], { to: 1 })],
    };
    const program = compile(modelBytes(spec), { activation });
    expect(program.inputs.map(({ flip }) => flip)).toEqual([activation === 'int8']);
    const native = loadProgram(program.bytes, { isa: 'ref' });
    const [mask, sums, numbers] = [new Uint8Array(6), new Uint8Array(6), new Float32Array(6)];
    await native.run([activation === 'int8' ? flipBytes(bytes) : bytes], [mask, sums, numbers]);
    await native.close();
    const expected = bytes.map((value) => Math.max(value, 100) + value);
    expect(mask).toEqual(Uint8Array.of(0, 0, 0, 1, 1, 1));
    expect(activation === 'int8' ? flipBytes(sums) : sums).toEqual(expected);
    expect(numbers).toEqual(Float32Array.from(expected));
  });

  it('booleans are zeros and ones', async () => {
    const spec: ModelSpec = { inputs: { x: [3] }, types: { x: 'bool' }, nodes: [node('Not', ['x'], ['y'])], outputs: ['y'] };
    expect((await run(spec, { x: fromNumbers('bool', [3], [1, 0, 1]) })).y).toEqual({ type: 'bool', dims: [3], data: Uint8Array.of(0, 1, 0) });
    await expect(run(spec, { x: fromNumbers('bool', [3], [1, 2, 0]) })).rejects.toMatchObject({ code: 'E_INPUT' });
  });

  it('selected boxes come without padding, none included', async () => {
    const corners = randomTensor([1, 3, 4], 1, 0, 1);
    const session = await openNative(modelBytes(boxes));
    expect(session.outputs).toEqual([{ name: 'y', type: 'int64', dims: [3, 3] }]);
    await session.close();
    expect((await run(boxes, { boxes: corners, scores: floats([1, 1, 3], 0.1, 0.9, 0.2) })).y).toEqual({ type: 'int64', dims: [1, 3], data: BigInt64Array.of(0n, 0n, 1n) });
    expect((await run(boxes, { boxes: corners, scores: floats([1, 1, 3], 0.1, 0.2, 0.3) })).y?.dims).toEqual([0, 3]);
  });
});
