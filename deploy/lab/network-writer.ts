import type { Attribute } from '../../runtime/graph/attributes.js';
import type { TensorValue } from '../../runtime/graph/tensor-value.js';
import type { OnnxModel, OnnxNode, OnnxValueInfo } from '../../runtime/onnx/types.js';
import { runtimeVersion } from '../../runtime/version.js';

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
