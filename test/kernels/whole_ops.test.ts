import { describe, expect, it } from 'vitest';
import { loadProgram, type Isa } from '../../kernels/binding/index.js';
import { f, ProgramWriter, randomIntegers, type Attribute, type OpName } from './support/program-writer.js';
import { expectClose, indices, offset, product, runOp, type OpCase } from './support/run-op.js';

// These ops have no variants by instruction set.
const isa: Isa = 'ref';
const random = randomIntegers(5);
const whole = (n: number, lo = -9, hi = 9): Int32Array => Int32Array.from({ length: n }, () => random(lo, hi));
const bools = (n: number): Uint8Array => Uint8Array.from({ length: n }, () => random(0, 1));
const floats = (n: number): Float32Array => Float32Array.from({ length: n }, () => random(-999, 999) / 100);

const [lowest, highest] = [-(2 ** 31), 2 ** 31 - 1];

const shapes: [number[], number[], number[]][] = [
  [[2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5]], [[2, 3, 4, 5], [5], [2, 3, 4, 5]], [[1], [6, 7], [6, 7]], [[2, 1, 4, 1], [3, 1, 5], [2, 3, 4, 5]], [[5000], [], [5000]], [[], [], []],
];

async function pairs(op: OpName, attributes: Attribute[], type: 's32' | 'u8' | 'f32', result: 's32' | 'u8', fn: (a: number, b: number) => number): Promise<void> {
  for (const [aDims, bDims, yDims] of shapes) {
    const make = { s32: whole, u8: bools, f32: floats }[type];
    const [a, b] = [make(product(aDims)), make(product(bDims))];
    const actual = await runOp(isa, { op, inputs: [{ type, dims: aDims, data: a }, { type, dims: bDims, data: b }], attributes, output: { type: result, dims: yDims } });
    expect(actual).toEqual([...indices(yDims)].map((i) => fn(a[offset(i, aDims)] ?? 0, b[offset(i, bDims)] ?? 0) + 0));
  }
}

/** One line of whole numbers against another; rejects when the run ends with an error. */
async function line(op: OpName, attributes: Attribute[], a: number[], b: number[]): Promise<number[]> {
  const dims = [a.length];
  return runOp(isa, { op, inputs: [a, b].map((data) => ({ type: 's32', dims, data: Int32Array.from(data) })), attributes, output: { type: 's32', dims } });
}
const invalid = expect.objectContaining({ code: 'E_ARGUMENT' });

