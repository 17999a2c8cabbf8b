import { describe, expect, it } from 'vitest';
import { fromNumbers } from '../../../../runtime/graph/tensor-value.js';
import { parseModel } from '../../../../runtime/onnx/parse.js';
import { quantizeModel, type QuantizeOptions } from '../../../../runtime/quantize/quantize.js';
import { leastScale, weightScales } from '../../../../runtime/quantize/round/weights.js';
import { createSession } from '../../../../runtime/session.js';
import type { Tensor } from '../../../../runtime/tensor.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';
import { feedsFor, middleNet } from '../networks.js';

/** The middle net with one of its constants changed. */
function changed(name: string, change: (value: number, index: number) => number): Uint8Array {
  const spec = middleNet();
  const constant = spec.constants?.[name];
  if (constant === undefined) throw new Error(`no constant ${name}`);
  return modelBytes({ ...spec, constants: { ...spec.constants, [name]: { ...constant, data: Float32Array.from(constant.data, Number).map(change) } } });
}

const quantize = (bytes: Uint8Array, options: QuantizeOptions = {}, feeds: Iterable<Record<string, Tensor>> = feedsFor(6)) => quantizeModel(bytes, feeds, { engine: 'native', maxDrop: 2, ...options });

/** Scales of all DequantizeLinear nodes of a model. */
function scalesOf(model: Uint8Array): number[] {
  const { graph } = parseModel(model);
  return graph.nodes.filter(({ op }) => op === 'DequantizeLinear').flatMap(({ inputs }) => [...(graph.initializers.get(inputs[1] ?? '')?.data ?? [])].map(Number));
}

const normal = (scale: number): boolean => scale >= 2 ** -126 && scale < Infinity;

/** Weights of the output channels 2 and 5 of c2, which has 16 * 3 * 3 each. */
const deadRows = (value: number, index: number): number => ([2, 5].includes(Math.floor(index / 144)) ? 0 : value);

