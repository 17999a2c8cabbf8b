import { fromNumbers, scalar, type TensorValue } from '../../../runtime/graph/tensor-value.js';
import type { OnnxNode } from '../../../runtime/onnx/types.js';
import { floats, node, randomInts, randomTensor, type ModelSpec } from './models.js';

export interface ConvOptions {
  readonly kernel?: number;
  readonly stride?: number;
  readonly depthwise?: boolean;
  /** Weights are whole numbers of at most this. */
  readonly largest?: number;
  /** Added to the result. */
  readonly residual?: string;
}

/** Convolutions one after the other, of floats or between quantizations, from the input `x` on. */
export class Network {
  private readonly nodes: OnnxNode[] = [];
  private readonly constants: Record<string, TensorValue> = { s: floats([], 0.05), z: scalar('uint8', 128) };
  private channels: number;
  private at = 'x';

  constructor(private readonly type: 'float32' | 'int8', private readonly input: readonly [number, number, number, number]) {
    this.channels = input[1];
    if (type === 'int8') this.quantize('x', 'x0');
  }

  /** Appends a convolution and its ReLU, or the sum with the residual; returns the name of the result. */
  conv(outputs: number, { kernel = 1, stride = 1, depthwise = false, largest = 127, residual }: ConvOptions = {}): string {
    const name = `c${this.nodes.length}`;
    const dims = [outputs, depthwise ? 1 : this.channels, kernel, kernel];
    const seed = this.nodes.length + 1;
    if (this.type === 'float32') {
      this.constants[`${name}w`] = randomTensor(dims, seed, -0.3, 0.3);
    } else {
      this.constants[`${name}q`] = randomInts('int8', dims, seed, -largest, largest);
      this.constants[`${name}s`] = fromNumbers('float32', [outputs], new Float64Array(outputs).fill(0.4 / largest));
      this.constants[`${name}z`] = fromNumbers('int8', [outputs], new Float64Array(outputs));
      this.nodes.push(node('DequantizeLinear', [`${name}q`, `${name}s`, `${name}z`], [`${name}w`], { axis: 0 }));
    }
    const pad = (kernel - 1) / 2;
    this.nodes.push(node('Conv', [this.at, `${name}w`], [name], { kernel_shape: [kernel, kernel], strides: [stride, stride], pads: [pad, pad, pad, pad], group: depthwise ? this.channels : 1 }));
    const rounded = this.type === 'int8' && residual !== undefined ? this.quantize(name, `${name}d`) : name;
    this.nodes.push(residual === undefined ? node('Relu', [name], [`${name}r`]) : node('Add', [rounded, residual], [`${name}r`]));
    this.channels = outputs;
    this.at = this.type === 'int8' ? this.quantize(`${name}r`, `${name}y`) : `${name}r`;
    return this.at;
  }

  private quantize(from: string, to: string): string {
    this.nodes.push(node('QuantizeLinear', [from, 's', 'z'], [`${to}q`]), node('DequantizeLinear', [`${to}q`, 's', 'z'], [to]));
    this.at = to;
    return to;
  }

  build(more: readonly string[] = []): ModelSpec {
    return { opset: 13, inputs: { x: this.input }, constants: this.constants, nodes: this.nodes, outputs: [this.at, ...more] };
  }
}

/** The beginning of a MobileNetV2: its maps decide how much memory it takes. x: [1, 3, side, side]. */
export function invertedResiduals(type: 'float32' | 'int8', side: number): ModelSpec {
  const net = new Network(type, [1, 3, side, side]);
  net.conv(16, { kernel: 3, stride: 2 });
  net.conv(16, { kernel: 3, depthwise: true });
  net.conv(8);
  net.conv(96);
  net.conv(96, { kernel: 3, stride: 2, depthwise: true });
  const residual = net.conv(12);
  net.conv(72);
  net.conv(72, { kernel: 5, depthwise: true });
  net.conv(12, { residual });
  net.conv(24, { kernel: 3, stride: 2 });
  return net.build();
}
