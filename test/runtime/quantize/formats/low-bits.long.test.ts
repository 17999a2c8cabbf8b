import { describe, expect, it } from 'vitest';
import { levelsKey } from '../../../../runtime/graph/declared-levels.js';
import { parseModel } from '../../../../runtime/onnx/parse.js';
import type { OnnxModel } from '../../../../runtime/onnx/types.js';
import { serializeModel } from '../../../../runtime/onnx/serialize.js';
import { deflate } from '../../../../runtime/package/deflate.js';
import { gridOf } from '../../../../runtime/quantize/formats/grids.js';
import { planQuantization } from '../../../../runtime/quantize/prepare/plan.js';
import { silent } from '../../../../runtime/quantize/report/progress.js';
import { prepareGraph } from '../../../../runtime/quantize/prepare/read-model.js';
import { quantizeModel, type QuantizeOptions } from '../../../../runtime/quantize/quantize.js';
import { affineParameters } from '../../../../runtime/quantize/ranges/range.js';
import { roundLayers } from '../../../../runtime/quantize/round/round-layers.js';
import { createSession } from '../../../../runtime/session.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';
import { oracleMissing } from '../../support/oracle.js';
import { feedsFor, middleNet } from '../networks.js';

const net = modelBytes(middleNet());
const quantize = (options: QuantizeOptions, bytes = net) => quantizeModel(bytes, feedsFor(12), { engine: 'native', maxDrop: 2, ...options });

/** Distinct values of stored tensors that the model says hold few: of weights, and of activations by the bounds of the Clip before them. */
function declared({ graph, metadata }: OnnxModel): { name: string; levels: number; found: number }[] {
  const levels = JSON.parse(metadata.get(levelsKey) ?? '{}') as Record<string, number>;
  const makers = new Map(graph.nodes.flatMap((maker) => maker.outputs.map((output) => [output, maker])));
  return Object.entries(levels).map(([name, count]) => {
    const weights = graph.initializers.get(name);
    if (weights !== undefined) return { name, levels: count, found: 2 * Math.max(...[...weights.data].map((code) => Math.abs(Number(code)))) + 1 };
    const quantizer = makers.get(name);
    const clip = makers.get(quantizer?.inputs[0] ?? '');
    const value = (operand: string | undefined): number => Number(graph.initializers.get(operand ?? '')?.data[0]);
    expect([quantizer?.op, clip?.op]).toEqual(['QuantizeLinear', 'Clip']);
    const steps = (bound: number): number => Math.round(bound / value(quantizer?.inputs[1]));
    return { name, levels: count, found: steps(value(clip?.inputs[2])) - steps(value(clip?.inputs[1])) + 1 };
  });
}

/** The same model with bytes for weights of 4 bits. */
const asBytes = (model: OnnxModel): OnnxModel => {
  const initializers = [...model.graph.initializers].map(([name, value]) => [name, value.dtype === 'int4' ? { ...value, dtype: 'int8' as const } : value] as const);
  return { ...model, graph: { ...model.graph, initializers: new Map(initializers) } };
};

