/**
 * Depthwise convolutions of a training graph in blocks of channels, as onnxruntime computes those of models whose weights are constants. In its plain form
 * such a convolution is one tiny product for each channel. The operators are onnxruntime's own (`com.microsoft.nchwc`), so this form is for the engine that
 * trains alone, and is never saved.
 */
import { int, intAttribute, ints, intsAttribute } from '../../runtime/graph/attributes.js';
import { graphToOnnx } from '../../runtime/graph/export.js';
import { producersOf, type Graph, type Node } from '../../runtime/graph/graph.js';
import { fromNumbers, int64s, type TensorValue } from '../../runtime/graph/tensor-value.js';
import type { OnnxModel, OnnxNode } from '../../runtime/onnx/types.js';

const domain = 'com.microsoft.nchwc';
/** Blocks have 8 channels with AVX2 and 16 with AVX512; channels in sixteens fill both, so the graph need not know. */
const wholeBlocks = 16;

type Shape = readonly number[];

const shapeOf = (graph: Graph, value: string): Shape => graph.constants.get(value)?.dims ?? graph.types.get(value)?.shape ?? [];
const same = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((size, axis) => size === b[axis]);

/** A depthwise convolution that blocks hold. */
interface Depthwise {
  readonly node: Node;
  readonly channels: number;
}

function depthwiseOf(graph: Graph, node: Node): Depthwise | undefined {
  const [x = [], w = []] = node.inputs.map((name) => shapeOf(graph, name));
  const channels = x[1] ?? 0;
  const fits = x.length === 4 && channels > 0 && channels % wholeBlocks === 0 && intAttribute(node, 'group', 1) === channels && w[0] === channels && w[1] === 1;
  if (!fits) return undefined;
  // Some gradients crop, which is left to the plain form.
  if (node.op === 'Conv') return (intsAttribute(node, 'pads') ?? []).every((pad) => pad >= 0) ? { node, channels } : undefined;
  return node.op === 'ConvTranspose' && spreadPads(graph, node) !== undefined ? { node, channels } : undefined;
}

/** Strides of a transposed convolution, and what surrounds its input when zeros stand between its elements; undefined where it crops, or has one stride or holes. */
function spreadPads(graph: Graph, node: Node): { strides: [number, number]; pads: number[] } | undefined {
  const [x, w, y] = [shapeOf(graph, node.inputs[0] ?? ''), shapeOf(graph, node.inputs[1] ?? ''), shapeOf(graph, node.outputs[0] ?? '')];
  const [down = 1, across = 1] = intsAttribute(node, 'strides') ?? [];
  const before = intsAttribute(node, 'pads') ?? [0, 0, 0, 0];
  const begins = [0, 1].map((i) => (w[i + 2] ?? 1) - 1 - (before[i] ?? 0));
  const ends = [down, across].map((stride, i) => (y[i + 2] ?? 0) - (x[i + 2] ?? 0) * stride - (begins[i] ?? 0) + (w[i + 2] ?? 1) - 1);
  const pads = [...begins, ...ends];
  const whole = (intsAttribute(node, 'dilations') ?? []).every((step) => step === 1) && pads.every((pad) => pad >= 0);
  return whole && Math.min(down, across) > 1 ? { strides: [down, across], pads } : undefined;
}

/** Writes the nodes in blocks. Each value is brought into blocks once, for all its readers. */
class BlockWriter {
  readonly constants = new Map<string, TensorValue>();
  readonly #producers: ReadonlyMap<string, Node>;
  readonly #made = new Set<string>();
  #nodes: OnnxNode[] = [];

  constructor(private readonly graph: Graph) {
    this.#producers = producersOf(graph.nodes);
  }

  /** The convolution, and what it needs that is not there yet. */
  convolution({ node, channels }: Depthwise): OnnxNode[] {
    this.#nodes = [];
    const [x = '', w = '', ...bias] = node.inputs;
    const at = `${node.outputs[0] ?? node.name}.blocked`;
    const spread = node.op === 'ConvTranspose' ? spreadPads(this.graph, node) : undefined;
    const [seen, filter, attributes] = spread === undefined
      ? [this.#blocks(x), this.#blocks(w), node.attributes]
      : [this.#apart(x, at, spread.strides), this.#turned(w, at), new Map([['pads', ints(spread.pads)], ['group', int(channels)]])];
    this.#emit(`${at}.y`, 'Conv', [seen, filter, ...bias], { attributes });
    this.#emit(`${at}.plain`, 'ReorderOutput', [`${at}.y`], { outputs: node.outputs, attributes: new Map([['channels', int(channels)]]) });
    return this.#nodes;
  }

  /** The value itself, or what it is another shape of: all shapes with the same rows and columns have the same blocks. */
  #root(value: string): string {
    const producer = this.#producers.get(value);
    const source = producer?.op === 'Reshape' ? (producer.inputs[0] ?? '') : '';
    const [from, to] = [shapeOf(this.graph, source), shapeOf(this.graph, value)];
    return from.length === 4 && same(from.slice(2), to.slice(2)) ? this.#root(source) : value;
  }

  /** A value of 4 axes in blocks. A filter of one input channel is brought into them as a picture is: channel blocks, rows, columns, channels. */
  #blocks(value: string, given?: Shape): string {
    const wanted = given ?? shapeOf(this.graph, value);
    const root = given === undefined ? this.#root(value) : value;
    const [n = 1, channels = 1, ...places] = given ?? shapeOf(this.graph, root);
    const picture = channels % wholeBlocks === 0 ? [n, channels, ...places] : [1, n * channels, ...places];
    const plain = channels % wholeBlocks === 0 ? root : this.#shaped(root, picture);
    const name = `${root}.blocks`;
    this.#once(name, 'ReorderInput', [plain]);
    return same(picture, wanted) ? name : this.#shaped(name, wanted);
  }

