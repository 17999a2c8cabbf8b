import { intAttribute, requiredInt, stringAttribute, type Attribute } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { absent } from '../../graph/operands.js';
import { elementCount, int64s, type Shape } from '../../graph/tensor-value.js';
import { paddingOf, permutationOf, sliceRange } from '../../ops/movement.js';
import { normalizeAxis } from '../../ops/op.js';
import { resamplingOf } from '../../ops/resample.js';
import { cumSumOf } from '../../ops/selection.js';
import { composed, flat, noGradient, rules, type Calculus, type GradientTable, type Rule, type Step } from '../rule.js';

/** Operands that are known when the graph is differentiated. */
const ints = ({ m, node }: Step | { m: Calculus; node: Node }) => (index: number): number[] | undefined => {
  const value = m.b.known(node.inputs[index]);
  return value === undefined ? undefined : Array.from(value.data, Number);
};

const same: Rule = (step) => [() => step.dy];
const reshaped: Rule = (step) => [() => step.m.reshape(step.dy, step.shape())];
const summed: Rule = (step) => [() => step.m.unbroadcast(step.dy, step.shape())];

const cast: Rule = (step) => (step.m.dtype(step.x()) === 'float32' && step.m.dtype(step.y()) === 'float32' ? [() => step.dy] : []);

const transpose: Rule = (step) => {
  const perm = permutationOf(step.node, step.shape().length);
  return [() => step.m.transpose(step.dy, perm.map((_, axis) => perm.indexOf(axis)))];
};

const concat: Rule = (step) => {
  const { m, node, dy } = step;
  const axis = normalizeAxis(node, requiredInt(node, 'axis'), m.shape(dy).length);
  let start = 0;
  return node.inputs.map((input) => {
    const from = start;
    start += m.shape(input)[axis] ?? 0;
    return () => m.slice(dy, axis, from, from + (m.shape(input)[axis] ?? 0));
  });
};

/** Parts that the loss does not depend on count as zeros. */
const split: Rule = (step) => {
  const { m, node, gradients } = step;
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), step.shape().length);
  return [() => m.concat(node.outputs.map((output, i) => gradients[i] ?? m.filled(m.shape(output))), axis)];
};

/** Elements `step` apart along an axis, zeros between them. */
function apart(m: Calculus, x: string, axis: number, step: number): string {
  if (step === 1) return x;
  const shape = m.shape(x);
  const raised = m.reshape(x, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
  const zeros = m.filled([...shape.slice(0, axis + 1), step - 1, ...shape.slice(axis + 1)]);
  const wide = m.reshape(m.concat([raised, zeros], axis + 1), shape.map((dim, i) => (i === axis ? dim * step : dim)));
  return m.slice(wide, axis, 0, ((shape[axis] ?? 1) - 1) * step + 1);
}

const slice: Rule = (step) => {
  const { m, node, dy } = step;
  const { starts, steps, extent } = sliceRange(node, step.shape(), ints(step));
  return [() => {
    if (elementCount(extent) === 0) return m.filled(step.shape());
    let placed = dy;
    const [before, after]: [number[], number[]] = [[], []];
    step.shape().forEach((size, axis) => {
      const [start, stride, count] = [starts[axis] ?? 0, steps[axis] ?? 1, extent[axis] ?? size];
      if (stride < 0 && count > 1) placed = m.slice(placed, axis, -1, -count - 1, -1);
      placed = apart(m, placed, axis, Math.abs(stride));
      const first = stride < 0 ? start + (count - 1) * stride : start;
      before.push(first);
      after.push(size - first - ((count - 1) * Math.abs(stride) + 1));
    });
    return m.pad(placed, before, after);
  }];
};

const tile: Rule = (step) => {
  const { m, dy } = step;
  const shape = step.shape();
  const repeats = shape.map((dim, i) => (m.shape(dy)[i] ?? dim) / Math.max(1, dim));
  return [() => m.reshape(m.reduce('ReduceSum', m.reshape(dy, shape.flatMap((dim, i) => [repeats[i] ?? 1, dim])), shape.map((_, i) => 2 * i), false), shape)];
};

/** Pads of constants are cut off. Negative ones cut the operand, whose missing elements get zeros. */
const pad: Rule = (step) => {
  const { m, node, dy } = step;
  const { before, after } = paddingOf(node, step.shape().length, ints(step));
  return [() => {
    const cut = m.shape(dy).reduce((so, size, axis) => {
      const [start, end] = [Math.max(0, before[axis] ?? 0), size - Math.max(0, after[axis] ?? 0)];
      return start === 0 && end === size ? so : m.slice(so, axis, start, end);
    }, dy);
    return m.pad(cut, before.map((n) => Math.max(0, -n)), after.map((n) => Math.max(0, -n)));
  }];
};

/** Pads that repeat elements are gathers along each axis. */
function repeatedPad(m: Calculus, node: Node): readonly string[] {
  const x = node.inputs[0] ?? '';
  const shape = m.shape(x);
  const { mode, before, after } = paddingOf(node, shape.length, ints({ m, node }));
  return [shape.reduce((so, size, axis) => {
    const [low, high] = [before[axis] ?? 0, after[axis] ?? 0];
    if (low === 0 && high === 0) return so;
    const places = Array.from({ length: size + low + high }, (_, i) => {
      const at = i - low;
      if (mode === 'edge') return Math.min(Math.max(at, 0), size - 1);
      return at < 0 ? -at : at >= size ? 2 * (size - 1) - at : at;
    });
    return m.gather(so, m.ints(...places), axis);
  }, x)];
}

/** Rows that were read are added up where they came from. */
const gather: Rule = (step) => {
  const { m, node, dy } = step;
  const shape = step.shape();
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length);
  const indices = step.shape(1);
  const [outer, size, inner] = [elementCount(shape.slice(0, axis)), shape[axis] ?? 1, elementCount(shape.slice(axis + 1))];
  return [() => {
    const count = elementCount(indices);
    const rows = m.reshape(m.transpose(m.reshape(dy, [outer, count, inner]), [1, 0, 2]), [count, outer * inner]);
    const sums = m.scatterRows(m.filled([size, outer * inner]), m.reshape(step.x(1), [count, 1]), rows);
    return m.reshape(m.transpose(m.reshape(sums, [size, outer, inner]), [1, 0, 2]), shape);
  }];
};

