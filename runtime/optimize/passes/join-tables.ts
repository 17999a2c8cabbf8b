import type { Graph, Node } from '../../graph/graph.js';
import { outputOf } from '../../graph/operands.js';
import { fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { operatorOf } from '../../ops/registry.js';
import { rangeOf } from '../../ops/quantization.js';
import { binaryQ8, lutQ8 } from '../../ops/views.js';
import { Rewriter } from '../rewriter.js';

/** A quantized value that a table makes of another one. */
interface Looked {
  node: Node;
  x: string;
  table: TensorValue;
}

function lookedUp(editor: Rewriter, value: string): Looked | undefined {
  const node = editor.producer(value);
  if (node?.op !== 'LutQ8') return undefined;
  const { x, table } = lutQ8(node);
  const constant = editor.constant(table);
  return constant === undefined ? undefined : { node, x, table: constant };
}

/** The value that both operands are functions of: one of them, or what both tables read. */
function commonSource(editor: Rewriter, a: string, b: string): string | undefined {
  const [fromA, fromB] = [lookedUp(editor, a)?.x, lookedUp(editor, b)?.x];
  if (a === b || fromB === a) return a;
  return fromA === b || fromA === fromB ? fromA : undefined;
}

/** The value that a node is a function of, code by code, without being one table yet. */
function sourceOf(editor: Rewriter, node: Node): string | undefined {
  if (node.op === 'BinaryQ8') {
    const { a, b } = binaryQ8(node);
    return commonSource(editor, a, b);
  }
  if (node.op !== 'LutQ8') return undefined;
  const { x, table } = lutQ8(node);
  // A table that others read too stays: the convolution before it could not take two.
  return editor.constant(table) !== undefined && editor.soleConsumer(x) === node ? lookedUp(editor, x)?.x : undefined;
}

const evaluate = (editor: Rewriter, node: Node, inputs: readonly (TensorValue | undefined)[], dims: readonly number[]): TensorValue | undefined =>
  operatorOf(node).evaluate({ node, opset: editor.opset, inputs, outputs: [{ dtype: editor.type(outputOf(node)).dtype, shape: dims }] })[0];

/** What a node makes of every code of the source, by the operators themselves: a table of 256 entries, or one for each channel. */
function tabulate(editor: Rewriter, node: Node, source: string): TensorValue | undefined {
  const operands = node.inputs.map((value) => ({ value, looked: value === source ? undefined : lookedUp(editor, value), constant: editor.constant(value) }));
  const channels = Math.max(1, ...operands.map(({ looked, constant }) => ((looked?.table ?? constant)?.data.length ?? 0) / 256));
  const [dims, { dtype }] = [[256, channels], editor.type(source)];
  const codes = fromNumbers(dtype, dims, mapNumbers({ length: 256 * channels }, (_, i) => rangeOf(dtype)[0] + Math.floor(i / channels)));
  const inputs = operands.map(({ value, looked, constant }) => {
    if (value === source) return codes;
    return looked === undefined ? constant : evaluate(editor, looked.node, [codes, looked.table], dims);
  });
  const result = evaluate(editor, node, inputs, dims);
  if (result === undefined) return undefined;
  const values = toNumbers(result);
  return fromNumbers(result.dtype, [256 * channels], mapNumbers({ length: 256 * channels }, (_, i) => values[(i % 256) * channels + Math.floor(i / 256)] ?? 0));
}

/**
 * One table for what several quantized operators make of one value: x * sigmoid(x), which exporters write as a table and a product, and tables that
 * follow each other. There are 256 codes, so the table is made by the operators that it replaces, and the results stay bit for bit.
 */
export function joinTables(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const node of graph.nodes) {
    const source = sourceOf(editor, node);
    const table = source === undefined ? undefined : tabulate(editor, node, source);
    if (source === undefined || table === undefined) continue;
    editor.substitute(node, { op: 'LutQ8', inputs: [source, editor.addConstant(`${node.name}.table`, table)] });
  }
  return editor.finish();
}
