import { elementCount, type TensorValue } from '../../graph/tensor-value.js';

/** Weights in s8, symmetric, one scale per output channel. */
export interface QuantizedWeights {
  weights: TensorValue;
  /** One per channel of `axis`. */
  scales: Float32Array;
  axis: number;
}

/**
 * How the elements of a tensor fall into the channels of one axis: element (o, c, i) is at (o * channels + c) * inner + i.
 */
interface ChannelView {
  outer: number;
  channels: number;
  inner: number;
}

function channelView(dims: readonly number[], axis: number): ChannelView {
  return { outer: elementCount(dims.slice(0, axis)), channels: dims[axis] ?? 1, inner: elementCount(dims.slice(axis + 1)) };
}

/** Calls `visit` for every element with its channel. */
function forEachElement(dims: readonly number[], axis: number, visit: (index: number, channel: number) => void): void {
  const { outer, channels, inner } = channelView(dims, axis);
  let index = 0;
  for (let o = 0; o < outer; o++) {
    for (let channel = 0; channel < channels; channel++) {
      for (let i = 0; i < inner; i++) visit(index++, channel);
    }
  }
}

/** Largest magnitude in each channel. */
export function channelMagnitudes(weights: TensorValue, axis: number): Float32Array {
  const magnitudes = new Float32Array(weights.dims[axis] ?? 1);
  const data = weights.data;
  forEachElement(weights.dims, axis, (index, channel) => {
    const magnitude = Math.abs(Number(data[index]));
    if (magnitude > (magnitudes[channel] ?? 0)) magnitudes[channel] = magnitude;
  });
  return magnitudes;
}

/** A quantized bias may use this much of the 32-bit accumulator; the products need the rest. */
const biasLimit = 2 ** 30;

/** A little above the smallest normal number of single precision: what is below, engines may take for zero. */
const leastNormal = 2 ** -120;

/** The smallest scale of weights with which a bias fits 32 bits, and that multiplied by the input's scale is still a normal number. */
export const leastScale = (bias: number, inputScale: number): number => Math.max(Math.abs(bias) / (inputScale * biasLimit), leastNormal / Math.min(1, inputScale));

/**
 * One scale per output channel: the largest magnitude becomes 127. A channel whose weights are tiny beside its bias (or all
 * zero: dead, or pruned) gets the smallest scale with which the bias still fits 32 bits.
 * @param inputScale scale of the activations that the weights multiply
 */
export function weightScales(magnitudes: Float32Array, bias: Float32Array | undefined, inputScale: number): Float32Array {
  return magnitudes.map((magnitude, channel) => {
    const scale = Math.max(magnitude / 127, leastScale(bias?.[channel] ?? 0, inputScale));
    return scale > 1e-30 ? scale : 1;
  });
}

const clampTo127 = (value: number): number => Math.max(-127, Math.min(127, value));

/** Rounds half to even, as QuantizeLinear does. */
export function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** Weights to s8 in [-127, 127]: -128 is left out so that the range is symmetric. */
export function quantizeWeights(weights: TensorValue, axis: number, scales: Float32Array): QuantizedWeights {
  const data = new Int8Array(weights.data.length);
  forEachElement(weights.dims, axis, (index, channel) => {
    data[index] = clampTo127(roundHalfEven(Number(weights.data[index]) / (scales[channel] ?? 1)));
  });
  return { weights: { dtype: 'int8', dims: [...weights.dims], data }, scales, axis };
}

/** Bias to s32 with scale inputScale * weightScale, and these scales. */
export function quantizeBias(bias: Float32Array, inputScale: number, scales: Float32Array): { bias: Int32Array; scales: Float32Array } {
  const biasScales = scales.map((scale) => inputScale * scale);
  const limit = 2 ** 31 - 1;
  const quantized = Int32Array.from(bias, (value, channel) => {
    return Math.max(-limit, Math.min(limit, roundHalfEven(value / (biasScales[channel] ?? 1))));
  });
  return { bias: quantized, scales: biasScales };
}

/**
 * Sum over each output channel of (dequantized - original) * mean input: how far weight rounding moves the mean of the output.
 * Subtracting it from the bias restores the mean (Nagel et al., arXiv 1906.04721, section 4.2).
 * @param inputMeans mean of each channel of the convolution's input
 * @param group groups of the convolution; weights are [O, I / group, ...]
 */
export function meanShift(original: TensorValue, quantized: QuantizedWeights, inputMeans: Float32Array, group: number): Float32Array {
  const [outputs = 1, inputsPerGroup = 1] = original.dims;
  const taps = elementCount(original.dims.slice(2));
  const outputsPerGroup = outputs / group;
  const shift = new Float32Array(outputs);
  let index = 0;
  for (let o = 0; o < outputs; o++) {
    const scale = quantized.scales[o] ?? 1;
    const firstInput = Math.floor(o / outputsPerGroup) * inputsPerGroup;
    let sum = 0;
    for (let i = 0; i < inputsPerGroup; i++) {
      const mean = inputMeans[firstInput + i] ?? 0;
      for (let tap = 0; tap < taps; tap++, index++) {
        sum += (Number(quantized.weights.data[index]) * scale - Number(original.data[index])) * mean;
      }
    }
    shift[o] = sum;
  }
  return shift;
}