const gatherElements: Rule = (step) => [() => step.m.scatterAdd(step.m.filled(step.shape()), step.x(1), step.dy, intAttribute(step.node, 'axis', 0))];

const gatherNd: Rule = (step) => {
  const { m, node, dy } = step;
  if (intAttribute(node, 'batch_dims', 0) !== 0) throw noGradient(node, 'there is a gradient for batch_dims 0 only');
  return [() => m.scatterRows(m.filled(step.shape()), step.x(1), dy)];
};

const topK: Rule = (step) => [() => step.m.scatterAdd(step.m.filled(step.shape()), step.y(1), step.dy, normalizeAxis(step.node, intAttribute(step.node, 'axis', -1), step.shape().length))];

const cumSum: Rule = (step) => {
  const { m, node } = step;
  const { axis, exclusive, reverse } = cumSumOf(node, step.shape().length, ints(step)(1));
  const flag = (value: boolean): Attribute => ({ type: 'int', value: value ? 1 : 0 });
  return [() => m.b.emit('CumSum', [step.dy, m.b.constant({ ...int64s([axis]), dims: [] })], { exclusive: flag(exclusive), reverse: flag(!reverse) })];
};

/** [N, C * b * b, H, W] <-> [N, C, H * b, W * b] as reshapes and a transposition. */
function depthToSpace(m: Calculus, node: Node): readonly string[] {
  const x = node.inputs[0] ?? '';
  const [n = 1, channels = 1, h = 1, w = 1] = m.shape(x);
  const b = requiredInt(node, 'blocksize');
  const c = channels / (b * b);
  const crd = stringAttribute(node, 'mode', 'DCR') === 'CRD';
  const split6 = m.reshape(x, crd ? [n, c, b, b, h, w] : [n, b, b, c, h, w]);
  return [m.reshape(m.transpose(split6, crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]), [n, c, h * b, w * b])];
}
function spaceToDepth(m: Calculus, node: Node): readonly string[] {
  const x = node.inputs[0] ?? '';
  const [n = 1, c = 1, h = 1, w = 1] = m.shape(x);
  const b = requiredInt(node, 'blocksize');
  return [m.reshape(m.transpose(m.reshape(x, [n, c, h / b, b, w / b, b]), [0, 3, 5, 1, 2, 4]), [n, c * b * b, h / b, w / b])];
}

/** A Resize is a product with one matrix an axis; the gradient is the product with its transpose. */
const resize: Rule = (step) => {
  const { m, node } = step;
  const shape = step.shape();
  const { tables } = resamplingOf(node, m.b.opset, shape, (i) => m.b.known(node.inputs[i]));
  return [() => tables.reduceRight((dy, { axis, size, taps, indices, weights }) => {
    const length = shape[axis] ?? 1;
    const matrix = new Float64Array(length * size);
    for (let i = 0; i < size * taps; i++) {
      const place = (indices[i] ?? 0) * size + Math.floor(i / taps);
      matrix[place] = (matrix[place] ?? 0) + (weights[i] ?? 0);
    }
    return alongAxis(m, dy, axis, (rows) => m.op('MatMul', m.tensor('float32', [length, size], matrix), rows));
  }, step.dy)];
};

/** Applies a product from the left to one axis: the value as [outer, axis, inner]. */
function alongAxis(m: Calculus, x: string, axis: number, product: (rows: string) => string): string {
  const shape = m.shape(x);
  const made = product(m.reshape(x, [elementCount(shape.slice(0, axis)), shape[axis] ?? 1, elementCount(shape.slice(axis + 1))]));
  const size = m.shape(made)[1] ?? 1;
  return m.reshape(made, shape.map((dim, i) => (i === axis ? size : dim)) satisfies Shape);
}

export const padGradient = (node: Node): GradientTable[string] => (stringAttribute(node, 'mode', 'constant') === 'constant' ? { rule: pad } : { compose: repeatedPad });

const allValues: GradientTable[string] = {
  rule: topK,
  // The indices are needed even where the model drops them.
  augment: (b, node) => ({ output: 1, type: { dtype: 'int64', shape: b.type(node.outputs[0] ?? absent).shape } }),
};

export const movementGradients: GradientTable = {
  ...rules({
    Identity: same, Dropout: same, Cast: cast, Reshape: reshaped, Flatten: reshaped, Squeeze: reshaped, Unsqueeze: reshaped, Expand: summed, Transpose: transpose,
    Concat: concat, Split: split, Slice: slice, Tile: tile, Gather: gather, GatherElements: gatherElements, GatherND: gatherNd, CumSum: cumSum, Resize: resize, Upsample: resize,
  }),
  TopK: allValues,
  ...composed({ DepthToSpace: depthToSpace, SpaceToDepth: spaceToDepth }),
  ...flat('Shape', 'Size'),
};
