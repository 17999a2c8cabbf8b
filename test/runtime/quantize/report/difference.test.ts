import { describe, expect, it } from 'vitest';
import { OutputComparison } from '../../../../runtime/quantize/report/difference.js';
import type { Tensor } from '../../../../runtime/tensor.js';

const tensor = (...values: number[]): Tensor => ({ type: 'float32', dims: [values.length], data: Float32Array.from(values) });
const compared = (step: number | undefined, actual: number[], expected: number[]) => {
  const comparison = new OutputComparison('y', step);
  comparison.add(tensor(...actual), tensor(...expected));
  return comparison.result();
};

describe('OutputComparison', () => {
  it('counts in steps of the output', () => {
    expect(compared(0.1, [0, 0.1, 0.3, 0.4], [0, 0.2, 0.3, 0.2])).toMatchObject({ max_steps: 2, share_within_1_step: 0.75 });
  });

  it('forgives what float32 does to a step, not half a step', () => {
    expect(compared(0.1, [0.3], [Math.fround(0.2) - 1e-7])).toMatchObject({ max_steps: 1, share_within_1_step: 1 });
    expect(compared(0.1, [0.15], [0])).toMatchObject({ max_steps: expect.closeTo(1.5, 4) as number, share_within_1_step: 0 });
  });

  it('has no steps where the output has none', () => {
    expect(compared(undefined, [1, 2], [1, 2.5])).toEqual({ name: 'y', max_abs: 0.5, max_steps: null, share_within_1_step: null, cosine: expect.closeTo(0.99655, 4) as number, range: 1.5, top1_agreement: null });
  });

  it('tells how often a classifier gives the same answer', () => {
    const comparison = new OutputComparison('y', undefined);
    const row = (...values: number[]): Tensor => ({ ...tensor(...values), dims: [1, values.length] });
    comparison.add(row(1, 3, 2), row(0, 9, 8));
    comparison.add(row(1, 3, 2), row(0, 8, 9));
    expect(comparison.result().top1_agreement).toBe(0.5);
  });

  it('accumulates over cases', () => {
    const comparison = new OutputComparison('y', 1);
    comparison.add(tensor(0, 0), tensor(0, 1));
    comparison.add(tensor(0, 5), tensor(0, 2));
    expect(comparison.result()).toMatchObject({ max_abs: 3, max_steps: 3, share_within_1_step: 0.75, range: 2 });
  });

  it('takes NaN on one side for the largest difference there is', () => {
    expect(compared(undefined, [NaN, 1], [0, 1]).max_abs).toBe(Infinity);
    expect(compared(undefined, [NaN], [NaN]).max_abs).toBe(0);
  });

  it('refuses outputs of different size', () => {
    expect(() => compared(1, [1], [1, 2])).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE' }));
    expect(() => new OutputComparison('y', 1).add(undefined, tensor(1))).toThrow(expect.objectContaining({ code: 'E_MODEL_SHAPE' }));
  });
});
