import { RuntimeError } from '../errors.js';
import { intAttribute, misshapen, notConstant } from '../graph/attributes.js';
import type { Node } from '../graph/graph.js';
import { hasOperand } from '../graph/operands.js';
import { normalizeAxis } from '../ops/op.js';
import { type Builder, type Expansion, input, Notation } from './builder.js';

// Spectra as products with the matrices of their definition, and the windows and filters in front of and behind them.

/** Samples of one transform: its matrices have the square of that many elements. */
const maximumSamples = 4096;

/** The number that an operand is; undefined where the node does not have it. */
function numberAt(b: Builder, node: Node, index: number, what: string): number | undefined {
  if (!hasOperand(node, index)) return undefined;
  const value = b.known(input(node, index));
  if (value === undefined) throw notConstant(node, index, what);
  return Number(value.data[0]);
}

function required(b: Builder, node: Node, index: number, what: string): number {
  const value = numberAt(b, node, index, what);
  if (value === undefined) throw misshapen(node, `Expected input ${index} (${what}) but received none`);
  return value;
}

/** a0 - a1 cos(2 pi n / N) + a2 cos(4 pi n / N) */
const cosineWindow = (a0: number, a1: number, a2: number): Expansion => (b, node) => {
  const size = required(b, node, 0, 'size');
  if (!(size >= 0 && size <= b.limits.tensorElements)) throw misshapen(node, `a window of ${size} samples`);
  const period = intAttribute(node, 'periodic', 1) === 1 ? size : size - 1;
  const angle = (2 * Math.PI) / Math.max(period, 1);
  return [new Notation(b).tensor('float32', [size], Float64Array.from({ length: size }, (_, n) => a0 - a1 * Math.cos(angle * n) + a2 * Math.cos(2 * angle * n)))];
};

interface Transform {
  /** Samples that are transformed: more are cut off, missing ones are 0. */
  readonly length: number;
  readonly inverse: boolean;
  readonly onesided: boolean;
}

/** x [..., samples, 1 or 2], real or complex, transformed along the last axis but one. */
function spectrum(m: Notation, node: Node, x: string, { length, inverse, onesided }: Transform): string {
  if (!(length >= 1)) throw misshapen(node, `a transform of ${length} samples`);
  if (length > maximumSamples) throw new RuntimeError('E_MODEL_LIMIT', `${node.op} '${node.name}': expected at most ${maximumSamples} samples in one transform but there are ${length}`, { details: { node: node.name, op: node.op } });
  const bins = onesided ? Math.floor(length / 2) + 1 : length;
  const axis = m.shape(x).length - 2;
  const size = m.shape(x)[axis] ?? 0;
  const cut = size > length ? m.slice(x, axis, 0, length) : x;
  const samples = size < length ? m.pad(cut, m.shape(x).map(() => 0), m.shape(x).map((_, i) => (i === axis ? length - size : 0))) : cut;
  const matrix = (of: (angle: number) => number): string => m.tensor('float32', [length, bins], Float64Array.from({ length: length * bins }, (_, i) => {
    const turns = (Math.floor(i / bins) * (i % bins)) % length; // exact, where the angle itself would lose digits
    return of((2 * Math.PI * turns) / length) / (inverse ? length : 1);
  }));
  const [cos, sin] = [matrix(Math.cos), matrix((angle) => (inverse ? -1 : 1) * Math.sin(angle))];
  const shape = m.shape(samples);
  const component = (i: number): string => m.reshape(m.slice(samples, axis + 1, i, i + 1), shape.slice(0, -1));
  const times = (part: string, by: string): string => m.op('MatMul', part, by);
  const real = component(0);
  const [re, im] = shape[axis + 1] === 2
    ? [m.add(times(real, cos), times(component(1), sin)), m.sub(times(component(1), cos), times(real, sin))]
    : [times(real, cos), m.op('Neg', times(real, sin))];
  const apart = (part: string): string => m.reshape(part, [...m.shape(part), 1]);
  return m.concat([apart(re), apart(im)], axis + 1);
}

