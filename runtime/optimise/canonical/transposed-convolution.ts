import { int, intAttribute, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { fromNumbers, mapNumbers, reshaped, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { geometryAttributes } from '../../ops/convolution.js';
import { normalizeAxis } from '../../ops/op.js';
import { interleaveAttributes, phaseAxis, phaseWeights, transposedWindowOf, type PhaseAxis, type TransposedWindow } from '../../ops/transposed-convolution.js';
import type { Rewriter } from '../rewriter.js';
import { fromChannelsLast, toChannelsLast } from './spatial.js';
import type { Canonical } from './types.js';

type Phase = readonly [number, number];

/** `count` entries of a vector, repeated from the start. */
const repeated = (value: TensorValue, count: number): TensorValue => {
  const numbers = toNumbers(value);
  return fromNumbers(value.dtype, [count], mapNumbers({ length: count }, (_, i) => numbers[i % numbers.length] ?? 0));
};

/** A DequantizeLinear of constants. */
interface Quantized {
  readonly node: Node;
  readonly stored: TensorValue;
  readonly scales: TensorValue;
  readonly zeroPoints: TensorValue | undefined;
}

function quantizedConstant(editor: Rewriter, value: string): Quantized | undefined {
  const node = editor.producer(value);
  const [stored, scales] = [editor.constant(node?.inputs[0]), editor.constant(node?.inputs[1])];
  if (node?.op !== 'DequantizeLinear' || stored === undefined || scales === undefined) return undefined;
  return { node, stored, scales, zeroPoints: editor.constant(node.inputs[2]) };
}

/** Emits a DequantizeLinear whose scales, if there are several, run over axis 0, of `channels`. */
function dequantized(editor: Rewriter, { node, scales, zeroPoints }: Quantized, stored: TensorValue, channels: number): string {
  const spread = (value: TensorValue) => (value.data.length === 1 ? value : repeated(value, channels));
  const inputs = [stored, spread(scales), ...(zeroPoints === undefined ? [] : [spread(zeroPoints)])].map((value, i) => editor.addConstant(`${node.inputs[i]}.phases`, value));
  return editor.emit({ name: node.name, op: 'DequantizeLinear', inputs, attributes: { axis: int(0) } });
}

interface Plan {
  readonly window: TransposedWindow;
  readonly axes: readonly [PhaseAxis, PhaseAxis];
  /** Output channels of one phase. */
  readonly outputs: number;
}

/** The weights of some phases, quantized where the model's are: with one scale, or one for each output channel. */
function weightsOf(editor: Rewriter, node: Node, { window, axes, outputs }: Plan, phases: readonly Phase[]): string {
  const name = node.inputs[1] ?? '';
  const flat = (w: TensorValue) => (w.dims.length === 3 ? reshaped(w, [w.dims[0] ?? 1, w.dims[1] ?? 1, 1, w.dims[2] ?? 1]) : w);
  const constant = editor.constant(name);
  if (constant !== undefined) return editor.addConstant(`${name}.phases`, phaseWeights(flat(constant), window, axes, phases, 0));
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) throw unsupported(node, 'the weights must be constants', 'W');
  const zeros = quantized.zeroPoints === undefined ? [0] : Array.from(toNumbers(quantized.zeroPoints));
  const perTensor = quantized.scales.data.length === 1;
  const axis = perTensor ? 1 : normalizeAxis(quantized.node, intAttribute(quantized.node, 'axis', 1), quantized.stored.dims.length);
  if (axis !== 1 || zeros.some((zero) => zero !== zeros[0])) throw unsupported(quantized.node, 'Expected one scale for each output channel (axis 1) and one zero-point', 'axis');
  return dequantized(editor, quantized, phaseWeights(flat(quantized.stored), window, axes, phases, zeros[0] ?? 0), phases.length * outputs);
}

function biasOf(editor: Rewriter, node: Node, channels: number): string {
  const name = node.inputs[2] ?? '';
  if (name === '') return '';
  const constant = editor.constant(name);
  if (constant !== undefined) return editor.addConstant(`${name}.phases`, repeated(constant, channels));
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) throw unsupported(node, 'the bias must be a constant', 'B');
  return dequantized(editor, quantized, repeated(quantized.stored, channels), channels);
}

/** The convolution that makes some phases, as groups of channels. */
function phaseConvolution(editor: Rewriter, node: Node, input: string, plan: Plan, phases: readonly Phase[]): string {
  const { window, axes: [vertical, horizontal] } = plan;
  const attributes = geometryAttributes({
    kernel: [vertical.taps, horizontal.taps], strides: [1, 1], dilations: [vertical.dilation, horizontal.dilation],
    pads: [vertical.before, horizontal.before, vertical.after, horizontal.after], output: [1, 1], group: window.group,
  });
  const bias = biasOf(editor, node, phases.length * plan.outputs);
  const inputs = [input, weightsOf(editor, node, plan, phases), ...(bias === '' ? [] : [bias])];
  return editor.emit({ name: node.name, op: 'NhwcConv', inputs, attributes });
}

/**
 * ConvTranspose without multiplying by the zeros between input pixels: the output pixels of each phase of the stride are a
 * convolution of their own, all with the same window, so that one convolution makes all phases as groups of channels, and
 * they are interleaved. Groups keep their channels together, so a grouped one takes a convolution a phase.
 */
export const convTranspose: Canonical = (editor, node) => {
  const [x = '', w = ''] = node.inputs;
  const weights = editor.type(w).shape;
  const window = transposedWindowOf(node, editor.type(x).shape, weights);
  const input = toChannelsLast(editor, node, x);
  const [, height = 1, width = 1] = editor.type(input).shape;
  const axes = [phaseAxis(window, 0, height), phaseAxis(window, 1, width)] as const;
  const plan: Plan = { window, axes, outputs: (weights[1] ?? 1) * window.group };
  const [rows, columns] = window.strides;
  const phases = Array.from({ length: rows * columns }, (_, i): Phase => [Math.floor(i / columns), i % columns]);
  const parts = window.group === 1 ? [phaseConvolution(editor, node, input, plan, phases)] : phases.map((phase) => phaseConvolution(editor, node, input, plan, [phase]));
  const [first = ''] = parts;
  const all = parts.length === 1 ? first : editor.emit({ name: node.name, op: 'Concat', inputs: parts, attributes: { axis: int(3) } });
  fromChannelsLast(editor, node, 'Interleave', [all], interleaveAttributes({ strides: window.strides, skips: [axes[0].skip, axes[1].skip], output: window.output }));
};
