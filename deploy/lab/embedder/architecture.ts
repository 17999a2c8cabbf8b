import { float, int, ints } from '../../../runtime/graph/attributes.js';
import { fromNumbers } from '../../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';
import { DrawnNetwork } from '../network-writer.js';

/** A small MobileFaceNet (Chen et al., arXiv 1804.07573). */
export interface EmbedderSettings {
  /** Side of the square picture in pixels. */
  readonly size: number;
  /** Length of an embedding. */
  readonly dimensions: number;
  /** Factor on all channels but the embedding's. */
  readonly width: number;
  readonly seed: number;
}

interface ConvShape {
  readonly inputs: number;
  readonly outputs: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly group?: number;
  readonly pad?: number;
}

/** Bottlenecks: [channels inside, channels out, stride], at width 1. */
const blocks: readonly (readonly [number, number, number])[] = [
  [128, 64, 1], [256, 128, 2], [256, 128, 1], [512, 128, 2], [256, 128, 1],
];
const [stem, head] = [64, 512];
/**
 * Strides of the stem and of two bottlenecks. The stem takes 4 at once, where the paper takes 2 and another 2: maps of half the side take
 * most of the time of a training step.
 */
const reduction = 16;

class Writer extends DrawnNetwork {
  /** Convolution and batch normalization; PRelu unless the layer is linear. */
  layer(x: string, name: string, { inputs, outputs, kernel, stride = 1, group = 1, pad = Math.floor(kernel / 2) }: ConvShape, linear = false): string {
    const fanIn = (inputs / group) * kernel * kernel;
    const w = this.weight(`${name}.weight`, [outputs, inputs / group, kernel, kernel], fanIn, linear ? 1 : 2);
    const y = this.node('Conv', [x, w], `${name}.conv`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]), group: int(group) });
    const statistics = [this.filled(`${name}.scale`, outputs, 1), this.filled(`${name}.bias`, outputs, 0), this.filled(`${name}.mean`, outputs, 0), this.filled(`${name}.variance`, outputs, 1)];
    const normal = this.node('BatchNormalization', [y, ...statistics], `${name}.norm`, { epsilon: float(1e-5) });
    if (linear) return normal;
    this.weights.set(`${name}.slope`, fromNumbers('float32', [outputs, 1, 1], new Float64Array(outputs).fill(0.25)));
    return this.node('PRelu', [normal, `${name}.slope`], `${name}.act`);
  }
}

/** Whether a student can be built for pictures of this side. */
export const sideFits = (size: number): boolean => size % reduction === 0;

/**
 * An untrained embedder: input `input` [batch, 3, size, size], output `embedding` [batch, dimensions]. As in its paper, a depthwise
 * convolution over the whole last map weighs its places, where an average would treat the corners of a face as its middle.
 * @param settings `size` a multiple of 16
 */
export function buildEmbedder({ size, dimensions, width, seed }: EmbedderSettings): Uint8Array {
  const w = new Writer(seed);
  const wide = (channels: number): number => Math.max(8, Math.round((channels * width) / 8) * 8);
  let [x, channels] = [w.layer('input', 'stem', { inputs: 3, outputs: wide(stem), kernel: 5, stride: 4 }), wide(stem)];
  blocks.forEach(([inside, out, stride], i) => {
    const [name, inner, outputs] = [`block${i}`, wide(inside), wide(out)];
    const expanded = w.layer(x, `${name}.expand`, { inputs: channels, outputs: inner, kernel: 1 });
    const seen = w.layer(expanded, `${name}.depthwise`, { inputs: inner, outputs: inner, kernel: 3, stride, group: inner });
    const projected = w.layer(seen, `${name}.project`, { inputs: inner, outputs, kernel: 1 }, true);
    x = stride === 1 && outputs === channels ? w.node('Add', [x, projected], `${name}.sum`) : projected;
    channels = outputs;
  });
  const wideHead = wide(head);
  const features = w.layer(x, 'head', { inputs: channels, outputs: wideHead, kernel: 1 });
  const whole = w.layer(features, 'places', { inputs: wideHead, outputs: wideHead, kernel: size / reduction, group: wideHead, pad: 0 }, true);
  const embedded = w.layer(whole, 'embed', { inputs: wideHead, outputs: dimensions, kernel: 1 }, true);
  w.node('Flatten', [embedded], 'embedding', { axis: int(1) });
  return serializeModel(w.model({ input: ['batch', 3, size, size] }, { embedding: ['batch', dimensions] }));
}
