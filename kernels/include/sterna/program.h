// The wire format of a compiled program: what runtime/lower writes and kernels/engine executes.
//
// All integers are little-endian, all records 4-byte aligned, sections 64-byte aligned:
//
//   ProgramHeader | TensorRecord[tensor_count] | ops (variable length) | inputs, outputs (u32 tensor ids) | constants
//
// Each section starts at the first multiple of 64 after the one before; the constants start at ProgramHeader::const_offset, any
// multiple of 64 from there on. The outputs follow the inputs directly. attr_bytes is exactly the size of the op's attributes.
//
// A program is untrusted input: the loader checks every offset, count, shape and overlap before it allocates.
// Layout is row-major in the order of `dims`. Feature maps are NHWC; `pixel_stride` is the distance, in elements, between
// successive indices of the second-to-last axis (= dims[rank-1] when dense). Feature maps of 8-bit type have a pixel
// stride that is a multiple of 16, or they are a channel slice of a tensor that has one (a concatenation that costs no copy).
// Kernels may READ up to 63 bytes past the last channel of a pixel (the arena has that much slack; the values never
// influence a result), and WRITE only the channels that exist. Exception: an image of up to 4 channels is better dense
// (pixel_stride == channels): a convolution then gathers a whole row of taps as one span.
//
// Higher axes are dense over pixels: index [n][h][w][c] is at ((n * H + h) * W + w) * pixel_stride + c. Tensors of rank 0 and 1 have
// pixel_stride == their number of elements. No dimension is 0. Offsets are multiples of the element size (multiples of 64 are fastest).
// Inputs of the program are in the arena, outputs of ops there or in a strip. Weights, bias, scales and tables of ConvQ8, ConvQ8F32, ConvF32 and LutQ8 are
// constants. The output of an op must not overlap its inputs, except that element-wise ops (BinaryQ8, LutQ8, BinaryF32, UnaryF32)
// may write onto an input of the same type, shape and stride.
//
// Ops that follow each other may run as one, a strip of output rows at a time (engine/strips.h): between them is kStrip, offset 0. Such a tensor
// is written by one ConvQ8 or ConvF32 and read by the next op alone, as its x. That op is depthwise, or 1x1 of stride 1 without padding; the first op
// of a strip may be any convolution but a 1x1 with a stride. There is one image, and the output of the last op must not overlap any input of the strip.
//
// Activations of 8 bits are all kU8 or all kS8 in one program (ProgramHeader::activation): the planner picks what the
// CPU's kernels want; zero-points differ by 128, nothing else does. Weights are always kS8, in [-127, 127].
#pragma once
#include <cstdint>

