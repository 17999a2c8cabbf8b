import { int, intAttribute, ints, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { operand, optionalOutput, outputOf } from '../../graph/operands.js';
import { elementCount, toNumbers } from '../../graph/tensor-value.js';
import { maximumRank } from '../../lower/program-format.js';
import { padAttributes, sliceAttributes, viewAttributes } from '../../ops/core.js';
import { filled } from '../../ops/exact.js';
import { paddingOf, padValue, padValueAttribute, permutationOf, sliceRange, splitSizes, type Padding } from '../../ops/movement.js';
import { normalizeAxis } from '../../ops/op.js';
import type { Rewriter } from '../rewriter.js';
import { constantInts, type Canonical } from './types.js';

const first = (node: Node): string => operand(node, 0);
const shapeOf = (editor: Rewriter, value: string): readonly number[] => editor.type(value).shape;

/** Every operator whose result is its first input under another shape. */
const view: Canonical = (editor, node) => {
  editor.substitute(node, { op: 'View', inputs: [first(node)], attributes: viewAttributes(shapeOf(editor, outputOf(node))) });
};

const transpose: Canonical = (editor, node) => {
  const perm = permutationOf(node, shapeOf(editor, first(node)).length);
  editor.substitute(node, { op: 'Transpose', inputs: [first(node)], attributes: { perm: ints(perm) } });
};

const slice: Canonical = (editor, node) => {
  const range = sliceRange(node, shapeOf(editor, first(node)), (index, what) => constantInts(editor, node, index, what));
  editor.substitute(node, { op: 'StridedSlice', inputs: [first(node)], attributes: sliceAttributes(range) });
};

const split: Canonical = (editor, node) => {
  const shape = shapeOf(editor, first(node));
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length);
  const sizes = splitSizes(node, shape[axis] ?? 0, constantInts(editor, node, 1, 'split'));
  editor.remove(node);
  let start = 0;
  sizes.forEach((size, i) => {
    const range = {
      starts: shape.map((_, a) => (a === axis ? start : 0)),
      steps: shape.map(() => 1),
      extent: shape.map((dim, a) => (a === axis ? size : dim)),
    };
    start += size;
    const output = optionalOutput(node, i);
    if (output !== undefined) editor.emitTo(output, { name: `${node.name}.${i}`, op: 'StridedSlice', inputs: [first(node)], attributes: sliceAttributes(range) });
  });
};

/** Whole numbers up to this are floats, as which programs state what they pad with. */
const exactFloats = 2 ** 24;

/** Pads with 0, and puts the number in its place. */
function padWithLarge(editor: Rewriter, node: Node, padding: Padding, fill: number | bigint): void {
  const { dtype, shape } = editor.type(first(node));
  const inside = padValue({ dtype: 'bool', dims: shape, data: new Uint8Array(elementCount(shape)).fill(1) }, padding, 0);
  const padded = editor.emit({ name: node.name, op: 'PadNd', inputs: [first(node)], attributes: padAttributes(padding, 0) });
  const value = editor.addConstant(`${node.name}.fill`, { dtype, dims: [], data: filled(dtype, 1, fill) });
  editor.substitute(node, { op: 'Where', inputs: [editor.addConstant(`${node.name}.inside`, inside), padded, value] });
}

const pad: Canonical = (editor, node) => {
  const padding = paddingOf(node, shapeOf(editor, first(node)).length, (index, what) => constantInts(editor, node, index, what));
  if ([...padding.before, ...padding.after].some((n) => n < 0)) throw unsupported(node, 'negative padding', 'pads');
  const fill = editor.constant(node.inputs[2])?.data[0] ?? padValueAttribute(node);
  if (Math.abs(Number(fill)) > exactFloats && editor.type(first(node)).dtype !== 'float32') {
    padWithLarge(editor, node, padding, fill);
    return;
  }
  editor.substitute(node, { op: 'PadNd', inputs: [first(node)], attributes: padAttributes(padding, Number(fill)) });
};