describe('whole-number arithmetic', () => {
  it.each<[string, number, (a: number, b: number) => number]>([
    ['add', 0, (a, b) => a + b], ['subtract', 1, (a, b) => a - b], ['multiply', 2, (a, b) => a * b], ['min', 4, Math.min], ['max', 5, Math.max],
  ])('%s with broadcasting', async (_name, kind, fn) => {
    await pairs('binaryS32', [kind, 0], 's32', 's32', fn);
  });

  it('divides towards zero, and takes remainders of either sign', async () => {
    const [a, b] = [[7, -7, 7, -7, 6, 0, lowest], [3, 3, -3, -3, -3, -5, -1]];
    expect(await line('binaryS32', [3, 0], a.slice(0, 6), b.slice(0, 6))).toEqual([2, -2, -2, 2, -2, 0]);
    expect(await line('binaryS32', [7, 0], a, b)).toEqual([1, 2, -2, -1, 0, 0, 0]);
    expect(await line('binaryS32', [8, 0], a, b)).toEqual([1, -1, 1, -1, 0, 0, 0]);
  });

  it('raises to powers', async () => {
    expect(await line('binaryS32', [6, 1], [2, -3, 7, 0, 0, 1, -1, -1, 5, -2], [30, 3, 0, 0, 9, -5, -3, -4, -1, 31])).toEqual([2 ** 30, -27, 1, 1, 0, 1, -1, 1, 0, lowest]);
    await expect(line('binaryS32', [6, 1], [2], [31])).rejects.toThrow(invalid);
    await expect(line('binaryS32', [6, 1], [65536], [2])).rejects.toThrow(invalid);
    expect(await line('binaryS32', [6, 0], [3], [21])).toEqual([Number(BigInt.asIntN(32, 3n ** 21n))]);
  });

  it('ends the run where 64 bits would not have wrapped, and wraps where 32 do', async () => {
    for (const [kind, a, b, wrapped] of [[0, highest, 1, lowest], [1, lowest, 1, highest], [2, 65536, 65537, 65536]] as const) {
      await expect(line('binaryS32', [kind, 1], [1, a, 1], [1, b, 1])).rejects.toThrow(invalid);
      expect((await line('binaryS32', [kind, 0], [1, a, 1], [1, b, 1]))[1]).toBe(wrapped);
    }
  });

  it('ends the run at a division by zero, and works again afterwards', async () => {
    for (const kind of [3, 7, 8]) await expect(line('binaryS32', [kind, 0], [1, 2], [1, 0])).rejects.toThrow(/division is by zero/);
    await expect(line('binaryS32', [3, 0], [lowest], [-1])).rejects.toThrow(invalid);
    const p = new ProgramWriter();
    p.op('binaryS32', [p.input('s32', [1]), p.input('s32', [1])], p.output('s32', [1]), [3, 0]);
    const program = loadProgram(p.build(), { isa });
    const y = new Int32Array(1);
    await expect(program.run([Int32Array.of(6), Int32Array.of(0)], [y])).rejects.toThrow(invalid);
    await program.run([Int32Array.of(6), Int32Array.of(2)], [y]);
    expect(y[0]).toBe(3);
    await program.close();
  });

  it.each<[string, number, (a: number, b: number) => number]>([['adds', 0, (a, b) => a + b], ['multiplies', 2, (a, b) => a * b], ['min', 4, Math.min], ['max', 5, Math.max]])('reduces along any axis: %s', async (_name, kind, fn) => {
    const dims = [3, 4, 5];
    const x = whole(60, -3, 3);
    for (const axis of [0, 1, 2]) {
      const yDims = dims.map((dim, i) => (i === axis ? 1 : dim));
      const expected = [...indices(yDims)].map((i) => Array.from({ length: dims[axis] ?? 1 }, (_, at) => x[offset(i.map((v, j) => (j === axis ? at : v)), dims)] ?? 0).reduce((a, b) => fn(a, b)) + 0);
      expect(await runOp(isa, { op: 'reduceS32', inputs: [{ type: 's32', dims, data: x }], attributes: [kind, axis, 1], output: { type: 's32', dims: yDims } })).toEqual(expected);
    }
    const sum = { op: 'reduceS32' as const, inputs: [{ type: 's32' as const, dims: [2], data: Int32Array.of(highest, 1) }], output: { type: 's32' as const, dims: [1] } };
    await expect(runOp(isa, { ...sum, attributes: [0, 0, 1] })).rejects.toThrow(invalid);
    expect(await runOp(isa, { ...sum, attributes: [0, 0, 0] })).toEqual([lowest]);
  });
});