describe('channels that are dead', () => {
  it.each(['int8', 'w46'] as const)('in the weights: named, and exact in %s', async (format) => {
    const { model, report } = await quantize(changed('w2', deadRows), { format });
    expect(report.warnings).toContainEqual(expect.objectContaining({ kind: 'dead_weights', layer: 'c2', channels: [2, 5], of: 16, message: expect.stringContaining('channels 2, 5 (2 of 16)') as string }));
    expect(scalesOf(model).every(normal)).toBe(true);
    const { graph } = parseModel(model);
    const stored = graph.initializers.get('w2_quantized') ?? graph.initializers.get('w2_equalized_quantized');
    expect([...(stored?.data.subarray(2 * 144, 3 * 144) ?? [NaN])].every((code) => Number(code) === 0)).toBe(true);
    expect([...(stored?.data ?? [])].some((code) => Number(code) !== 0)).toBe(true);
  });

  it('in the data: named by the layer that reads them', async () => {
    const shut = [1, 4, 7];
    const { report } = await quantize(changed('b2', (value, channel) => (shut.includes(channel) ? -1000 : value)));
    const found = report.warnings.filter(({ kind }) => kind === 'unseen_channels');
    expect(found).toContainEqual(expect.objectContaining({ layer: 'c3', channels: expect.arrayContaining(shut) as number[], of: 16, message: expect.stringContaining("of 'a2' were zero") as string }));
  });

  it('of an input of the model', async () => {
    const feeds = feedsFor(4).map((feed) => ({ x: { type: 'float32', dims: [1, 3, 8, 8], data: Float32Array.from(feed['x']?.data ?? [], Number).fill(0, 64, 128) } as const }));
    const { report } = await quantize(modelBytes(middleNet()), { biasCorrection: false }, feeds);
    expect(report.warnings).toContainEqual(expect.objectContaining({ kind: 'unseen_channels', layer: 'c1', channels: [1], of: 3 }));
  });

  it('says nothing of channels that are alive, or dead because the layer before is', async () => {
    expect((await quantize(modelBytes(middleNet()))).report.warnings).toEqual([]);
    const spec: ModelSpec = {
      opset: 13, inputs: { x: [1, 8] }, constants: { w: randomTensor([8, 4], 1), v: randomTensor([4, 3], 2) },
      nodes: [node('MatMul', ['x', 'w'], ['h']), node('MatMul', ['h', 'v'], ['y'])], outputs: ['y'],
    };
    const w = Float32Array.from(randomTensor([8, 4], 1).data, Number).map((value, i) => (i % 4 === 1 ? 0 : value));
    const { report } = await quantize(modelBytes({ ...spec, constants: { ...spec.constants, w: { dtype: 'float32', dims: [8, 4], data: w } } }), {}, feedsFor(4, [1, 8]));
    expect(report.warnings).toMatchObject([{ kind: 'dead_weights', layer: 'h', channels: [1], of: 4 }]);
  });

  it('names a whole dead layer, which stays zero', async () => {
    const spec = middleNet();
    const zeros = (name: string) => ({ dtype: 'float32' as const, dims: spec.constants?.[name]?.dims ?? [], data: new Float32Array(spec.constants?.[name]?.data.length ?? 0) });
    const { model, report } = await quantize(modelBytes({ ...spec, constants: { ...spec.constants, w4: zeros('w4') } }));
    expect(report.warnings).toMatchObject([{ kind: 'dead_value', layer: 'c4' }, { kind: 'dead_weights', layer: 'c4', of: 16 }]);
    expect(scalesOf(model).every(normal)).toBe(true);
    const session = await createSession(model);
    expect([...((await session.run(feedsFor(1)[0] ?? {}))['y']?.data ?? [])].every((value) => Number.isFinite(Number(value)))).toBe(true);
    await session.close();
  });

  it('refuses a value that calibration never saw but the model can make, naming layers and value', async () => {
    await expect(quantize(changed('b2', () => -1000))).rejects.toMatchObject({ code: 'E_QUANTIZE', details: { value: 'a2', layer: 'c2', layers: ['c2', 'c3'] }, message: expect.stringContaining("exclude 'c2', 'c3'") as string });
    const { report } = await quantize(changed('b2', () => -1000), { exclude: ['c2', 'c3'] });
    expect(report.layers.filter(({ format }) => format === 'float32').map(({ name }) => name)).toContain('c2');
  });

  it.each([NaN, Infinity])('refuses weights of %d, naming layer and element', async (value) => {
    await expect(quantize(changed('w2', (weight, i) => (i === 7 ? value : weight)))).rejects.toMatchObject({ code: 'E_MODEL_VALUE', details: { initializer: 'w2', node: 'c2', element: 7 } });
  });

  it('refuses a bias beyond what a scale can bring to its input, naming value and channel', async () => {
    const spec: ModelSpec = { opset: 13, inputs: { x: [1, 8] }, constants: { w: randomTensor([8, 2], 1), b: fromNumbers('float32', [2], [0, 1e38]) }, nodes: [node('Gemm', ['x', 'w', 'b'], ['y'])], outputs: ['y'] };
    const feeds = feedsFor(2, [1, 8]).map(({ x }) => ({ x: { type: 'float32', dims: [1, 8], data: Float32Array.from(x?.data ?? [], Number).map((value) => value * 1e-25) } as const }));
    await expect(quantize(modelBytes(spec), {}, feeds)).rejects.toMatchObject({ code: 'E_QUANTIZE', details: { value: 'w', channel: 1 } });
  });
});

describe('scales of weights', () => {
  it.each([[0, 0, 0.01], [0, 0.5, 0.01], [1e-38, 0, 0.01], [1e-30, 0, 1e-20], [0, 1e-20, 1e-30], [3, 1e6, 1e-9]])('are usable for a largest weight of %d, a bias of %d and an input scale of %d', (magnitude, bias, inputScale) => {
    const [scale = NaN] = weightScales(Float32Array.of(magnitude), Float32Array.of(bias), inputScale);
    expect([scale, Math.fround(scale * inputScale)].every(normal)).toBe(true);
    expect(Math.abs(bias) / (scale * inputScale)).toBeLessThan(2 ** 31);
    expect(leastScale(bias, inputScale) * inputScale).toBeGreaterThan(2 ** -126);
  });
});
