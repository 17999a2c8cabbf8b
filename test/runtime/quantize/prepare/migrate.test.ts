import { describe, expect, it } from 'vitest';
import type { Graph } from '../../../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../../../runtime/graph/import.js';
import { inferShapes } from '../../../../runtime/infer/infer.js';
import { interpret } from '../../../../runtime/infer/interpret.js';
import { gridOf } from '../../../../runtime/quantize/formats/grids.js';
import { findMigrations, migrateChannels, migrateScales, type MigrationScope } from '../../../../runtime/quantize/prepare/migrate.js';
import { planQuantization } from '../../../../runtime/quantize/prepare/plan.js';
import { silent } from '../../../../runtime/quantize/report/progress.js';
import { quantizeModel, type QuantizeReport } from '../../../../runtime/quantize/quantize.js';
import { floats, model, modelBytes, node, randomTensor, type ModelSpec } from '../../support/models.js';
import { feedsFor, middleNet } from '../networks.js';

const graphOf = (spec: ModelSpec): Graph => inferShapes(graphFromOnnx(model(spec)));
const groupsOf = (graph: Graph) => findMigrations(graph, planQuantization(graph));

const map = { x: [1, 4, 4, 4] };
const rows = { x: [1, 3, 4] };
const weights = { w: randomTensor([4, 4, 1, 1], 1), b: randomTensor([4], 2), d: randomTensor([4, 1, 3, 3], 3), slope: randomTensor([4, 1, 1], 4, 0.1, 0.4), m: randomTensor([4, 5], 5), n: randomTensor([4, 6], 6), g: randomTensor([4], 7), six: floats([], 6), zero: floats([], 0) };
const depthwise = node('Conv', ['x', 'd', 'b'], ['c'], { group: 4, pads: [1, 1, 1, 1] });
const norm = node('LayerNormalization', ['x', 'g', 'b'], ['c'], { axis: -1 });

/** What stands before layers that can take factors, and the layers; `y` is added where there are several. */
const exact: Record<string, ModelSpec> = {
  'depthwise -> pointwise': { inputs: map, nodes: [depthwise, node('Conv', ['c', 'w'], ['y'])], outputs: ['y'] },
  'depthwise -> Relu -> pointwise': { inputs: map, nodes: [depthwise, node('Relu', ['c'], ['a']), node('Conv', ['a', 'w', 'b'], ['y'])], outputs: ['y'] },
  'depthwise -> PRelu -> pointwise': { inputs: map, nodes: [depthwise, node('PRelu', ['c', 'slope'], ['a']), node('Conv', ['a', 'w'], ['y'])], outputs: ['y'] },
  'pointwise -> LeakyRelu -> depthwise': { inputs: map, nodes: [node('Conv', ['x', 'w', 'b'], ['c']), node('LeakyRelu', ['c'], ['a']), node('Conv', ['a', 'd'], ['y'], { group: 4, pads: [1, 1, 1, 1] })], outputs: ['y'] },
  'InstanceNormalization -> pointwise': { inputs: map, nodes: [node('InstanceNormalization', ['x', 'g', 'b'], ['c']), node('Conv', ['c', 'w'], ['y'])], outputs: ['y'] },
  'LayerNormalization -> two products': { inputs: rows, nodes: [norm, node('MatMul', ['c', 'm'], ['y']), node('MatMul', ['c', 'n'], ['z'])], outputs: ['y', 'z'] },
  'scale and shift -> product': { inputs: rows, nodes: [node('Mul', ['x', 'g'], ['s']), node('Add', ['b', 's'], ['c']), node('MatMul', ['c', 'm'], ['y'])], outputs: ['y'] },
  'product -> bias -> Relu -> product': { inputs: { x: [2, 4] }, nodes: [node('MatMul', ['x', 'n'], ['p']), node('Add', ['p', 'six6'], ['s']), node('Relu', ['s'], ['a']), node('Gemm', ['a', 't', 'b'], ['y'], { transB: 1 })], outputs: ['y'] },
};

/** The same, but with something in between or beside that would notice. */
const inexact: Record<string, ModelSpec> = {
  'a bounded activation': { inputs: map, nodes: [depthwise, node('Clip', ['c', 'zero', 'six'], ['a']), node('Conv', ['a', 'w'], ['y'])], outputs: ['y'] },
  'a sum that reads the value, too': { inputs: map, nodes: [depthwise, node('Conv', ['c', 'w'], ['p']), node('Add', ['c', 'p'], ['y'])], outputs: ['y'] },
  'an output of the model': { inputs: map, nodes: [depthwise, node('Conv', ['c', 'w'], ['y'])], outputs: ['y', 'c'] },
  'a value that is read before its activation, too': { inputs: map, nodes: [depthwise, node('Relu', ['c'], ['a']), node('Conv', ['a', 'w'], ['p']), node('Sub', ['p', 'c'], ['y'])], outputs: ['y'] },
  'a sigmoid': { inputs: map, nodes: [depthwise, node('Sigmoid', ['c'], ['a']), node('Conv', ['a', 'w'], ['y'])], outputs: ['y'] },
  'an input of the model': { inputs: map, nodes: [node('Conv', ['x', 'w'], ['y'])], outputs: ['y'] },
  'a shift of what was broadcast': { inputs: { x: [3, 4] }, nodes: [node('MatMul', ['x', 'm4'], ['p']), node('Add', ['p', 'g134'], ['c']), node('MatMul', ['c', 'm'], ['y'])], outputs: ['y'] },
  'a normalization over more than the last axis': { inputs: rows, nodes: [node('LayerNormalization', ['x', 'g34', 'b34'], ['c'], { axis: 1 }), node('MatMul', ['c', 'm'], ['y'])], outputs: ['y'] },
};

