import { requiredInt } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { operand, outputOf } from '../../graph/operands.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

/** The convolutions that make the phases of an Interleave, when nobody else reads them: one, or the parts of a concatenation. */
function phasesOf(editor: Rewriter, interleave: Node): { parts: readonly string[]; concat: Node | undefined } | undefined {
  const input = operand(interleave, 0);
  const maker = editor.producer(input);
  if (editor.soleConsumer(input) !== interleave) return undefined;
  if (maker?.op === 'NhwcConv') return { parts: [input], concat: undefined };
  if (maker?.op !== 'Concat') return undefined;
  const own = maker.inputs.every((part) => editor.producer(part)?.op === 'NhwcConv' && editor.soleConsumer(part) === maker);
  return own ? { parts: maker.inputs, concat: maker } : undefined;
}

/** Moves the function that follows a transposed convolution before its Interleave, where the convolutions can compute it. */
export function hoistFunctions(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const interleave = node.op === 'Unary' ? editor.producer(node.inputs[0]) : undefined;
    if (interleave?.op !== 'Interleave' || editor.soleConsumer(operand(node, 0)) !== node) continue;
    const phases = phasesOf(editor, interleave);
    if (phases === undefined) {
      explain('hoist-functions', node, () => `the phases of Interleave '${interleave.name}' before it do not come from convolutions that nobody else reads`);
      continue;
    }
    const attributes = Object.fromEntries(node.attributes);
    editor.remove(node);
    editor.remove(interleave);
    const parts = phases.parts.map((part) => editor.emit({ name: node.name, op: 'Unary', inputs: [part], attributes }));
    const { concat } = phases;
    if (concat !== undefined) editor.remove(concat);
    const all = editor.concatenate((concat ?? node).name, parts, concat === undefined ? 3 : requiredInt(concat, 'axis'));
    editor.emitTo(outputOf(node), { name: interleave.name, op: 'Interleave', inputs: [all], attributes: Object.fromEntries(interleave.attributes) });
  }
  return editor.finish();
}
