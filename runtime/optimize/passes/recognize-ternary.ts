import { int, intAttribute, string, type Attribute } from '../../graph/attributes.js';
import type { Graph, Node } from '../../graph/graph.js';
import { elementCount, float32s, fromNumbers, mapNumbers, toNumbers, type TensorValue } from '../../graph/tensor-value.js';
import { convolution } from '../../ops/views.js';
import { ternaryActivations, type TernaryActivations } from '../quantized/steps.js';
import { explain } from '../../graph/explain.js';
import { Rewriter } from '../rewriter.js';

interface TernaryWeights {
  /** -1, 0 and 1, as int8. */
  readonly signs: TensorValue;
  /** What they are multiplied with, one for each output channel. */
  readonly scales: Float64Array;
}

/** Weights of which each output channel has one magnitude, and zeros; undefined when they are others. */
function ternaryWeights(weights: TensorValue): TernaryWeights | undefined {
  const outputs = weights.dims[0] ?? 1;
  const depth = elementCount(weights.dims) / outputs;
  const values = toNumbers(weights);
  const scales = new Float64Array(outputs);
  for (let o = 0; o < outputs; o++) {
    let scale = 0;
    for (let i = o * depth; i < (o + 1) * depth; i++) {
      const size = Math.abs(values[i] ?? 0);
      if (scale === 0) scale = size;
      if (size !== 0 && size !== scale) return undefined; // of other networks, the second weight says so
    }
    scales[o] = scale;
  }
  return { signs: fromNumbers('int8', weights.dims, mapNumbers(values, Math.sign)), scales };
}

/** The thresholds of each activation once, however many convolutions read them. */
class Thresholds {
  private readonly made = new Map<string, string>();

  constructor(private readonly editor: Rewriter) {}

  codes({ source, lower, upper }: TernaryActivations, name: string): string {
    const key = `${source} ${lower} ${upper}`;
    const known = this.made.get(key);
    if (known !== undefined) return known;
    const bounds = [lower, upper].map((bound) => this.editor.addConstant(`${name}.threshold`, float32s([bound])));
    const codes = this.editor.emit({ name, op: 'Threshold', inputs: [source, ...bounds], attributes: { y_type: string('int8'), y_zp: int(0) } });
    this.made.set(key, codes);
    return codes;
  }
}

function replaceConvolution(editor: Rewriter, thresholds: Thresholds, conv: Node): void {
  const { x, weights: w, bias } = convolution(conv);
  const constant = editor.constant(w);
  const weights = constant === undefined ? undefined : ternaryWeights(constant);
  if (weights === undefined) return explain('recognize-ternary', conv, 'its weights are not -s, 0 and s in each output channel');
  const activations = ternaryActivations(editor, x);
  if (activations === undefined) return explain('recognize-ternary', conv, 'its input is not a sign or a threshold of something');
  const group = intAttribute(conv, 'group', 1);
  if (group > 1 && group === (editor.type(x).shape.at(-1) ?? 1)) return explain('recognize-ternary', conv, 'it is depthwise, which is too little depth for bits to pay');
  const codes = thresholds.codes(activations, editor.producer(x)?.name ?? conv.name);
  const attributes: Record<string, Attribute> = { ...Object.fromEntries(conv.attributes), x_zp: int(0) };
  const scale = float32s(weights.scales.map((s) => s * activations.factor));
  const inputs = [codes, editor.addConstant(`${w}.signs`, weights.signs), editor.addConstant(`${conv.name}.scale`, scale), ...(bias === undefined ? [] : [bias])];
  editor.substitute(conv, { op: 'ConvQ8F32', inputs, attributes });
}

/**
 * Recognizes networks that were trained with binary or ternary weights and activations: a float convolution whose weights are -s, 0 and s in each output channel, of
 * the sign of something or of a threshold, is counted in bits. Sums are exact where float arithmetic rounds.
 */
export function recognizeTernary(graph: Graph): Graph {
  const editor = new Rewriter(graph);
  const thresholds = new Thresholds(editor);
  for (const node of graph.nodes) {
    if (node.op !== 'NhwcConv') continue;
    const { bias } = convolution(node);
    if (bias === undefined || editor.constant(bias) !== undefined) replaceConvolution(editor, thresholds, node);
    else explain('recognize-ternary', node, 'its bias is not constant');
  }
  return editor.finish();
}