const full = (spec: ModelSpec): ModelSpec => ({ ...spec, constants: { ...weights, t: randomTensor([4, 6], 8), six6: randomTensor([6], 9), m4: randomTensor([4, 4], 12), g134: randomTensor([1, 1, 4], 13), g34: randomTensor([3, 4], 10), b34: randomTensor([3, 4], 11) } });

describe('findMigrations and migrateChannels', () => {
  it.each(Object.entries(exact))('change no more than rounding between %s', (_, spec) => {
    const graph = graphOf(full(spec));
    const [group, ...more] = groupsOf(graph);
    expect(more).toEqual([]);
    if (group === undefined) throw new Error('no group was found');
    const factors = Float32Array.from({ length: group.channels }, (_, c) => 2 ** (c % 5) / 3);
    const migrated = migrateChannels(graph, new Map([[group, factors]]));
    const dims = Object.values(spec.inputs)[0]?.map(Number) ?? [];
    const feeds = new Map([['x', randomTensor(dims, 20)]]);
    const [before, after] = [interpret(graph, feeds, [...spec.outputs, group.value]), interpret(migrated, feeds, [...spec.outputs, group.value])];
    for (const output of spec.outputs) before.get(output)?.data.forEach((value: number | bigint, i: number) => expect(Number(after.get(output)?.data[i])).toBeCloseTo(Number(value), 4));
    // The value itself is another one: its first channel is divided by a third.
    expect(Number(after.get(group.value)?.data[0])).toBeCloseTo(3 * Number(before.get(group.value)?.data[0]), 4);
  });

  it.each(Object.entries(inexact))('leave alone %s', (_, spec) => {
    expect(groupsOf(graphOf(full(spec)))).toEqual([]);
  });
});

/** A normalization that makes two channels large, which a product with rows of like size reads. */
const salient: ModelSpec = {
  inputs: { x: [16, 32] },
  constants: { g: floats([32], ...Array.from({ length: 32 }, (_, c) => (c < 2 ? 30 : 1))), b: floats([32], ...new Array<number>(32).fill(0)), m: randomTensor([32, 24], 5) },
  nodes: [node('LayerNormalization', ['x', 'g', 'b'], ['c'], { axis: -1 }), node('MatMul', ['c', 'm'], ['y'])],
  outputs: ['y'],
};

describe('migrateScales', () => {
  const task = (spec: ModelSpec, activations: number) => {
    const graph = graphOf(spec);
    return { graph, plan: planQuantization(graph), samples: feedsFor(12, [16, 32]), engine: 'native' as const, gridFor: () => ({ ...gridOf('int4'), activations }), methodFor: () => 'minmax' as const, percentile: 100, scope: 'auto' as const, onProgress: silent };
  };

  it('protects the weights of large channels', async () => {
    const { graph, migrations } = await migrateScales(task(salient, 256));
    expect(migrations.get('y')?.alpha).toBeGreaterThan(0);
    expect(migrations.get('y')?.error).toBeLessThan(0.9);
    const scale = [...(graph.constants.get(graph.nodes[0]?.inputs[1] ?? '')?.data ?? [])].map(Number);
    expect((scale[0] ?? NaN) / (scale[5] ?? NaN)).toBeLessThan(25);
  });

  it('leaves channels alone that are alike', async () => {
    const alike = { ...salient, constants: { ...salient.constants, g: floats([32], ...new Array<number>(32).fill(1)) } };
    const given = task(alike, 256);
    const { graph, migrations } = await migrateScales(given);
    expect(migrations.get('y')).toEqual({ alpha: 0, error: 1 });
    expect(graph).toBe(given.graph);
  });
});

describe('quantizeModel with scale migration', () => {
  const options = { engine: 'native', maxDrop: 2, format: 'int4' } as const;
  const migrated = ({ layers }: QuantizeReport): string[] => layers.filter(({ migration }) => migration !== undefined).map(({ name }) => name);

  it('leaves values between convolutions to equalization unless asked', async () => {
    const bytes = modelBytes(middleNet());
    expect(migrated((await quantizeModel(bytes, feedsFor(6), options)).report)).toEqual([]);
    // a3, behind the depthwise convolution and its PRelu, is read by c4 alone; a1 is summed, a2 bounded, the sum pooled.
    expect(migrated((await quantizeModel(bytes, feedsFor(6), { ...options, migrate: 'all' })).report)).toEqual(['c4']);
  });

  it('loses less behind a normalization of uneven scales', async () => {
    const bytes = modelBytes(salient);
    const [without, migrating] = [await quantizeModel(bytes, feedsFor(12, [16, 32]), { ...options, edges: true, migrate: 'none' }), await quantizeModel(bytes, feedsFor(12, [16, 32]), { ...options, edges: true })];
    expect([migrated(without.report), migrated(migrating.report)]).toEqual([[], ['y']]);
    expect(1 - migrating.report.output_cosine).toBeLessThan(0.9 * (1 - without.report.output_cosine));
  });

  it('refuses data of another shape, naming the sample', async () => {
    await expect(quantizeModel(modelBytes(salient), [...feedsFor(1, [16, 32]), ...feedsFor(1, [16, 31])], options)).rejects.toMatchObject({ code: 'E_QUANTIZE', details: { sample: 1 } });
  });

  it('refuses a scope that is none', async () => {
    await expect(quantizeModel(modelBytes(salient), [], { migrate: 'some' as MigrationScope })).rejects.toMatchObject({ code: 'E_QUANTIZE' });
  });
});
