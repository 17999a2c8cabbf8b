import { RuntimeError } from '../../errors.js';
import { inputsBehind, type Graph } from '../../graph/graph.js';
import type { ChosenSizes } from '../../graph/open-dimensions.js';
import { graphFromOnnx } from '../../graph/import.js';
import { raiseOpset } from '../../graph/raise-opset.js';
import { inferShapes } from '../../infer/infer.js';
import { parseModel } from '../../onnx/parse.js';
import type { OnnxModel } from '../../onnx/types.js';
import { simplifyOnnx } from '../../optimize/optimize.js';
import { dataTypes, type TensorInfo } from '../../tensor.js';

/** Values at the edge of a graph. @throws RuntimeError E_MODEL_OP: a type that does not cross it */
function portsOf({ types, constants }: Graph, names: readonly string[], side: 'input' | 'output'): TensorInfo[] {
  return names.map((name) => {
    const constant = constants.get(name);
    const type = constant === undefined ? types.get(name) : { dtype: constant.dtype, shape: constant.dims };
    const dtype = dataTypes.find((candidate) => candidate === type?.dtype);
    if (type === undefined || dtype === undefined) {
      throw new RuntimeError('E_MODEL_OP', `Expected ${dataTypes.join(', ')} for the type of ${side} "${name}" but received ${type?.dtype ?? 'none'}`, { details: { value: name } });
    }
    return { name, type: dtype, dims: type.shape };
  });
}

/** A refusal for want of a constant that would follow from inputs names them, and says how they become constants. */
function namingInputs(error: unknown, graph: Graph): unknown {
  const operand = error instanceof RuntimeError ? error.details['operand'] : undefined;
  if (!(error instanceof RuntimeError) || typeof operand !== 'string') return error;
  const inputs = inputsBehind(graph, operand);
  if (inputs.length === 0) return error;
  const advice = `but it depends on the inputs ${inputs.join(', ')}; a model is quantized for one of their values, so give the file an initializer of that name for each of them`;
  return new RuntimeError(error.code, `${error.message}, ${advice}`, { cause: error, details: { ...error.details, inputs } });
}

/** What `make` makes of a model's graph. @throws RuntimeError E_MODEL_* */
function made(model: OnnxModel, sizes: ChosenSizes, make: (graph: Graph) => Graph): Graph {
  const graph = graphFromOnnx(model, sizes);
  try {
    return make(graph);
  } catch (error) {
    throw namingInputs(error, graph);
  }
}

/**
 * Inputs of a model; open dimensions have the given sizes, or else 1.
 * @throws RuntimeError E_MODEL_*
 */
export function modelInputs(bytes: Uint8Array, sizes: ChosenSizes = {}): TensorInfo[] {
  const graph = graphFromOnnx(parseModel(bytes), sizes);
  return portsOf(graph, graph.inputs, 'input');
}

/**
 * Inputs and outputs of a model, whose shapes are inferred: no engine has to open it. Open dimensions as for `modelInputs`.
 * @throws RuntimeError E_MODEL_*
 */
export function modelPorts(bytes: Uint8Array, sizes: ChosenSizes = {}): { inputs: TensorInfo[]; outputs: TensorInfo[] } {
  const graph = made(parseModel(bytes), sizes, inferShapes);
  return { inputs: portsOf(graph, graph.inputs, 'input'), outputs: portsOf(graph, graph.outputs, 'output') };
}

/**
 * The float graph that quantization starts from: shapes inferred, constants and batch normalization folded, in an operator
 * set that can express per-channel scales.
 * @throws RuntimeError E_MODEL_*; E_QUANTIZE for a model whose activations are quantized already
 */
export function prepareGraph(model: OnnxModel, sizes: ChosenSizes): Graph {
  const graph = raiseOpset(made(model, sizes, simplifyOnnx), 'E_QUANTIZE');
  const quantized = graph.nodes.find((node) => node.op === 'QuantizeLinear');
  if (quantized !== undefined) {
    throw new RuntimeError('E_QUANTIZE', `The model is quantized already (node '${quantized.name}'); expected the float32 model that it was made from`, {
      details: { node: quantized.name },
    });
  }
  return graph;
}
