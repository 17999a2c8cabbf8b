import { ints, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { absent, hasOperand, operand, optionalOperand, optionalOutput } from '../../graph/operands.js';
import { float32s, fromNumbers, toNumbers } from '../../graph/tensor-value.js';
import { sliceAttributes, viewAttributes } from '../../ops/core.js';
import { gateCounts, recurrenceAttributes, recurrentOf, recurrentOperands, splitBias, type Recurrent } from '../../ops/recurrent.js';
import type { Rewriter } from '../rewriter.js';
import { pointwise } from './linear.js';
import { requiredConstant, type Canonical } from './types.js';
import { relayWeights } from './weights.js';

function swapped(editor: Rewriter, node: Node, value: string, { batchFirst }: Recurrent): string {
  if (!batchFirst) return value;
  return editor.emit({ name: node.name, op: 'Transpose', inputs: [value], attributes: { perm: ints([1, 0, 2]) } });
}

/** B as constants: one bias for each gate, and what GRU adds before it resets. */
function biases(editor: Rewriter, node: Node, r: Recurrent): { gates?: string; fresh?: string } {
  const name = optionalOperand(node, recurrentOperands.bias);
  if (name === undefined) return {};
  const { gates, fresh } = splitBias(r, toNumbers(requiredConstant(editor, node, recurrentOperands.bias, 'B')));
  return {
    gates: editor.addConstant(`${name}.gates`, float32s(gates)),
    ...(fresh === undefined ? {} : { fresh: editor.addConstant(`${name}.fresh`, fromNumbers('float32', [r.reverse.length, r.hidden], fresh)) }),
  };
}

/** Lengths that are those of the whole sequence say nothing. */
function lengthsOf(editor: Rewriter, node: Node, steps: number): string | undefined {
  const name = optionalOperand(node, recurrentOperands.lengths);
  const constant = editor.constant(name);
  if (constant === undefined) return name;
  const lengths = Array.from(constant.data, Number);
  const bad = lengths.find((length) => length < 0 || length > steps);
  if (bad !== undefined) throw unsupported(node, `Expected lengths of 0 to ${steps} but received ${bad}`, 'sequence_lens');
  return lengths.every((length) => length === steps) ? undefined : name;
}

/** Row `row` of the recurrence's result as a state, in the layout of the node. */
function giveState(editor: Rewriter, output: string, result: string, row: number, { batchFirst }: Recurrent): void {
  const [, d = 1, batch = 1, hidden = 1] = editor.type(result).shape;
  const range = { starts: [row, 0, 0, 0], steps: [1, 1, 1, 1], extent: [1, d, batch, hidden] };
  const sliced = editor.emit({ name: output, op: 'StridedSlice', inputs: [result], attributes: sliceAttributes(range) });
  const state = { name: output, op: 'View', inputs: [sliced], attributes: viewAttributes([d, batch, hidden]) };
  if (!batchFirst) editor.emitTo(output, state);
  else editor.emitTo(output, { name: output, op: 'Transpose', inputs: [editor.emit(state)], attributes: { perm: ints([1, 0, 2]) } });
}

/** All steps, in the layout of the node. */
function giveSteps(editor: Rewriter, output: string, result: string, steps: number, { batchFirst }: Recurrent): void {
  const { shape } = editor.type(result);
  const range = { starts: [0, 0, 0, 0], steps: [1, 1, 1, 1], extent: [steps, ...shape.slice(1)] };
  const all = { name: output, op: 'StridedSlice', inputs: [result], attributes: sliceAttributes(range) };
  if (!batchFirst) editor.emitTo(output, all);
  else editor.emitTo(output, { name: output, op: 'Transpose', inputs: [editor.emit(all)], attributes: { perm: ints([2, 0, 1, 3]) } });
}

/**
 * RNN, GRU and LSTM: the products of the whole sequence with the input weights as one fully connected layer, and the
 * recurrence, whose result holds the last states as further rows.
 */
const recurrent: Canonical = (editor, node) => {
  const r = recurrentOf(node);
  const at = recurrentOperands;
  requiredConstant(editor, node, at.recurrence, 'R');
  const [y, hiddenOutput, cellOutput] = [0, 1, 2].map((index) => optionalOutput(node, index));
  const x = swapped(editor, node, operand(node, at.x), r);
  const [steps = 1, , depth = 1] = editor.type(x).shape;
  const rows = r.reverse.length * gateCounts[r.kind] * r.hidden;
  const weights = relayWeights(editor, node, at.weights, { view: [rows, depth], perm: [0, 1], shape: [rows, 1, 1, depth], outputAxis: 0 });
  const bias = biases(editor, node, r);
  const gates = editor.emit({ name: `${node.name}.gates`, op: 'NhwcConv', inputs: bias.gates === undefined ? [x, weights] : [x, weights, bias.gates], attributes: pointwise });
  const state = (index: number) => (hasOperand(node, index) ? swapped(editor, node, operand(node, index), r) : undefined);
  const optional = [bias.fresh, state(at.hidden), state(at.cell), optionalOperand(node, at.peephole), lengthsOf(editor, node, steps)];
  const inputs = [gates, operand(node, at.recurrence), ...optional.map((value) => value ?? absent)];
  const states = cellOutput !== undefined ? 2 : hiddenOutput !== undefined ? 1 : 0;
  editor.remove(node);
  const result = editor.emit({ name: node.name, op: 'Recurrence', inputs, attributes: recurrenceAttributes(r, states) });
  if (y !== undefined) giveSteps(editor, y, result, steps, r);
  if (hiddenOutput !== undefined) giveState(editor, hiddenOutput, result, steps, r);
  if (cellOutput !== undefined) giveState(editor, cellOutput, result, steps + 1, r);
};

export const canonicalRecurrent: Readonly<Record<string, Canonical>> = { RNN: recurrent, GRU: recurrent, LSTM: recurrent };
