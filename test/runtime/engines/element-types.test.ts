import { describe, expect, it } from 'vitest';
import { fromNumbers, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { bfloat16ToNumber, numberToBfloat16 } from '../../../runtime/onnx/float16.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { ModelProto, type WireModel } from '../../../runtime/onnx/schema.js';
import { floats, modelBytes, node, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';

async function run(bytes: Uint8Array, feeds: Readonly<Record<string, Tensor>>): Promise<Tensor | undefined> {
  const session = await createSession(bytes);
  try {
    return (await session.run(feeds))['y'];
  } finally {
    await session.close();
  }
}

type Attributes = Parameters<typeof node>[3];
const value = (dtype: DType, ...values: number[]): TensorValue => fromNumbers(dtype, [values.length], values);
/** One operator on operands of one type, all of them fed. */
const computed = async (op: string, operands: readonly TensorValue[], attributes: Attributes = {}, outputType?: DType): Promise<bigint[]> => {
  const named = operands.map((each, i) => [`x${i}`, each] as const);
  const spec: ModelSpec = {
    opset: 18, inputs: Object.fromEntries(named.map(([name, { dims }]) => [name, dims])), types: Object.fromEntries(named.map(([name, { dtype }]) => [name, dtype])),
    nodes: [node(op, named.map(([name]) => name), ['y'], attributes)], outputs: ['y'], outputTypes: { y: outputType ?? operands[0]?.dtype ?? 'float32' },
  };
  return Array.from((await run(modelBytes(spec), Object.fromEntries(named.map(([name, each]) => [name, asTensor(each)]))))?.data ?? [], BigInt);
};

describe.skipIf(nativeMissing !== undefined)(`element types that programs do not have${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const wide = (dtype: 'uint64' | 'int64', ...values: bigint[]): TensorValue => ({ dtype, dims: [values.length], data: dtype === 'uint64' ? BigUint64Array.from(values) : BigInt64Array.from(values) });

  it('uint32 wraps, and is larger than any int32', async () => {
    expect(await computed('Sub', [value('uint32', 1, 5), value('uint32', 2, 3)])).toEqual([4294967295n, 2n]);
    expect(await computed('Max', [value('uint32', 4_000_000_000, 1), value('uint32', 3, 2)])).toEqual([4_000_000_000n, 2n]);
    expect(await computed('Mod', [value('uint32', 4_000_000_007, 5), value('uint32', 10, 3)])).toEqual([7n, 2n]);
    expect(await computed('Cast', [value('uint32', 4_000_000_000)], { to: 7 }, 'int64')).toEqual([4_000_000_000n]);
  });

  it('shifts of 16, 32 and 64 bits lose what leaves them', async () => {
    expect(await computed('BitShift', [value('uint32', 2 ** 31 + 1, 7), value('uint32', 1, 40)], { direction: 'LEFT' })).toEqual([2n, 0n]);
    expect(await computed('BitShift', [value('uint32', 2 ** 31), value('uint32', 31)], { direction: 'RIGHT' })).toEqual([1n]);
    expect(await computed('BitShift', [wide('uint64', 2n ** 63n + 3n, 1n), wide('uint64', 1n, 64n)], { direction: 'LEFT' })).toEqual([6n, 0n]);
    expect(await computed('BitShift', [wide('uint64', 2n ** 63n), wide('uint64', 60n)], { direction: 'RIGHT' })).toEqual([8n]);
  });

  it('a shift of uint16, which is held as int32', async () => {
    const bytes = modelBytes({ opset: 18, inputs: { x: [3], n: [3] }, types: { x: 'int32', n: 'int32' }, nodes: [node('BitShift', ['x', 'n'], ['y'], { direction: 'LEFT' })], outputs: ['y'], outputTypes: { y: 'int32' } });
    const feeds = { x: asTensor(value('int32', 0xffff, 3, 1)), n: asTensor(value('int32', 4, 15, 16)) };
    expect(Array.from((await run(bytes, feeds))?.data ?? [], Number)).toEqual([0xfff0, 0x8000, 0]);
  });

  it.each([
    ['BitwiseAnd', 'uint8', [0b1100, 0b1010], 0b1000], ['BitwiseOr', 'int8', [-128, 5], -123], ['BitwiseXor', 'int32', [-1, 0x0f], -16], ['BitwiseAnd', 'uint32', [0xf0f0_f0f0, 0xff00_ff00], 0xf000_f000],
  ] as const)('%s of %s', async (op, dtype, [a, b], want) => {
    expect(await computed(op, [value(dtype, a), value(dtype, b)])).toEqual([BigInt(want)]);
  });

  it('bits of 64 are exact', async () => {
    expect(await computed('BitwiseXor', [wide('int64', -1n), wide('int64', 2n ** 62n + 1n)])).toEqual([-(2n ** 62n) - 2n]);
    expect(await computed('BitwiseNot', [wide('uint64', 1n)])).toEqual([2n ** 64n - 2n]);
    expect(await computed('BitwiseNot', [value('uint8', 1)])).toEqual([254n]);
  });

  it('bfloat16 goes in and out as its bits, rounded to even', async () => {
    const wire = ModelProto.decode(modelBytes({ inputs: { x: [3] }, nodes: [node('Neg', ['x'], ['y'])], outputs: ['y'] })) as WireModel & Parameters<typeof ModelProto.encode>[0];
    for (const port of [...(wire.graph?.input ?? []), ...(wire.graph?.output ?? [])]) if (port.type?.tensorType) port.type.tensorType.elemType = 16;
    const y = await run(ModelProto.encode(wire).finish(), { x: { type: 'bfloat16', dims: [3], data: Uint16Array.from([1, -2.5, 3e38], numberToBfloat16) } });
    expect([y?.type, Array.from(y?.data ?? [], Number).map(bfloat16ToNumber)]).toEqual(['bfloat16', [-1, 2.5, -bfloat16ToNumber(numberToBfloat16(3e38))]]);
    expect([1 + 2 ** -8, 1 + 3 * 2 ** -8, NaN, Infinity, -0, 3.4e38].map((number) => bfloat16ToNumber(numberToBfloat16(number)))).toEqual([1, 1 + 4 * 2 ** -8, NaN, Infinity, -0, Infinity]);
  });

  it('Resize with the corners aligned and a length that is not whole, as the specification has it', async () => {
    const resize: ModelSpec = { opset: 13, inputs: { x: [1, 1, 2, 4] }, constants: { roi: floats([0]), scales: floats([4], 1, 1, 0.6, 0.6) }, nodes: [node('Resize', ['x', 'roi', 'scales'], ['y'], { mode: 'linear', coordinate_transformation_mode: 'align_corners' })], outputs: ['y'] };
    const y = await run(modelBytes(resize), { x: asTensor(floats([1, 1, 2, 4], 1, 2, 3, 4, 5, 6, 7, 8)) });
    expect(y?.dims).toEqual([1, 1, 1, 2]);
    [1, 3.142857].forEach((want, i) => expect(Number(y?.data[i])).toBeCloseTo(want, 5));
  });
});
