import { elementCount } from '../../graph/tensor-value.js';
import { coreRecurrence } from '../../ops/recurrent.js';
import * as views from '../../ops/views.js';
import type { Lowering } from '../context.js';
import { recurrentCodes, unaryCodes } from '../program-format.js';

const recurrence: Lowering = (context, node) => {
  const r = coreRecurrence(node);
  const { gates, weights, newBias, hidden, cell, peephole, lengths, output } = views.recurrence(node);
  const operands = [gates, weights, newBias, hidden, cell, peephole, lengths].map((value) => context.optional(value));
  const macs = elementCount(context.shape(gates)) * r.hidden;
  context.emit({ node, macs }, 'RecurrentF32', operands, context.tensor(output), {
    kind: recurrentCodes[r.kind],
    reverse_mask: r.reverse.reduce((mask, reverse, d) => mask | (reverse ? 1 << d : 0), 0),
    linear_before_reset: Number(r.linearBeforeReset), input_forget: Number(r.inputForget), clip: r.clip,
    functions: r.functions.map(({ kind }) => unaryCodes[kind]), alphas: r.functions.map(({ alpha }) => alpha), betas: r.functions.map(({ beta }) => beta),
  });
};

export const recurrentLowerings: Readonly<Record<string, Lowering>> = { Recurrence: recurrence };
