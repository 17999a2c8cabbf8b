import { graphToOnnx } from '../../runtime/graph/export.js';
import { float } from '../../runtime/graph/attributes.js';
import { typeOf, type Graph, type Node } from '../../runtime/graph/graph.js';
import { elementCount, float32s, type TensorValue, type ValueType } from '../../runtime/graph/tensor-value.js';
import { constantsToInputs, differentiate } from '../../runtime/gradients/differentiate.js';
import { extendGraph, type Extension } from '../../runtime/gradients/extend.js';
import type { Calculus } from '../../runtime/gradients/rule.js';
import { serializeModel } from '../../runtime/onnx/serialize.js';
import { DeployError } from '../errors.js';
import { blockedDepthwise } from './blocked-depthwise.js';

/** Which operands of an operator are weights. */
const weightOperands: Readonly<Record<string, readonly number[]>> = {
  Conv: [1, 2], ConvTranspose: [1, 2], Gemm: [1, 2], MatMul: [0, 1], BatchNormalization: [1, 2], LayerNormalization: [1, 2], InstanceNormalization: [1, 2], GroupNormalization: [1, 2], PRelu: [1], Gather: [0], Add: [0, 1],
  RNN: [1, 2, 3], GRU: [1, 2, 3], LSTM: [1, 2, 3, 7],
};

/** Constants that are weights by their place. Sums have biases of more than one number. */
function weightsByPlace(graph: Graph, of: (op: string) => boolean = () => true): string[] {
  const found = graph.nodes.filter(({ op }) => of(op)).flatMap(({ op, inputs }) => (weightOperands[op] ?? []).flatMap((index) => {
    const name = inputs[index] ?? '';
    const value = graph.constants.get(name);
    return value?.dtype === 'float32' && (op !== 'Add' || elementCount(value.dims) > 1) ? [name] : [];
  }));
  return [...new Set(found)];
}

/** Weights, biases and peepholes of recurrent layers. */
export const recurrentWeights = (graph: Graph): string[] => weightsByPlace(graph, (op) => op === 'RNN' || op === 'GRU' || op === 'LSTM');

/** HardSwish as a product with its gate, which its gradient reads, too: the engine finds that the two gates are one. */
function withGates(graph: Graph): Graph {
  const types = new Map(graph.types);
  const nodes = graph.nodes.flatMap((node): Node[] => {
    if (node.op !== 'HardSwish') return [node];
    const [x = ''] = node.inputs;
    const gate = `${node.outputs[0] ?? node.name}.gate`;
    types.set(gate, typeOf(graph, x));
    return [
      { ...node, name: gate, op: 'HardSigmoid', outputs: [gate], attributes: new Map([['alpha', float(1 / 6)], ['beta', float(0.5)]]) },
      { ...node, op: 'Mul', inputs: [x, gate], attributes: new Map() },
    ];
  });
  return { ...graph, nodes, types };
}

/** Running statistics of a batch normalization, and the outputs that hold those of the batch. */
export interface Statistics {
  readonly running: string;
  readonly batch: string;
}

/**
 * Batch normalizations by the statistics of the batch. Each gets inputs of its own for running statistics: the operator of
 * onnxruntime overwrites them in place.
 */
function inTrainingForm(graph: Graph): { graph: Graph; statistics: Statistics[] } {
  const constants = new Map(graph.constants);
  const types = new Map(graph.types);
  const statistics: Statistics[] = [];
  const nodes = graph.nodes.map((node): Node => {
    const [x = '', scale = '', bias = '', mean = '', variance = ''] = node.inputs;
    const channels = graph.constants.get(mean)?.dims[0];
    if (node.op !== 'BatchNormalization' || channels === undefined) return node;
    const outputs = ['mean', 'variance'].map((kind, i) => {
      const batch = `${node.name}.batch-${kind}`;
      types.set(batch, { dtype: 'float32', shape: [channels] });
      constants.set(`${batch}.scratch`, float32s(new Float32Array(channels).fill(i)));
      statistics.push({ running: i === 0 ? mean : variance, batch });
      return batch;
    });
    const attributes = new Map([...node.attributes, ['training_mode', { type: 'int', value: 1 }], ['momentum', { type: 'float', value: 0 }]] as const);
    return { ...node, inputs: [x, scale, bias, ...outputs.map((name) => `${name}.scratch`)], outputs: [node.outputs[0] ?? '', ...outputs], attributes };
  });
  return { graph: { ...graph, nodes, constants, types }, statistics };
}

export interface TrainingSettings {
  /** Inputs of the loss besides those of the model. */
  readonly inputs: Readonly<Record<string, ValueType>>;
  /** Writes the loss, a scalar. */
  readonly loss: (m: Calculus) => string;
  /** Constants to train; by default those that are weights by their place. */
  readonly weights?: readonly string[];
  /** Statistics of normalizations stay those of the model. */
  readonly keepStatistics?: boolean;
  /** Weights of the loss by name, which are trained beside those of the model. */
  readonly heads?: ReadonlyMap<string, TensorValue>;
}

/** One step of training as a model: it takes a batch and the weights, and gives the loss and the gradients. */
export interface TrainingModel {
  readonly bytes: Uint8Array;
  /** Makes the same for onnxruntime on x64, which is faster there (`blocked-depthwise.ts`); undefined where the model has nothing to gain. */
  readonly blocked: () => Uint8Array | undefined;
  readonly loss: string;
  readonly weights: ReadonlyMap<string, TensorValue>;
  /** Output with the gradient by each weight. */
  readonly gradients: ReadonlyMap<string, string>;
  readonly statistics: readonly Statistics[];
}

/**
 * @param graph inferred for the batch, its weights constants
 * @throws RuntimeError E_GRADIENT and others; DeployError E_LAB: a model without weights
 */
export function trainingModel(graph: Graph, settings: TrainingSettings): TrainingModel {
  const { graph: model, statistics } = settings.keepStatistics === true ? { graph, statistics: [] } : inTrainingForm(graph);
  const { heads = new Map<string, TensorValue>() } = settings;
  const forward = { ...model, constants: new Map([...model.constants, ...heads]) };
  const loss = 'lab.loss';
  const extension: Extension = { inputs: settings.inputs, write: (m) => ({ [loss]: m.reshape(settings.loss(m), []) }) };
  const whole = extendGraph(forward, extension);
  const own = settings.weights ?? weightsByPlace(model);
  const wrt = [...own, ...heads.keys()];
  if (own.length === 0) throw new DeployError('E_LAB', 'The model has no weights that could be trained: its layers have computed weights');
  const { graph: made, gradients } = differentiate({ ...whole, outputs: [loss, ...statistics.map(({ batch }) => batch)] }, { loss, wrt });
  const weights = new Map(wrt.map((name) => [name, forward.constants.get(name) ?? float32s([])]));
  const step = withGates(constantsToInputs(made, wrt));
  const blocked = (): Uint8Array | undefined => {
    const model = blockedDepthwise(step);
    return model === undefined ? undefined : serializeModel(model);
  };
  return { bytes: serializeModel(graphToOnnx(step)), blocked, loss, weights, gradients, statistics };
}
