/** Thresholds of activations: which move together, how far they may move, and what stays as it is to the bit. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { applyThresholds, bounds, bytesOf, moveThresholds, readQuantized, type QuantizedModel, type Threshold } from '../../../runtime/adapt/apply.js';
import { floatActivations } from '../../../runtime/adapt/teacher.js';
import type { ThresholdGroup } from '../../../runtime/adapt/thresholds.js';
import { graphFromOnnx } from '../../../runtime/graph/import.js';
import { fromNumbers, toNumbers } from '../../../runtime/graph/tensor-value.js';
import { parseModel } from '../../../runtime/onnx/parse.js';
import { modelBytes, node, randomTensor } from '../support/models.js';
import { nativeMissing } from '../support/native.js';
import { feeds, float, outputsOf, quantized } from './fixture.js';

describe.skipIf(nativeMissing !== undefined)(`thresholds of a model${nativeMissing === undefined ? '' : ` (${nativeMissing})`}`, () => {
  let model: Uint8Array;
  let read: QuantizedModel;
  let movable: ThresholdGroup[];
  beforeAll(async () => {
    model = await quantized();
    read = readQuantized(model);
    movable = read.groups.filter(({ fixed }) => fixed === null);
  });

  it('are one group where a concatenation or a pool hands numbers on', () => {
    const group = read.groups.find(({ values }) => values.some((value) => value.startsWith('joined')));
    expect(group?.values.map((value) => value.replace(/_float$/, '')).sort()).toEqual(expect.arrayContaining(['a1', 'a2', 'joined']));
    expect(movable.length).toBeGreaterThanOrEqual(3);
  });

  it('have no zero-point to move behind a Relu, and one at the input', () => {
    const shifts = (name: string): boolean | undefined => read.groups.find(({ values }) => values.some((value) => value.replace(/_float$/, '') === name))?.shifts;
    expect(shifts('a1')).toBe(false);
    expect(shifts('x')).toBe(true);
  });

  it('with the factor 1 leave the bytes as they are, and the graph as it is', () => {
    const still = movable.map(({ value }) => ({ value, factor: 1, shift: 0 }));
    expect(applyThresholds(model, still)).toBe(model);
    expect(bytesOf(moveThresholds(read, still))).toEqual(bytesOf(read.graph));
  });

  it('move anywhere within their bounds, and nothing else moves', () => {
    fc.assert(fc.property(fc.array(fc.tuple(fc.double({ min: bounds.factor[0], max: bounds.factor[1], noNaN: true }), fc.integer({ min: -bounds.codes, max: bounds.codes })), { minLength: movable.length, maxLength: movable.length }), (moved) => {
      const thresholds = movable.map((group, i): Threshold => {
        const [factor = 1, shift = 0] = moved[i] ?? [];
        return { value: group.value, factor, shift: group.shifts ? Math.min(Math.max(shift, group.lowest - group.zeroPoint), group.lowest + 255 - group.zeroPoint) : 0 };
      });
      const after = moveThresholds(read, thresholds);
      expect(after.nodes).toBe(read.graph.nodes);
      const own = new Set(movable.flatMap(({ scales, zeroPoints }) => [...scales, ...zeroPoints]));
      for (const [name, value] of read.graph.constants) {
        const now = after.constants.get(name);
        if (own.has(name)) continue;
        if (value.dtype === 'int8' || value.dtype === 'uint8') expect(now).toBe(value); // weights
      }
      for (const [i, { scales, scale, zeroPoints, zeroPoint }] of movable.entries()) {
        for (const name of scales) expect(toNumbers(after.constants.get(name) ?? fromNumbers('float32', [], [0]))[0]).toBe(Math.fround(scale * (thresholds[i]?.factor ?? 1)));
        for (const name of zeroPoints) expect(toNumbers(after.constants.get(name) ?? fromNumbers('float32', [], [0]))[0]).toBe(zeroPoint + (thresholds[i]?.shift ?? 0));
      }
    }), { numRuns: 50 });
  });

  it('give numbers close to those before when they move a little: biases keep their values', async () => {
    const thresholds = movable.map(({ value }) => ({ value, factor: 1.25, shift: 0 }));
    const samples = feeds(4, 0.25, 700);
    const [before, after] = [await outputsOf(model, samples), await outputsOf(applyThresholds(model, thresholds), samples)];
    const range = Math.max(...before.flat()) - Math.min(...before.flat());
    before.forEach((row, i) => row.forEach((value, j) => expect(Math.abs(value - (after[i]?.[j] ?? NaN))).toBeLessThan(0.1 * range)));
    expect(after).not.toEqual(before);
  });

  it.each([
    ['a factor beyond the bounds', { factor: 2.01, shift: 0 }], ['a factor below them', { factor: 0.49, shift: 0 }], ['a factor that is no number', { factor: NaN, shift: 0 }],
    ['a zero-point that moves too far', { factor: 1, shift: bounds.codes + 1 }], ['half a code', { factor: 1, shift: 0.5 }],
  ])('refuse %s', (_what, moved) => {
    const value = movable.find(({ shifts }) => shifts)?.value ?? '';
    expect(() => applyThresholds(model, [{ value, ...moved }])).toThrow(expect.objectContaining({ code: 'E_ADAPT' }));
  });

  it('refuse names that the model does not have, one that is stated twice, and a zero-point that stays', () => {
    const value = movable.find(({ shifts }) => !shifts)?.value ?? '';
    for (const thresholds of [[{ value: 'nobody', factor: 1, shift: 0 }], [{ value, factor: 1, shift: 0 }, { value, factor: 1, shift: 0 }], [{ value, factor: 1, shift: 1 }]]) {
      expect(() => applyThresholds(model, thresholds)).toThrow(expect.objectContaining({ code: 'E_ADAPT' }));
    }
  });

  it('are none in a float model', () => {
    expect(() => readQuantized(float)).toThrow(expect.objectContaining({ code: 'E_ADAPT' }));
  });

  it('are absent from the judge, whose outputs are those of the weights alone', async () => {
    const judge = floatActivations(read);
    expect(judge.nodes.filter(({ op }) => op === 'QuantizeLinear')).toEqual([]);
    const samples = feeds(4, 1, 40);
    const [wanted, own] = [await outputsOf(float, samples), await outputsOf(bytesOf(judge), samples)];
    const range = Math.max(...wanted.flat()) - Math.min(...wanted.flat());
    wanted.forEach((row, i) => row.forEach((value, j) => expect(Math.abs(value - (own[i]?.[j] ?? NaN))).toBeLessThan(0.03 * range)));
  });
});

describe('a model whose quantization may be its activation', () => {
  const bytes = modelBytes({
    opset: 13, inputs: { x: [1, 4] },
    constants: { w: randomTensor([4, 4], 1), s: fromNumbers('float32', [], [0.02]), z: fromNumbers('uint8', [], [0]), sx: fromNumbers('float32', [], [0.01]), zx: fromNumbers('uint8', [], [128]) },
    nodes: [
      node('QuantizeLinear', ['x', 'sx', 'zx'], ['qx']), node('DequantizeLinear', ['qx', 'sx', 'zx'], ['dx']), node('MatMul', ['dx', 'w'], ['h']),
      node('QuantizeLinear', ['h', 's', 'z'], ['qh']), node('DequantizeLinear', ['qh', 's', 'z'], ['y']),
    ],
    outputs: ['y'],
  });

  it('keeps that threshold, and its judge the rounding there', () => {
    const read = readQuantized(bytes);
    expect(read.groups.map(({ value, fixed }) => [value, fixed])).toEqual([['x', null], ['h', expect.stringContaining('may be an activation')]]);
    expect(floatActivations(read).nodes.map(({ op }) => op)).toEqual(['MatMul', 'QuantizeLinear', 'DequantizeLinear']);
    expect(() => applyThresholds(bytes, [{ value: 'h', factor: 1.5, shift: 0 }])).toThrow(/may be an activation/);
  });

  it('is written with the names that it had', () => {
    const after = graphFromOnnx(parseModel(applyThresholds(bytes, [{ value: 'x', factor: 2, shift: -3 }])));
    expect([toNumbers(after.constants.get('sx') ?? fromNumbers('float32', [], [0]))[0], toNumbers(after.constants.get('zx') ?? fromNumbers('float32', [], [0]))[0]]).toEqual([Math.fround(Math.fround(0.01) * 2), 125]);
  });
});
