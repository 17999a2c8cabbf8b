import { float, int, ints, type Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, type TensorValue } from '../../runtime/graph/tensor-value.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import type { OnnxNode } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { uniform } from '../compress/random.js';

/** A feature map while a net is being built. */
interface FeatureMap {
  readonly name: string;
  readonly channels: number;
}

type Activation = 'Relu' | 'Relu6' | 'HardSwish' | 'HardSigmoid' | 'none';

interface ConvOptions {
  kernel?: number;
  stride?: number;
  /** One filter a channel; the number of outputs is then that of the inputs. */
  depthwise?: boolean;
  activation?: Activation;
}

/** Grows a convolutional net of random weights. `axes`: spatial axes, 2 for pictures, 1 for signals. */
class NetBuilder {
  readonly #nodes: OnnxNode[] = [];
  readonly #initializers = new Map<string, TensorValue>();
  readonly #next: () => number;

  constructor(private readonly name: string, private readonly axes: 1 | 2, seed: number) {
    this.#next = uniform(seed);
  }

  #node(op: string, inputs: readonly string[], attributes: Readonly<Record<string, Attribute>> = {}): string {
    const output = `${op.toLowerCase()}_${this.#nodes.length}`;
    this.#nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  }

  #constant(name: string, value: TensorValue): string {
    this.#initializers.set(name, value);
    return name;
  }

  /** Uniform in [-bound, bound). */
  #noise(dims: readonly number[], bound: number): TensorValue {
    return { dtype: 'float32', dims, data: Float32Array.from({ length: elementCount(dims) }, () => bound * (2 * this.#next() - 1)) };
  }

  /** Weights that keep the variance of what flows through (He et al., arXiv 1502.01852). */
  #weights(dims: readonly number[]): TensorValue {
    return this.#noise(dims, Math.sqrt(6 / elementCount(dims.slice(1))));
  }

  #activate(x: string, activation: Activation): string {
    if (activation === 'none') return x;
    if (activation === 'HardSigmoid') return this.#node(activation, [x], { alpha: float(1 / 6), beta: float(0.5) });
    if (activation !== 'Relu6') return this.#node(activation, [x]);
    const bound = (name: string, value: number): string => this.#constant(name, { dtype: 'float32', dims: [], data: Float32Array.of(value) });
    return this.#node('Clip', [x, bound('zero', 0), bound('six', 6)]);
  }

  conv({ name: x, channels }: FeatureMap, outputs: number, { kernel = 1, stride = 1, depthwise = false, activation = 'none' }: ConvOptions = {}): FeatureMap {
    const over = <T>(value: T): T[] => new Array<T>(this.axes).fill(value);
    const id = `conv_${this.#nodes.length}`;
    const weights = this.#constant(`${id}.weight`, this.#weights([outputs, depthwise ? 1 : channels, ...over(kernel)]));
    const bias = this.#constant(`${id}.bias`, this.#noise([outputs], 0.1));
    const pad = (kernel - 1) >> 1;
    const y = this.#node('Conv', [x, weights, bias], {
      kernel_shape: ints(over(kernel)), strides: ints(over(stride)), pads: ints([...over(pad), ...over(pad)]), group: int(depthwise ? channels : 1),
    });
    return { name: this.#activate(y, activation), channels: outputs };
  }

  depthwise(x: FeatureMap, options: ConvOptions): FeatureMap {
    return this.conv(x, x.channels, { kernel: 3, ...options, depthwise: true });
  }

  add(a: FeatureMap, b: FeatureMap, activation: Activation = 'none'): FeatureMap {
    return { name: this.#activate(this.#node('Add', [a.name, b.name]), activation), channels: a.channels };
  }

  /** Squeeze and excitation (Hu et al., arXiv 1709.01507): channels weighted by what the whole map holds. */
  excite(x: FeatureMap, squeezed: number): FeatureMap {
    const mean: FeatureMap = { name: this.#node('GlobalAveragePool', [x.name]), channels: x.channels };
    const gate = this.conv(this.conv(mean, squeezed, { activation: 'Relu' }), x.channels, { activation: 'HardSigmoid' });
    return { name: this.#node('Mul', [x.name, gate.name]), channels: x.channels };
  }

  maxPool({ name, channels }: FeatureMap): FeatureMap {
    return { name: this.#node('MaxPool', [name], { kernel_shape: ints([3, 3]), strides: ints([2, 2]), pads: ints([1, 1, 1, 1]) }), channels };
  }

  /** Means of the channels, and a fully connected layer. */
  classify(x: FeatureMap, classes: number): string {
    const flat = this.#node('Flatten', [this.#node('GlobalAveragePool', [x.name])], { axis: int(1) });
    const weights = this.#constant('classifier.weight', this.#weights([classes, x.channels]));
    return this.#node('Gemm', [flat, weights, this.#constant('classifier.bias', this.#noise([classes], 0.1))], { transB: int(1) });
  }

  finish(input: readonly number[], output: string, classes: number): Uint8Array {
    return serializeModel({
      irVersion: 8,
      producerName: 'sterna-bench',
      producerVersion: runtimeVersion,
      opsets: new Map([['', 17]]),
      metadata: new Map(),
      graph: {
        name: this.name,
        nodes: this.#nodes,
        initializers: this.#initializers,
        inputs: [{ name: 'input', dtype: 'float32', dims: input }],
        outputs: [{ name: output, dtype: 'float32', dims: [1, classes] }],
        valueInfo: [],
      },
    });
  }
}

const input = (channels: number): FeatureMap => ({ name: 'input', channels });

/** Inverted residuals (Sandler et al., arXiv 1801.04381, table 2), 224 x 224. */
function mobilenetV2(): Uint8Array {
  const net = new NetBuilder('mobilenet_v2', 2, 2);
  const relu6 = { activation: 'Relu6' } as const;
  let x = net.conv(input(3), 32, { kernel: 3, stride: 2, ...relu6 });
  const stages = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 32, 3, 2], [6, 64, 4, 2], [6, 96, 3, 1], [6, 160, 3, 2], [6, 320, 1, 1]] as const;
  for (const [expansion, channels, blocks, firstStride] of stages) {
    for (let block = 0; block < blocks; block++) {
      const stride = block === 0 ? firstStride : 1;
      const wide = expansion === 1 ? x : net.conv(x, expansion * x.channels, relu6);
      const y = net.conv(net.depthwise(wide, { stride, ...relu6 }), channels);
      x = stride === 1 && x.channels === channels ? net.add(x, y) : y;
    }
  }
  return net.finish([1, 3, 224, 224], net.classify(net.conv(x, 1280, relu6), 1000), 1000);
}

/** MobileNetV3-Small (Howard et al., arXiv 1905.02244, table 2) without the hidden layer of its head: hard swish, squeeze and excitation, 5 x 5 kernels. */
function mobilenetV3(): Uint8Array {
  const net = new NetBuilder('mobilenet_v3_small', 2, 3);
  let x = net.conv(input(3), 16, { kernel: 3, stride: 2, activation: 'HardSwish' });
  const blocks = [
    [3, 16, 16, true, 'Relu', 2], [3, 72, 24, false, 'Relu', 2], [3, 88, 24, false, 'Relu', 1], [5, 96, 40, true, 'HardSwish', 2],
    [5, 240, 40, true, 'HardSwish', 1], [5, 240, 40, true, 'HardSwish', 1], [5, 120, 48, true, 'HardSwish', 1], [5, 144, 48, true, 'HardSwish', 1],
    [5, 288, 96, true, 'HardSwish', 2], [5, 576, 96, true, 'HardSwish', 1], [5, 576, 96, true, 'HardSwish', 1],
  ] as const;
  for (const [kernel, wide, channels, excited, activation, stride] of blocks) {
    let y = net.depthwise(wide === x.channels ? x : net.conv(x, wide, { activation }), { kernel, stride, activation });
    if (excited) y = net.excite(y, Math.ceil(wide / 32) * 8);
    y = net.conv(y, channels);
    x = stride === 1 && x.channels === channels ? net.add(x, y) : y;
  }
  return net.finish([1, 3, 224, 224], net.classify(net.conv(x, 576, { activation: 'HardSwish' }), 1000), 1000);
}

/** ResNet-18 (He et al., arXiv 1512.03385, table 1) of half its width, 224 x 224. */
function resnet(): Uint8Array {
  const net = new NetBuilder('resnet18_half', 2, 4);
  const relu = { activation: 'Relu' } as const;
  let x = net.maxPool(net.conv(input(3), 32, { kernel: 7, stride: 2, ...relu }));
  for (const [channels, firstStride] of [[32, 1], [64, 2], [128, 2], [256, 2]] as const) {
    for (const stride of [firstStride, 1]) {
      const y = net.conv(net.conv(x, channels, { kernel: 3, stride, ...relu }), channels, { kernel: 3 });
      x = net.add(y, stride === 1 && x.channels === channels ? x : net.conv(x, channels, { stride }), 'Relu');
    }
  }
  return net.finish([1, 3, 224, 224], net.classify(x, 1000), 1000);
}

/** Depthwise-separable convolutions over time, as keyword spotters use them (after Zhang et al., arXiv 1711.07128): 40 bands, 1 s of 10 ms frames. */
function audio(): Uint8Array {
  const net = new NetBuilder('ds_cnn_1d', 1, 5);
  const relu = { activation: 'Relu' } as const;
  let x = net.conv(input(40), 128, { kernel: 5, ...relu });
  for (const [channels, stride] of [[128, 1], [128, 2], [192, 1], [192, 2], [256, 1], [256, 1]] as const) {
    x = net.conv(net.depthwise(x, { kernel: 9, stride, ...relu }), channels, relu);
  }
  return net.finish([1, 40, 100], net.classify(x, 35), 35);
}

/**
 * Nets of known architectures with random weights: what they compute is noise, how fast is not. Bytes are the same on every machine, so
 * that benches need no file that is not in the repository.
 */
export const generatedNets: Readonly<Record<string, () => Uint8Array>> = {
  mobilenet_v2: mobilenetV2,
  mobilenet_v3_small: mobilenetV3,
  resnet18_half: resnet,
  ds_cnn_1d: audio,
};
