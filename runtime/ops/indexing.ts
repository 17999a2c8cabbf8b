import { elementCount, stridesOf, type Shape } from '../graph/tensor-value.js';

/**
 * Offsets into a tensor, one for each element of `extent` in row-major order: sum of index[i] * step[i], from `start`.
 * Broadcasting is a step of 0, a transpose permuted steps, a slice a start and larger steps.
 */
export function stridedOffsets(extent: Shape, steps: readonly number[], start = 0): Int32Array {
  const count = elementCount(extent);
  const offsets = new Int32Array(count);
  const index = new Array<number>(extent.length).fill(0);
  const inner = extent.at(-1) ?? 1;
  const step = steps.at(-1) ?? 0;
  let offset = start;
  for (let row = 0; row < count; row += inner) {
    for (let i = 0; i < inner; i++) offsets[row + i] = offset + i * step;
    for (let axis = extent.length - 2; axis >= 0; axis--) {
      const next = (index[axis] ?? 0) + 1;
      offset += steps[axis] ?? 0;
      if (next < (extent[axis] ?? 1)) {
        index[axis] = next;
        break;
      }
      offset -= next * (steps[axis] ?? 0);
      index[axis] = 0;
    }
  }
  return offsets;
}

/** Offsets that read a tensor of `shape` as if it had been broadcast to `to`. */
export function broadcastOffsets(shape: Shape, to: Shape): Int32Array {
  const strides = stridesOf(shape);
  const lead = to.length - shape.length;
  return stridedOffsets(to, to.map((_, i) => (i < lead || shape[i - lead] === 1 ? 0 : (strides[i - lead] ?? 0))));
}