describe('comparisons and logic', () => {
  const bit = (fn: (a: number, b: number) => boolean) => (a: number, b: number): number => (fn(a, b) ? 1 : 0);
  it.each([['equal', 0, bit((a, b) => a === b)], ['less', 1, bit((a, b) => a < b)], ['less or equal', 2, bit((a, b) => a <= b)]] as const)('%s, of floats and whole numbers', async (_name, kind, fn) => {
    await pairs('compare', [kind], 's32', 'u8', fn);
    await pairs('compare', [kind], 'f32', 'u8', fn);
  });
  it('nothing compares with NaN', async () => {
    const inputs: OpCase['inputs'] = [[NaN, 1, NaN], [1, NaN, NaN]].map((data) => ({ type: 'f32', dims: [3], data: Float32Array.from(data) }));
    for (const kind of [0, 1, 2]) expect(await runOp(isa, { op: 'compare', inputs, attributes: [kind], output: { type: 'u8', dims: [3] } })).toEqual([0, 0, 0]);
  });
  it.each([['and', 0, bit((a, b) => a + b === 2)], ['or', 1, bit((a, b) => a + b > 0)], ['xor', 2, bit((a, b) => a !== b)]] as const)('%s', async (_name, kind, fn) => {
    await pairs('logic', [kind], 'u8', 'u8', fn);
  });
  it('any byte but 0 is true', async () => {
    const inputs: OpCase['inputs'] = [[2, 0, 255], [7, 9, 0]].map((data) => ({ type: 'u8', dims: [3], data: Uint8Array.from(data) }));
    expect(await runOp(isa, { op: 'logic', inputs, attributes: [0], output: { type: 'u8', dims: [3] } })).toEqual([1, 0, 0]);
    expect(await runOp(isa, { op: 'logic', inputs, attributes: [2], output: { type: 'u8', dims: [3] } })).toEqual([0, 1, 1]);
  });

  it('selects with broadcasting, elements of 1 and 4 bytes, into padded pixels', async () => {
    for (const type of ['f32', 's8'] as const) {
      const [cDims, aDims, bDims, yDims] = [[3, 1, 5], [2, 1, 4, 1], [], [2, 3, 4, 5]];
      const make = (n: number) => (type === 'f32' ? floats(n) : Int8Array.from(whole(n)));
      const [c, a, b] = [bools(15), make(8), make(1)];
      const inputs: OpCase['inputs'] = [{ type: 'u8', dims: cDims, data: c }, { type, dims: aDims, data: a }, { type, dims: bDims, data: b }];
      const expected = [...indices(yDims)].map((i) => (c[offset(i, cDims)] ? a[offset(i, aDims)] : b[0]));
      expect(await runOp(isa, { op: 'select', inputs, output: { type, dims: yDims, stride: 16 } })).toEqual(expected);
    }
  });
});

describe('casts', () => {
  const cast = (from: OpCase['inputs'][number], to: 'f32' | 's32' | 'u8' | 's8', attributes: number[] = [0, 0, 0, 0]): Promise<number[]> =>
    runOp(isa, { op: 'cast', inputs: [from], attributes, output: { type: to, dims: from.dims } });
  const of = (data: Float32Array | Int32Array | Uint8Array | Int8Array, stride?: number): OpCase['inputs'][number] => {
    const type = data instanceof Float32Array ? 'f32' : data instanceof Int32Array ? 's32' : data instanceof Uint8Array ? 'u8' : 's8';
    return { type, dims: stride === undefined ? [data.length] : [data.length / 3, 3], data, ...(stride === undefined ? {} : { stride }) };
  };

  it('truncates floats, and saturates or ends the run beyond 32 bits', async () => {
    expect(await cast(of(Float32Array.of(-2.9, -0.4, 0.9, 2147483520, lowest)), 's32', [0, 0, 0, 1])).toEqual([-2, 0, 0, 2147483520, lowest]);
    expect(await cast(of(Float32Array.of(2147483648, -Infinity, NaN)), 's32')).toEqual([highest, lowest, 0]);
    for (const bad of [2147483648, -2147484000, NaN, Infinity]) await expect(cast(of(Float32Array.of(1, bad)), 's32', [0, 0, 0, 1])).rejects.toThrow(invalid);
  });

  it('takes bytes modulo 256, with zero-points', async () => {
    const x = Int32Array.of(-129, -1, 0, 255, 256, 1000);
    expect(await cast(of(x), 'u8')).toEqual([127, 255, 0, 255, 0, 232]);
    expect(await cast(of(x), 's8')).toEqual([127, -1, 0, -1, 0, -24]);
    expect(await cast(of(x), 's8', [0, -128, 0, 0])).toEqual([-1, 127, -128, 127, -128, 104]);
    expect(await cast(of(Int8Array.of(-128, 127)), 's32', [-128, 0, 0, 0])).toEqual([0, 255]);
    expect(await cast(of(Uint8Array.of(0, 255)), 'f32', [128, 0, 0, 0])).toEqual([-128, 127]);
  });

  it('makes booleans and numbers of them, from padded pixels too', async () => {
    expect(await cast(of(Float32Array.of(0, -0, 0.3, NaN, -7)), 'u8', [0, 0, 1, 0])).toEqual([0, 0, 1, 1, 1]);
    expect(await cast(of(Uint8Array.of(1, 0, 1, 0, 1, 0), 16), 'f32')).toEqual([1, 0, 1, 0, 1, 0]);
  });
});

