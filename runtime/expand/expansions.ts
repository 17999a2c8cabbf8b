import { attentions } from './attention.js';
import type { Expansion } from './builder.js';
import { contribAttention } from './contrib-attention.js';
import { contribOthers } from './contrib-others.js';
import { contrib, unofficial } from './contrib.js';
import { controlFlow } from './control-flow.js';
import { einsum } from './einsum.js';
import { elementwise } from './elementwise.js';
import { losses } from './losses.js';
import { movements } from './movement.js';
import { quantizations } from './quantization.js';
import { quantizedContrib } from './quantized.js';
import { placements } from './placement.js';
import { randoms } from './random.js';
import { samplings } from './sampling.js';
import { scatters } from './scatter.js';
import { sequences } from './sequences.js';
import { signals } from './signal.js';
import { trainings } from './training.js';
import { windows } from './windows.js';

const microsoft = (table: Readonly<Record<string, Expansion>>): Record<string, Expansion> =>
  Object.fromEntries(Object.entries(table).map(([op, expansion]) => [`com.microsoft.${op}`, expansion]));

/** Operators that are defined by others, in some or all of their forms. */
export const expansions: Readonly<Record<string, Expansion>> = {
  ...controlFlow, ...sequences, ...elementwise, ...quantizations, ...windows, ...movements, ...samplings, ...scatters, ...attentions, Einsum: einsum, ...unofficial,
  ...losses, ...trainings, ...signals, ...randoms, ...placements,
  ...microsoft(contrib), ...microsoft(quantizedContrib), ...microsoft(contribAttention), ...microsoft(contribOthers),
};
