import { describe, expect, it } from 'vitest';
import { allocate, type DType, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { wireOfDtype } from '../../../runtime/onnx/tensor-data.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { createSession } from '../../../runtime/session.js';
import { asTensor } from '../../../runtime/tensor.js';
import { ints64, modelBytes, node } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { oracle, oracleMissing } from '../support/oracle.js';

// Whole numbers of every type at the ends of their range: as onnxruntime has them where it takes the type, and modulo the type's range as the specification
// has them. Each operator meets its operands fed (the engine computes), constant (they are folded) and of a size that follows from data (they are interpreted).

type Whole = 'uint8' | 'int8' | 'uint16' | 'int16' | 'int32' | 'int64' | 'uint32' | 'uint64';
const widths: Readonly<Record<Whole, readonly [bits: number, signed: boolean]>> = {
  uint8: [8, false], int8: [8, true], uint16: [16, false], int16: [16, true], int32: [32, true], int64: [64, true], uint32: [32, false], uint64: [64, false],
};
const types = Object.keys(widths) as Whole[];
const wireTypes = { uint16: 4, int16: 5 } as const;
const isNarrow = (type: Whole): type is keyof typeof wireTypes => Object.hasOwn(wireTypes, type);
/** What a graph holds the type as. */
const held = (type: Whole): DType => (isNarrow(type) ? 'int32' : type);
const wireOf = (type: Whole): number => (isNarrow(type) ? wireTypes[type] : wireOfDtype(held(type)));

const wrap = (type: Whole, value: bigint): bigint => (widths[type][1] ? BigInt.asIntN : BigInt.asUintN)(widths[type][0], value);
const largest = (type: Whole): bigint => 2n ** BigInt(widths[type][0] - (widths[type][1] ? 1 : 0)) - 1n;
const smallest = (type: Whole): bigint => (widths[type][1] ? -largest(type) - 1n : 0n);

function tensor(dtype: DType, values: readonly bigint[]): TensorValue {
  const data = allocate(dtype, values.length);
  values.forEach((value, i) => { data[i] = data instanceof BigInt64Array || data instanceof BigUint64Array ? value : Number(value); });
  return { dtype, dims: [values.length], data };
}

const modes = ['fed', 'constant', 'interpreted'] as const;
type Mode = (typeof modes)[number];

interface Sample {
  readonly op: string;
  readonly operands: readonly (readonly bigint[])[];
  readonly want: readonly bigint[];
  readonly attributes?: Parameters<typeof node>[3];
  readonly extra?: TensorValue;
  readonly output?: DType;
}

/** Numbers of 16 bits come from casts, and go into them, as the interface has none. */
function modelOf(type: Whole, mode: Mode, { op, operands, attributes, extra, output }: Sample): { bytes: Uint8Array; feeds: Record<string, TensorValue> } {
  const values = operands.map((each, i) => [`x${i}`, tensor(held(type), each)] as const);
  const nodes: OnnxNode[] = [];
  const read = values.map(([name]) => {
    const cut = mode === 'interpreted' ? `${name}.cut` : name;
    if (mode === 'interpreted') nodes.push(node('Slice', [name, 'zero', 'length'], [cut]));
    if (isNarrow(type)) nodes.push(node('Cast', [cut], [`${name}.narrow`], { to: wireOf(type) }));
    return isNarrow(type) ? `${name}.narrow` : cut;
  });
  const narrow = isNarrow(type) && output === undefined;
  nodes.push(node(op, [...read, ...(extra === undefined ? [] : ['extra'])], [narrow ? 'result' : 'y'], attributes));
  if (narrow) nodes.push(node('Cast', ['result'], ['y'], { to: wireOfDtype('int32') }));
  const feeds: Record<string, TensorValue> = mode === 'constant' ? {} : Object.fromEntries([...values, ...(mode === 'interpreted' ? [['length', ints64(1000)] as const] : [])]);
  const named = Object.entries(feeds);
  const bytes = modelBytes({
    opset: 18, inputs: Object.fromEntries(named.map(([name, { dims }]) => [name, dims])), types: Object.fromEntries(named.map(([name, { dtype }]) => [name, dtype])),
    constants: { ...(mode === 'constant' ? Object.fromEntries(values) : {}), ...(mode === 'interpreted' ? { zero: ints64(0) } : {}), ...(extra === undefined ? {} : { extra }) },
    nodes, outputs: ['y'], outputTypes: { y: output ?? held(type) },
  });
  return { bytes, feeds };
}

async function run(type: Whole, mode: Mode, sample: Sample): Promise<bigint[]> {
  const { bytes, feeds } = modelOf(type, mode, sample);
  const session = await createSession(bytes);
  try {
    const outputs = await session.run(Object.fromEntries(Object.entries(feeds).map(([name, value]) => [name, asTensor(value)])));
    return Array.from(outputs['y']?.data ?? [], BigInt);
  } finally {
    await session.close();
  }
}

const pairs = (type: Whole): readonly [readonly bigint[], readonly bigint[]] => {
  const [low, high] = [smallest(type), largest(type)];
  return [[high, low, high / 3n, 7n, 1n, high, 3n, high - 1n], [1n, 3n, high / 3n + 2n, 3n, 2n, high, 5n, high / 3n + 2n]];
};

const bool = (value: boolean): bigint => (value ? 1n : 0n);
const binary: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  Add: (a, b) => a + b, Sub: (a, b) => a - b, Mul: (a, b) => a * b, Div: (a, b) => a / b, Mod: (a, b) => ((a % b) + b) % b, Min: (a, b) => (a < b ? a : b), Max: (a, b) => (a > b ? a : b),
  BitwiseAnd: (a, b) => a & b, BitwiseOr: (a, b) => a | b, BitwiseXor: (a, b) => a ^ b,
};
const comparisons: Readonly<Record<string, (a: bigint, b: bigint) => boolean>> = { Equal: (a, b) => a === b, Less: (a, b) => a < b, GreaterOrEqual: (a, b) => a >= b };
const unary: Readonly<Record<string, (a: bigint) => bigint>> = { Neg: (a) => -a, Abs: (a) => (a < 0n ? -a : a), Sign: (a) => BigInt(Math.sign(Number(a))), BitwiseNot: (a) => ~a, Identity: (a) => a };

