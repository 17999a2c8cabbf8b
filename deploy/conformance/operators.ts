/** The ONNX operators that Sterna sets out to run: what edge networks use. The bar of the conformance table is over these. */
export const listedOperators: ReadonlySet<string> = new Set([
  'Conv', 'ConvTranspose', 'MatMul', 'Gemm',
  'BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'GroupNormalization', 'LpNormalization', 'LRN', 'MeanVarianceNormalization',
  'MaxPool', 'AveragePool', 'GlobalMaxPool', 'GlobalAveragePool', 'LpPool', 'GlobalLpPool',
  'Relu', 'LeakyRelu', 'PRelu', 'Clip', 'Sigmoid', 'HardSigmoid', 'HardSwish', 'Tanh', 'Softmax', 'LogSoftmax', 'Gelu', 'Elu', 'Softplus', 'Mish',
  'Add', 'Sub', 'Mul', 'Div', 'Mod', 'Pow', 'Min', 'Max', 'Sum', 'Mean', 'Neg', 'Abs', 'Sign', 'Sqrt', 'Exp', 'Log', 'Reciprocal', 'Floor', 'Ceil', 'Round', 'Erf',
  'Sin', 'Cos', 'Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'And', 'Or', 'Xor', 'Not',
  'ReduceL1', 'ReduceL2', 'ReduceLogSum', 'ReduceLogSumExp', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSum', 'ReduceSumSquare', 'CumSum',
  'Concat', 'Split', 'Slice', 'Gather', 'GatherElements', 'GatherND', 'Transpose', 'Reshape', 'Squeeze', 'Unsqueeze', 'Flatten', 'Expand', 'Tile', 'Pad', 'Resize', 'Upsample',
  'DepthToSpace', 'SpaceToDepth', 'ArgMax', 'ArgMin', 'TopK', 'NonMaxSuppression', 'Where', 'Cast', 'Shape', 'Size', 'Constant', 'ConstantOfShape', 'Range', 'Identity', 'Dropout',
  'LSTM', 'GRU',
  'QuantizeLinear', 'DequantizeLinear', 'QLinearConv', 'QLinearMatMul', 'MatMulInteger', 'ConvInteger', 'DynamicQuantizeLinear',
]);
