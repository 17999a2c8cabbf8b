import { isIdentityPermutation, type Permutation } from './permutation.js';
import type { Shape } from './tensor-value.js';

/** Axes before a view, and the axes after it that hold the same elements. */
interface ViewGroup {
  readonly before: number[];
  readonly after: number[];
}

/** The smallest groups of neighbouring axes between two shapes of as many elements; undefined where there are none. */
function viewGroups(before: Shape, after: Shape): ViewGroup[] | undefined {
  if (before.length === 0 || after.length === 0 || [...before, ...after].includes(0)) return undefined;
  const groups: ViewGroup[] = [];
  let [i, j] = [0, 0];
  while (i < before.length && j < after.length) {
    const group: ViewGroup = { before: [i], after: [j] };
    let [from, to] = [before[i++] ?? 1, after[j++] ?? 1];
    while (from !== to) {
      if (from < to) {
        group.before.push(i);
        from *= before[i++] ?? 1;
      } else {
        group.after.push(j);
        to *= after[j++] ?? 1;
      }
    }
    groups.push(group);
  }
  // What is left are axes of one element.
  while (i < before.length) groups.at(-1)?.before.push(i++);
  while (j < after.length) groups.at(-1)?.after.push(j++);
  return groups;
}

/** What is the same as a transpose and a view after it: a transpose `first`, a view of shape `view`, and a transpose `last`. */
export interface ViewBeforeTranspose {
  readonly first: Permutation;
  readonly view: Shape;
  readonly last: Permutation;
}

/** Whether a transpose takes the last axis to the place of channels, as behind a channels-last operator. */
const fromChannelsLast = (perm: Permutation): boolean => perm.length > 2 && perm.every((from, axis) => from === (axis === 0 ? 0 : axis === 1 ? perm.length - 1 : axis - 1));

/** Whether a transpose takes the channels of more than one axis of pixels to the end, as before a channels-last operator. */
const toChannelsLast = (perm: Permutation): boolean => perm.length > 3 && perm.every((from, axis) => from === (axis === 0 ? 0 : axis === perm.length - 1 ? 1 : axis + 1));

/**
 * The view of `Transpose(perm)` of a tensor of shape `source`, with the view first. Axes that the view joins must lie side by side before: where they
 * do not, as in a shuffle of channels, a transpose within them comes first, which only pays where the last one then is that
 * of a channels-last operator, for those meet and cancel. One that leads into a channels-last operator stays next to what it may cancel with.
 * @returns undefined: there is no such form, or it does not pay
 */
export function viewBeforeTranspose(source: Shape, perm: Permutation, viewed: Shape): ViewBeforeTranspose | undefined {
  const groups = viewGroups(perm.map((axis) => source[axis] ?? 1), viewed)?.map(({ before, after }) => ({ from: before.map((axis) => perm[axis] ?? 0), after }));
  if (groups === undefined) return undefined;
  const ordered = [...groups].sort((a, b) => Math.min(...a.from) - Math.min(...b.from));
  const first = ordered.flatMap(({ from }) => from);
  const order = ordered.flatMap(({ after }) => after);
  const last = viewed.map((_, axis) => order.indexOf(axis));
  if (toChannelsLast(last) || (!isIdentityPermutation(first) && !fromChannelsLast(last))) return undefined;
  return { first, view: order.map((axis) => viewed[axis] ?? 1), last };
}
