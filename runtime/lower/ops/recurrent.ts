import { elementCount } from '../../graph/tensor-value.js';
import { coreRecurrence, recurrenceOperands, recurrentKinds } from '../../ops/recurrent.js';
import type { Lowering } from '../context.js';
import { unaryCodes } from '../program-format.js';

const recurrence: Lowering = (context, node) => {
  const r = coreRecurrence(node);
  const operands = Object.values(recurrenceOperands).map((index) => context.optional(node.inputs[index]));
  const gates = context.shape(node.inputs[recurrenceOperands.gates] ?? '');
  context.emit(node, 'RecurrentF32', operands, context.tensor(node.outputs[0] ?? ''), {
    kind: recurrentKinds.indexOf(r.kind),
    reverse_mask: r.reverse.reduce((mask, reverse, d) => mask | (reverse ? 1 << d : 0), 0),
    linear_before_reset: Number(r.linearBeforeReset), input_forget: Number(r.inputForget), clip: r.clip,
    functions: r.functions.map(({ kind }) => unaryCodes[kind]), alphas: r.functions.map(({ alpha }) => alpha), betas: r.functions.map(({ beta }) => beta),
  }, elementCount(gates) * r.hidden);
};

export const recurrentLowerings: Readonly<Record<string, Lowering>> = { Recurrence: recurrence };
