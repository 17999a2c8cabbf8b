// Written by `npm run reference` from kernels/isa/isa.cmake and kernels/include/sterna/program.h; edit those, not this file.

/** Instruction-set variants of the kernels, slowest first. `ref` is the portable executable specification. */
export const isas = ['ref', 'sse41', 'avx2', 'avxvnni', 'avx512vnni', 'neon', 'neondot', 'neoni8mm'] as const;

/** Type of 8-bit activations that an instruction set's kernels take; `ref` has kernels for both. */
export const isaActivations = {
  ref: 'uint8',
  sse41: 'uint8',
  avx2: 'uint8',
  avxvnni: 'uint8',
  avx512vnni: 'uint8',
  neon: 'int8',
  neondot: 'int8',
  neoni8mm: 'int8',
} as const;

/** ProgramHeader::magic, "STRN". */
export const programMagic = 0x4e525453;

/** ProgramHeader::version. */
export const programVersion = 2;

/** Axes of a tensor at most. */
export const maximumRank = 6;

/** The id of an optional input that is not there. */
export const absent = 0xffffffff;

/** Rows of a kernel that the engine takes for a depthwise convolution, at most. */
export const maxDepthwiseRows = 32;

/** Bytes of the records. */
export const recordBytes = {
  ProgramHeader: 64,
  TensorRecord: 48,
  OpRecord: 8,
  PackedRecord: 64,
} as const;

/** DType. */
export const dtypes = {
  F32: 0,
  U8: 1,
  S8: 2,
  S32: 3,
} as const;

/** Location. */
export const locations = {
  Arena: 0,
  Const: 1,
  Packed: 2,
  Strip: 3,
} as const;

/** OpCode. */
export const opCodes = {
  ConvQ8: 1,
  BinaryQ8: 2,
  LutQ8: 3,
  PoolQ8: 4,
  ResizeQ8: 5,
  Quantize: 6,
  Dequantize: 7,
  NormalizeU8: 8,
  Threshold: 9,
  ConvQ8F32: 10,
  MatMulW4: 11,
  ConvF32: 16,
  MatMulF32: 17,
  BinaryF32: 18,
  UnaryF32: 19,
  PoolF32: 20,
  ResizeF32: 21,
  ReduceF32: 22,
  SoftmaxF32: 23,
  NormalizeF32: 24,
  AttentionF32: 25,
  Copy: 32,
  Transpose: 33,
  Pad: 34,
  Gather: 35,
  Cast: 40,
  Compare: 41,
  Logic: 42,
  Select: 43,
  BinaryS32: 44,
  ReduceS32: 45,
  GatherElements: 46,
  GatherNd: 47,
  ArgReduce: 48,
  TopK: 49,
  NonMaxSuppression: 50,
  CumSum: 51,
  RecurrentF32: 60,
  ResampleF32: 62,
  MatMulS32: 61,
  RangeF32: 63,
  RangeScale: 64,
  QuantizeBy: 65,
  MatMulQ8F32: 66,
} as const;

/** UnaryKind, by the names of runtime/ops/unary-functions.ts. */
export const unaryCodes = {
  identity: 0,
  relu: 1,
  clip: 2,
  sigmoid: 3,
  tanh: 4,
  exp: 5,
  log: 6,
  sqrt: 7,
  abs: 8,
  neg: 9,
  leaky_relu: 10,
  elu: 11,
  hard_sigmoid: 12,
  hard_swish: 13,
  gelu: 14,
  erf: 15,
  softplus: 16,
  mish: 17,
  reciprocal: 18,
  floor: 19,
  ceil: 20,
  round: 21,
  sin: 22,
  cos: 23,
  silu: 24,
  sign: 25,
  selu: 60,
  celu: 61,
  thresholded_relu: 62,
  softsign: 63,
  shrink: 64,
  tan: 65,
  asin: 66,
  acos: 67,
  atan: 68,
  sinh: 69,
  cosh: 70,
  asinh: 71,
  acosh: 72,
  atanh: 73,
  gelu_tanh: 74,
  affine: 75,
  scaled_tanh: 76,
} as const;

/** BinaryKind. */
export const binaryCodes = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  min: 4,
  max: 5,
  pow: 6,
  prelu: 7,
  mod: 8,
} as const;

/** IntegerKind. */
export const integerCodes = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  min: 4,
  max: 5,
  pow: 6,
  mod: 7,
  fmod: 8,
} as const;

/** PoolKind. */
export const poolCodes = {
  max: 0,
  average: 1,
} as const;

/** ReduceKind. */
export const reduceCodes = {
  mean: 0,
  sum: 1,
  max: 2,
  min: 3,
  l2: 4,
  sum_square: 5,
  product: 6,
} as const;

/** SoftmaxMode. */
export const softmaxCodes = {
  soft: 0,
  log: 1,
  hard: 2,
} as const;

/** PadMode. */
export const padCodes = {
  constant: 0,
  reflect: 1,
  edge: 2,
} as const;

/** CompareKind. */
export const compareCodes = {
  equal: 0,
  less: 1,
  less_or_equal: 2,
} as const;

/** LogicKind. */
export const logicCodes = {
  and: 0,
  or: 1,
  xor: 2,
} as const;

/** RecurrentKind. */
export const recurrentCodes = {
  rnn: 0,
  gru: 1,
  lstm: 2,
} as const;

/** ResizeMode. */
export const resizeCodes = {
  nearest: 0,
  linear: 1,
} as const;