function samples(type: Whole): Sample[] {
  const [left, right] = pairs(type);
  const near = left.map((value, i) => (i % 2 === 0 && value > smallest(type) ? value - 1n : value));
  const sum = (values: readonly bigint[]): bigint => values.reduce((a, b) => a + b, 0n);
  return [
    ...Object.entries(binary).map(([op, fn]): Sample => ({ op, operands: [left, right], want: left.map((a, i) => wrap(type, fn(a, right[i] ?? 0n))) })),
    ...Object.entries(comparisons).map(([op, fn]): Sample => ({ op, operands: [left, near], want: left.map((a, i) => bool(fn(a, near[i] ?? 0n))), output: 'bool' })),
    ...Object.entries(unary).filter(([op]) => op !== 'Neg' || widths[type][1]).map(([op, fn]): Sample => ({ op, operands: [left], want: left.map((a) => wrap(type, fn(a))) })),
    { op: 'Mod', operands: [left.map((a, i) => (i % 2 === 0 ? a : wrap(type, -a))), right], attributes: { fmod: 1 }, want: left.map((a, i) => (i % 2 === 0 ? a : wrap(type, -a)) % (right[i] ?? 1n)) },
    { op: 'Pow', operands: [[2n, 3n, largest(type)], [5n, 40n, 2n]], want: [2n ** 5n, 3n ** 40n, largest(type) ** 2n].map((value) => wrap(type, value)) },
    { op: 'ReduceSum', operands: [left], want: [wrap(type, sum(left))] },
    { op: 'ReduceProd', operands: [[largest(type) / 3n, 5n, 3n]], want: [wrap(type, (largest(type) / 3n) * 15n)] },
    { op: 'ReduceMax', operands: [left.map((a) => (a === largest(type) ? a - 2n : a))], want: [largest(type) - 1n] },
    { op: 'ReduceMin', operands: [left], want: [smallest(type)] },
    { op: 'ReduceSumSquare', operands: [[largest(type), 3n, 5n]], want: [wrap(type, largest(type) ** 2n + 34n)] },
    { op: 'CumSum', operands: [left], extra: { ...ints64(0), dims: [] }, want: left.map((_, i) => wrap(type, sum(left.slice(0, i + 1)))) },
    { op: 'Gather', operands: [left], extra: ints64(0, -1, 3), want: [left[0] ?? 0n, left[7] ?? 0n, left[3] ?? 0n] },
    { op: 'Unique', operands: [left], want: [...new Set(left)].sort((a, b) => (a < b ? -1 : 1)) },
    ...(['uint8', 'int8', 'uint16', 'int16', 'int32', 'int64', 'uint32', 'uint64'] as const).filter((to) => !isNarrow(to)).map((to): Sample => ({ op: 'Cast', operands: [left], attributes: { to: wireOf(to) }, want: left.map((a) => wrap(to, a)), output: held(to) })),
  ];
}

