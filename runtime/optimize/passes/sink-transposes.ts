import { ints, requiredInts } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { compose, inverse, isIdentityPermutation, keepsOrder, type Permutation } from '../../graph/permutation.js';
import { elementCount, reshaped, type Shape } from '../../graph/tensor-value.js';
import { viewBeforeTranspose } from '../../graph/view-groups.js';
import { viewAttributes } from '../../ops/core.js';
import { transposeValue } from '../../ops/movement.js';
import { recordOf } from '../../ops/registry.js';
import { explain } from '../../graph/explain.js';
import { single } from '../../ops/views.js';
import { Rewriter, type Emission } from '../rewriter.js';

const permOf = (node: Node): readonly number[] => requiredInts(node, 'perm');

/** The permutation that most operands have been through, if undoing it on the others costs less than it saves. */
function commonPermutation(editor: Rewriter, node: Node, values: readonly string[], rank: number): readonly number[] | undefined {
  const data = values.filter((value) => editor.constant(value) === undefined);
  const found = data.map((value) => editor.producer(value)).find((producer) => producer?.op === 'Transpose');
  if (found === undefined) return undefined;
  const perm = permOf(found);
  if (perm.length !== rank) return undefined;
  let saved = 0;
  let spent = 0;
  for (const value of data) {
    const producer = editor.producer(value);
    if (producer?.op === 'Transpose' && permOf(producer).join() === perm.join()) saved++;
    else if (!keepsOrder(inverse(perm), raised(editor.type(value).shape, rank))) spent++;
  }
  return saved > spent ? perm : explain('sink-transposes', node, () => `${saved} transposes would go and ${spent} would come`);
}

/** A shape with leading ones up to `rank`. */
const raised = (shape: Shape, rank: number): number[] => [...new Array<number>(rank - shape.length).fill(1), ...shape];

/** The value before `perm`: the input of its Transpose, else the value put through the inverse. */
function before(editor: Rewriter, value: string, perm: Permutation): string {
  const producer = editor.producer(value);
  if (producer?.op === 'Transpose' && permOf(producer).join() === perm.join()) return operand(producer, 0);
  const shape = raised(editor.type(value).shape, perm.length);
  const constant = editor.constant(value);
  if (constant !== undefined) {
    return elementCount(shape) === 1 ? value : editor.addConstant(value, transposeValue(reshaped(constant, shape), inverse(perm)));
  }
  const full = shape.length === editor.type(value).shape.length ? value : editor.emit({ name: value, op: 'View', inputs: [value], attributes: viewAttributes(shape) });
  return editor.emit({ name: value, op: 'Transpose', inputs: [full], attributes: { perm: ints(inverse(perm)) } });
}

function sink(editor: Rewriter, node: Node): void {
  const rule = recordOf(node)?.transpose;
  if (rule === undefined || node.outputs.length !== 1) {
    if (node.inputs.some((value) => editor.producer(value)?.op === 'Transpose')) explain('sink-transposes', node, 'no transpose passes through this operator');
    return;
  }
  const output = outputOf(node);
  const rank = editor.type(output).shape.length;
  const operands = rule.operands === 'first' ? node.inputs.slice(0, 1) : node.inputs;
  const perm = commonPermutation(editor, node, operands, rank);
  if (perm === undefined) return;
  editor.remove(node);
  const inputs = [...operands.map((value) => before(editor, value, perm)), ...node.inputs.slice(operands.length)];
  const result = editor.emit({ name: node.name, op: node.op, inputs, attributes: rule.remap(node, perm) });
  editor.emitTo(output, { name: `${node.name}.t`, op: 'Transpose', inputs: [result], attributes: { perm: ints(perm) } });
}

/** Transpose of a transpose: one, or none. */
function merge(editor: Rewriter, node: Node): void {
  const producer = editor.producer(node.inputs[0]);
  if (producer?.op !== 'Transpose') return;
  const perm = compose(permOf(producer), permOf(node));
  const x = operand(producer, 0);
  // Types of values stay, so an identity becomes a View and remove-identities takes it out.
  if (isIdentityPermutation(perm)) editor.substitute(node, { op: 'View', inputs: [x], attributes: viewAttributes(editor.type(x).shape) });
  else editor.substitute(node, { op: 'Transpose', inputs: [x], attributes: { perm: ints(perm) } });
}

/** A transpose of channels-last data before a view of groups of its axes comes after it; see `viewBeforeTranspose`. */
function sinkThroughView(editor: Rewriter, node: Node): void {
  const { x, output } = single(node);
  const producer = editor.producer(x);
  if (producer?.op !== 'Transpose') return;
  const source = operand(producer, 0);
  const swapped = viewBeforeTranspose(editor.type(source).shape, permOf(producer), editor.type(output).shape);
  if (swapped === undefined) {
    explain('sink-transposes', node, 'the transpose before it takes axes apart that the view joins, or leads into a channels-last operator');
    return;
  }
  const transposed = (value: string, perm: Permutation): Emission => ({ name: `${node.name}.t`, op: 'Transpose', inputs: [value], attributes: { perm: ints(perm) } });
  editor.remove(node);
  const joined = isIdentityPermutation(swapped.first) ? source : editor.emit(transposed(source, swapped.first));
  const viewed = editor.emit({ name: node.name, op: 'View', inputs: [joined], attributes: viewAttributes(swapped.view) });
  editor.emitTo(output, transposed(viewed, swapped.last));
}

/**
 * Moves transposes towards the outputs, through operators that can work on the data as it was before, until they meet and
 * cancel. With the channels-last form of convolutions this leaves transposes only where a model's interface needs them.
 */
export function sinkTransposes(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (!editor.has(node)) continue;
    if (node.op === 'Transpose') merge(editor, node);
    else if (node.op === 'View') sinkThroughView(editor, node);
    else sink(editor, node);
  }
  return editor.finish();
}
