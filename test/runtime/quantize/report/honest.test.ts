/** What a report says of outputs that hardly change with the sample, and of calibration data that are much alike. */
import { describe, expect, it } from 'vitest';
import { quantizeModel } from '../../../../runtime/quantize/quantize.js';
import { centredCosine, outputCosine } from '../../../../runtime/quantize/report/fidelity.js';
import { independentDirections, narrowWarnings } from '../../../../runtime/quantize/report/narrow.js';
import { asTensor, type Tensor } from '../../../../runtime/tensor.js';
import { modelBytes, node, randomTensor } from '../../support/models.js';
import { nativeMissing } from '../../support/native.js';

const tensor = (values: readonly number[]): Tensor => ({ type: 'float32', dims: [values.length], data: Float32Array.from(values) });
const noise = (seed: number, size = 8): number[] => Array.from(randomTensor([size], seed).data, Number);
/** 64 numbers that are the same for every sample, and 8 of its own: a detector's places of boxes and its scores. */
const outputs = (own: readonly number[]): { y: Tensor } => ({ y: tensor([...Array.from({ length: 64 }, (_, i) => 10 + i), ...own]) });

describe('agreement without the mean over the samples', () => {
  const expected = Array.from({ length: 6 }, (_, i) => outputs(noise(i + 1)));

  it('sees what is lost where most of the output is the same for every sample', () => {
    const blind = Array.from({ length: 6 }, () => outputs(new Array<number>(8).fill(0)));
    expect(outputCosine(expected, blind)).toBeGreaterThan(0.9999);
    expect(centredCosine(expected, blind)).toBeLessThan(0.6);
  });

  it('is 1 for the same, leaves out outputs that never change, and takes the plain cosine of a single sample', () => {
    expect(centredCosine(expected, expected)).toBeCloseTo(1, 12);
    const fixed = expected.map((all) => ({ ...all, z: tensor([0.1, 0.2, 0.7]) }));
    expect(centredCosine(fixed, fixed.map((all) => ({ ...all, z: tensor([9, -9, 0]) })))).toBeCloseTo(1, 12);
    const [one = outputs([])] = expected;
    expect(centredCosine([one], [outputs(new Array<number>(8).fill(0))])).toBe(outputCosine([one], [outputs(new Array<number>(8).fill(0))]));
  });
});

describe('the variety of calibration data', () => {
  const varied = Array.from({ length: 12 }, (_, i) => ({ x: tensor(noise(i + 1, 400)) }));
  const mixtures = Array.from({ length: 12 }, (_, i) => ({ x: tensor(noise(1, 400).map((value, at) => value * (i / 12) + (1 - i / 12) * (noise(2, 400)[at] ?? 0))) }));

  it('is the number of independent directions', () => {
    expect(independentDirections(varied)).toBeGreaterThan(9);
    expect(independentDirections(mixtures)).toBeCloseTo(1, 5);
    expect(independentDirections([varied[0] ?? { x: tensor([1]) }, { x: tensor([1]) }])).toBeNull();
  });

  it('is warned of where samples are alike or the same', () => {
    expect(narrowWarnings(varied)).toEqual([]);
    expect(narrowWarnings(mixtures)).toMatchObject([{ kind: 'narrow_data', message: expect.stringContaining('along 1.0 independent directions') as string }]);
    expect(narrowWarnings(varied.map((_, i) => varied[i % 3] ?? { x: tensor([]) }))).toMatchObject([{ kind: 'narrow_data', message: expect.stringContaining('only 3 are different') as string }]);
    expect(narrowWarnings(mixtures.slice(0, 7))).toEqual([]);
  });
});

describe.skipIf(nativeMissing !== undefined)('the report', () => {
  it('tells the spread of the cosine, and what is left of it without the mean over the samples', async () => {
    const spec = { inputs: { x: [1, 3, 8, 8] }, outputs: ['y'], constants: { a: randomTensor([8, 3, 3, 3], 1), b: randomTensor([4, 8, 3, 3], 2) }, nodes: [node('Conv', ['x', 'a'], ['p']), node('Relu', ['p'], ['q']), node('Conv', ['q', 'b'], ['y'])] };
    const samples = Array.from({ length: 12 }, (_, i) => ({ x: asTensor(randomTensor([1, 3, 8, 8], i + 1)) }));
    const { report } = await quantizeModel(modelBytes(spec), samples);
    expect(report).toMatchObject({ measured_samples: 8, warnings: [] });
    expect(report.lowest_cosine).toBeLessThan(report.output_cosine);
    expect(report.centred_cosine).toBeLessThan(report.output_cosine);
    const still = await quantizeModel(modelBytes(spec), samples.map((_, i) => samples[i % 2] ?? { x: asTensor(randomTensor([1, 3, 8, 8], 1)) }));
    expect(still.report.warnings.map(({ kind }) => kind)).toContain('narrow_data');
  });
});
