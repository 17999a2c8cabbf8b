import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromNumbers, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import { viewBeforeTranspose } from '../../../runtime/graph/view-groups.js';
import { transposeValue } from '../../../runtime/ops/movement.js';

const counted = (dims: readonly number[]): TensorValue => fromNumbers('float32', dims, Array.from({ length: dims.reduce((a, b) => a * b, 1) }, (_, i) => i));
const viewed = (value: TensorValue, dims: readonly number[]): TensorValue => ({ ...value, dims });

describe('viewBeforeTranspose', () => {
  it('splits channels before they go to their place', () => {
    expect(viewBeforeTranspose([2, 5, 7, 12], [0, 3, 1, 2], [2, 3, 4, 5, 7])).toEqual({ first: [0, 1, 2, 3], view: [2, 5, 7, 3, 4], last: [0, 3, 4, 1, 2] });
  });

  it('shuffles channels where they lie: a transpose of the last axes, a view, and that of a channels-last operator', () => {
    expect(viewBeforeTranspose([2, 5, 7, 3, 4], [0, 4, 3, 1, 2], [2, 12, 5, 7])).toEqual({ first: [0, 1, 2, 4, 3], view: [2, 5, 7, 12], last: [0, 3, 1, 2] });
  });

  it('joins the axes of pictures', () => {
    expect(viewBeforeTranspose([2, 5, 7, 12], [0, 3, 1, 2], [2, 12, 35])).toEqual({ first: [0, 1, 2, 3], view: [2, 35, 12], last: [0, 2, 1] });
  });

  it('leaves what would only move a transpose, and what holds nothing', () => {
    expect(viewBeforeTranspose([2, 5, 7, 12], [0, 3, 1, 2], [2, 12 * 35])).toBeUndefined(); // flattened channels first
    expect(viewBeforeTranspose([1, 8, 30], [0, 2, 1], [1, 1, 30, 8])).toBeUndefined(); // before a convolution over one axis
    expect(viewBeforeTranspose([2, 0, 7, 12], [0, 3, 1, 2], [2, 12, 0])).toBeUndefined();
    expect(viewBeforeTranspose([], [], [1])).toBeUndefined();
  });

  it('is the same as the transpose and the view', () => {
    const shapes = fc.array(fc.constantFrom(1, 2, 3, 4, 6), { minLength: 1, maxLength: 5 });
    fc.assert(fc.property(shapes, fc.infiniteStream(fc.nat(99)), fc.array(fc.nat(4), { maxLength: 3 }), (dims, order, joins) => {
      const perm = dims.map((_, axis) => ({ axis, key: order.next().value ?? 0 })).sort((a, b) => a.key - b.key).map(({ axis }) => axis);
      const wanted = transposeValue(counted(dims), perm);
      const shape = [...wanted.dims];
      for (const at of joins) if (at + 1 < shape.length) shape.splice(at, 2, (shape[at] ?? 1) * (shape[at + 1] ?? 1));
      const split = shape.flatMap((size) => (size === 6 ? [2, 3] : size === 4 ? [1, 4] : [size]));
      const found = viewBeforeTranspose(dims, perm, split);
      if (found === undefined) return;
      expect(transposeValue(viewed(transposeValue(counted(dims), found.first), found.view), found.last)).toEqual(viewed(wanted, split));
    }), { numRuns: 300 });
  });
});