const dft: Expansion = (b, node) => {
  const m = new Notation(b);
  const x = input(node);
  const shape = m.shape(x);
  const rank = shape.length;
  const components = shape[rank - 1] ?? 0;
  if (rank < 2 || (components !== 1 && components !== 2)) throw misshapen(node, `Expected real or complex numbers along the last axis but received [${shape.join(', ')}]`);
  const given = b.opset < 20 ? intAttribute(node, 'axis', 1) : (numberAt(b, node, 2, 'axis') ?? -2);
  const axis = normalizeAxis(node, given, rank);
  if (axis === rank - 1) throw misshapen(node, 'the last axis holds the parts of complex numbers');
  const swap = shape.map((_, i) => (i === axis ? rank - 2 : i === rank - 2 ? axis : i));
  const length = numberAt(b, node, 1, 'dft_length') ?? shape[axis] ?? 0;
  const transform = { length, inverse: intAttribute(node, 'inverse', 0) === 1, onesided: intAttribute(node, 'onesided', 0) === 1 };
  return [m.transpose(spectrum(m, node, m.transpose(x, swap), transform), swap)];
};

const stft: Expansion = (b, node) => {
  const m = new Notation(b);
  const [signal, window] = [input(node), input(node, 2)];
  const [, samples = 0] = m.shape(signal);
  const step = required(b, node, 1, 'frame_step');
  const length = numberAt(b, node, 3, 'frame_length') ?? (window === '' ? samples : (m.shape(window)[0] ?? 0));
  const frames = Math.floor((samples - length) / step) + 1;
  if (!(step >= 1 && length >= 1 && frames >= 1 && frames * length <= b.limits.tensorElements)) throw misshapen(node, `frames of ${length} samples, ${step} apart, of a signal of ${samples}`);
  const places = Float64Array.from({ length: frames * length }, (_, i) => Math.floor(i / length) * step + (i % length));
  const cut = m.gather(m.shape(signal).length === 2 ? m.reshape(signal, [...m.shape(signal), 1]) : signal, m.tensor('int64', [frames, length], places), 1);
  const windowed = window === '' ? cut : m.mul(cut, m.reshape(window, [length, 1]));
  return [spectrum(m, node, windowed, { length, inverse: false, onesided: intAttribute(node, 'onesided', 1) === 1 })];
};

/** Triangles between the edges of mel bands, as columns over the bins of a spectrum. */
const melWeights: Expansion = (b, node) => {
  const names = ['num_mel_bins', 'dft_length', 'sample_rate', 'lower_edge_hertz', 'upper_edge_hertz'];
  const [bands = 0, length = 0, rate = 1, low = 0, high = 0] = names.map((what, i) => required(b, node, i, what));
  const bins = Math.floor(length / 2) + 1;
  if (!(bands >= 1 && bins >= 1 && bands * bins <= b.limits.tensorElements && rate > 0)) throw misshapen(node, `${bands} bands of a spectrum of ${length} samples`);
  const mel = (hertz: number): number => 2595 * Math.log10(1 + hertz / 700);
  const step = (mel(high) - mel(low)) / (bands + 2);
  const edges = Array.from({ length: bands + 2 }, (_, i) => Math.floor(((length + 1) * 700 * (10 ** ((i * step + mel(low)) / 2595) - 1)) / rate));
  const weights = new Float64Array(bins * bands);
  for (let band = 0; band < bands; band++) {
    const [from = 0, center = 0, to = 0] = edges.slice(band, band + 3);
    for (let bin = Math.max(from, 0); bin < Math.min(Math.max(to, center + 1), bins); bin++) {
      const rising = center === from ? 1 : (bin - from) / (center - from);
      weights[bin * bands + band] = bin < center || (bin === center && to === center) ? rising : to === center ? 0 : (to - bin) / (to - center);
    }
  }
  return [new Notation(b).tensor('float32', [bins, bands], weights)];
};

export const signals: Readonly<Record<string, Expansion>> = {
  HannWindow: cosineWindow(0.5, 0.5, 0), HammingWindow: cosineWindow(25 / 46, 21 / 46, 0), BlackmanWindow: cosineWindow(0.42, 0.5, 0.08), DFT: dft, STFT: stft, MelWeightMatrix: melWeights,
};