describe('picking by index', () => {
  const dims = [3, 4, 5];

  it.each([0, 1, 2])('gathers elements along axis %i', async (axis) => {
    const yDims = [2, 3, 4];
    for (const type of ['f32', 'u8'] as const) {
      const x = type === 'f32' ? floats(60) : Uint8Array.from(whole(60, 0, 255));
      const size = dims[axis] ?? 1;
      const chosen = whole(24, -size, size - 1);
      const expected = [...indices(yDims)].map((i) => {
        const at = chosen[offset(i, yDims)] ?? 0;
        return x[offset(i.map((v, j) => (j === axis ? (at < 0 ? at + size : at) : v)), dims)];
      });
      const inputs: OpCase['inputs'] = [{ type, dims, data: x, stride: 16 }, { type: 's32', dims: yDims, data: chosen }];
      expect(await runOp(isa, { op: 'gatherElements', inputs, attributes: [axis], output: { type, dims: yDims } })).toEqual(expected);
      const outside = chosen.slice().fill(size, 7, 8);
      const bad: OpCase['inputs'] = [{ type, dims, data: x }, { type: 's32', dims: yDims, data: outside }];
      await expect(runOp(isa, { op: 'gatherElements', inputs: bad, attributes: [axis], output: { type, dims: yDims } })).rejects.toThrow(/index is out of range/);
    }
  });

  it.each([[0, 3, [6, 3]], [0, 1, [2, 2, 1]], [1, 1, [3, 2, 1]], [1, 2, [3, 5, 2]], [2, 1, [3, 4, 1]]])('gathers slices: %i batch axes, %i indexed', async (batch, depth, indexDims) => {
    const x = floats(60);
    const sizes = dims.slice(batch, batch + depth);
    const chosen = Int32Array.from({ length: product(indexDims) }, (_, i) => random(-(sizes[i % depth] ?? 1), (sizes[i % depth] ?? 1) - 1));
    const yDims = [...indexDims.slice(0, -1), ...dims.slice(batch + depth)];
    const expected = [...indices(yDims)].map((i) => {
      const tuple = offset(i.slice(0, indexDims.length - 1), indexDims.slice(0, -1)) * depth;
      const named = sizes.map((size, at) => ((chosen[tuple + at] ?? 0) + size) % size);
      return x[offset([...i.slice(0, batch), ...named, ...i.slice(indexDims.length - 1)], dims)];
    });
    const inputs: OpCase['inputs'] = [{ type: 'f32', dims, data: x }, { type: 's32', dims: indexDims, data: chosen }];
    expect(await runOp(isa, { op: 'gatherNd', inputs, attributes: [batch], output: { type: 'f32', dims: yDims } })).toEqual(expected);
    const bad: OpCase['inputs'] = [{ type: 'f32', dims, data: x }, { type: 's32', dims: indexDims, data: chosen.slice().fill(99, 0, 1) }];
    await expect(runOp(isa, { op: 'gatherNd', inputs: bad, attributes: [batch], output: { type: 'f32', dims: yDims } })).rejects.toThrow(invalid);
  });
});