namespace sterna {

constexpr uint32_t kProgramMagic = 0x4e525453;  // "STRN"
constexpr uint32_t kProgramVersion = 2;
constexpr int kMaxRank = 6;
constexpr uint32_t kAbsent = 0xffffffffu;  // an optional input that is not there
constexpr int kMaxDepthwiseRows = 32;      // a depthwise convolution with a taller kernel runs as a grouped one
// Of the maps between the ops of a strip, each thread; a single row may take more. With AVX-512 comes an L2 of 1 MB or more.
constexpr int kStripBytes = 64 * 1024, kWideStripBytes = 256 * 1024;

enum class DType : uint8_t { kF32 = 0, kU8 = 1, kS8 = 2, kS32 = 3 };

enum class Location : uint8_t {
  kArena = 0,
  kConst = 1,
  kPacked = 2,  // constants, as one kernel packed them: PackedRecord
  kStrip = 3,   // nowhere as a whole: a few rows at a time, in each thread's scratch
};

struct ProgramHeader {  // 64 bytes
  uint32_t magic, version;
  uint32_t activation;  // DType of 8-bit activations: kU8 or kS8
  uint32_t tensor_count, op_count, input_count, output_count;
  uint32_t ops_bytes;
  uint64_t arena_bytes;   // planned by the compiler; excludes engine scratch and packed weights
  uint64_t const_offset;  // from the start of the file
  uint64_t const_bytes;
  uint64_t total_bytes;
};

struct TensorRecord {  // 48 bytes
  uint8_t dtype, rank, location, reserved;
  uint32_t dims[kMaxRank];  // unused entries are 1
  uint32_t pixel_stride;    // elements
  uint64_t offset;          // bytes, in the arena or in the constants; 0 in a strip
  uint64_t reserved2;
};

// Weights of ConvQ8, ConvQ8F32 and ConvF32 may come as the kernel packed them (engine/pack_program.h); such a program is for that kernel alone. The
// tensor keeps the type and shape of the weights, is dense, and its offset, a multiple of 64, leads to this record; the packed bytes
// follow it, panel by panel, each panel from a multiple of 64 on, and 64 readable bytes follow them.
struct PackedRecord {  // 64 bytes
  char kernel[48];       // "gemm_q8/avx512vnni", filled up with zeros
  uint32_t panel_width;  // output channels of each panel but the last
  uint32_t reserved;
  uint64_t bytes;        // of the panels, each rounded up to 64
};

struct OpRecord {  // followed by u32 tensor ids (inputs, then outputs), then attr_bytes of attributes
  uint16_t opcode, input_count, output_count, attr_bytes;
};

enum class OpCode : uint16_t {
  // 8-bit                                      inputs -> outputs
  kConvQ8 = 1,      // x, w, bias?, scale, scale_neg?, table?, residual? -> y            ConvQ8Attrs
  kBinaryQ8 = 2,    // a, b -> y, numpy broadcasting                                     BinaryQ8Attrs
  kLutQ8 = 3,       // x, table u8/s8[256 or C*256] -> y: unary chains, requantization   (no attributes)
  kPoolQ8 = 4,      // x -> y                                                            PoolAttrs
  kResizeQ8 = 5,    // x -> y (same scale and zero-point)                                ResizeAttrs
  // 8-bit <-> float
  kQuantize = 6,    // x f32 -> y                                                        QuantizeAttrs
  kDequantize = 7,  // x -> y f32                                                        QuantizeAttrs
  kNormalizeU8 = 8, // x u8 pixels, mul f32[C], add f32[C] -> y f32 = x * mul + add       (no attributes)
  kThreshold = 9,   // x f32, lower f32[1 or C], upper f32[1 or C] -> y                  ThresholdAttrs
  kConvQ8F32 = 10,  // x, w, scale f32[O], bias f32[O]? -> y f32                         ConvQ8F32Attrs
  kMatMulW4 = 11,   // a f32 [..,K], w s8 [N,K], scale f32 [N,K/group], bias f32[N]? -> y f32 [..,N]   MatMulW4Attrs
  // float
  kConvF32 = 16,    // x, w, bias?, slope?, residual? -> y                               ConvF32Attrs
  kMatMulF32 = 17,  // a [..,M,K], b [..,K,N], bias? -> y, batch broadcasting            MatMulAttrs
  kBinaryF32 = 18,  // a, b -> y, numpy broadcasting                                     BinaryF32Attrs
  kUnaryF32 = 19,   // x -> y                                                            UnaryAttrs
  kPoolF32 = 20,    // x -> y                                                            PoolAttrs
  kResizeF32 = 21,  // x -> y                                                            ResizeAttrs
  kReduceF32 = 22,  // x -> y                                                            ReduceAttrs
  kSoftmaxF32 = 23, // x -> y                                                            SoftmaxAttrs
  kNormalizeF32 = 24, // x, scale [C]?, bias [C]? -> y, over the last axis               NormalizeAttrs
  kAttentionF32 = 25, // q, k, v, mask? -> y = softmax(scale * q k^T + mask) v           AttentionAttrs
  // data movement, any type
  kCopy = 32,       // x -> y: strided slice to strided slice                            CopyAttrs
  kTranspose = 33,  // x -> y                                                            TransposeAttrs
  kPad = 34,        // x -> y                                                            PadAttrs
  kGather = 35,     // x, indices s32 -> y                                               GatherAttrs
  // whole numbers, booleans and indices
  kCast = 40,            // x -> y                                                       CastAttrs
  kCompare = 41,         // a, b of f32 or s32 -> y u8, numpy broadcasting               CompareAttrs
  kLogic = 42,           // a, b u8 -> y u8, numpy broadcasting                          LogicAttrs
  kSelect = 43,          // c u8, a, b -> y = c ? a : b, numpy broadcasting              (no attributes)
  kBinaryS32 = 44,       // a, b -> y, numpy broadcasting                                BinaryS32Attrs
  kReduceS32 = 45,       // x -> y, one axis, which stays as 1                           ReduceS32Attrs
  kGatherElements = 46,  // x, indices s32 -> y                                          GatherAttrs
  kGatherNd = 47,        // x, indices s32 -> y, all dense                               GatherNdAttrs
  kArgReduce = 48,       // x of f32 or s32 -> y s32, the axis stays as 1                ArgReduceAttrs
  kTopK = 49,            // x of f32 or s32 -> y s32, the indices                        TopKAttrs
  kNonMaxSuppression = 50,  // boxes [B,N,4], scores [B,C,N], all dense -> y s32 [rows,3]  NonMaxSuppressionAttrs
  kCumSum = 51,          // x of f32 or s32 -> y                                         CumSumAttrs
  // float
  kRecurrentF32 = 60, // gates, r, new_bias?, h0?, c0?, peephole?, lengths? -> y          RecurrentAttrs
  kResampleF32 = 62,  // x, indices s32 [out, taps], weights f32 [out, taps] -> y          ResampleAttrs
  // 8 bits (a: or whole numbers of at most 255 as f32), sums of 32 bits
  kMatMulS32 = 61,  // a [..,M,K], b [..,K,N], a_zp?, b_zp [1 or N] -> y s32 = (a - a_zp) (b - b_zp)   (no attributes)
  // quantization by what a run's data ask for
  kRangeF32 = 63,      // x f32 -> y f32 [parts, 2]: smallest (at most 0) and largest (at least 0) of each part of x; NaN: both  (no attributes)
  kRangeScale = 64,    // range f32 [parts, 2] -> y f32 []: scale; or 8 bits []: zero-point                                     (no attributes)
  kQuantizeBy = 65,    // x f32, scale f32 [], zp 8 bits [] -> y = clamp(R(x / scale) + zp)                                     (no attributes)
  // a, b [K,N], a_scale f32 [], a_zp [], b_zp [1 or N], scale f32 [1 or N], bias f32 [N]? -> y f32 [..,M,N]
  //   = float((a - a_zp) (b - b_zp)) * (a_scale * scale) + bias, rounded after each operation; all but a, a_scale and a_zp are constant
  kMatMulQ8F32 = 66,   // as above                                                                                              (no attributes)
};

// y = clamp(unary(x * w + bias)). Weights OHWI: [O, KH, KW, I / group]; group == I == O is a depthwise convolution.
// A fully connected layer is a convolution of 1x1 over a [1, 1, M, K] view.
struct ConvGeometry {
  int32_t stride_h, stride_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t dilation_h, dilation_w;
  int32_t group;
};

// Quantized convolution, rounding half to even (R), all scale arithmetic in float, never contracted to fma:
//   acc = bias[o] + sum (x - x_zp) * w                                      exact, 32 bits (bias: s32, scale x_scale * w_scale)
//   m   = acc < 0 && scale_neg ? scale_neg[o] : scale[o]                    (scale_neg: PRelu and LeakyRelu; may be negative)
//   q   = R(min(max(float(acc) * m, mid_lo - mid_zp), mid_hi - mid_zp)) + mid_zp
//   q   = table ? table[q] : q                                              (index: q as u8, or q + 128 when signed)
//   no residual: y = q
//   residual:    y = R(min(max(float(q - mid_zp) * mid_mul + float(r - res_zp) * res_mul, y_lo - y_zp), y_hi - y_zp)) + y_zp
// so a fused residual addition gives exactly the bits of the two separate operations.
struct ConvQ8Attrs {
  ConvGeometry geometry;
  int32_t x_zp;
  int32_t mid_zp, mid_lo, mid_hi;
  int32_t res_zp, y_zp, y_lo, y_hi;
  float mid_mul, res_mul;  // mid_scale / y_scale, res_scale / y_scale
};

// Convolution of 8 bits whose result is float: y = float(sum (x - x_zp) * w) * scale[o] + bias[o], rounded after each operation. Padding is x_zp,
// which counts 0. Where every x - x_zp that the ops before can write, and every weight, is -1, 0 or 1, it runs on bits.
struct ConvQ8F32Attrs {
  ConvGeometry geometry;
  int32_t x_zp;
};

// y = zp + (x >= upper ? 1 : x >= lower ? 0 : -1), so NaN gives -1. Constants, lower <= upper; ONNX Sign is lower 0 and upper the least
// positive number, but for NaN; a binarization has lower == upper.
struct ThresholdAttrs {
  int32_t zp;
};

enum class UnaryKind : int32_t {
  kIdentity = 0, kRelu = 1, kClip = 2 /* [alpha, beta] */, kSigmoid = 3, kTanh = 4, kExp = 5, kLog = 6, kSqrt = 7,
  kAbs = 8, kNeg = 9, kLeakyRelu = 10 /* alpha */, kElu = 11 /* alpha */, kHardSigmoid = 12 /* alpha, beta */,
  kHardSwish = 13, kGelu = 14, kErf = 15, kSoftplus = 16, kMish = 17, kReciprocal = 18, kFloor = 19, kCeil = 20,
  kRound = 21, kSin = 22, kCos = 23, kSilu = 24, kSign = 25,
  kSelu = 60 /* alpha, gamma */, kCelu = 61 /* alpha */, kThresholdedRelu = 62 /* alpha */, kSoftsign = 63, kShrink = 64 /* bias, lambda */,
  kTan = 65, kAsin = 66, kAcos = 67, kAtan = 68, kSinh = 69, kCosh = 70, kAsinh = 71, kAcosh = 72, kAtanh = 73,
  kGeluTanh = 74 /* by tanh */, kAffine = 75 /* alpha x + beta */, kScaledTanh = 76 /* alpha tanh(beta x) */,
};

// y = act(conv + bias [+ residual, when residual_first]) [+ residual, when not]; act: slope given = PRelu, else `unary`.
struct ConvF32Attrs {
  ConvGeometry geometry;
  int32_t unary;  // UnaryKind
  float alpha, beta;
  int32_t residual_first;
};

enum class BinaryKind : int32_t { kAdd = 0, kSub = 1, kMul = 2, kDiv = 3, kMin = 4, kMax = 5, kPow = 6, kPRelu = 7, kMod = 8 /* C's fmod */ };

// add, sub: y = R(clamp((a - a_zp) * a_mul +- (b - b_zp) * b_mul)) + y_zp;  mul: y = R(clamp((a - a_zp) * (b - b_zp) * a_mul)) + y_zp
struct BinaryQ8Attrs {
  int32_t kind;
  int32_t a_zp, b_zp, y_zp, y_lo, y_hi;
  float a_mul, b_mul;
};
struct BinaryF32Attrs {
  int32_t kind;
  int32_t unary;  // applied to the result
  float alpha, beta;
};
struct UnaryAttrs {
  int32_t kind;
  float alpha, beta;
};

// average, 8 bits: y = R(clamp(float(sum (x - x_zp)) * mul / count)) + y_zp, mul = x_scale / y_scale; max needs x_zp == y_zp, mul == 1.
enum class PoolKind : int32_t { kMax = 0, kAverage = 1 };
struct PoolAttrs {
  int32_t kind;  // PoolKind
  int32_t kernel_h, kernel_w, stride_h, stride_w;
  int32_t pad_top, pad_left, pad_bottom, pad_right;
  int32_t dilation_h, dilation_w;
  int32_t count_include_pad;
  int32_t x_zp, y_zp, y_lo, y_hi;
  float mul;
};

// By the names of ONNX: mode, coordinate_transformation_mode, nearest_mode.
enum class ResizeMode : int32_t { kNearest = 0, kLinear = 1 };
enum class ResizeCoordinates : int32_t { kHalfPixel = 0, kAsymmetric = 1, kAlignCorners = 2, kPytorchHalfPixel = 3 };
enum class NearestMode : int32_t { kRoundPreferFloor = 0, kRoundPreferCeil = 1, kFloor = 2, kCeil = 3 };
struct ResizeAttrs {
  int32_t mode;            // ResizeMode
  int32_t coordinates;     // ResizeCoordinates
  int32_t nearest;         // NearestMode
  float scale_h, scale_w;  // output / input
  int32_t zp;              // of x and y, 8 bits
};

// quantize: y = clamp(R(x / scale) + zp)   dequantize: y = (x - zp) * scale
struct QuantizeAttrs {
  float scale;
  int32_t zp;
};

struct MatMulAttrs {
  int32_t transpose_a, transpose_b;
  float alpha;
};
// y = bias + sum_k a[k] * scale[o][k / group] * w[o][k]. Constants: weights in [-8, 7], scales that binary16 holds exactly. K is a multiple of
// group, group one of 32.
struct MatMulW4Attrs {
  int32_t group;
};
enum class ReduceKind : int32_t { kMean = 0, kSum = 1, kMax = 2, kMin = 3, kL2 = 4, kSumSquare = 5, kProduct = 6 };
struct ReduceAttrs {
  int32_t kind;       // ReduceKind
  int32_t axes_mask;  // bit i: axis i of x is reduced; y has the same rank, with ones
};
// Hard: 1 at the first maximum, 0 elsewhere.
enum class SoftmaxMode : int32_t { kSoft = 0, kLog = 1, kHard = 2 };
struct SoftmaxAttrs {
  int32_t axis;
  int32_t mode;  // SoftmaxMode
};
// y = (x - mean) / sqrt(variance + epsilon) * scale + bias of each row.
struct NormalizeAttrs {
  float epsilon;
};
// All of one rank, 3 or more: q [.., M, D], k [.., N, D], v [.., N, E], y [.., M, E], the axes before these alike; the mask broadcasts to [.., M, N]. Axis i
// of an operand is axis perm[i] of its tensor; the last axis of q and of y is the last of theirs.
struct AttentionAttrs {
  float scale;
  int32_t q_perm[kMaxRank], k_perm[kMaxRank], v_perm[kMaxRank], y_perm[kMaxRank];
};
struct CopyAttrs {  // y[y_start + i * y_step] = x[x_start + i * x_step], i < extent, per axis; x and y have the same rank
  int32_t extent[kMaxRank];
  int32_t x_start[kMaxRank], x_step[kMaxRank];  // a step may be negative
  int32_t y_start[kMaxRank], y_step[kMaxRank];
};
struct TransposeAttrs {
  int32_t perm[kMaxRank];
};
enum class PadMode : int32_t { kConstant = 0, kReflect = 1, kEdge = 2 };
struct PadAttrs {
  int32_t mode;  // PadMode
  int32_t before[kMaxRank];
  float value;   // the fill, converted to the tensor's type
};
struct GatherAttrs {
  int32_t axis;
};

// Whole numbers of 32 and of 64 bits are s32: what leaves 32 bits is an error of the run where `checked` is 1 (64 bits in the model), and
// wraps where it is 0. Booleans are u8 of 0 and 1 in every program; any other byte counts as true.

// y = x as a number of y's type. 8-bit activations hold number + zp. To 8 bits: modulo 256. Floats are truncated towards zero and saturate to 32
// bits (NaN: 0), or end the run with an error where `checked` is 1.
struct CastAttrs {
  int32_t x_zp, y_zp;
  int32_t to_bool;  // 1: y = x != 0
  int32_t checked;
};
enum class CompareKind : int32_t { kEqual = 0, kLess = 1, kLessOrEqual = 2 };
struct CompareAttrs {
  int32_t kind;  // CompareKind
};
enum class LogicKind : int32_t { kAnd = 0, kOr = 1, kXor = 2 };
struct LogicAttrs {
  int32_t kind;  // LogicKind
};
// Divisions are towards zero; mod has the sign of the divisor, fmod that of the dividend. A division by zero ends the run with an error.
enum class IntegerKind : int32_t { kAdd = 0, kSub = 1, kMul = 2, kDiv = 3, kMin = 4, kMax = 5, kPow = 6, kMod = 7, kFmod = 8 };
struct BinaryS32Attrs {
  int32_t kind;  // IntegerKind
  int32_t checked;
};
struct ReduceS32Attrs {
  int32_t kind;  // IntegerKind: add, mul, min or max
  int32_t axis, checked;
};
struct GatherNdAttrs {
  int32_t batch_dims;
};
// Order of numbers: by value, NaN above all; -0 equals 0. Of equal ones the first counts (ArgReduce: the last, when asked for).
struct ArgReduceAttrs {
  int32_t axis;
  int32_t smallest, last;
};
struct TopKAttrs {  // y.dims[axis] is k
  int32_t axis, smallest;
};
// Greedy suppression for each image and class. Rows of y are [image, class, box], highest score first; after the last one, rows of -1.
struct NonMaxSuppressionAttrs {
  int32_t center;  // 0: boxes are two corners [y, x, y, x]; 1: [x, y, width, height], x and y of the centre
  int32_t limit;   // boxes of a class at most
  float iou;       // boxes that overlap a better one by more than this are dropped
  float score;     // boxes whose score is not above this are dropped too
};
struct CumSumAttrs {
  int32_t axis, exclusive, reverse;
  int32_t checked;
};

// The recurrent part of ONNX RNN, GRU and LSTM, gates in the order of those. T steps, batch B, D directions, H units, G gates (1, 3, 4):
//   gates [T, B, D*G*H]  the input's share of every gate, biases included       r [D, G*H, H]  constant, dense
//   new_bias [D, H]      of GRU's H R with linear_before_reset                   h0, c0 [D, B, H]  0 when absent
//   peephole [D, 3*H]    LSTM: i, o, f                                           lengths s32 [B]  T when absent; y is 0 after them
//   y [T + S, D, B, H]   the hidden state of every step; then, if S >= 1, the last hidden state, and if S == 2 the last cell state
enum class RecurrentKind : int32_t { kRnn = 0, kGru = 1, kLstm = 2 };
struct RecurrentAttrs {
  int32_t kind;          // RecurrentKind
  int32_t reverse_mask;  // bit d: direction d runs backwards
  int32_t linear_before_reset, input_forget;
  float clip;                   // bound of what goes into the functions; infinite: none
  int32_t functions[kMaxRank];  // UnaryKind of f, g, h for each direction
  float alphas[kMaxRank], betas[kMaxRank];
};

struct ResampleAttrs {  // y[.., o, ..] = sum over t of weights[o][t] * x[.., indices[o][t], ..]; the tables are constants
  int32_t axis;
};

static_assert(sizeof(ProgramHeader) == 64 && sizeof(TensorRecord) == 48 && sizeof(OpRecord) == 8 && sizeof(PackedRecord) == 64, "wire format");

}  // namespace sterna
