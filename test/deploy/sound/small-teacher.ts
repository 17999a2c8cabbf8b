/** Teachers of a few layers with random weights, over the same map of features as YAMNet's. */
import { DrawnNetwork, type NetworkWriter } from '../../../deploy/lab/network-writer.js';
import { patch } from '../../../deploy/sound/student.js';
import { int, ints } from '../../../runtime/graph/attributes.js';
import { serializeModel } from '../../../runtime/onnx/serialize.js';

export interface Conv { from: number; to: number; kernel?: number; stride?: number; group?: number; dilation?: number; activation?: string }

function conv(net: DrawnNetwork, x: string, i: number, { from, to, kernel = 1, stride = 1, group = 1, dilation = 1, activation = 'Relu' }: Conv): string {
  const pads = kernel === 1 ? [0, 0, 0, 0] : stride === 2 ? [0, 0, 1, 1] : [1, 1, 1, 1];
  const weight = net.weight(`weight${i}`, [to, from / group, kernel, kernel], (from / group) * kernel * kernel);
  const y = net.node('Conv', [x, weight, net.filled(`bias${i}`, to, 0.05)], `conv${i}`, { kernel_shape: ints([kernel, kernel]), strides: ints([stride, stride]), pads: ints(pads), group: int(group), dilations: ints([dilation, dilation]) });
  return net.node(activation, [y], `map${i}`);
}

export const mobile: readonly Conv[] = [{ from: 1, to: 8, kernel: 3, stride: 2 }, { from: 8, to: 8, kernel: 3, group: 8 }, { from: 8, to: 16 }, { from: 16, to: 16, kernel: 3, stride: 2, group: 16 }, { from: 16, to: 32 }];

/** A teacher of these layers; `change` may write more, and gives the map that its classifier sees. */
export function teacherOf(layers: readonly Conv[], { rows = patch.rows as number, change = (_: NetworkWriter, last: string): string => last } = {}): Uint8Array {
  const net = new DrawnNetwork(1);
  const last = change(net, layers.reduce((x, layer, i) => conv(net, x, i, layer), 'features'));
  net.node('Flatten', [net.node('GlobalAveragePool', [last], 'pooled')], 'embedding', { axis: int(1) });
  const channels = layers.at(-1)?.to ?? 1;
  net.node('Gemm', ['embedding', net.weight('classifier', [channels, 5], channels)], 'answer');
  return serializeModel(net.model({ features: [1, 1, rows, patch.bands] }, { answer: [1, 5], embedding: [1, channels] }));
}
