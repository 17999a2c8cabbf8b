import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { compile } from '../../../runtime/lower/compile.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { ModelProto, type WireModel, type WireTensor } from '../../../runtime/onnx/schema.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { floats, ints64, model, modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { codeOf } from '../../support/code-of.js';

const small: ModelSpec = {
  inputs: { x: [1, 3, 6, 6] },
  constants: { w: randomTensor([4, 3, 3, 3], 1), b: randomTensor([4], 2), shape: ints64(1, -1) },
  nodes: [
    node('Conv', ['x', 'w', 'b'], ['c'], { pads: [1, 1, 1, 1], auto_pad: 'NOTSET' }),
    node('LeakyRelu', ['c'], ['r'], { alpha: { float: 0.25 } }),
    node('Reshape', ['r', 'shape'], ['y']),
  ],
  outputs: ['y'],
};

/** A file with one initializer written by hand. */
function withTensor(tensor: WireTensor): Uint8Array {
  const wire: WireModel = {
    irVersion: 8,
    opsetImport: [{ domain: '', version: 17 }],
    graph: {
      name: 'g',
      node: [{ name: 'n', opType: 'Mul', input: ['x', 'w'], output: ['y'] }],
      initializer: [{ name: 'w', ...tensor }],
      input: [{ name: 'x', type: { tensorType: { elemType: 1, shape: { dim: [{ dimValue: 2 }] } } } }],
      output: [{ name: 'y' }],
    },
  };
  return ModelProto.encode(wire).finish();
}

describe('a model', () => {
  it('survives writing and reading', () => {
    const original = { ...model(small), metadata: new Map([['sterna.levels', '29/19']]) };
    expect(parseModel(serializeModel(original))).toEqual(original);
  });

  it('keeps symbolic and unknown dimensions', () => {
    const { graph } = parseModel(modelBytes({ ...small, inputs: { x: ['batch', 3, undefined, 6] } }));
    expect(graph.inputs[0]?.dims).toEqual(['batch', 3, undefined, 6]);
  });

  it('gives the same bytes every time', () => {
    expect(modelBytes(small)).toEqual(modelBytes(small));
  });

  it('keeps attributes of every type', () => {
    const attributes = {
      f: { float: 0.5 }, i: -3, s: 'text', ints: [1, 2], t: { type: 'tensor', value: floats([2], 1, 2) },
      floats: { type: 'floats', value: [0.5, 2] }, strings: { type: 'strings', value: ['a', 'b'] }, big: 2 ** 63,
    } as const;
    const parsed = parseModel(modelBytes({ ...small, nodes: [{ ...node('Custom', ['x'], ['y'], attributes), domain: 'test' }] }));
    const read = parsed.graph.nodes[0]?.attributes;
    expect(read?.get('t')).toEqual(attributes.t);
    expect(read?.get('floats')).toEqual(attributes.floats);
    expect(read?.get('strings')).toEqual(attributes.strings);
    expect(read?.get('f')).toEqual({ type: 'float', value: 0.5 });
    expect(read?.get('i')).toEqual({ type: 'int', value: -3 });
    expect(read?.get('ints')).toEqual({ type: 'ints', value: [1, 2] });
    expect(read?.get('big')).toEqual({ type: 'int', value: 2 ** 63 });
  });
});

describe('initializers', () => {
  const read = (tensor: WireTensor) => parseModel(withTensor(tensor)).graph.initializers.get('w');

  it.each([
    ['float32, raw', { dims: [2], dataType: 1, rawData: new Uint8Array(Float32Array.of(1.5, -2).buffer) }, 'float32', [1.5, -2]],
    ['float32, typed', { dims: [2], dataType: 1, floatData: [1.5, -2] }, 'float32', [1.5, -2]],
    ['float16, raw', { dims: [3], dataType: 10, rawData: new Uint8Array(Uint16Array.of(0x3e00, 0xc000, 0x0001).buffer) }, 'float32', [1.5, -2, 2 ** -24]],
    ['float16, typed', { dims: [1], dataType: 10, int32Data: [0x3e00] }, 'float32', [1.5]],
    ['double, raw', { dims: [1], dataType: 11, rawData: new Uint8Array(Float64Array.of(0.25).buffer) }, 'float32', [0.25]],
    ['double, typed', { dims: [1], dataType: 11, doubleData: [0.25] }, 'float32', [0.25]],
    ['int32, typed', { dims: [2], dataType: 6, int32Data: [-7, 9] }, 'int32', [-7, 9]],
    ['uint8, typed', { dims: [2], dataType: 2, int32Data: [7, 255] }, 'uint8', [7, 255]],
    ['int8, raw', { dims: [2], dataType: 3, rawData: Uint8Array.of(0xff, 5) }, 'int8', [-1, 5]],
    ['int64, typed', { dims: [2], dataType: 7, int64Data: [-7, 2 ** 40] }, 'int64', [-7n, 2n ** 40n]],
    ['int64, raw', { dims: [1], dataType: 7, rawData: new Uint8Array(BigInt64Array.of(-(2n ** 62n)).buffer) }, 'int64', [-(2n ** 62n)]],
    ['int4, raw', { dims: [3], dataType: 22, rawData: Uint8Array.of(0xf7, 0x08) }, 'int4', [7, -1, -8]],
    ['uint4, typed', { dims: [3], dataType: 21, int32Data: [0xf7, 0x08] }, 'uint4', [7, 15, 8]],
    ['int2, raw', { dims: [5], dataType: 26, rawData: Uint8Array.of(0b10_11_00_01, 0b01) }, 'int2', [1, 0, -1, -2, 1]],
    ['uint2, typed', { dims: [3], dataType: 25, int32Data: [0b11_01_10] }, 'uint2', [2, 1, 3]],
    ['a scalar', { dims: [], dataType: 1, floatData: [3] }, 'float32', [3]],
    ['nothing', { dims: [0], dataType: 1 }, 'float32', []],
  ] satisfies [string, WireTensor, string, (number | bigint)[]][])('%s', (_, tensor, dtype, values) => {
    const value = read(tensor);
    expect(value?.dtype).toBe(dtype);
    expect([...(value?.data ?? [])]).toEqual(values);
  });

  it.each([['int4', [7, -1, -8]], ['uint4', [0, 15, 9]], ['int2', [1, -1, -2, 0, 1]], ['uint2', [3, 0, 2, 1, 3]]] as const)('of type %s are packed again', (dtype, numbers) => {
    const value = fromNumbers(dtype, [numbers.length], numbers);
    const bytes = modelBytes({ ...small, constants: { ...small.constants, w4: value }, nodes: [...small.nodes, node('DequantizeLinear', ['w4', 'b'], ['z'])] });
    expect(parseModel(bytes).graph.initializers.get('w4')).toEqual(value);
  });

  it.each([
    ['too few bytes', { dims: [3], dataType: 1, rawData: new Uint8Array(8) }, 'E_MODEL_MALFORMED'],
    ['too many elements', { dims: [1], dataType: 1, floatData: [1, 2] }, 'E_MODEL_MALFORMED'],
    ['a negative dimension', { dims: [-2], dataType: 1, floatData: [1] }, 'E_MODEL_MALFORMED'],
    ['dimensions whose product overflows', { dims: [2 ** 40, 2 ** 40], dataType: 1 }, 'E_MODEL_LIMIT'],
    ['too high a rank', { dims: new Array<number>(9).fill(1), dataType: 1, floatData: [1] }, 'E_MODEL_LIMIT'],
    ['an unknown type', { dims: [1], dataType: 77 }, 'E_MODEL_OP'],
    ['strings', { dims: [1], dataType: 8 }, 'E_MODEL_OP'],
    ['data in another file', { dims: [1], dataType: 1, dataLocation: 1, externalData: [{ key: 'location', value: '/etc/passwd' }] }, 'E_MODEL_OP'],
  ])('with %s are refused', (_, tensor, expected) => {
    expect(codeOf(() => read(tensor))).toBe(expected);
  });

  it.each([[8, 'string', 'turn texts into numbers before the model'], [17, 'float8e4m3fn', 'export the model with float16, float32 or int8 instead']])('of type %i say what to do', (dataType, name, advice) => {
    expect(() => read({ dims: [1], dataType })).toThrow(`Tensor 'w': element type ${name} is not supported; ${advice}`);
    const cast = { ...small, nodes: [node('Cast', ['x'], ['y'], { to: dataType })] };
    expect(() => compile(modelBytes(cast))).toThrow(advice);
  });

  it.each([['NaN', NaN], ['infinity', Infinity]])('with %s name initializer, node and element', (_, value) => {
    expect(() => read({ dims: [2], dataType: 1, floatData: [0, value] })).toThrow(
      expect.objectContaining({ code: 'E_MODEL_VALUE', details: { initializer: 'w', node: 'n', element: 1 } }),
    );
  });

  it('may be infinite where they are masks, and anything where nobody reads them', () => {
    const masked = { ...small, constants: { mask: floats([2], 0, -Infinity), other: floats([1], NaN) }, nodes: [node('Add', ['x', 'mask'], ['y'])] };
    expect([...parseModel(modelBytes(masked)).graph.initializers.keys()]).toEqual(['mask', 'other']);
  });

  it('may be infinite where they are bounds', () => {
    const clip = { ...small, constants: { high: floats([], Infinity) }, nodes: [node('Clip', ['x', '', 'high'], ['y'])] };
    expect(parseModel(modelBytes(clip)).graph.initializers.has('high')).toBe(true);
  });
});

describe('limits', () => {
  it.each([
    ['fileBytes', 16], ['nodes', 2], ['initializers', 2], ['attributesPerNode', 1], ['operandsPerNode', 2], ['tensorElements', 100], ['rank', 3],
  ] as const)('%s is enforced', (limit, value) => {
    expect(codeOf(() => parseModel(modelBytes(small), { [limit]: value }))).toBe('E_MODEL_LIMIT');
  });

  it('subgraphs cannot nest without end', () => {
    // ModelProto.graph (7) holding GraphProto.node (1) holding NodeProto.attribute (5) holding AttributeProto.g (6), 500 times.
    let graph: number[] = [];
    const field = (tag: number, body: number[]) => [(tag << 3) | 2, ...varint(body.length), ...body];
    const varint = (value: number): number[] => (value < 128 ? [value] : [(value & 127) | 128, ...varint(value >> 7)]);
    for (let depth = 0; depth < 500; depth++) graph = field(1, field(5, field(6, graph)));
    expect(codeOf(() => parseModel(Uint8Array.from(field(7, graph))))).toBe('E_MODEL_MALFORMED');
  });
});

describe('hostile bytes', () => {
  const bytes = modelBytes(small);
  /** Anything but success or one of our errors fails. */
  const tolerated = (hostile: Uint8Array) => codeOf(() => compile(hostile));

  it('that are nothing like a model are refused', () => {
    expect(tolerated(new Uint8Array(0))).toBe('E_MODEL_MALFORMED');
    expect(tolerated(new TextEncoder().encode('<html>not found</html>'))).toBe('E_MODEL_MALFORMED');
  });

  it('cut short anywhere give a coded error or a model', () => {
    for (let length = 0; length < bytes.length; length++) tolerated(bytes.subarray(0, length));
    expect(tolerated(bytes.subarray(0, bytes.length - 1))).not.toBeNull();
  });

  it('with flipped bits give a coded error or a model', () => {
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(7)), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(flips, (positions) => {
        const hostile = bytes.slice();
        for (const [at, bit] of positions) hostile[at] = (hostile[at] ?? 0) ^ (1 << bit);
        tolerated(hostile);
      }),
      { numRuns: 2000 },
    );
  });

  it('at random give a coded error', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (hostile) => tolerated(hostile) !== null), { numRuns: 1000 });
  });
});