describe('along an axis', () => {
  const dims = [3, 40, 5];
  const linesOf = (x: ArrayLike<number>, axis: number): number[][] => {
    const others = dims.map((dim, i) => (i === axis ? 1 : dim));
    return [...indices(others)].map((i) => Array.from({ length: dims[axis] ?? 1 }, (_, at) => x[offset(i.map((v, j) => (j === axis ? at : v)), dims)] ?? 0));
  };
  /** Elements of y line by line, as `linesOf` has them. */
  const byLine = (y: number[], axis: number, length: number): number[][] => {
    const yDims = dims.map((dim, i) => (i === axis ? length : dim));
    return [...indices(dims.map((dim, i) => (i === axis ? 1 : dim)))].map((i) => Array.from({ length }, (_, at) => y[offset(i.map((v, j) => (j === axis ? at : v)), yDims)] ?? 0));
  };
  const order = (values: number[], smallest: boolean): number[] => values.map((_, i) => i).sort((i, j) => (smallest ? 1 : -1) * ((values[i] ?? 0) - (values[j] ?? 0)) || i - j);

  it.each([0, 1, 2])('finds extremes, the first or the last of equals, along axis %i', async (axis) => {
    for (const [type, x] of [['s32', whole(600, -4, 4)], ['f32', floats(600)]] as const) {
      for (const [smallest, last] of [[0, 0], [1, 0], [0, 1], [1, 1]] as const) {
        const y = await runOp(isa, { op: 'argReduce', inputs: [{ type, dims, data: x }], attributes: [axis, smallest, last], output: { type: 's32', dims: dims.map((dim, i) => (i === axis ? 1 : dim)) } });
        const expected = linesOf(x, axis).map((values) => {
          const extreme = smallest ? Math.min(...values) : Math.max(...values);
          return last ? values.lastIndexOf(extreme) : values.indexOf(extreme);
        });
        expect(y).toEqual(expected);
      }
    }
  });

  it.each([0, 1, 2])('ranks along axis %i', async (axis) => {
    for (const [type, x] of [['s32', whole(600, -4, 4)], ['f32', floats(600)]] as const) {
      for (const smallest of [0, 1]) {
        for (const k of [1, 2, dims[axis] ?? 1]) {
          const y = await runOp(isa, { op: 'topK', inputs: [{ type, dims, data: x }], attributes: [axis, smallest], output: { type: 's32', dims: dims.map((dim, i) => (i === axis ? k : dim)) } });
          expect(byLine(y, axis, k)).toEqual(linesOf(x, axis).map((values) => order(values, smallest === 1).slice(0, k)));
        }
      }
    }
  });

  it('puts NaN above all numbers, and takes -0 for 0', async () => {
    const x = Float32Array.of(1, -0, NaN, -Infinity, 0, Infinity, -2);
    const input: OpCase['inputs'] = [{ type: 'f32', dims: [7], data: x }];
    expect(await runOp(isa, { op: 'topK', inputs: input, attributes: [0, 0], output: { type: 's32', dims: [7] } })).toEqual([2, 5, 0, 1, 4, 6, 3]);
    expect(await runOp(isa, { op: 'topK', inputs: input, attributes: [0, 1], output: { type: 's32', dims: [7] } })).toEqual([3, 6, 1, 4, 0, 5, 2]);
    expect(await runOp(isa, { op: 'argReduce', inputs: input, attributes: [0, 0, 0], output: { type: 's32', dims: [1] } })).toEqual([2]);
  });

  it.each([[0, 0], [1, 0], [0, 1], [1, 1]])('sums up, exclusive %i, reverse %i', async (exclusive, reverse) => {
    for (const axis of [0, 1, 2]) {
      for (const [type, x] of [['s32', whole(600)], ['f32', floats(600)]] as const) {
        const y = await runOp(isa, { op: 'cumSum', inputs: [{ type, dims, data: x }], attributes: [axis, exclusive, reverse, 1], output: { type, dims } });
        const expected = linesOf(x, axis).map((values) => values.map((_, i) => values.filter((_v, j) => (reverse ? j > i : j < i) || (!exclusive && j === i)).reduce((a, b) => a + b, 0)));
        expectClose(byLine(y, axis, dims[axis] ?? 1).flat(), expected.flat(), 1e-5);
      }
    }
    const x: OpCase['inputs'] = [{ type: 's32', dims: [2], data: Int32Array.of(highest, highest) }];
    const run = (checked: number): Promise<number[]> => runOp(isa, { op: 'cumSum', inputs: x, attributes: [0, exclusive, reverse, checked], output: { type: 's32', dims: [2] } });
    if (exclusive === 1) expect(await run(1)).toEqual(reverse === 1 ? [highest, 0] : [0, highest]); // the whole sum is in no element
    else await expect(run(1)).rejects.toThrow(invalid);
  });
});