const expand: Canonical = (editor, node) => {
  const shape = shapeOf(editor, outputOf(node));
  const rank = shapeOf(editor, first(node)).length;
  const full = shape.map((_, i) => (i < shape.length - rank ? 1 : (shapeOf(editor, first(node))[i - shape.length + rank] ?? 1)));
  const raised = rank === shape.length ? first(node) : editor.emit({ name: node.name, op: 'View', inputs: [first(node)], attributes: viewAttributes(full) });
  editor.substitute(node, { op: 'BroadcastTo', inputs: [raised], attributes: { shape: ints(shape) } });
};

/** Each repeated axis as the middle of three. */
function tileAxes(editor: Rewriter, node: Node, shape: readonly number[], output: readonly number[]): void {
  const dims = [...shape];
  const tiled = shape.reduce((value, dim, axis) => {
    const repeats = (output[axis] ?? 1) / dim;
    if (repeats === 1) return value;
    const [outer, inner] = [elementCount(dims.slice(0, axis)), elementCount(dims.slice(axis))];
    dims[axis] = output[axis] ?? 1;
    const apart = editor.emit({ name: node.name, op: 'View', inputs: [value], attributes: viewAttributes([outer, 1, inner]) });
    return editor.emit({ name: node.name, op: 'BroadcastTo', inputs: [apart], attributes: { shape: ints([outer, repeats, inner]) } });
  }, first(node));
  editor.substitute(node, { op: 'View', inputs: [tiled], attributes: viewAttributes(output) });
}

/** Repetition of an axis of size d: [.., 1, d, ..] broadcast to [.., r, d, ..]. Axis by axis where that is beyond the rank of a program. */
const tile: Canonical = (editor, node) => {
  const shape = shapeOf(editor, first(node));
  const output = shapeOf(editor, outputOf(node));
  if (shape.length + output.filter((dim, i) => dim !== shape[i]).length > maximumRank) {
    tileAxes(editor, node, shape, output);
    return;
  }
  const repeats = output.map((dim, i) => dim / (shape[i] ?? 1));
  const split = shape.flatMap((dim, i) => (repeats[i] === 1 ? [dim] : [1, dim]));
  const target = shape.flatMap((dim, i) => (repeats[i] === 1 ? [dim] : [repeats[i] ?? 1, dim]));
  const apart = editor.emit({ name: node.name, op: 'View', inputs: [first(node)], attributes: viewAttributes(split) });
  const repeated = editor.emit({ name: node.name, op: 'BroadcastTo', inputs: [apart], attributes: { shape: ints(target) } });
  editor.substitute(node, { op: 'View', inputs: [repeated], attributes: viewAttributes(output) });
};

/** Indices become whole, non-negative int32 where they are constant, as the engine reads them. */
const gather: Canonical = (editor, node) => {
  const shape = shapeOf(editor, first(node));
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shape.length);
  const indices = editor.constant(node.inputs[1]);
  if (indices === undefined) {
    editor.replace(node, { attributes: { axis: int(axis) } });
    return;
  }
  const size = shape[axis] ?? 0;
  const whole = Int32Array.from(toNumbers(indices), (index) => (index < 0 ? index + size : index));
  const name = editor.addConstant(`${node.name}.indices`, { dtype: 'int32', dims: indices.dims, data: whole });
  editor.substitute(node, { op: 'Gather', inputs: [first(node), name], attributes: { axis: int(axis) } });
};

const concat: Canonical = (editor, node) => {
  const axis = normalizeAxis(node, intAttribute(node, 'axis', 0), shapeOf(editor, first(node)).length);
  editor.replace(node, { attributes: { axis: int(axis) } });
};

export const canonicalMovement: Readonly<Record<string, Canonical>> = {
  Reshape: view, Flatten: view, Squeeze: view, Unsqueeze: view, Identity: view,
  Transpose: transpose, Slice: slice, Split: split, Pad: pad, Expand: expand, Tile: tile, Gather: gather, Concat: concat,
};