/** ResizeCoordinates. */
export const coordinateCodes = {
  half_pixel: 0,
  asymmetric: 1,
  align_corners: 2,
  pytorch_half_pixel: 3,
} as const;

/** NearestMode. */
export const nearestCodes = {
  round_prefer_floor: 0,
  round_prefer_ceil: 1,
  floor: 2,
  ceil: 3,
} as const;

/** Attributes of each op in order. `axes` is one i32 for each of maximumRank axes, `floats` as many f32. */
export const attributeFields = {
  ConvQ8: { stride_h: 'i32', stride_w: 'i32', pad_top: 'i32', pad_left: 'i32', pad_bottom: 'i32', pad_right: 'i32', dilation_h: 'i32', dilation_w: 'i32', group: 'i32', x_zp: 'i32', mid_zp: 'i32', mid_lo: 'i32', mid_hi: 'i32', res_zp: 'i32', y_zp: 'i32', y_lo: 'i32', y_hi: 'i32', mid_mul: 'f32', res_mul: 'f32' },
  BinaryQ8: { kind: 'i32', a_zp: 'i32', b_zp: 'i32', y_zp: 'i32', y_lo: 'i32', y_hi: 'i32', a_mul: 'f32', b_mul: 'f32' },
  LutQ8: {},
  PoolQ8: { kind: 'i32', kernel_h: 'i32', kernel_w: 'i32', stride_h: 'i32', stride_w: 'i32', pad_top: 'i32', pad_left: 'i32', pad_bottom: 'i32', pad_right: 'i32', dilation_h: 'i32', dilation_w: 'i32', count_include_pad: 'i32', x_zp: 'i32', y_zp: 'i32', y_lo: 'i32', y_hi: 'i32', mul: 'f32' },
  ResizeQ8: { mode: 'i32', coordinates: 'i32', nearest: 'i32', scale_h: 'f32', scale_w: 'f32', zp: 'i32' },
  Quantize: { scale: 'f32', zp: 'i32' },
  Dequantize: { scale: 'f32', zp: 'i32' },
  NormalizeU8: {},
  Threshold: { zp: 'i32' },
  ConvQ8F32: { stride_h: 'i32', stride_w: 'i32', pad_top: 'i32', pad_left: 'i32', pad_bottom: 'i32', pad_right: 'i32', dilation_h: 'i32', dilation_w: 'i32', group: 'i32', x_zp: 'i32' },
  MatMulW4: { group: 'i32' },
  ConvF32: { stride_h: 'i32', stride_w: 'i32', pad_top: 'i32', pad_left: 'i32', pad_bottom: 'i32', pad_right: 'i32', dilation_h: 'i32', dilation_w: 'i32', group: 'i32', unary: 'i32', alpha: 'f32', beta: 'f32', residual_first: 'i32' },
  MatMulF32: { transpose_a: 'i32', transpose_b: 'i32', alpha: 'f32' },
  BinaryF32: { kind: 'i32', unary: 'i32', alpha: 'f32', beta: 'f32' },
  UnaryF32: { kind: 'i32', alpha: 'f32', beta: 'f32' },
  PoolF32: { kind: 'i32', kernel_h: 'i32', kernel_w: 'i32', stride_h: 'i32', stride_w: 'i32', pad_top: 'i32', pad_left: 'i32', pad_bottom: 'i32', pad_right: 'i32', dilation_h: 'i32', dilation_w: 'i32', count_include_pad: 'i32', x_zp: 'i32', y_zp: 'i32', y_lo: 'i32', y_hi: 'i32', mul: 'f32' },
  ResizeF32: { mode: 'i32', coordinates: 'i32', nearest: 'i32', scale_h: 'f32', scale_w: 'f32', zp: 'i32' },
  ReduceF32: { kind: 'i32', axes_mask: 'i32' },
  SoftmaxF32: { axis: 'i32', mode: 'i32' },
  NormalizeF32: { epsilon: 'f32' },
  AttentionF32: { scale: 'f32', q_perm: 'axes', k_perm: 'axes', v_perm: 'axes', y_perm: 'axes' },
  Copy: { extent: 'axes', x_start: 'axes', x_step: 'axes', y_start: 'axes', y_step: 'axes' },
  Transpose: { perm: 'axes' },
  Pad: { mode: 'i32', before: 'axes', value: 'f32' },
  Gather: { axis: 'i32' },
  Cast: { x_zp: 'i32', y_zp: 'i32', to_bool: 'i32', checked: 'i32' },
  Compare: { kind: 'i32' },
  Logic: { kind: 'i32' },
  Select: {},
  BinaryS32: { kind: 'i32', checked: 'i32' },
  ReduceS32: { kind: 'i32', axis: 'i32', checked: 'i32' },
  GatherElements: { axis: 'i32' },
  GatherNd: { batch_dims: 'i32' },
  ArgReduce: { axis: 'i32', smallest: 'i32', last: 'i32' },
  TopK: { axis: 'i32', smallest: 'i32' },
  NonMaxSuppression: { center: 'i32', limit: 'i32', iou: 'f32', score: 'f32' },
  CumSum: { axis: 'i32', exclusive: 'i32', reverse: 'i32', checked: 'i32' },
  RecurrentF32: { kind: 'i32', reverse_mask: 'i32', linear_before_reset: 'i32', input_forget: 'i32', clip: 'f32', functions: 'axes', alphas: 'floats', betas: 'floats' },
  ResampleF32: { axis: 'i32' },
  MatMulS32: {},
  RangeF32: {},
  RangeScale: {},
  QuantizeBy: {},
  MatMulQ8F32: {},
} as const;