describe('non-maximum suppression', () => {
  const suppress = (boxes: number[][], scores: number[], attributes: Attribute[], rows: number): Promise<number[]> => runOp(isa, {
    op: 'nonMaxSuppression', attributes, output: { type: 's32', dims: [rows, 3] },
    inputs: [{ type: 'f32', dims: [1, boxes.length, 4], data: Float32Array.from(boxes.flat()) }, { type: 'f32', dims: [1, 1, boxes.length], data: Float32Array.from(scores) }],
  });
  const unit = [0, 0, 1, 1];

  it('keeps the best of boxes that overlap, and fills the rest with -1', async () => {
    const boxes = [unit, [0.1, 0, 1.1, 1], [5, 5, 6, 6], [1, 1, 0, 0]];
    expect(await suppress(boxes, [0.5, 0.9, 0.3, 0.8], [0, 4, f(0.5), f(0)], 4)).toEqual([0, 0, 1, 0, 0, 2, -1, -1, -1, -1, -1, -1]);
    expect(await suppress(boxes, [0.5, 0.9, 0.3, 0.8], [0, 1, f(0.5), f(0)], 1)).toEqual([0, 0, 1]);
    expect(await suppress(boxes, [0.5, 0.9, 0.3, 0.8], [0, 4, f(1), f(0.4)], 4)).toEqual([0, 0, 1, 0, 0, 3, 0, 0, 0, -1, -1, -1]);
  });

  it('stands NaN in boxes and scores, boxes without area, and scores below everything', async () => {
    expect(await suppress([[NaN, 0, 1, 1], unit, unit], [0.9, NaN, 0.5], [0, 3, f(0.5), f(0)], 3)).toEqual([0, 0, 0, 0, 0, 2, -1, -1, -1]);
    expect(await suppress([[0, 0, 0, 0], [0, 0, 0, 0]], [0.9, 0.8], [1, 2, f(0), f(-Infinity)], 2)).toEqual([0, 0, 0, 0, 0, 1]);
  });
});

