import { RuntimeError } from '../errors.js';

/** Range of ai.onnx operator sets whose semantics are implemented. 22 to 25 added element types (2 bits in 25) and new operators only. */
export const oldestOpset = 7;
export const newestOpset = 25;

const unchangedSince = (version: number, ...operators: string[]): [string, number][] => operators.map((op) => [op, version]);

/** Operators that operator set 7 has unchanged from an older one, and from which (ONNX, Operators.md). */
const versionsAt7: ReadonlyMap<string, number> = new Map([
  ...unchangedSince(1, 'ArgMax', 'ArgMin', 'Constant', 'Conv', 'ConvTranspose', 'DepthToSpace', 'Flatten', 'Gather', 'GlobalAveragePool', 'GlobalMaxPool', 'Identity', 'LRN', 'LogSoftmax',
    'LpNormalization', 'MatMul', 'MaxPool', 'Not', 'ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSum', 'ReduceSumSquare',
    'Shape', 'Size', 'Slice', 'Softmax', 'Softplus', 'Softsign', 'SpaceToDepth', 'Squeeze', 'TopK', 'Transpose', 'Unsqueeze'),
  ...unchangedSince(2, 'GlobalLpPool', 'LpPool', 'Pad', 'Split'),
  ...unchangedSince(5, 'Reshape'),
  ...unchangedSince(6, 'Abs', 'Cast', 'Ceil', 'Clip', 'Elu', 'Exp', 'Floor', 'HardSigmoid', 'InstanceNormalization', 'LeakyRelu', 'Log', 'Max', 'Mean', 'Min', 'Neg', 'Reciprocal', 'Relu', 'Selu',
    'Sigmoid', 'Sqrt', 'Sum', 'Tanh', 'Tile'),
]);

/**
 * The operator set by whose rules a model is read. One older than 7 is read as 7 when none of its operators has changed until then.
 * @throws RuntimeError E_MODEL_OP
 */
export function readableOpset(opset: number, operators: Iterable<string>): number {
  if (opset >= oldestOpset && opset <= newestOpset) return opset;
  const changed = [...operators].find((op) => (versionsAt7.get(op) ?? Infinity) > opset);
  if (opset >= 1 && opset < oldestOpset && changed === undefined) return oldestOpset;
  const why = opset < oldestOpset ? ` with ${changed ?? 'its operators'}` : '';
  throw new RuntimeError('E_MODEL_OP', `Expected ai.onnx operator set ${oldestOpset}..${newestOpset} but received ${opset}${why}; convert the model`, {
    details: { opset, ...(changed === undefined ? {} : { op: changed }) },
  });
}