/** What onnxruntime 1.30 computes otherwise: sums and products of 32 and 64 bits saturate, and powers and C's remainders go through doubles. */
const differs = ({ op, attributes }: Sample): boolean => ['ReduceSum', 'ReduceProd', 'ReduceSumSquare', 'Pow'].includes(op) || attributes?.['fmod'] !== undefined;

/** Refusals of numbers that the engine has no room for, and of operators that do not exist for the type. */
const refusal = expect.objectContaining({ code: expect.stringMatching(/^E_(MODEL_OP|MODEL_VALUE|ARGUMENT|INPUT)$/) });

describe.skipIf(nativeMissing !== undefined)(`whole numbers at the ends of their types${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const refused = new Map<string, number>();
  const right = new Map<string, number>();
  describe.each(types)('%s', (type) => {
    it.each(modes)('%s: right, or refused with a code', async (mode) => {
      for (const sample of samples(type)) {
        const name = `${sample.op} of ${type}, ${mode}`;
        const got = await run(type, mode, sample).catch((error: unknown) => { expect(error, name).toEqual(refusal); });
        const count = got === undefined ? refused : right;
        count.set(`${type} ${mode}`, (count.get(`${type} ${mode}`) ?? 0) + 1);
        if (got !== undefined) expect([name, got]).toEqual([name, sample.want]);
      }
    });

    it.skipIf(oracleMissing !== undefined)('and so has it onnxruntime', async () => {
      let compared = 0;
      for (const sample of samples(type).filter((each) => !differs(each))) {
        const { bytes, feeds } = modelOf(type, 'fed', sample);
        const outputs = await oracle(bytes, feeds, false).catch(() => undefined);
        if (outputs === undefined) continue;
        compared += 1;
        expect([sample.op, Array.from(outputs['y']?.data ?? [])]).toEqual([sample.op, sample.want.map(Number)]);
      }
      expect(compared).toBeGreaterThan(10);
    });
  });

  it('little is refused but int64 beyond the engine\'s 32 bits', () => {
    for (const [key, count] of refused) if (!key.startsWith('int64')) expect([key, count]).toEqual([key, expect.toSatisfy((n: number) => n <= 3)]);
    for (const type of types) expect(right.get(`${type} interpreted`)).toBeGreaterThan(20);
  });
});

describe.skipIf(nativeMissing !== undefined)('whole numbers, further', () => {
  it('int16 and uint16 wrap within branches and loops', async () => {
    const body = (value: bigint) => ({ name: 'branch', nodes: [node('Add', ['n', 'k'], ['s'])], initializers: new Map([['k', { ...tensor('int32', [value]), narrow: 'int16' as const }]]), inputs: [], outputs: [{ name: 's' }], valueInfo: [] });
    const bytes = modelBytes({
      opset: 18, inputs: { x: [1], c: [] }, types: { x: 'int32', c: 'bool' }, outputs: ['y'], outputTypes: { y: 'int32' },
      nodes: [
        node('Cast', ['x'], ['n'], { to: 5 }), node('If', ['c'], ['b'], { then_branch: { type: 'graph', value: body(1n) }, else_branch: { type: 'graph', value: body(2n) } }),
        node('Add', ['b', 'b'], ['d']), node('Cast', ['d'], ['y'], { to: 6 }),
      ],
    });
    const session = await createSession(bytes);
    const of = async (x: number, c: number): Promise<unknown> => (await session.run({ x: { type: 'int32', dims: [1], data: Int32Array.of(x) }, c: { type: 'bool', dims: [], data: Uint8Array.of(c) } }))['y']?.data[0];
    // 32767 + 1 is -32768, and twice that is 0; 32767 + 2 is -32767, and twice that is 2.
    expect([await of(32767, 1), await of(32767, 0), await of(5, 1)]).toEqual([0, 2, 12]);
    await session.close();
  });

  it('reductions of a scatter start from the ends of the type', async () => {
    for (const [dtype, reduction, want] of [['int8', 'min', [-7n, 5n]], ['int8', 'max', [5n, 9n]], ['uint8', 'min', [2n, 5n]], ['uint32', 'min', [3_000_000_000n, 5n]]] as const) {
      const x = tensor(dtype, dtype === 'uint32' ? [4_000_000_000n, 5n] : [5n, 5n]);
      const updates = tensor(dtype, dtype === 'uint32' ? [3_000_000_000n] : [reduction === 'max' ? 9n : dtype === 'int8' ? -7n : 2n]);
      const at = reduction === 'max' ? 1n : 0n;
      const bytes = modelBytes({
        opset: 18, inputs: { x: [2], i: [1], u: [1] }, types: { x: dtype, i: 'int64', u: dtype }, outputs: ['y'], outputTypes: { y: dtype },
        nodes: [node('ScatterElements', ['x', 'i', 'u'], ['y'], { reduction, axis: 0 })],
      });
      const session = await createSession(bytes);
      const outputs = await session.run({ x: asTensor(x), i: asTensor(tensor('int64', [at])), u: asTensor(updates) });
      expect([dtype, reduction, Array.from(outputs['y']?.data ?? [], BigInt)]).toEqual([dtype, reduction, want]);
      await session.close();
    }
  });

  it('a division by zero is an error wherever it is computed, and none in a branch that is not taken', async () => {
    for (const mode of modes) await expect(run('int32', mode, { op: 'Div', operands: [[5n], [0n]], want: [] }), mode).rejects.toEqual(refusal);
    const branch = (name: string, nodes: readonly OnnxNode[]) => ({ name, nodes, initializers: new Map([['zero', tensor('int32', [0n])]]), inputs: [], outputs: [{ name: `${name}.y` }], valueInfo: [] });
    const bytes = modelBytes({
      inputs: { x: [1] }, types: { x: 'int32' }, constants: { c: { dtype: 'bool', dims: [], data: Uint8Array.of(0) } }, outputs: ['y'], outputTypes: { y: 'int32' },
      nodes: [node('If', ['c'], ['y'], {
        then_branch: { type: 'graph', value: branch('t', [node('Div', ['zero', 'zero'], ['t.y'])]) }, else_branch: { type: 'graph', value: branch('e', [node('Add', ['x', 'zero'], ['e.y'])]) },
      })],
    });
    const session = await createSession(bytes);
    expect((await session.run({ x: asTensor(tensor('int32', [7n])) }))['y']?.data).toEqual(Int32Array.of(7));
    await session.close();
  });

  it('bounds and padding that no float holds, and bounds that do not bind', async () => {
    const whole = async (op: string, constants: Readonly<Record<string, TensorValue>>, values: readonly bigint[], dtype: DType): Promise<bigint[]> => {
      const session = await createSession(modelBytes({ opset: 18, inputs: { x: [values.length] }, types: { x: dtype }, constants, nodes: [node(op, ['x', ...Object.keys(constants)], ['y'])], outputs: ['y'], outputTypes: { y: dtype } }));
      const outputs = await session.run({ x: asTensor(tensor(dtype, values)) });
      await session.close();
      return Array.from(outputs['y']?.data ?? [], BigInt);
    };
    const one = (dtype: DType, value: bigint): TensorValue => ({ ...tensor(dtype, [value]), dims: [] });
    expect(await whole('Clip', { low: one('int64', 0n), high: one('int64', 2n ** 63n - 1n) }, [-5n, 7n], 'int64')).toEqual([0n, 7n]);
    expect(await whole('Pad', { pads: ints64(1, 0), value: one('int32', 2n ** 31n - 1n) }, [3n], 'int32')).toEqual([2n ** 31n - 1n, 3n]);
    expect(await whole('Clip', { low: one('uint64', 2n), high: one('uint64', 2n ** 63n + 1n) }, [1n, 2n ** 64n - 1n], 'uint64')).toEqual([2n, 2n ** 63n + 1n]);
  });

  it('whole numbers of 64 bits become the nearest floats, not those next to the nearest double', async () => {
    const value = 2n ** 60n + 2n ** 36n + 1n; // above the middle of two floats, by less than a double resolves
    const session = await createSession(modelBytes({ inputs: { x: [1] }, types: { x: 'uint64' }, nodes: [node('Cast', ['x'], ['y'], { to: 1 })], outputs: ['y'], outputTypes: { y: 'float32' } }));
    expect((await session.run({ x: asTensor(tensor('uint64', [value])) }))['y']?.data[0]).toBe(2 ** 60 + 2 ** 37);
    await session.close();
  });
});
