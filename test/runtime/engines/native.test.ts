import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { loadProgram } from '../../../kernels/binding/index.js';
import { openNative } from '../../../runtime/engines/native.js';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { inferShapes } from '../../../runtime/infer/infer.js';
import { interpret } from '../../../runtime/infer/interpret.js';
import { inspectModel } from '../../../runtime/inspect.js';
import { compile } from '../../../runtime/lower/compile.js';
import { asTensor, type Tensor } from '../../../runtime/tensor.js';
import { floats, model, modelBytes, node, randomInts, randomTensor, type ModelSpec } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { difference } from '../support/oracle.js';
import { randomModels } from '../support/random-graphs.js';

const skipped = nativeMissing === undefined ? '' : ` (${nativeMissing})`;

const net: ModelSpec = {
  inputs: { x: [1, 3, 8, 6] },
  constants: { w: randomTensor([8, 3, 3, 3], 1), b: randomTensor([8], 2), v: randomTensor([5, 8], 3) },
  nodes: [
    node('Conv', ['x', 'w', 'b'], ['conv'], { pads: [1, 1, 1, 1] }), node('Relu', ['conv'], ['relu']), node('GlobalAveragePool', ['relu'], ['pool']),
    node('Flatten', ['pool'], ['flat']), node('Gemm', ['flat', 'v'], ['y'], { transB: 1 }),
  ],
  outputs: ['y'],
};
const feed = (dims: readonly number[], seed: number): Tensor => asTensor(randomTensor(dims, seed));

