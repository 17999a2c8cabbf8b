import { ModelProto, type WireModel } from '../../runtime/onnx/schema.js';
import { describe, expect, it } from 'vitest';
import { describeCpu, type Isa } from '../../kernels/binding/index.js';
import { fromNumbers, scalar } from '../../runtime/graph/tensor-value.js';
import { inspectModel, type InspectedLayer } from '../../runtime/inspect.js';
import { floats, modelBytes, node, randomInts, type ModelSpec } from './support/models.js';
import { nativeMissing } from './support/native.js';

const zeros = (count: number) => fromNumbers('int8', [count], new Float64Array(count));

/** One 1x1 layer of 64 channels between two quantizations: `codes` activations, weights up to `largest`. */
function layer(codes: number, largest: number): ModelSpec {
  const half = Math.floor(codes / 2);
  return {
    opset: 13, inputs: { x: [1, 64, 8, 8] }, outputs: ['y'],
    constants: {
      s: floats([], 0.1), z: scalar('uint8', half), lo: floats([], -half * 0.1), hi: floats([], (codes - 1 - half) * 0.1),
      first: randomInts('int8', [64, 64, 1, 1], 1, -127, 127), w: randomInts('int8', [64, 64, 1, 1], 2, -largest, largest), ws: fromNumbers('float32', [64], new Float64Array(64).fill(0.01)), wz: zeros(64),
    },
    nodes: [
      node('QuantizeLinear', ['x', 's', 'z'], ['xq']), node('DequantizeLinear', ['xq', 's', 'z'], ['xd']),
      node('DequantizeLinear', ['first', 'ws', 'wz'], ['fd'], { axis: 0 }), node('DequantizeLinear', ['w', 'ws', 'wz'], ['wd'], { axis: 0 }),
      node('Conv', ['xd', 'fd'], ['a']), node('Clip', ['a', 'lo', 'hi'], ['c']), node('QuantizeLinear', ['c', 's', 'z'], ['cq']), node('DequantizeLinear', ['cq', 's', 'z'], ['cd']),
      node('Conv', ['cd', 'wd'], ['b']), node('QuantizeLinear', ['b', 's', 'z'], ['bq']), node('DequantizeLinear', ['bq', 's', 'z'], ['y']),
    ],
  };
}

describe.skipIf(nativeMissing !== undefined)(`inspectModel${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  const isas = describeCpu().isas.filter(({ runnable }) => runnable).map(({ isa }) => isa);
  const second = async (spec: ModelSpec, isa: Isa): Promise<InspectedLayer> => {
    const { layers } = await inspectModel(modelBytes(spec), { isa });
    const found = layers.filter(({ op }) => op === 'ConvQ8').at(-1);
    if (found === undefined) throw new Error('no ConvQ8');
    return found;
  };

  it.each(isas)('says on %s how few codes a layer has, and why it computes as it does', async (isa) => {
    const full = await second(layer(256, 127), isa);
    expect(full).toMatchObject({ format: 'int8', note: '256 codes x 255 levels' });
    expect(full.weightBits).toBeCloseTo(Math.log2(255), 12);
    const few = await second(layer(29, 9), isa);
    expect(few.weightBits).toBeCloseTo(Math.log2(19), 12);
    expect([few.format, few.note]).toEqual(few.format === 'w46' ? ['w46', '29 codes x 19 levels'] : ['int8', `29 codes x 19 levels; on ${isa} 8 bits are faster than gemm_w46`]);
    const ternary = await second(layer(3, 1), isa);
    expect(ternary.weightBits).toBeCloseTo(Math.log2(3), 12);
    expect(ternary.note).toMatch(ternary.format === 'ternary' ? /^3 codes x 3 levels$/ : new RegExp(`^3 codes x 3 levels; on ${isa} 8 bits are faster than gemm_tnn$|^3 codes x 3 levels$`));
  });

  it('tells layers of floats and of no weights', async () => {
    const { layers } = await inspectModel(modelBytes({ inputs: { x: [1, 4, 3, 3] }, constants: { w: floats([1, 4, 1, 1], 1, 2, 3, 4) }, nodes: [node('Conv', ['x', 'w'], ['c']), node('Tanh', ['c'], ['y'])], outputs: ['y'] }));
    expect(layers.find(({ op }) => op === 'NhwcConv')).toMatchObject({ format: 'float32', weightBits: 32, note: '' });
    expect(layers.filter(({ macs }) => macs === 0).every(({ weightBits }) => weightBits === null)).toBe(true);
  });

  it('shows the types of floats that the model declares', async () => {
    const wire = ModelProto.decode(modelBytes({ inputs: { x: [2, 3] }, nodes: [node('Relu', ['x'], ['y'])], outputs: ['y'] })) as WireModel & Parameters<typeof ModelProto.encode>[0];
    for (const port of [...(wire.graph?.input ?? []), ...(wire.graph?.output ?? [])]) if (port.type?.tensorType) port.type.tensorType.elemType = 10;
    const { inputs, outputs } = await inspectModel(ModelProto.encode(wire).finish());
    expect([...inputs, ...outputs].map(({ name, type }) => [name, type])).toEqual([['x', 'float16'], ['y', 'float16']]);
  });

  it('tells what is interpreted between programs, and what is compiled again', async () => {
    const places = await inspectModel(modelBytes({ inputs: { x: [3, 4] }, nodes: [node('Relu', ['x'], ['r']), node('NonZero', ['r'], ['y'])], outputs: ['y'], outputTypes: { y: 'int64' } }));
    expect(places).toMatchObject({ interpretedNodes: 1, recompiledFor: [], outputs: [{ name: 'y', type: 'int64' }] });
    expect(places.layers.map(({ op, kernel }) => [op, kernel === 'interpreted'])).toEqual([['Unary', false], ['NonZero', true]]);
    const w = fromNumbers('float32', [100, 100], new Float64Array(10_000));
    const reshaped: ModelSpec = { inputs: { x: [100, 4], shape: [2] }, types: { shape: 'int64' }, constants: { w }, nodes: [node('Reshape', ['x', 'shape'], ['r']), node('MatMul', ['r', 'w'], ['y'])], outputs: ['y'], outputTypes: { y: 'float32' } };
    expect(await inspectModel(modelBytes(reshaped))).toMatchObject({ interpretedNodes: 2, recompiledFor: ['shape'] });
    const plain = await inspectModel(modelBytes({ inputs: { x: [3] }, nodes: [node('Neg', ['x'], ['y'])], outputs: ['y'] }));
    expect(plain).toMatchObject({ interpretedNodes: 0, recompiledFor: [] });
  });
});
