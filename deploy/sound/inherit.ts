/** The first blocks of a teacher, for a student to begin with. */
import { intAttribute, intsAttribute } from '../../runtime/graph/attributes.js';
import { consumersOf, producersOf, type Graph, type Node } from '../../runtime/graph/graph.js';
import { graphFromOnnx } from '../../runtime/graph/import.js';
import { toNumbers } from '../../runtime/graph/tensor-value.js';
import { inferShapes } from '../../runtime/infer/infer.js';
import { parseModel } from '../../runtime/onnx/parse.js';
import { untilStable } from '../../runtime/optimize/optimize.js';
import { foldConstants } from '../../runtime/optimize/passes/fold-constants.js';
import { foldWeightDequantize } from '../../runtime/optimize/passes/fold-weight-dequantize.js';
import { removeIdentities } from '../../runtime/optimize/passes/remove-identities.js';
import { DeployError } from '../errors.js';
import { parametersIn, patch, type Layer, type Net, type Weight } from './student.js';

export interface Inherited {
  net: Net;
  /** `w0`, `b0` ... of the layers. */
  layers: Record<string, Weight>;
}

export interface InheritOptions {
  classes: number;
  /** Most parameters of the student with its head. */
  parameters: number;
}

interface Taken {
  layer: Layer;
  weight: Weight;
  bias: Weight;
}

const fits = `a teacher that fits has convolutions with ReLU, one behind the other, over a map [1, 1, ${patch.rows}, ${patch.bands}] of logarithmic mel bands, as YAMNet (--init random begins without its blocks)`;

/**
 * As many blocks from the start of the teacher as the parameters allow: its chain of convolutions with ReLU, found by what the graph computes and
 * not by names. A block ends where a convolution has mixed all channels. The heads see the mean and the maximum of each channel, since
 * early features are local (what the blocks of MobileNet before the end give is measured in README.md).
 *
 * Layers of the teacher as the beginning of a smaller student follow DistilBERT (Sanh et al., arXiv 1910.01108).
 * @throws DeployError E_LAB: a teacher of another geometry, or parameters that do not hold its first block; RuntimeError E_MODEL_*
 */
export function inheritBlocks(teacher: Uint8Array, { classes, parameters }: InheritOptions): Inherited {
  const graph = untilStable(inferShapes(graphFromOnnx(parseModel(teacher))), [foldConstants, removeIdentities, foldWeightDequantize]);
  const chain = chainOf(graph);
  const studentOf = (taken: readonly Taken[]): Net => ({ layers: taken.map(({ layer }) => layer), pools: ['mean', 'max'], scale: { mean: 0, std: 1 } });
  const ends = chain.flatMap(({ layer: { group } }, i) => (group === 1 ? [i + 1] : []));
  const sizes = ends.map((end) => parametersIn({ classes, teacher: 0, net: studentOf(chain.slice(0, end)) }));
  const most = sizes.findLastIndex((size) => size <= parameters);
  if (most < 0) throw new DeployError('E_LAB', `The first block of the teacher with a head for ${classes} classes has ${sizes[0] ?? 0} parameters; expected at most ${parameters}`, { details: { parameters: sizes[0] ?? 0 } });
  const taken = chain.slice(0, ends[most]);
  return { net: studentOf(taken), layers: Object.fromEntries(taken.flatMap(({ weight, bias }, i) => [[`w${i}`, weight], [`b${i}`, bias]])) };
}

/** Convolutions with ReLU from the map of features on, as far as each is all that reads the one before it. */
function chainOf(graph: Graph): Taken[] {
  const [consumers, producers] = [consumersOf(graph.nodes), producersOf(graph.nodes)];
  const first = graph.nodes.find(({ op }) => op === 'Conv');
  if (first === undefined) throw new DeployError('E_LAB', `The teacher has no convolution; ${fits}`);
  const map = graph.types.get(first.inputs[0] ?? '')?.shape ?? [];
  if (map.join() !== [1, 1, patch.rows, patch.bands].join()) throw new DeployError('E_LAB', `The first convolution of the teacher, '${first.name}', sees a map [${map.join(', ')}]; ${fits}`, { details: { node: first.name } });
  const taken: Taken[] = [];
  for (let node: Node | undefined = first; node !== undefined;) {
    const one = takenFrom(graph, node);
    const [relu, ...others]: Node[] = consumers.get(node.outputs[0] ?? '') ?? [];
    if (one === undefined || relu?.op !== 'Relu' || others.length > 0) break;
    taken.push(one);
    const [next, ...more]: Node[] = consumers.get(relu.outputs[0] ?? '') ?? [];
    node = next?.op === 'Conv' && more.length === 0 && producers.get(next.inputs[0] ?? '') === relu ? next : undefined;
  }
  if (taken.length === 0) throw new DeployError('E_LAB', `The first convolution of the teacher, '${first.name}', is none with constant weights, equal sides and a ReLU behind it; ${fits}`, { details: { node: first.name } });
  return taken;
}

/** A convolution as a layer of the student; undefined for one that the student's net cannot have. */
function takenFrom(graph: Graph, node: Node): Taken | undefined {
  const [, w, b] = node.inputs.map((name) => graph.constants.get(name));
  if (w?.dtype !== 'float32' || w.dims.length !== 4) return undefined;
  const [outputs = 0, perGroup = 0, kernel = 0, width = 0] = w.dims;
  const group = intAttribute(node, 'group', 1);
  const [stride = 1, ...strides] = intsAttribute(node, 'strides') ?? [];
  const [before = 0, left = 0, after = 0, right = 0] = intsAttribute(node, 'pads') ?? [];
  const plain = (intsAttribute(node, 'dilations') ?? []).every((dilation) => dilation === 1) && !node.attributes.has('auto_pad');
  if (kernel !== width || strides.some((other) => other !== stride) || left !== before || right !== after || !plain) return undefined;
  const data = b === undefined ? new Float32Array(outputs) : Float32Array.from(toNumbers(b));
  return { layer: { inputs: perGroup * group, outputs, kernel, stride, group, pads: [before, after] }, weight: { dims: w.dims, data: Float32Array.from(toNumbers(w)) }, bias: { dims: [outputs], data } };
}
