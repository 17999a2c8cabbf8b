import { floatAttribute, intAttribute } from '../../graph/attributes.js';
import { GraphEditor } from '../../graph/editor.js';
import type { Graph, Node } from '../../graph/graph.js';
import { optionalOutput, outputOf } from '../../graph/operands.js';
import { elementCount, fromNumbers, mapNumbers, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { batchNormAffine } from '../../ops/normalization.js';
import { convolution, pair } from '../../ops/views.js';
import { explain } from '../../graph/explain.js';

/** Where the output channels of a layer are, in its weights and in its result. */
interface Layer {
  readonly node: Node;
  readonly weights: TensorValue;
  readonly bias: TensorValue | undefined;
  /** Axis of the weights that runs over output channels. */
  readonly weightAxis: number;
  /** Axis of the result that runs over output channels. */
  readonly channelAxis: number;
}

const foldable: ReadonlySet<string> = new Set(['Conv', 'ConvTranspose', 'NhwcConv', 'Gemm']);

function layerOf(editor: GraphEditor, value: string): Layer | undefined {
  const node = editor.producer(value);
  if (node === undefined || !foldable.has(node.op)) return undefined;
  const rank = editor.type(value).shape.length;
  const { weights: weightsName, bias: biasName } = convolution(node);
  const [weights, bias] = [editor.constant(weightsName), editor.constant(biasName)];
  if (weights === undefined || weights.dtype !== 'float32' || (biasName !== undefined && bias === undefined)) return explain('fold-affine', node, 'its weights or its bias are not float constants');
  switch (node.op) {
    case 'Conv': return { node, weights, bias, weightAxis: 0, channelAxis: 1 };
    case 'ConvTranspose': {
      // With groups, axis 1 of the weights runs over the channels of one group only.
      return intAttribute(node, 'group', 1) === 1 ? { node, weights, bias, weightAxis: 1, channelAxis: 1 } : explain('fold-affine', node, 'it has groups');
    }
    case 'NhwcConv': {
      const plain = node.inputs.slice(3).every((input) => input === '') && !node.attributes.has('unary');
      return plain ? { node, weights, bias, weightAxis: 0, channelAxis: rank - 1 } : explain('fold-affine', node, 'it computes an activation or a residual already');
    }
    case 'Gemm': {
      if (floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1) return explain('fold-affine', node, 'alpha or beta is not 1');
      const columns = weights.dims[intAttribute(node, 'transB', 0) !== 0 ? 0 : 1] ?? 1;
      if (bias !== undefined && elementCount(bias.dims) !== columns) return explain('fold-affine', node, 'its bias is not one number for each column');
      return { node, weights, bias, weightAxis: intAttribute(node, 'transB', 0) !== 0 ? 0 : 1, channelAxis: 1 };
    }
    default: return undefined;
  }
}

/** A constant operand as one value for each channel, undefined when it varies along another axis or widens the result. */
function perChannel(value: TensorValue, shape: readonly number[], channelAxis: number): Float64Array | undefined {
  const channels = shape[channelAxis] ?? 1;
  if (value.dtype !== 'float32' || value.dims.length > shape.length) return undefined;
  const lead = shape.length - value.dims.length;
  const varies = value.dims.some((dim, i) => dim !== 1 && i + lead !== channelAxis);
  if (varies) return undefined;
  const numbers = toNumbers(value);
  return mapNumbers({ length: channels }, (_, c) => numbers[numbers.length === 1 ? 0 : c] ?? 0);
}

interface Affine {
  readonly mul: Float64Array | undefined;
  readonly add: Float64Array | undefined;
}

/** What a node does to its first data input, when that is a factor and a summand for each channel. */
function affineOf(editor: GraphEditor, node: Node, layerValue: string, channelAxis: number): Affine | undefined {
  const { shape } = editor.type(layerValue);
  if (node.op === 'BatchNormalization') {
    if (channelAxis !== 1 || node.inputs[0] !== layerValue) return undefined;
    const parameters = node.inputs.slice(1, 5).map((name) => editor.constant(name));
    if (!parameters.every((value): value is TensorValue => value !== undefined)) return undefined;
    return batchNormAffine(node, parameters.map(toNumbers));
  }
  if (!['Mul', 'Div', 'Add', 'Sub'].includes(node.op)) return undefined;
  const { a, b } = pair(node);
  const constant = editor.constant(a === layerValue ? b : a);
  const values = constant === undefined ? undefined : perChannel(constant, shape, channelAxis);
  if (values === undefined) return undefined;
  const layerFirst = a === layerValue;
  switch (node.op) {
    case 'Mul': return { mul: values, add: undefined };
    case 'Div': return layerFirst ? { mul: values.map((v) => 1 / v), add: undefined } : undefined;
    case 'Add': return { mul: undefined, add: values };
    case 'Sub': return layerFirst ? { mul: undefined, add: values.map((v) => -v) } : { mul: values.map(() => -1), add: values };
    default: return undefined;
  }
}

function scaled(weights: TensorValue, axis: number, mul: Float64Array): TensorValue {
  const inner = elementCount(weights.dims.slice(axis + 1));
  const data = mapNumbers(toNumbers(weights), (w, i) => w * (mul[Math.floor(i / inner) % mul.length] ?? 1));
  return fromNumbers(weights.dtype, weights.dims, data);
}

function foldInto(editor: GraphEditor, layer: Layer, consumer: Node, { mul, add }: Affine): void {
  const channels = layer.weights.dims[layer.weightAxis] ?? 1;
  const old = layer.bias === undefined ? new Float64Array(channels) : toNumbers(layer.bias);
  const bias = mapNumbers({ length: channels }, (_, c) => (old[c] ?? 0) * (mul?.[c] ?? 1) + (add?.[c] ?? 0));
  const { node } = layer;
  const { x, weights: stored } = convolution(node);
  const weights = mul === undefined ? stored : editor.addConstant(`${stored}.scaled`, scaled(layer.weights, layer.weightAxis, mul));
  const biasName = editor.addConstant(`${node.name}.bias`, fromNumbers('float32', [channels], bias));
  editor.remove(consumer);
  editor.replace(node, { name: consumer.name, inputs: [x, weights, biasName, ...node.inputs.slice(3)], outputs: consumer.outputs });
}

/**
 * Folds BatchNormalization, and Mul, Div, Add and Sub by a constant for each channel, into the convolution or Gemm before
 * them (scale the weights, shift the bias). The folded layer takes the name of the last node it replaces.
 */
export function foldAffine(graph: Graph): Graph {
  const editor = new GraphEditor(graph);
  for (const start of graph.nodes) {
    for (let value = optionalOutput(start, 0); value !== undefined; ) {
      const layer = layerOf(editor, value);
      const consumer = editor.soleConsumer(value);
      if (layer === undefined) break;
      if (consumer === undefined) {
        explain('fold-affine', layer.node, 'its output is an output of the model, or does not have exactly one reader');
        break;
      }
      const affine = affineOf(editor, consumer, value, layer.channelAxis);
      const keepsShape = affine !== undefined && elementCount(editor.type(outputOf(consumer)).shape) === elementCount(editor.type(value).shape);
      if (affine === undefined || !keepsShape || !finite(affine)) {
        explain('fold-affine', layer.node, () => `the ${consumer.op} '${consumer.name}' that reads it is not a finite constant factor or summand for each channel`);
        break;
      }
      foldInto(editor, layer, consumer, affine);
      value = outputOf(consumer);
    }
  }
  return editor.finish();
}

const finite = ({ mul, add }: Affine): boolean => [...(mul ?? []), ...(add ?? [])].every(Number.isFinite);
