import type { Graph, Node } from '../../graph/graph.js';
import { outputOf } from '../../graph/operands.js';
import { fromNumbers, toNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { sliceAttributes } from '../../ops/core.js';
import { nhwcConv } from '../../ops/views.js';
import { Rewriter } from '../rewriter.js';
import { attributesOf } from './remove-duplicates.js';

/** Output channels that kernels compute at once on the widest vectors, whether they are there or not. */
const lanes = 16;
/** Of a joined layer: wider ones would keep large maps alive for the sake of small ones. */
const mostChannels = 64;

const vectors = (channels: number): number => Math.ceil(channels / lanes);

interface Head {
  readonly node: Node;
  readonly weights: TensorValue;
  readonly bias: TensorValue | undefined;
  readonly channels: number;
}

/** A 1x1 layer of constant weights with nothing but a function after it, whose output is inside the model. */
function headOf(editor: Rewriter, node: Node): Head | undefined {
  const { weights: w, bias: b, slope, residual, output } = nhwcConv(node);
  const [weights, bias] = [editor.constant(w), b === undefined ? undefined : editor.constant(b)];
  if (weights === undefined || (b !== undefined && bias === undefined) || slope !== undefined || residual !== undefined || editor.isOutput(output)) return undefined;
  const [channels = 0, height, width, depth] = weights.dims;
  const whole = editor.type(output).shape.length === 4 && height === 1 && width === 1 && editor.type(nhwcConv(node).x).shape.at(-1) === depth;
  return whole ? { node, weights, bias, channels } : undefined;
}

/** Heads of one input, of one geometry and function. */
function alikeHeads(editor: Rewriter, graph: Graph): Head[][] {
  const groups = new Map<string, Head[]>();
  for (const node of graph.nodes) {
    if (node.op !== 'NhwcConv') continue;
    const head = headOf(editor, node);
    if (head === undefined || head.channels >= mostChannels) continue;
    const key = JSON.stringify([nhwcConv(node).x, attributesOf(node)]);
    groups.set(key, [...(groups.get(key) ?? []), head]);
  }
  return [...groups.values()];
}

/** Whether one layer of all has fewer vectors of channels than they have apart. */
function worthwhile(heads: readonly Head[]): boolean {
  const total = heads.reduce((sum, { channels }) => sum + channels, 0);
  return total <= mostChannels && vectors(total) < heads.reduce((sum, { channels }) => sum + vectors(channels), 0);
}

function join(editor: Rewriter, heads: readonly Head[]): void {
  const [first] = heads;
  if (first === undefined) return;
  const total = heads.reduce((sum, { channels }) => sum + channels, 0);
  const { name } = first.node;
  const weights = heads.flatMap((head) => Array.from(toNumbers(head.weights)));
  const inputs = [nhwcConv(first.node).x, editor.addConstant(`${name}.weights`, fromNumbers('float32', [total, ...first.weights.dims.slice(1)], weights))];
  if (heads.some(({ bias }) => bias !== undefined)) {
    const biases = heads.flatMap(({ bias, channels }) => (bias === undefined ? new Array<number>(channels).fill(0) : Array.from(toNumbers(bias))));
    inputs.push(editor.addConstant(`${name}.bias`, fromNumbers('float32', [total], biases)));
  }
  const all = editor.emit({ name: `${name}.joined`, op: 'NhwcConv', inputs, attributes: Object.fromEntries(first.node.attributes) });
  let start = 0;
  for (const { node, channels } of heads) {
    const extent = [...editor.type(outputOf(node)).shape];
    const starts = extent.map((_, axis) => (axis === extent.length - 1 ? start : 0));
    editor.substitute(node, { op: 'StridedSlice', inputs: [all], attributes: sliceAttributes({ starts, steps: extent.map(() => 1), extent }) });
    start += channels;
  }
}

/**
 * 1x1 convolutions of few channels that read one map become one, and their outputs parts of its output: the heads of detectors, of which each
 * would read the map anew and leave most of a vector empty.
 */
export function joinConvolutions(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  for (const heads of alikeHeads(editor, graph)) if (heads.length > 1 && worthwhile(heads)) join(editor, heads);
  return editor.finish();
}
