import { hasAttribute } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { outputOf, withOperand } from '../../graph/operands.js';
import { fromNumbers, mapNumbers, sameShape, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { convOperands, fusedUnary, unaryAttributes } from '../../ops/convolution.js';
import { nhwcConv } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** A convolution takes over its only reader: the reader's output, its name, and what it did. */
function absorb(editor: Rewriter, conv: Node, reader: Node, inputs: readonly string[], attributes: Node['attributes']): void {
  editor.remove(reader);
  editor.replace(conv, { name: reader.name, inputs, outputs: reader.outputs, attributes });
}

function perChannelSlope(editor: Rewriter, node: Node, channels: number): TensorValue | undefined {
  const slope = editor.constant(node.inputs[1]);
  if (slope === undefined || (slope.data.length !== 1 && !(slope.data.length === channels && slope.dims.at(-1) === channels))) return undefined;
  const numbers = toNumbers(slope);
  return fromNumbers('float32', [channels], mapNumbers({ length: channels }, (_, c) => numbers[numbers.length === 1 ? 0 : c] ?? 0));
}

/** Whether the convolution has no function yet; the residual, when there is one, must then come before it. */
const hasNoActivation = (node: Node): boolean => !hasAttribute(node, 'unary') && nhwcConv(node).slope === undefined;

function fuseActivation(editor: Rewriter, conv: Node, reader: Node): boolean {
  if (!hasNoActivation(conv)) return false;
  const attributes = new Map(conv.attributes);
  const { output, residual } = nhwcConv(conv);
  if (residual !== undefined) attributes.set('residual_first', { type: 'int', value: 1 });
  if (reader.op === 'Unary') {
    for (const [name, value] of Object.entries(unaryAttributes(fusedUnary(reader)))) attributes.set(name, value);
    absorb(editor, conv, reader, conv.inputs, attributes);
    return true;
  }
  if (reader.op !== 'PRelu' || reader.inputs[0] !== output) return false;
  const slope = perChannelSlope(editor, reader, editor.type(output).shape.at(-1) ?? 1);
  if (slope === undefined) {
    explain('fuse-activations', conv, () => `the slopes of PRelu '${reader.name}' are not one constant, or one for each channel`);
    return false;
  }
  absorb(editor, conv, reader, withOperand(conv.inputs, convOperands.slope, editor.addConstant(`${reader.name}.slope`, slope)), attributes);
  return true;
}

function fuseResidual(editor: Rewriter, conv: Node, reader: Node): boolean {
  const { output, residual } = nhwcConv(conv);
  if (reader.op !== 'Add' || residual !== undefined) return false;
  const other = reader.inputs.find((input) => input !== output);
  if (other === undefined || !sameShape(editor.type(other).shape, editor.type(output).shape)) {
    explain('fuse-activations', conv, () => `what Add '${reader.name}' adds does not have the shape of the convolution's output`);
    return false;
  }
  absorb(editor, conv, reader, withOperand(conv.inputs, convOperands.residual, other), conv.attributes);
  return true;
}

/**
 * Lets convolutions compute what follows them: an activation, a residual addition, or an addition and then an activation.
 * Of two convolutions that are added, the later takes the sum.
 */
export function fuseActivations(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const start of [...graph.nodes].reverse()) {
    if (start.op !== 'NhwcConv') continue;
    let conv = editor.producer(start.outputs[0]);
    while (conv?.op === 'NhwcConv') {
      const reader = editor.soleConsumer(outputOf(conv));
      if (reader === undefined) {
        explain('fuse-activations', conv, 'its output is an output of the model, or does not have exactly one reader');
        break;
      }
      if (!(fuseActivation(editor, conv, reader) || fuseResidual(editor, conv, reader))) {
        explain('fuse-activations', conv, () => `it cannot compute the ${reader.op} '${reader.name}' that reads it`);
        break;
      }
      conv = editor.producer(reader.outputs[0]);
    }
  }
  return editor.finish();
}
