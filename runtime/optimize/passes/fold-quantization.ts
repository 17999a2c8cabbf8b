import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { fusedUnary } from '../../ops/convolution.js';
import { foldFloatResult, planConv } from '../quantized/conv.js';
import { planBinary, planPixels, planRequantize, planTable } from '../quantized/elementwise.js';
import { planMove, planPool, planResize } from '../quantized/movement.js';
import { quantizedBounds, tensorQuantization, type TensorQuantization } from '../quantized/parameters.js';
import type { Planner } from '../quantized/plan.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** Ways to compute a quantized tensor in integers, the most specific first. */
const planners: readonly Planner[] = [planRequantize, planConv, planBinary, planPool, planResize, planPixels, planTable];

/** Values through which a movement of data is followed back; a bound on the recursion. */
const maximumDepth = 32;

function plannerAtDepth(depth: number): Planner {
  return (editor, value, q) => {
    for (const planner of planners) {
      const build = planner(editor, value, q);
      if (build !== undefined) return build;
    }
    return depth === 0 ? undefined : planMove(editor, value, q, plannerAtDepth(depth - 1));
  };
}

/** Whether computing `value` for `reader` alone does no work twice. */
const readBy = (editor: Rewriter, value: string, reader: Node): boolean =>
  editor.soleConsumer(value) === reader || editor.producer(value)?.op === 'DequantizeLinear';

/** What a QuantizeLinear makes 8-bit: its input, or what the clips before it read, whose bounds become those of the codes. */
function quantizedResult(editor: Rewriter, node: Node, q: TensorQuantization): { value: string; q: TensorQuantization } {
  let value = operand(node, 0);
  for (let clip = editor.producer(value); clip?.op === 'Unary'; clip = editor.producer(value)) {
    const { kind, alpha, beta } = fusedUnary(clip);
    const x = operand(clip, 0);
    if (kind !== 'clip' || !readBy(editor, x, clip)) break;
    value = x;
    q = { ...q, bounds: quantizedBounds(q, alpha, beta) };
  }
  return { value, q };
}

/** Why nothing computes `value` in integers, as far as its maker shows. */
function noForm(editor: Rewriter, value: string): string {
  const maker = editor.producer(value);
  if (maker === undefined) return `'${value}' is an input of the model, which is float`;
  return `there is no integer form of the ${maker.op} '${maker.name}' before it with operands like these`;
}

/**
 * Recognizes DequantizeLinear -> operator -> [activation] -> [clip] -> QuantizeLinear, and computes the operator on the integers. What
 * has no integer form stays float, between the DequantizeLinear and QuantizeLinear that the model has around it; a convolution whose result stays
 * float, such as a network's last, multiplies integers all the same.
 */
export function foldQuantization(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  const plan = plannerAtDepth(maximumDepth);
  for (const node of graph.nodes) {
    if (node.op !== 'QuantizeLinear' || !editor.has(node)) continue;
    if (!readBy(editor, operand(node, 0), node)) {
      explain('fold-quantization', node, 'what it quantizes has other readers, or is an output of the model');
      continue;
    }
    const q = tensorQuantization(editor, node);
    if (q === undefined) {
      explain('fold-quantization', node, 'its scale or zero-point is not one constant number, or its type is not of 8 bits');
      continue;
    }
    const result = quantizedResult(editor, node, q);
    const build = plan(editor, result.value, result.q);
    if (build === undefined) explain('fold-quantization', node, () => noForm(editor, result.value));
    else replaceOutput(editor, outputOf(node), build);
  }
  for (const node of graph.nodes) if (node.op === 'NhwcConv' && editor.has(node)) foldFloatResult(editor, node);
  return editor.finish();
}

/** Lets `build` make the value that the QuantizeLinear made. */
function replaceOutput(editor: Rewriter, output: string, build: () => string): void {
  const old = editor.producer(output);
  const made = build();
  if (old !== undefined) editor.remove(old);
  const maker = editor.producer(made);
  // A value that others read too (or an input of the graph) keeps its name; the output becomes a view of it.
  const shared = maker === undefined || maker.outputs[0] !== made || editor.consumers(made).length > 0 || editor.isOutput(made);
  if (shared) editor.emitTo(output, { name: output, op: 'View', inputs: [made], attributes: { shape: { type: 'ints', value: editor.type(made).shape } } });
  else editor.replace(maker, { outputs: [output] });
}
