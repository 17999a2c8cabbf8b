/**
 * Depthwise convolutions of a training graph in blocks of channels, as onnxruntime computes those of models whose weights are constants. In its plain form
 * such a convolution is one tiny product for each channel. The operators are onnxruntime's own (`com.microsoft.nchwc`), so this form is for the engine that
 * trains alone, and is never saved.
 */
import { int, intAttribute, intsAttribute } from '../../runtime/graph/attributes.js';
import { graphToOnnx } from '../../runtime/graph/export.js';
import type { Graph, Node } from '../../runtime/graph/graph.js';
import { int64s, type TensorValue } from '../../runtime/graph/tensor-value.js';
import type { OnnxModel, OnnxNode } from '../../runtime/onnx/types.js';

const domain = 'com.microsoft.nchwc';
/** Blocks have 8 channels with AVX2 and 16 with AVX512; channels in sixteens fill both, so the graph need not know. */
const wholeBlocks = 16;

const shapeOf = (graph: Graph, value: string): readonly number[] => graph.constants.get(value)?.dims ?? graph.types.get(value)?.shape ?? [];

/** Channels of a depthwise convolution that blocks hold; undefined for every other node. */
function channelsOf(graph: Graph, node: Node): number | undefined {
  if (node.op !== 'Conv') return undefined;
  const [x = [], w = []] = node.inputs.map((name) => shapeOf(graph, name));
  const channels = x[1] ?? 0;
  const padded = (intsAttribute(node, 'pads') ?? []).every((pad) => pad >= 0); // Some gradients crop, which is left to the plain form.
  const depthwise = x.length === 4 && padded && intAttribute(node, 'group', 1) === channels && w[0] === channels && w[1] === 1;
  return depthwise && channels > 0 && channels % wholeBlocks === 0 ? channels : undefined;
}

/** One convolution in blocks. Its filter is brought into them as a picture is, since both have the same order then: channel blocks, rows, columns, channels. */
function inBlocks(graph: Graph, { name, inputs, outputs, attributes }: Node, channels: number, constants: Map<string, TensorValue>): OnnxNode[] {
  const [x = '', w = '', ...bias] = inputs;
  const shape = shapeOf(graph, w);
  const at = (part: string): string => `${outputs[0] ?? name}.blocked.${part}`;
  constants.set(at('picture'), int64s([1, ...shape.filter((_, axis) => axis !== 1)])).set(at('filter'), int64s(shape));
  const make = (part: string, op: string, from: readonly string[], of: Partial<OnnxNode> = {}): OnnxNode => ({ name: at(part), op, domain, inputs: from, outputs: [at(part)], attributes: new Map(), ...of });
  return [
    make('x', 'ReorderInput', [x]),
    make('w.picture', 'Reshape', [w, at('picture')], { domain: '' }),
    make('w.blocks', 'ReorderInput', [at('w.picture')]),
    make('w', 'Reshape', [at('w.blocks'), at('filter')], { domain: '' }),
    make('y', 'Conv', [at('x'), at('w'), ...bias], { attributes }),
    make('plain', 'ReorderOutput', [at('y')], { outputs, attributes: new Map([['channels', int(channels)]]) }),
  ];
}

/**
 * The graph as a model with its depthwise convolutions in blocks, where their channels come in sixteens. Sums have another order than in the plain form.
 * @param graph inferred, of ONNX operators
 * @returns undefined when there is nothing to gain
 */
export function blockedDepthwise(graph: Graph): OnnxModel | undefined {
  const found = new Map(graph.nodes.flatMap((node) => {
    const channels = channelsOf(graph, node);
    return channels === undefined ? [] : [[node.outputs[0] ?? '', { node, channels }] as const];
  }));
  if (found.size === 0) return undefined;
  const plain = graphToOnnx(graph);
  const constants = new Map<string, TensorValue>();
  const nodes = plain.graph.nodes.flatMap((node) => {
    const { node: convolution, channels } = found.get(node.outputs[0] ?? '') ?? {};
    return convolution === undefined || channels === undefined ? [node] : inBlocks(graph, convolution, channels, constants);
  });
  return { ...plain, opsets: new Map([...plain.opsets, [domain, 1]]), graph: { ...plain.graph, nodes, initializers: new Map([...plain.graph.initializers, ...constants]) } };
}
