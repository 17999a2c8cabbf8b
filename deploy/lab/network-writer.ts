import type { Attribute } from '../../runtime/graph/attributes.js';
import { elementCount, fromNumbers, type TensorValue } from '../../runtime/graph/tensor-value.js';
import type { OnnxModel, OnnxNode, OnnxValueInfo } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';
import { uniform } from '../compress/random.js';

/** Writes an ONNX model node by node. */
export class NetworkWriter {
  readonly nodes: OnnxNode[] = [];
  readonly weights = new Map<string, TensorValue>();

  /** Adds a node that is named after its only output, and gives back that name. */
  node(op: string, inputs: readonly string[], output: string, attributes: Readonly<Record<string, Attribute>> = {}): string {
    this.nodes.push({ name: output, op, domain: '', inputs, outputs: [output], attributes: new Map(Object.entries(attributes)) });
    return output;
  }

  /** @param inputs and outputs of float32: their dimensions by name, open ones as symbols */
  model(inputs: Readonly<Record<string, readonly (number | string)[]>>, outputs: Readonly<Record<string, readonly (number | string)[]>>): OnnxModel {
    const described = (values: typeof inputs): OnnxValueInfo[] => Object.entries(values).map(([name, dims]) => ({ name, dtype: 'float32', dims }));
    return {
      irVersion: 8, producerName: 'sterna', producerVersion: runtimeVersion, opsets: new Map([['', 17]]), metadata: new Map(),
      graph: { name: 'student', nodes: this.nodes, initializers: this.weights, inputs: described(inputs), outputs: described(outputs), valueInfo: [] },
    };
  }
}

/** Writes networks with weights that are drawn for their size (He et al., arXiv 1502.01852). */
export class DrawnNetwork extends NetworkWriter {
  private readonly next: () => number;

  constructor(seed: number) {
    super();
    this.next = uniform(seed);
  }

  private normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.next())) * Math.cos(2 * Math.PI * this.next());
  }
  /** @param gain variance of the outputs, in that of the inputs; 2 where a function that is zero on one side follows */
  weight(name: string, dims: readonly number[], fanIn: number, gain = 2): string {
    const deviation = Math.sqrt(gain / fanIn);
    this.weights.set(name, fromNumbers('float32', dims, Float64Array.from({ length: elementCount(dims) }, () => deviation * this.normal())));
    return name;
  }
  filled(name: string, size: number, value: number): string {
    this.weights.set(name, fromNumbers('float32', [size], new Float64Array(size).fill(value)));
    return name;
  }
}