describe.skipIf(nativeMissing !== undefined)(`a native session${skipped}`, () => {
  it('says what it takes and gives, and what it is', async () => {
    const session = await openNative(modelBytes(net));
    expect(session.inputs).toEqual([{ name: 'x', type: 'float32', dims: [1, 3, 8, 6] }]);
    expect(session.outputs).toEqual([{ name: 'y', type: 'float32', dims: [1, 5] }]);
    expect(session.stats).toMatchObject({ engine: 'native', threads: 1 });
    expect(session.stats.arenaBytes).toBeGreaterThan(0);
    await session.close();
  });

  it('queues concurrent runs, each with its own result', async () => {
    const session = await openNative(modelBytes(net));
    const feeds = [1, 2, 3, 4].map((seed) => ({ x: feed([1, 3, 8, 6], seed) }));
    const alone = [];
    for (const one of feeds) alone.push(await session.run(one));
    expect(await Promise.all(feeds.map((one) => session.run(one)))).toEqual(alone);
    await session.close();
  });

  it('gives the same bits with more threads', async () => {
    const [one, two] = await Promise.all([openNative(modelBytes(net)), openNative(modelBytes(net), { threads: 2 })]);
    const feeds = { x: feed([1, 3, 8, 6], 5) };
    expect(await two.run(feeds)).toEqual(await one.run(feeds));
    await Promise.all([one.close(), two.close()]);
  });

  it('profiles by the names of the model', async () => {
    const session = await openNative(modelBytes(net));
    const layers = await session.profile?.({ x: feed([1, 3, 8, 6], 1) });
    const conv = layers?.find(({ name }) => name === 'relu');
    // Reads 3 x 8 x 6 values, 8 x 27 weights and 8 biases of 4 bytes; writes 8 x 8 x 6.
    expect(conv).toMatchObject({ op: 'NhwcConv', macs: 8 * 8 * 6 * 27, format: 'float32', bytesRead: 4 * (144 + 216 + 8), bytesWritten: 4 * 384 });
    expect(conv?.kernel).toMatch(/_f32/);
    expect(layers?.at(-1)?.name).toBe('y');
    await session.close();
  });

  it('resolves symbols', async () => {
    const session = await openNative(modelBytes({ ...net, inputs: { x: ['batch', 3, 8, 6] } }), { symbols: { batch: 2 } });
    expect((await session.run({ x: feed([2, 3, 8, 6], 1) }))['y']?.dims).toEqual([2, 5]);
    await session.close();
  });

  it('returns constants, inputs and int64 as outputs', async () => {
    const session = await openNative(modelBytes({
      ...net, constants: { one: floats([2], 1, 2) }, outputTypes: { shape: 'int64' },
      nodes: [node('Shape', ['x'], ['shape']), node('Identity', ['one'], ['k']), node('Identity', ['x'], ['same'])], outputs: ['shape', 'k', 'same'],
    }));
    const x = feed([1, 3, 8, 6], 1);
    expect(await session.run({ x })).toEqual({
      shape: { type: 'int64', dims: [4], data: BigInt64Array.of(1n, 3n, 8n, 6n) }, k: { type: 'float32', dims: [2], data: Float32Array.of(1, 2) }, same: x,
    });
    await session.close();
  });

  it('refuses wrong feeds, and works on', async () => {
    const session = await openNative(modelBytes(net));
    await expect(session.run({})).rejects.toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    await expect(session.run({ x: feed([1, 3, 6, 8], 1) })).rejects.toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    expect((await session.run({ x: feed([1, 3, 8, 6], 1) }))['y']?.data).toHaveLength(5);
    await session.close();
  });

  it('refuses indices beyond 32 bits', async () => {
    const session = await openNative(modelBytes({ ...net, inputs: { x: [5, 3], i: [1] }, types: { i: 'int64' }, nodes: [node('Gather', ['x', 'i'], ['y'])] }));
    const huge: Tensor = { type: 'int64', dims: [1], data: BigInt64Array.of(2n ** 40n) };
    await expect(session.run({ x: feed([5, 3], 1), i: huge })).rejects.toThrow(expect.objectContaining({ code: 'E_INPUT' }));
    await session.close();
  });

  it('names the node that cannot run', async () => {
    const unknown: ModelSpec = { inputs: { x: [2] }, nodes: [node('StringNormalizer', ['x'], ['y'])], outputs: ['y'] };
    await expect(openNative(modelBytes(unknown))).rejects.toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: { node: 'y', op: 'StringNormalizer' } }));
    const norm: ModelSpec = { inputs: { x: [2, 2] }, nodes: [node('LpNormalization', ['x'], ['y'], { p: 3 })], outputs: ['y'] };
    await expect(openNative(modelBytes(norm))).rejects.toThrow(expect.objectContaining({ code: 'E_MODEL_OP', details: expect.objectContaining({ node: 'y', op: 'LpNormalization' }) as unknown }));
  });

  it('keeps to its memory limit', async () => {
    await expect(openNative(modelBytes(net), { memoryLimitBytes: 64 })).rejects.toThrow(expect.objectContaining({ code: expect.stringMatching(/LIMIT|MEMORY/) as unknown }));
  });

  it('computes random graphs as the reference does', async () => {
    const x = randomTensor([1, 3, 5, 4], 9);
    await fc.assert(
      fc.asyncProperty(randomModels, async (spec) => {
        const wanted = interpret(inferShapes(graphFromOnnx(model(spec))), new Map([['x', x]]));
        const session = await openNative(modelBytes(spec));
        const got = await session.run({ x: asTensor(x) });
        await session.close();
        for (const [name, want] of wanted) {
          const { maximum, range } = difference(got[name]?.data ?? [], Array.from(want.data, Number));
          expect(maximum, name).toBeLessThanOrEqual(1e-5 * Math.max(1, range));
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe.skipIf(nativeMissing !== undefined)(`inspection${skipped}`, () => {
  it('states layers, cost and memory', async () => {
    const inspection = await inspectModel(modelBytes(net));
    expect(inspection).toMatchObject({
      opset: 17, operators: { Conv: 1, Relu: 1, GlobalAveragePool: 1, Flatten: 1, Gemm: 1 }, macs: 8 * 48 * 27 + 40, parameters: 8 * 27 + 8 + 40,
      inputs: [{ name: 'x', type: 'float32', dims: [1, 3, 8, 6] }],
    });
    expect(inspection.layers).toHaveLength(inspection.ops);
    expect(inspection.layers.at(-1)).toMatchObject({ name: 'y', op: 'NhwcConv', inputShape: [1, 8], outputShape: [1, 5], format: 'float32' });
    expect(inspection.layers.every(({ kernel }) => kernel !== '')).toBe(true);
  });
});

const pixels = { mean: [120, 110, 100], std: [60, 50, 40] };
const picture = (seed: number) => randomInts('uint8', [1, 8, 6, 3], seed, 0, 255);

/** What a model without PixelInput would be fed: (pixel - mean) / std, planes or pixels. */
function normalized(image: TensorValue, planar: boolean): TensorValue {
  const value = (y: number, x: number, c: number) => (Number(image.data[(y * 6 + x) * 3 + c]) - (pixels.mean[c] ?? 0)) / (pixels.std[c] ?? 1);
  const order = planar
    ? [0, 1, 2].flatMap((c) => Array.from({ length: 48 }, (_, i) => value(Math.floor(i / 6), i % 6, c)))
    : Array.from({ length: 48 }, (_, i) => [0, 1, 2].map((c) => value(Math.floor(i / 6), i % 6, c))).flat();
  return fromNumbers('float32', planar ? [1, 3, 8, 6] : [1, 8, 6, 3], order);
}

const quantized = (dtype: 'uint8' | 'int8'): ModelSpec => ({
  opset: 13,
  inputs: { x: [1, 3, 8, 6] },
  constants: { s: floats([], 0.02), z: fromNumbers(dtype, [], [dtype === 'uint8' ? 120 : -8]), w: randomInts('int8', [8, 3, 3, 3], 1, -90, 90), ws: floats([], 0.01), t: floats([], 0.05) },
  nodes: [
    node('QuantizeLinear', ['x', 's', 'z'], ['q']), node('DequantizeLinear', ['q', 's', 'z'], ['d']), node('DequantizeLinear', ['w', 'ws'], ['wd']), node('Conv', ['d', 'wd'], ['c']),
    node('QuantizeLinear', ['c', 't', 'z'], ['cq']), node('DequantizeLinear', ['cq', 't', 'z'], ['y']),
  ],
  outputs: ['y'],
});

describe.skipIf(nativeMissing !== undefined)(`pixel inputs${skipped}`, () => {
  const nhwc: ModelSpec = { ...net, inputs: { x: [1, 8, 6, 3] }, nodes: [node('Transpose', ['x'], ['t'], { perm: [0, 3, 1, 2] }), node('Conv', ['t', 'w', 'b'], ['y'])] };

  it.each([['NCHW', net, true], ['NHWC', nhwc, false]] as const)('of a float model, %s', async (_, spec, planar) => {
    const image = picture(3);
    const session = await openNative(modelBytes(spec), { pixels: { x: pixels } });
    expect(session.inputs).toEqual([{ name: 'x', type: 'uint8', dims: [1, 8, 6, 3] }]);
    const got = await session.run({ x: asTensor(image) });
    await session.close();
    const wanted = interpret(inferShapes(graphFromOnnx(model(spec))), new Map([['x', normalized(image, planar)]])).get('y');
    expect(difference(got['y']?.data ?? [], Array.from(wanted?.data ?? [], Number)).maximum).toBeLessThan(1e-5);
  });

  describe.each(['uint8', 'int8'] as const)('of a quantized model, %s', (dtype) => {
    it.each(['uint8', 'int8'] as const)('with %s activations, become one table', async (activation) => {
      const image = picture(4);
      const program = compile(modelBytes(quantized(dtype)), { activation, pixels: { x: pixels } });
      expect(program.graph.nodes.map(({ op }) => op)).toEqual(['LutQ8', 'ConvQ8', 'Transpose', 'DequantizeLinear']);
      const native = loadProgram(program.bytes, { isa: 'ref' });
      const y = new Float32Array(8 * 6 * 4);
      await native.run([image.data], [y]);
      await native.close();
      const wanted = interpret(inferShapes(graphFromOnnx(model(quantized(dtype)))), new Map([['x', normalized(image, true)]])).get('y');
      expect(difference(y, Array.from(wanted?.data ?? [], Number)).maximum).toBeLessThan(0.051);
    });
  });

  it('that a model quantizes to themselves are used as they are', async () => {
    const spec = quantized('uint8');
    const constants = { ...spec.constants, s: floats([], 1), z: fromNumbers('uint8', [], [128]) };
    const identical = { ...spec, constants };
    const program = compile(modelBytes(identical), { activation: 'int8', pixels: { x: { mean: [128, 128, 128], std: [1, 1, 1] } } });
    expect(program.graph.nodes[0]?.op).toBe('ConvQ8');
    expect(program.inputs[0]?.flip).toBe(true);
  });

  it.each([
    ['another name', { y: pixels }], ['other channels', { x: { mean: [0], std: [1] } }], ['a deviation of 0', { x: { mean: [0, 0, 0], std: [1, 0, 1] } }],
  ])('with %s are refused', async (_, wrong) => {
    await expect(openNative(modelBytes(net), { pixels: wrong })).rejects.toThrow(expect.objectContaining({ code: 'E_INPUT' }));
  });
});