describe('formats of fewer than eight bits', () => {
  it.each([['w46', 19, 29, 0.98], ['int4', 15, 16, 0.95], ['ternary', 3, 3, 0]] as const)('%s: weights of %i levels and activations of %i, in the middle of the network', async (format, weights, activations, cosine) => {
    const { model, report } = await quantize({ format });
    expect(report.layers.map(({ name, levels, kept }) => [name, levels?.weights ?? kept]).filter(([, what]) => what !== undefined)).toEqual([
      ['c1', 'edge'], ['c2', weights], ['c3', 'depthwise'], ['c4', weights], ['y', 'edge'],
    ]);
    expect(report.layers.find(({ name }) => name === 'c4')).toMatchObject({ format, levels: { weights, activations } });
    expect(report.low_bit_macs).toBeCloseTo((16 * 16 * 9 + 16 * 16) / (16 * 27 + 16 * 16 * 9 + 16 * 9 + 16 * 16 + 80 / 64), 3);
    expect(report.output_cosine).toBeGreaterThan(cosine);
    const found = declared(parseModel(model));
    expect(found.map(({ levels }) => levels).sort((a, b) => a - b)).toEqual([weights, weights, activations, activations].sort((a, b) => a - b));
    for (const { name, levels, found: values } of found) expect(values, name).toBeLessThanOrEqual(levels);
  });

  it('keeps 256 levels for the readers that need them', async () => {
    const { graph } = parseModel((await quantize({ format: 'w46' })).model);
    // a1 is read by c2 in 29 codes, from 256 that the sum reads; a3 is read by c4 alone, and has 29 from the start.
    const ops = (value: string): string[] => graph.nodes.filter(({ inputs }) => inputs[0] === value).map(({ op }) => op).sort();
    const restored = graph.nodes.find(({ name }) => name === 'a1_DequantizeLinear')?.outputs[0] ?? '';
    expect(ops(restored)).toEqual(['Clip']);
    expect(graph.nodes.find(({ op }) => op === 'Add')?.inputs).toContain(restored);
    expect(graph.nodes.filter(({ op }) => op === 'QuantizeLinear')).toHaveLength(10);
  });

  it('gives edges and depthwise convolutions fewer bits when asked', async () => {
    const { report } = await quantize({ format: 'w46', edges: true, depthwise: true });
    expect(report.layers.filter(({ levels }) => levels !== undefined).map(({ name }) => name)).toEqual(['c1', 'c2', 'c3', 'c4', 'y']);
  });

  it('w4a8: weights of few levels, activations of 8 bits', async () => {
    const { model, report } = await quantize({ format: 'w4a8', levels: { weights: 15 }, edges: true, depthwise: true });
    expect(report.layers.filter(({ format }) => format === 'w4a8')).toHaveLength(5);
    expect(report).toMatchObject({ low_bit_macs: 0, weight_bits: expect.closeTo(Math.log2(15), 10) as number });
    expect(report.output_cosine).toBeGreaterThan(0.99);
    const { graph } = parseModel(model);
    expect(declared(parseModel(model)).map(({ levels, found }) => levels === 15 && found <= 15)).toEqual([true, true, true, true, true]);
    expect(graph.nodes.filter(({ op }) => op === 'Clip')).toHaveLength(1); // the model's own
  });

  it('w4a8: as few levels as the outputs can bear', async () => {
    const int8 = (await quantize({ format: 'int8' })).report.output_cosine;
    const levels: number[] = [];
    for (const maxDrop of [2, 1e-3, 1e-4, 3e-5]) {
      const { report } = await quantize({ format: 'w4a8', maxDrop });
      expect(report.output_cosine).toBeGreaterThanOrEqual(int8 - maxDrop - 1e-9);
      levels.push(...new Set(report.layers.flatMap((layer) => (layer.levels === undefined ? [] : [layer.levels.weights]))));
    }
    expect(levels[0]).toBe(7);
    expect(levels).toEqual([...levels].sort((a, b) => a - b));
    expect(new Set(levels).size).toBeGreaterThan(1);
  });

  it('gives a layer that cannot bear few levels of the activations those of the weights', async () => {
    const formats = async (maxDrop: number) => (await quantize({ format: 'int4', maxDrop })).report.layers.filter(({ levels }) => levels !== undefined).map(({ format }) => format);
    expect(await formats(1)).toEqual(['int4', 'int4']);
    expect(await formats(1e-4)).toEqual(['w4a8']);
  });

  it('takes into a bias only what its own layer rounds away', async () => {
    const imported = prepareGraph(parseModel(net), {});
    const plan = planQuantization(imported);
    const [first, second] = plan.layers.filter(({ kind }) => kind === 'weighted');
    expect([first?.name, second?.name]).toEqual(['c1', 'c2']);
    const whole = affineParameters({ min: -4, max: 4 });
    const task = {
      graph: imported, plan, samples: feedsFor(12), engine: 'native' as const,
      // The first layer in three levels, and so far off; the second in so many that nothing is lost.
      grids: new Map([[first?.output ?? '', gridOf('w4a8', { weights: 3 })], [second?.output ?? '', gridOf('w4a8', { weights: 255 })]]),
      context: { parameters: new Map([...plan.values].map((value) => [value, whole])), channelMeans: new Map(), narrow: [] },
      onProgress: silent,
    };
    const rounded = await roundLayers(task);
    const shift = (layer: typeof first, bias: string): number => Math.max(...[...(rounded.get(layer?.output ?? '')?.bias ?? [])].map((value, o) => Math.abs(value - Number(imported.constants.get(bias)?.data[o]))));
    expect(shift(first, 'b1')).toBeGreaterThan(0.02);
    expect(shift(second, 'b2')).toBeLessThan(0.02);
  });

  it('keeps layers in int8 so that the outputs lose no more than allowed', async () => {
    const strict = await quantize({ format: 'int4', maxDrop: 1e-7 });
    expect(strict.report.low_bit_macs).toBe(0);
    expect(strict.report.layers.filter(({ kept }) => kept === 'sensitive').map(({ name }) => name)).toEqual(['c2', 'c4']);
    expect(parseModel(strict.model).metadata.has(levelsKey)).toBe(false);
  });

  it('gives the same bytes for the same data', async () => {
    const [first, second] = [await quantize({ format: 'w46' }), await quantize({ format: 'w46' })];
    expect(first.model).toEqual(second.model);
  });

  it('chooses ranges by the error at the outputs of the readers', async () => {
    const { report } = await quantize({ format: 'int4', method: 'output' });
    expect(report.layers.filter(({ levels }) => levels !== undefined)).toHaveLength(2);
    expect(report.output_cosine).toBeGreaterThan(0.95);
  });

  it('warns of ternary layers', async () => {
    const { report } = await quantize({ format: 'ternary' });
    expect(report.warnings).toMatchObject([{ kind: 'ternary', message: expect.stringMatching(/mean cosine .* is 0\.\d+, and the lowest SQNR/) as string }]);
  });

  it('chooses for a target, and shows what was to be had', async () => {
    const { report } = await quantize({ format: 'auto', target: 'avx2' });
    expect(report.pareto).toMatchObject({ target: 'avx2', unit: 'instructions', chosen: { low_bit_layers: 2 } });
    expect(report.pareto?.points.length).toBeGreaterThan(2);
    const costs = report.pareto?.points.map(({ cost }) => cost) ?? [];
    expect(costs).toEqual([...costs].sort((a, b) => b - a));
    const nothing = await quantize({ format: 'auto', target: 'a76' });
    expect(nothing.report).toMatchObject({ low_bit_macs: 0, pareto: { chosen: { low_bit_layers: 0 } } });
  });

  it('measures the layers of this machine', async () => {
    const { report } = await quantize({ format: 'auto', target: 'this' });
    expect(report.pareto?.unit).toBe('ms');
    expect(report.pareto?.points[0]?.cost).toBeGreaterThan(0);
  });

  it.each<[string, QuantizeOptions]>([
    ['a pair of levels that breaks the bound', { format: 'w46', levels: { weights: 19, activations: 64 } }],
    ['a drop that is none', { format: 'w46', maxDrop: 0 }],
  ])('refuses %s', async (_, options) => {
    await expect(quantize(options)).rejects.toMatchObject({ code: 'E_QUANTIZE' });
  });

  it('says in how many blocks the weights of a deep layer were rounded', async () => {
    const spec: ModelSpec = {
      opset: 13, inputs: { x: [1, 8] }, constants: { w: randomTensor([8, 2320], 1), v: randomTensor([2320, 16], 2), u: randomTensor([16, 4], 3) },
      nodes: [node('MatMul', ['x', 'w'], ['a']), node('MatMul', ['a', 'v'], ['b']), node('MatMul', ['b', 'u'], ['y'])], outputs: ['y'],
    };
    const { report } = await quantizeModel(modelBytes(spec), feedsFor(4, [1, 8]), { engine: 'native', maxDrop: 2, format: 'w46' });
    expect(report.layers.map(({ name, rounding_blocks }) => [name, rounding_blocks])).toEqual([['a', undefined], ['b', 2], ['y', undefined]]);
  });

  it('survives a dead channel', async () => {
    const spec = middleNet();
    const w2 = Float32Array.from(randomTensor([16, 16, 3, 3], 4).data, Number).fill(0, 0, 144);
    const { model } = await quantize({ format: 'w46' }, modelBytes({ ...spec, constants: { ...spec.constants, w2: { dtype: 'float32', dims: [16, 16, 3, 3], data: w2 } } }));
    const session = await createSession(model);
    expect([...((await session.run(feedsFor(1)[0] ?? {}))['y']?.data ?? [])].every((value) => Number.isFinite(Number(value)))).toBe(true);
    await session.close();
  });

  it('leaves what comes before a logarithm in floating point, and what comes before a sum of squares not', () => {
    const spec = (op: string, last: string): ModelSpec => ({
      opset: 13, inputs: { x: [1, 8] }, constants: { w: randomTensor([8, 8], 1), v: randomTensor([8, 4], 2) },
      nodes: [node('MatMul', ['x', 'w'], ['m']), node('Mul', ['m', 'm'], ['s']), node(op, ['s'], ['l']), node(last, last === 'MatMul' ? ['l', 'v'] : ['l'], ['y'])],
      outputs: ['y'],
    });
    const weighted = (model: ModelSpec): string[] => planQuantization(prepareGraph(parseModel(modelBytes(model)), {})).layers.filter(({ kind }) => kind === 'weighted').map(({ name }) => name);
    expect(weighted(spec('Log', 'MatMul'))).toEqual(['y']);
    expect(weighted(spec('Relu', 'MatMul'))).toEqual(['m', 'y']);
    expect(weighted(spec('ReduceSum', 'Sqrt'))).toEqual(['m']);
  });

  it.each([['int4', 'int4'], ['ternary', 'int4'], ['w46', 'int8']] as const)('stores the weights of %s as %s, which changes no bit of what is computed', async (format, dtype) => {
    const model = parseModel((await quantize({ format })).model);
    const few = Object.keys(JSON.parse(model.metadata.get(levelsKey) ?? '{}') as object).map((name) => model.graph.initializers.get(name)).filter((weights) => weights !== undefined);
    expect(few.map((weights) => weights.dtype)).toEqual([dtype, dtype]);
    expect(model.opsets.get('')).toBe(dtype === 'int4' ? 21 : 13);
    const bytes = asBytes(model);
    expect(serializeModel(bytes).length - serializeModel(model).length).toBeGreaterThanOrEqual(dtype === 'int4' ? (16 * 16 * 9 + 16 * 16) / 2 : 0);
    const [narrow, wide] = [await createSession(serializeModel(model)), await createSession(serializeModel(bytes))];
    for (const feeds of feedsFor(4)) expect((await narrow.run(feeds))['y']).toEqual((await wide.run(feeds))['y']);
    await Promise.all([narrow.close(), wide.close()]);
  });

  it('makes no package larger by storing two weights in a byte', async () => {
    const model = parseModel((await quantize({ format: 'int4' })).model);
    const [narrow, wide] = [model, asBytes(model)].map((form) => deflate(serializeModel(form))?.length ?? NaN);
    expect(narrow).toBeLessThan(wide ?? 0);
  });

  it.skipIf(oracleMissing !== undefined).each(['w46', 'int4', 'ternary'] as const)(`computes the same on onnxruntime in %s${oracleMissing === undefined ? '' : ` (${oracleMissing})`}`, async (format) => {
    const { model } = await quantize({ format });
    const [ours, theirs] = [await createSession(model), await createSession(model, { engine: 'onnxruntime' })];
    for (const feeds of feedsFor(4)) {
      const [a, b] = [(await ours.run(feeds))['y']?.data ?? [], (await theirs.run(feeds))['y']?.data ?? []];
      a.forEach((value, i) => expect(Number(value)).toBeCloseTo(Number(b[i]), 1));
    }
    await Promise.all([ours.close(), theirs.close()]);
  });
});
