import { int, intAttribute, notConstant, unsupported } from '../../graph/attributes.js';
import type { Node } from '../../graph/graph.js';
import { elementCount, fromNumbers, mapNumbers, reshaped, type TensorValue, toNumbers } from '../../graph/tensor-value.js';
import { geometryAttributes } from '../../ops/convolution.js';
import { normalizeAxis } from '../../ops/op.js';
import { dequantizedValue } from '../../ops/quantization.js';
import { interleaveAttributes, paddingBefore, phaseAxis, phaseWeights, transposedWindowOf, type PhaseAxis, type TransposedWindow } from '../../ops/transposed-convolution.js';
import { convolution } from '../../ops/views.js';
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

/** What one convolution makes: some phases, all with the window of the first, which has the most taps. */
interface Part {
  readonly phases: readonly Phase[];
  readonly taps: readonly [number, number];
}

function partOf({ axes: [vertical, horizontal] }: Plan, phases: readonly Phase[]): Part {
  const [row = 0, column = 0] = phases[0] ?? [];
  return { phases, taps: [vertical.taps[row] ?? 1, horizontal.taps[column] ?? 1] };
}

/** The weights of a part, quantized where the model's are: with one scale, or one for each output channel. */
function weightsOf(editor: Rewriter, node: Node, { window, outputs }: Plan, { phases, taps }: Part): string {
  const { weights: name } = convolution(node);
  const flat = (w: TensorValue) => (w.dims.length === 3 ? reshaped(w, [w.dims[0] ?? 1, w.dims[1] ?? 1, 1, w.dims[2] ?? 1]) : w);
  const constant = editor.constant(name);
  if (constant !== undefined) return editor.addConstant(`${name}.phases`, phaseWeights(flat(constant), window, taps, phases, 0));
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) throw notConstant(node, 1, 'W');
  const zeros = quantized.zeroPoints === undefined ? [0] : Array.from(toNumbers(quantized.zeroPoints));
  const perTensor = quantized.scales.data.length === 1;
  const axis = perTensor ? 1 : normalizeAxis(quantized.node, intAttribute(quantized.node, 'axis', 1), quantized.stored.dims.length);
  if (axis !== 1 || zeros.some((zero) => zero !== zeros[0])) {
    // The taps that a phase lacks have one value for all channels, and no kernel has scales that change within one.
    const floats = dequantizedValue(quantized.node, quantized.stored, quantized.scales, quantized.zeroPoints);
    return editor.addConstant(`${name}.phases`, phaseWeights(flat(floats), window, taps, phases, 0));
  }
  return dequantized(editor, quantized, phaseWeights(flat(quantized.stored), window, taps, phases, zeros[0] ?? 0), phases.length * outputs);
}

function biasOf(editor: Rewriter, node: Node, channels: number): string | undefined {
  const { bias: name } = convolution(node);
  if (name === undefined) return undefined;
  const constant = editor.constant(name);
  if (constant !== undefined) return editor.addConstant(`${name}.phases`, repeated(constant, channels));
  const quantized = quantizedConstant(editor, name);
  if (quantized === undefined) throw notConstant(node, 2, 'B');
  return dequantized(editor, quantized, repeated(quantized.stored, channels), channels);
}

/** The convolution that makes a part, its phases as groups of channels. */
function phaseConvolution(editor: Rewriter, node: Node, input: string, plan: Plan, part: Part): string {
  const { window, axes: [vertical, horizontal] } = plan;
  const attributes = geometryAttributes({
    kernel: part.taps, strides: [1, 1], dilations: [vertical.dilation, horizontal.dilation],
    pads: [paddingBefore(vertical, part.taps[0]), paddingBefore(horizontal, part.taps[1]), vertical.after, horizontal.after], output: [1, 1], group: window.group,
  });
  const bias = biasOf(editor, node, part.phases.length * plan.outputs);
  const inputs = [input, weightsOf(editor, node, plan, part), ...(bias === undefined ? [] : [bias])];
  return editor.emit({ name: node.name, op: 'NhwcConv', inputs, attributes });
}

/** Phases, and weights of all of them, beyond which a model is no network for a device but a mistake. */
const maximumPhases = 1024;
const maximumWeights = 2 ** 26;

function checkSize(node: Node, { strides, kernel, dilations }: TransposedWindow, weights: number): void {
  const phases = strides[0] * strides[1];
  if (phases > maximumPhases) throw unsupported(node, `Expected at most ${maximumPhases} phases but received strides ${strides.join('x')}`, 'strides');
  // The taps of all phases together are those of the kernel, with the gaps of the dilation filled in, rounded up to whole strides.
  const taps = ([0, 1] as const).map((axis) => (strides[axis] === 1 ? kernel[axis] : (kernel[axis] - 1) * dilations[axis] + strides[axis]));
  const spread = ((taps[0] ?? 1) * (taps[1] ?? 1)) / (kernel[0] * kernel[1]);
  if (weights * spread > maximumWeights) throw unsupported(node, `${weights * spread} weights when dilated`, 'dilations');
}

/** How much more than its own taps a phase may have in a window common to all; beyond, each phase is a convolution of its own. */
const maximumWaste = 1.25;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Whether one convolution makes all phases. Groups keep their channels together, so a grouped one cannot. */
function isCommon({ window, axes: [vertical, horizontal] }: Plan): boolean {
  const common = window.strides[0] * window.strides[1] * (vertical.taps[0] ?? 1) * (horizontal.taps[0] ?? 1);
  return window.group === 1 && common <= maximumWaste * sum(vertical.taps) * sum(horizontal.taps);
}

/**
 * ConvTranspose without multiplying by the zeros between input pixels: the output pixels of each phase of the stride are a
 * plain convolution, and the phases are interleaved. Where they have about the same taps, one convolution makes all of
 * them as groups of channels.
 */
export const convTranspose: Canonical = (editor, node) => {
  const { x, weights: w } = convolution(node);
  const weights = editor.type(w).shape;
  const window = transposedWindowOf(node, editor.type(x).shape, weights);
  checkSize(node, window, elementCount(weights));
  const input = toChannelsLast(editor, node, x);
  const [, height = 1, width = 1] = editor.type(input).shape;
  const axes = [phaseAxis(window, 0, height), phaseAxis(window, 1, width)] as const;
  const plan: Plan = { window, axes, outputs: (weights[1] ?? 1) * window.group };
  const [rows, columns] = window.strides;
  const phases = Array.from({ length: rows * columns }, (_, i): Phase => [Math.floor(i / columns), i % columns]);
  const parts = (isCommon(plan) ? [phases] : phases.map((phase) => [phase])).map((some) => phaseConvolution(editor, node, input, plan, partOf(plan, some)));
  const all = editor.concatenate(node.name, parts, 3);
  fromChannelsLast(editor, node, 'Interleave', [all], interleaveAttributes({ strides: window.strides, skips: [axes[0].skip, axes[1].skip], output: window.output }));
};
