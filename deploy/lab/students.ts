import { float, int, ints } from '../../runtime/graph/attributes.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { DrawnNetwork } from './network-writer.js';

/** A small network of inverted residuals (MobileNetV2 and V3) with one input plane. */
export interface StudentSettings {
  /** Rows and columns of the input. */
  readonly rows: number;
  readonly columns: number;
  readonly classes: number;
  /** Factor on all channels. */
  readonly width: number;
  readonly seed: number;
}

/** [channels inside, channels out, kernel, stride] of each block. */
const blocks: readonly (readonly [number, number, number, number])[] = [
  [16, 16, 3, 2], [64, 24, 3, 2], [80, 24, 3, 1], [96, 40, 5, 2], [144, 40, 5, 1], [160, 48, 5, 1],
];
const [stem, head] = [16, 256];

/** Writes layers one after the other. */
class Writer extends DrawnNetwork {
  /** Convolution and batch normalization. */
  conv(x: string, name: string, shape: { inputs: number; outputs: number; kernel: number; stride: number; group: number }): string {
    const { inputs, outputs, kernel, stride, group } = shape;
    const pad = Math.floor(kernel / 2);
    const w = this.weight(`${name}.weight`, [outputs, inputs / group, kernel, kernel], (inputs / group) * kernel * kernel);
    const y = this.node('Conv', [x, w], `${name}.conv`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints([pad, pad, pad, pad]), group: int(group) });
    const statistics = [this.filled(`${name}.scale`, outputs, 1), this.filled(`${name}.bias`, outputs, 0), this.filled(`${name}.mean`, outputs, 0), this.filled(`${name}.variance`, outputs, 1)];
    return this.node('BatchNormalization', [y, ...statistics], `${name}.norm`, { epsilon: float(1e-5) });
  }
  hardSwish(x: string, name: string): string {
    return this.node('HardSwish', [x], `${name}.act`);
  }
}

/** An untrained student: input `input` [batch, 1, rows, columns], output `logits` [batch, classes]. */
export function buildStudent({ rows, columns, classes, width, seed }: StudentSettings): Uint8Array {
  const w = new Writer(seed);
  const wide = (channels: number): number => Math.max(8, Math.round((channels * width) / 8) * 8);
  let [x, channels] = [w.hardSwish(w.conv('input', 'stem', { inputs: 1, outputs: wide(stem), kernel: 3, stride: 2, group: 1 }), 'stem'), wide(stem)];
  blocks.forEach(([inside, out, kernel, stride], i) => {
    const [name, inner, outputs] = [`block${i}`, wide(inside), wide(out)];
    const expanded = w.hardSwish(w.conv(x, `${name}.expand`, { inputs: channels, outputs: inner, kernel: 1, stride: 1, group: 1 }), `${name}.expand`);
    const seen = w.hardSwish(w.conv(expanded, `${name}.depthwise`, { inputs: inner, outputs: inner, kernel, stride, group: inner }), `${name}.depthwise`);
    const projected = w.conv(seen, `${name}.project`, { inputs: inner, outputs, kernel: 1, stride: 1, group: 1 });
    x = stride === 1 && outputs === channels ? w.node('Add', [x, projected], `${name}.sum`) : projected;
    channels = outputs;
  });
  const features = w.hardSwish(w.conv(x, 'head', { inputs: channels, outputs: wide(head), kernel: 1, stride: 1, group: 1 }), 'head');
  const flat = w.node('Flatten', [w.node('GlobalAveragePool', [features], 'pooled')], 'flat', { axis: int(1) });
  w.node('Gemm', [flat, w.weight('classifier.weight', [wide(head), classes], wide(head)), w.filled('classifier.bias', classes, 0)], 'logits');
  return serializeModel(w.model({ input: ['batch', 1, rows, columns] }, { logits: ['batch', classes] }));
}