describe('a hostile program is refused when it is loaded', () => {
  const load = (op: OpName, inputs: [OpCase['output']['type'], number[]][], attributes: Attribute[], output: [OpCase['output']['type'], number[]]): void => {
    const p = new ProgramWriter();
    p.op(op, inputs.map(([type, dims]) => p.input(type, dims)), p.output(...output), attributes);
    loadProgram(p.build(), { isa });
  };
  const s = (...dims: number[]): ['s32', number[]] => ['s32', dims];
  const x = (...dims: number[]): ['f32', number[]] => ['f32', dims];
  const u = (...dims: number[]): ['u8', number[]] => ['u8', dims];

  it.each<[string, OpName, [OpCase['output']['type'], number[]][], Attribute[], [OpCase['output']['type'], number[]]]>([
    ['a cast to another shape', 'cast', [x(4)], [0, 0, 0, 0], s(5)],
    ['a cast to booleans of 32 bits', 'cast', [x(4)], [0, 0, 1, 0], s(4)],
    ['a cast with a zero-point out of range', 'cast', [u(4)], [300, 0, 0, 0], s(4)],
    ['a comparison of two types', 'compare', [x(4), s(4)], [0], u(4)],
    ['an unknown comparison', 'compare', [x(4), x(4)], [3], u(4)],
    ['logic of numbers', 'logic', [s(4), s(4)], [0], u(4)],
    ['unknown logic', 'logic', [u(4), u(4)], [-1], u(4)],
    ['a selection that does not broadcast', 'select', [u(3), x(4), x(4)], [], x(4)],
    ['a selection of two types', 'select', [u(4), x(4), s(4)], [], x(4)],
    ['an unknown function', 'binaryS32', [s(4), s(4)], [9, 0], s(4)],
    ['arithmetic that does not broadcast', 'binaryS32', [s(4), s(3)], [0, 0], s(4)],
    ['a reduction along no axis', 'reduceS32', [s(4, 3)], [0, 2, 0], s(4, 1)],
    ['a reduction of another axis', 'reduceS32', [s(4, 3)], [0, 0, 0], s(4, 1)],
    ['a reduction by division', 'reduceS32', [s(4, 3)], [3, 1, 0], s(4, 1)],
    ['a gather along a negative axis', 'gatherElements', [x(4, 3), s(4, 3)], [-1], x(4, 3)],
    ['a gather with more indices than elements beside the axis', 'gatherElements', [x(4, 3), s(4, 5)], [0], x(4, 5)],
    ['a gather into another shape', 'gatherElements', [x(4, 3), s(2, 3)], [0], x(4, 3)],
    ['a gather with float indices', 'gatherElements', [x(4, 3), x(4, 3)], [0], x(4, 3)],
    ['tuples longer than the rank', 'gatherNd', [x(4, 3), s(2, 3)], [0], x(2)],
    ['batch axes beyond the indices', 'gatherNd', [x(4, 3), s(4, 1)], [2], x(4)],
    ['batches that differ', 'gatherNd', [x(4, 3), s(2, 1)], [1], x(2)],
    ['slices that differ', 'gatherNd', [x(4, 3), s(2, 1)], [0], x(2, 4)],
    ['the extreme of bytes', 'argReduce', [u(4, 3)], [1, 0, 0], s(4, 1)],
    ['an extreme of two', 'argReduce', [x(4, 3)], [1, 0, 0], s(4, 2)],
    ['more of the best than there are', 'topK', [x(4, 3)], [1, 0], s(4, 5)],
    ['the best of a scalar', 'topK', [x()], [0, 0], s()],
    ['a running sum along no axis', 'cumSum', [x(4, 3)], [-2, 0, 0, 0], x(4, 3)],
    ['a running sum of another type', 'cumSum', [x(4, 3)], [0, 0, 0, 0], s(4, 3)],
    ['too few rows for the boxes', 'nonMaxSuppression', [x(1, 5, 4), x(1, 2, 5)], [0, 3, f(0.5), f(0)], s(5, 3)],
    ['boxes of another image', 'nonMaxSuppression', [x(2, 5, 4), x(1, 2, 5)], [0, 3, f(0.5), f(0)], s(6, 3)],
    ['boxes of three numbers', 'nonMaxSuppression', [x(1, 5, 3), x(1, 2, 5)], [0, 3, f(0.5), f(0)], s(6, 3)],
    ['a limit below one', 'nonMaxSuppression', [x(1, 5, 4), x(1, 2, 5)], [0, -3, f(0.5), f(0)], s(6, 3)],
  ])('%s', (_name, op, inputs, attributes, output) => {
    expect(() => load(op, inputs, attributes, output)).toThrow(expect.objectContaining({ code: expect.stringMatching(/^E_PROGRAM_(OP|SHAPE|MALFORMED)$/) }));
  });
});
