import { describe, expect, it } from 'vitest';
import { quantizeModel, type QuantizeOptions } from '../../../runtime/quantize/quantize.js';
import { createSession } from '../../../runtime/session.js';
import { modelBytes, node, randomTensor, type ModelSpec } from '../support/models.js';
import { feedsFor, middleNet } from './networks.js';

const native: QuantizeOptions = { engine: 'native', measuredSamples: 6 };
const formatsOf = async (spec: ModelSpec, options: QuantizeOptions) => {
  const { model, report } = await quantizeModel(modelBytes(spec), feedsFor(6), { ...native, ...options });
  return { model, report, formats: Object.fromEntries(report.layers.map(({ name, format }) => [name, format])) };
};

/**
 * Four convolutions. One channel between the second and the third is `factor` times as large as it should be, and the third makes it small again: in
 * floating point nothing changes, in 8 bits nothing is left of the other channels.
 */
function illConditioned(factor: number): ModelSpec {
  const scaled = (dims: number[], seed: number, touches: (index: number) => boolean, by: number): ReturnType<typeof randomTensor> => {
    const tensor = randomTensor(dims, seed);
    return { ...tensor, data: Float32Array.from(tensor.data, Number).map((value, i) => (touches(i) ? value * by : value)) };
  };
  return {
    inputs: { x: [1, 3, 8, 8] },
    constants: {
      w1: randomTensor([8, 3, 3, 3], 1), w2: scaled([8, 8, 1, 1], 2, (i) => i < 8, factor), w3: scaled([8, 8, 1, 1], 3, (i) => i % 8 === 0, 1 / factor), w4: randomTensor([4, 8, 3, 3], 4),
    },
    nodes: [
      node('Conv', ['x', 'w1'], ['c1'], { pads: [1, 1, 1, 1] }), node('Relu', ['c1'], ['a1']), node('Conv', ['a1', 'w2'], ['c2']), node('Relu', ['c2'], ['a2']),
      node('Conv', ['a2', 'w3'], ['c3']), node('Relu', ['c3'], ['a3']), node('Conv', ['a3', 'w4'], ['y']),
    ],
    outputs: ['y'],
  };
}

describe('layers that ruin the outputs', () => {
  it('stay float32 by themselves, and the report says so', async () => {
    const { report, formats } = await formatsOf(illConditioned(3000), { equalize: false });
    expect(formats).toMatchObject({ c1: 'int8', c2: 'float32', c3: 'float32', y: 'int8' });
    expect(report.layers.find(({ name }) => name === 'c2')).toMatchObject({ kept: 'ruinous' });
    expect(report.output_cosine).toBeGreaterThan(0.999);
    const warnings = report.warnings.filter(({ kind }) => kind === 'left_float');
    expect(warnings.map(({ layer }) => layer).sort()).toEqual(['c2', 'c3']);
    expect(warnings[0]?.message).toMatch(/stays float32: with this layer in int8, the agreement with the float32 model falls from 0\.999\d to 0\.\d+/);
  });

  it('are found where their noise shows in all that follows', async () => {
    const spec = illConditioned(3000);
    const more = [5, 6, 7, 8, 9, 10, 11, 12];
    const { report, formats } = await formatsOf({
      inputs: spec.inputs, outputs: ['y'],
      constants: { ...spec.constants, w4: randomTensor([8, 8, 1, 1], 4), ...Object.fromEntries(more.map((seed) => [`w${seed}`, randomTensor([8, 8, 1, 1], seed)])) },
      nodes: [...spec.nodes.slice(0, -1), ...[4, ...more].flatMap((layer) => [
        node('Conv', [layer === 4 ? 'a3' : `a${layer - 1}`, `w${layer}`], [layer === 12 ? 'y' : `c${layer}`]), ...(layer === 12 ? [] : [node('Relu', [`c${layer}`], [`a${layer}`])]),
      ])],
    }, { equalize: false });
    expect(formats).toMatchObject({ c2: 'float32', c3: 'float32', c6: 'int8', y: 'int8' });
    expect(report.output_cosine).toBeGreaterThan(0.99);
  });

  it('are judged by what the caller knows of the outputs', async () => {
    const seen: string[][] = [];
    const agreement: QuantizeOptions['agreement'] = (expected, actual) => {
      seen.push([...Object.keys(expected), ...Object.keys(actual)]);
      return 1;
    };
    const { report, formats } = await formatsOf(illConditioned(3000), { equalize: false, agreement });
    expect(formats).toMatchObject({ c2: 'int8', c3: 'int8' });
    expect(report.agreement).toBe(1);
    expect(new Set(seen.map((names) => names.join()))).toEqual(new Set(['y,y']));
  });

  it('are judged by the cosine of the outputs where no sample tells', async () => {
    const { report, formats } = await formatsOf(illConditioned(3000), { equalize: false, agreement: () => undefined });
    expect(formats).toMatchObject({ c2: 'float32', c3: 'float32' });
    expect(report.agreement).toBeNull();
  });

  it('are none in a sound network', async () => {
    const { report, formats } = await formatsOf(illConditioned(1), { equalize: false });
    expect(new Set([formats['c1'], formats['c2'], formats['c3'], formats['y']])).toEqual(new Set(['int8']));
    expect(report.warnings).toEqual([]);
  });

  it('stay float32 where the others get fewer bits, too', async () => {
    const { formats } = await formatsOf(illConditioned(3000), { equalize: false, format: 'w4a8', levels: { weights: 31 }, edges: true, maxDrop: 0.5 });
    expect(formats).toMatchObject({ c2: 'float32', c3: 'float32', y: 'w4a8' });
  });
});

describe('a bound on what int8 takes', () => {
  it('leaves as many layers in float32 as it needs', async () => {
    const before = await formatsOf(middleNet(), {});
    const maxDrop = (1 - before.report.output_cosine) / 3;
    expect(maxDrop).toBeGreaterThan(0);
    const { report, model } = await formatsOf(middleNet(), { maxDrop });
    expect(1 - report.output_cosine).toBeLessThanOrEqual(maxDrop);
    expect(new Set(report.layers.map(({ format }) => format))).toEqual(new Set(['int8', 'float32']));
    expect(report.layers).toContainEqual(expect.objectContaining({ format: 'float32', kept: 'sensitive' }));
    expect(report.warnings).toContainEqual(expect.objectContaining({ kind: 'left_float', message: expect.stringMatching(/nodes stay float32, so that the agreement with the float32 model falls by at most/) as string }));
    await (await createSession(model, { engine: 'native' })).close();
  });

  it('changes nothing where it holds', async () => {
    const [free, bound] = [await formatsOf(middleNet(), {}), await formatsOf(middleNet(), { maxDrop: 0.5 })];
    expect(bound.formats).toEqual(free.formats);
    expect(Buffer.from(bound.model).equals(Buffer.from(free.model))).toBe(true);
  });
});
