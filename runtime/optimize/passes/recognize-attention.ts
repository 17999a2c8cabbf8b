import { requiredInt } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { compose, inverse, type Permutation } from '../../graph/permutation.js';
import { sameShape } from '../../graph/tensor-value.js';
import { coreSoftmaxMode, viewAttributes } from '../../ops/core.js';
import { attentionAttributes, attentionOrders, attentionScale } from '../../ops/rows.js';
import { maximumRank } from '../../lower/program-format.js';
import { transpose } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import { operandsBy, scaledBy } from '../operands.js';
import { Rewriter } from '../rewriter.js';

interface Scores {
  readonly product: Node;
  readonly scale: number;
  readonly masks: readonly string[];
}

/** From what softmax reads back to the product of queries and keys, through masks and then a factor; nobody else may read what is between. */
function scoresOf(editor: Rewriter, value: string, scale = 1, masks: readonly string[] = []): Scores | undefined {
  const node = editor.producer(value);
  if (node === undefined || editor.soleConsumer(value) === undefined) return undefined;
  if (node.op === 'MatMul') return { product: node, scale, masks };
  const scaled = scaledBy(editor, node);
  if (scaled !== undefined) return scoresOf(editor, scaled.x, scale * scaled.factor, masks);
  if (node.op !== 'Add' || scale !== 1) return undefined;
  const { shape } = editor.type(value);
  const isScores = (input: string): boolean => sameShape(editor.type(input).shape, shape) && ['MatMul', 'Mul', 'Div', 'Unary', 'Add'].includes(editor.producer(input)?.op ?? '');
  const [scores, mask] = operandsBy(node, isScores) ?? [];
  return scores === undefined || mask === undefined ? undefined : scoresOf(editor, scores, 1, [...masks, mask]);
}

/** A value and the order of its axes, before the transpose that makes it. */
interface Source {
  readonly value: string;
  readonly order: Permutation;
}

function sourceOf(editor: Rewriter, value: string, order: Permutation): Source {
  const node = editor.producer(value);
  if (node?.op !== 'Transpose') return { value, order };
  const { x, perm } = transpose(node);
  return { value: x, order: compose(perm, order) };
}

const lastStays = ({ order }: Source): boolean => order.at(-1) === order.length - 1;
const shapeOf = (editor: Rewriter, { value, order }: Source): number[] => order.map((axis) => editor.type(value).shape[axis] ?? 1);

/** The operands before heads and pictures were joined to one axis, where all of them were: [B, H, L, D] instead of [B * H, L, D]. */
function lifted(editor: Rewriter, values: readonly string[]): readonly Source[] {
  const wider = values.map((value): Source | undefined => {
    const { value: from, order } = sourceOf(editor, value, [0, 1, 2]);
    const node = editor.producer(from);
    const [batch] = order;
    if (node?.op !== 'View' || batch !== 0) return undefined;
    const { shape } = editor.type(operand(node, 0));
    const joins = shape.length === 4 && sameShape(shape.slice(2), editor.type(from).shape.slice(1));
    return joins ? { value: operand(node, 0), order: [0, ...order.map((axis) => axis + 1)] } : undefined;
  });
  const batches = new Set(wider.map((source) => (source === undefined ? '' : editor.type(source.value).shape.slice(0, 2).join())));
  return values.map((value, i) => (batches.size === 1 ? wider[i] : undefined) ?? { value, order: editor.type(value).shape.map((_, axis) => axis) });
}

/** The operands of an attention whose last step is `node`, when it is one that the engine has an op for. */
function fuse(editor: Rewriter, softmax: Node, node: Node): boolean {
  const found = scoresOf(editor, operand(softmax, 0));
  if (found === undefined) return explain('recognize-attention', softmax, 'what it reads is not a product, a factor and masks that nobody else reads') ?? false;
  const joined = [operand(found.product, 0), operand(found.product, 1), operand(node, 1)];
  const plain = joined.map((value) => ({ value, order: editor.type(value).shape.map((_, axis) => axis) }));
  const operands = found.masks.length === 0 && plain.every(({ order }) => order.length === 3) ? lifted(editor, joined) : plain;
  const [batch = [], ...others] = operands.map((source) => shapeOf(editor, source).slice(0, -2));
  const rank = batch.length + 2;
  if (rank < 3 || rank > maximumRank || !others.every((other) => sameShape(other, batch))) return explain('recognize-attention', softmax, 'its operands have different batches, or ranks below 3') ?? false;
  const [q, k, v] = operands.map(({ value, order }) => sourceOf(editor, value, order));
  const [query] = operands;
  if (q === undefined || k === undefined || v === undefined || query === undefined) return false;
  const queries = lastStays(q) ? q : query;
  const keys = [...k.order.slice(0, -2), ...k.order.slice(-2).reverse()];
  const [first, ...more] = found.masks;
  const mask = more.reduce((sum, next) => editor.emit({ name: softmax.name, op: 'Add', inputs: [sum, next] }), first ?? '');
  const attributes = attentionAttributes(found.scale, { q: queries.order, k: keys, v: v.order, y: v.order.map((_, axis) => axis) });
  const spec = { op: 'FusedAttention', inputs: [queries.value, k.value, v.value, mask], attributes };
  if (operands === plain) editor.substitute(node, spec);
  else editor.substitute(node, { op: 'View', inputs: [editor.emit({ name: node.name, ...spec })], attributes: viewAttributes(editor.type(outputOf(node)).shape) });
  return true;
}

/**
 * MatMul, a factor, masks, Softmax and MatMul, as models write attention, in one; transposes of its operands become a matter of how they are read.
 */
export function recognizeAttention(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const softmax of graph.nodes) {
    if (softmax.op !== 'AxisSoftmax' || !editor.has(softmax) || coreSoftmaxMode(softmax) !== 'soft') continue;
    const output = outputOf(softmax);
    const node = editor.soleConsumer(output);
    if (node?.op !== 'MatMul' || node.inputs[0] !== output || node.inputs[1] === output) continue;
    if (requiredInt(softmax, 'axis') === editor.type(output).shape.length - 1) fuse(editor, softmax, node);
  }
  return editor.finish();
}

/** Lets an attention write its result as the transpose that follows would: heads side by side. */
export function writeTransposed(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const reader = node.op === 'FusedAttention' ? editor.soleConsumer(outputOf(node)) : undefined;
    if (reader?.op !== 'Transpose') continue;
    const orders = attentionOrders(node);
    // The transpose's axis i is axis perm[i] of what is written now.
    const y = compose(inverse(transpose(reader).perm), orders.y);
    if (y.at(-1) !== y.length - 1) continue;
    editor.remove(node);
    editor.substitute(reader, { op: node.op, inputs: node.inputs, attributes: attentionAttributes(attentionScale(node), { ...orders, y }) });
  }
  return editor.finish();
}
