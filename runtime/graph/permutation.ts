import type { Shape } from './tensor-value.js';

/** Permutations as ONNX has them: result axis i is input axis perm[i]. */
export type Permutation = readonly number[];

export const isIdentityPermutation = (perm: Permutation): boolean => perm.every((axis, i) => axis === i);

/** The permutation that undoes `perm`. */
export function inverse(perm: Permutation): number[] {
  const result = new Array<number>(perm.length).fill(0);
  perm.forEach((axis, i) => (result[axis] = i));
  return result;
}

/** First `first`, then `second`. */
export const compose = (first: Permutation, second: Permutation): number[] => second.map((axis) => first[axis] ?? 0);

/** Whether the elements keep their order in memory: only axes of size 1 change places. */
export function keepsOrder(perm: Permutation, shape: Shape): boolean {
  const moved = perm.filter((axis) => shape[axis] !== 1);
  return moved.every((axis, i) => i === 0 || axis > (moved[i - 1] ?? 0));
}

export const nchwToNhwc: Permutation = [0, 2, 3, 1];
export const nhwcToNchw: Permutation = [0, 3, 1, 2];
