import type { Graph } from '../../graph/graph.js';
import { operand } from '../../graph/operands.js';
import { unaryOf } from '../../ops/unary.js';
import { unaryAttribute } from '../../ops/core.js';
import { canonicalInteger } from '../canonical/integer.js';
import { canonicalLinear } from '../canonical/linear.js';
import { canonicalMovement } from '../canonical/movement.js';
import { canonicalNormalization } from '../canonical/normalization.js';
import { canonicalRecurrent } from '../canonical/recurrent.js';
import { canonicalReduction } from '../canonical/reduction.js';
import { canonicalSelection } from '../canonical/selection.js';
import { canonicalSpatial } from '../canonical/spatial.js';
import { convTranspose } from '../canonical/transposed-convolution.js';
import type { Canonical } from '../canonical/types.js';
import { canonicalIntegerUnary, canonicalWhole } from '../canonical/whole.js';
import { Rewriter } from '../rewriter.js';

const unary: Canonical = (editor, node) => {
  if (canonicalIntegerUnary(editor, node)) return;
  const fn = unaryOf(node, (index) => editor.constant(node.inputs[index]));
  if (fn === undefined) return;
  editor.substitute(node, { op: 'Unary', inputs: [operand(node, 0)], attributes: unaryAttribute(fn) });
};

const unaryNames = [
  'Relu', 'Clip', 'Sigmoid', 'Tanh', 'Exp', 'Log', 'Sqrt', 'Abs', 'Neg', 'LeakyRelu', 'Elu', 'HardSigmoid', 'HardSwish', 'Gelu',
  'Erf', 'Softplus', 'Mish', 'Reciprocal', 'Floor', 'Ceil', 'Round', 'Sin', 'Cos', 'Sign',
  'Selu', 'Celu', 'ThresholdedRelu', 'Softsign', 'Shrink', 'Tan', 'Asin', 'Acos', 'Atan', 'Sinh', 'Cosh', 'Asinh', 'Acosh', 'Atanh',
];

const table: Readonly<Record<string, Canonical>> = {
  ...Object.fromEntries(unaryNames.map((op) => [op, unary])),
  ...canonicalWhole,
  ...canonicalMovement,
  ...canonicalSpatial,
  ...canonicalLinear,
  ...canonicalReduction,
  ...canonicalSelection,
  ...canonicalNormalization,
  ...canonicalRecurrent,
  ...canonicalInteger,
  ConvTranspose: convTranspose,
};

/** ONNX operators that have a core form. */
export const canonicalOperators: readonly string[] = Object.keys(table);

/**
 * Rewrites the many forms of ONNX operators into the core operators (ops/core.ts), and spatial operators into their
 * channels-last form between transposes. Needs an inferred graph with folded constants; nodes that are core already, or that
 * have no other form, stay.
 * @throws RuntimeError E_MODEL_OP: a form that the engine has no operator for
 */
export function canonicalize(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    if (editor.has(node) && Object.hasOwn(table, node.op)) table[node.op]?.(editor, node);
  }
  return editor.finish();
}