  /** In blocks, with zeros between the elements: each is repeated, and all but the first of them are masked. */
  #apart(x: string, at: string, [down, across]: readonly [number, number]): string {
    const [n = 1, channels = 1, rows = 1, columns = 1] = shapeOf(this.graph, x);
    const [height, width] = [rows * down, columns * across];
    const mask = `lab.blocks.mask.${height}x${width}.${down}x${across}`;
    if (!this.constants.has(mask)) {
      const places = Float64Array.from({ length: wholeBlocks * height * width }, (_, i) => (i % width % across === 0 && Math.floor(i / width) % height % down === 0 ? 1 : 0));
      this.constants.set(mask, fromNumbers('float32', [1, wholeBlocks, height, width], places));
    }
    const ones = this.#shaped(this.#blocks(mask, [1, wholeBlocks, height, width]), [1, wholeBlocks * height * width]);
    this.#emit(`${at}.repeated`, 'Upsample', [this.#blocks(x)], { attributes: new Map([['scales', ints([1, 1, down, across])]]) });
    const repeated = this.#shaped(`${at}.repeated`, [(n * channels) / wholeBlocks, wholeBlocks * height * width]);
    this.#emit(`${at}.apart`, 'Mul', [repeated, ones], { domain: '' });
    return this.#shaped(`${at}.apart`, [n, channels, height, width]);
  }

  /** A filter in blocks, turned around. */
  #turned(w: string, at: string): string {
    const shape = shapeOf(this.graph, w);
    const constant = (name: string, numbers: readonly number[]): string => {
      this.constants.set(`lab.blocks.${name}`, int64s(numbers));
      return `lab.blocks.${name}`;
    };
    const back = constant('back', [-1, -1]);
    const [rows = 1, columns = 1] = shape.slice(2);
    this.#emit(`${at}.turned`, 'Slice', [w, back, constant(`ends.${rows}x${columns}`, [-rows - 1, -columns - 1]), constant('axes', [2, 3]), back], { domain: '' });
    return this.#blocks(`${at}.turned`, shape);
  }

  #shaped(value: string, dims: Shape): string {
    const shape = `lab.blocks.shape.${dims.join('x')}`;
    this.constants.set(shape, int64s(dims));
    const name = `${value}.${dims.join('x')}`;
    this.#once(name, 'Reshape', [value, shape], { domain: '' });
    return name;
  }

  #once(name: string, op: string, inputs: readonly string[], of: Partial<OnnxNode> = {}): void {
    if (!this.#made.has(name)) this.#emit(name, op, inputs, of);
    this.#made.add(name);
  }

  #emit(name: string, op: string, inputs: readonly string[], of: Partial<OnnxNode> = {}): void {
    this.#nodes.push({ name, op, domain, inputs, outputs: [name], attributes: new Map(), ...of });
  }
}

/**
 * The graph as a model with its depthwise convolutions in blocks, where their channels come in sixteens. Sums have another order than in the plain form.
 * @param graph inferred, of ONNX operators
 * @returns undefined when there is nothing to gain
 */
export function blockedDepthwise(graph: Graph): OnnxModel | undefined {
  const found = new Map(graph.nodes.flatMap((node) => {
    const depthwise = depthwiseOf(graph, node);
    return depthwise === undefined ? [] : [[node.outputs[0] ?? '', depthwise] as const];
  }));
  if (found.size === 0) return undefined;
  const plain = graphToOnnx(graph);
  const writer = new BlockWriter(graph);
  const nodes = plain.graph.nodes.flatMap((node) => {
    const depthwise = found.get(node.outputs[0] ?? '');
    return depthwise === undefined ? [node] : writer.convolution(depthwise);
  });
  return { ...plain, opsets: new Map([...plain.opsets, [domain, 1]]), graph: { ...plain.graph, nodes, initializers: new Map([...plain.graph.initializers, ...writer.constants]) } };
}
