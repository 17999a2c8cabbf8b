// Signatures of the hot kernels, one implementation per ISA. Plain C structs: an ISA unit includes this file,
// <cstdint>, <cstddef>, its intrinsics and its own pack.h, and nothing else (rule K4).
//
// A is `T*` with T = uint8_t when the ISA's activation type is kU8, int8_t when kS8; both travel as uint8_t*.
// Rows of A, residual rows and zero_pixel may be read up to 63 bytes past their end (see program.h; what is there may be
// anything, NaN included); outputs are written exactly, and need not be aligned. `packed` and `scratch` are 64-byte aligned and
// their sizes are rounded up to 64. m, n, y_width may be 0; k, channels and the kernel's sides may not. `a` and `y` never overlap.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// The epilogue of ConvQ8Attrs (program.h), per output channel. The arrays hold finite numbers, need not be aligned, and are
// readable up to the next multiple of 64 entries.
struct RequantQ8 {
  const float* scale;
  const float* scale_neg;   // nullptr: none
  int32_t mid_zp, mid_lo, mid_hi;
  const uint8_t* table;     // nullptr: none; 256 entries indexed by the stored byte (the engine reorders signed tables)
  const uint8_t* residual;  // nullptr: none; row i at residual + i * residual_stride
  size_t residual_stride;
  int32_t res_zp, y_zp, y_lo, y_hi;
  float mid_mul, res_mul;
};

// gemm_q8: y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k]),  i < m, o < n
struct GemmQ8Args {
  size_t m, n, k;
  const uint8_t* a;
  size_t a_stride;     // bytes
  const void* packed;  // by this kernel's pack function; holds the weights, and bias - a_zp * sum(w)
  uint8_t* y;
  size_t y_stride;     // bytes
  RequantQ8 requant;
  void* scratch;       // at least scratch_bytes(args), 64-byte aligned
};
struct GemmQ8Kernel {
  const char* name;  // "gemm_q8/avx512vnni"
  size_t (*packed_bytes)(size_t n, size_t k);
  // w: row-major [n][k], in [-127, 127]. bias may be nullptr. false: this kernel cannot be exact for these weights.
  bool (*pack)(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmQ8Args* args);
};

// gemm_w46 and gemm_u4u4: gemm_q8, bit for bit, for codes so few that many products fit a sum of 16 bits (Trusov et al.: 4.6 and 4 bits).
// u4u4 keeps its weights, in [-8, 7], two to a byte, and takes activations of at most 16 codes. What counts as a code of A is the value
// minus an offset that the kernel chooses; run() takes the arguments of gemm_q8.
struct GemmNarrowKernel {
  const char* name;  // "gemm_w46/avx2"
  size_t (*packed_bytes)(size_t n, size_t k);
  // As GemmQ8Kernel::pack. Stored values of A are in [a_lo, a_hi]. false: codes and weights do not fit this kernel's sums, or its storage.
  bool (*pack)(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmQ8Args* args);
};

// Bit planes: element k of a row is bit k % 32 of its word k / 32. In the sign plane 1 is negative, in the mask plane 1 is not zero; where
// the mask is 0 the sign is 0. Rows are whole words; bits that stand for no element are 0 in both planes of both operands.
//
// gemm_bnn: y[i][o] = epilogue(bias[o] + row_bias[i][o] + sum_k a[i][k] * w[o][k]), a and w in {-1, 1}: depth - 2 popcount(a ^ w)
// gemm_tbn: a in {-1, 0, 1}, w in {-1, 1}: popcount(mask) - 2 popcount(mask & (sign ^ w))
// gemm_tnn: a and w in {-1, 0, 1}: popcount(nz) - 2 popcount(nz & (a ^ w)), nz = mask_a & mask_w
// Sums are exact for depths below 2^24. Sources: Trusov et al., arXiv 2205.09120; Zhu et al. (TAB), doi 10.1145/3508390.
struct GemmBitsArgs {
  size_t m, n, words;              // words of a row, at least 1
  const uint32_t *sign, *mask;     // rows of A, readable up to 60 bytes past their end; mask is nullptr for bnn
  size_t a_stride;                 // words
  const void* packed;
  const int32_t* const* row_bias;  // nullptr: none; else a pointer for each row, to n numbers (readable to the next multiple of 64), or nullptr
  int32_t* sums;                   // not nullptr: the sums, without epilogue, go to sums[i * sums_stride + o], and y is not written
  size_t sums_stride;              // numbers
  uint8_t* y;
  size_t y_stride;                 // bytes
  RequantQ8 requant;
  void* scratch;
};
struct GemmBitsKernel {
  const char* name;  // "gemm_tbn/avx512vnni"
  size_t (*packed_bytes)(size_t n, size_t words);
  // Planes of W: [n][words]; mask is nullptr but for tnn. depth: the elements that exist. bias may be nullptr.
  void (*pack)(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t* mask, const int32_t* bias, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t words);
  void (*run)(const GemmBitsArgs* args);
};

// bit_planes: ceil(n / 32) words of each plane from n stored activations: sign = x < zp, mask = x != zp. mask may be nullptr.
struct BitPlaneKernels {
  const char* name;
  void (*from_q8)(size_t n, const uint8_t* x, int32_t zp, uint32_t* sign, uint32_t* mask);
};

// dwconv_q8: one output row of a depthwise convolution, multiplier 1.
struct DwConvQ8Args {
  size_t channels, kernel_h, kernel_w, stride_w, dilation_w;
  size_t x_width, y_width;
  int32_t pad_left;
  const uint8_t* const* rows;  // kernel_h pointers to pixel 0 of an input row; a row outside the image is x_width pixels of x_zp
  size_t x_stride;             // bytes between pixels
  const uint8_t* zero_pixel;   // `channels` (+ slack) bytes of x_zp, for columns outside the image
  const void* packed;
  uint8_t* y;
  size_t y_stride;
  RequantQ8 requant;           // residual: pixel i at residual + i * residual_stride
  void* scratch;
};
struct DwConvQ8Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t channels, size_t kernel_h, size_t kernel_w);
  // w: [kernel_h][kernel_w][channels]
  bool (*pack)(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed);
  size_t (*scratch_bytes)(size_t channels, size_t kernel_h, size_t kernel_w, size_t x_width, size_t y_width);
  void (*run)(const DwConvQ8Args* args);
  // Two output rows of one convolution, faster than run() twice where they read the same input rows; nullptr: no such thing.
  void (*run_two)(const DwConvQ8Args* upper, const DwConvQ8Args* lower) = nullptr;
};

// Float twins. What is computed for an element depends on its row of A, its column of W and the epilogue alone, bit for bit: not on m,
// n, or its place in them (so that threads may divide the work in any way). act(): slope != nullptr is PRelu, else clamp to [lo, hi] (-inf, inf: none).
struct EpilogueF32 {
  const float* bias;   // nullptr: none
  const float* slope;  // nullptr: none
  float lo, hi;
  const float* residual;
  size_t residual_stride;  // floats
  int32_t residual_first;
};
struct GemmF32Args {
  size_t m, n, k;
  const float* a;
  size_t a_stride;  // floats
  const void* packed;
  float* y;
  size_t y_stride;  // floats
  EpilogueF32 epilogue;
  void* scratch;
};
struct GemmF32Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t n, size_t k);
  void (*pack)(size_t n, size_t k, const float* w, void* packed);  // w: [n][k]
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmF32Args* args);
  // run(), but row i of A is `pieces` pieces of k / pieces floats, piece p at a + i * a_stride + p * piece_stride: the windows of a convolution where
  // they are in the image, one piece a row of taps. The same bits. nullptr: no such thing.
  void (*run_pieces)(const GemmF32Args* args, size_t pieces, size_t piece_stride) = nullptr;
};
// gemm_f32w4: y[i][o] = bias[o] + sum_k a[i][k] * scale[o][k / group] * w[o][k] for few rows, where reading the weights takes the time: they are
// kept two to a byte. k is a multiple of group, group one of 32. The result for a row depends on that row alone, bit for bit.
struct GemmF32W4Args {
  size_t m, n, k, group;
  const float* a;
  size_t a_stride;  // floats
  const void* packed;
  const float* bias;  // nullptr: none
  float* y;
  size_t y_stride;  // floats
};
struct GemmF32W4Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t n, size_t k, size_t group);
  // w: [n][k], in [-8, 7]; scale: [n][k / group], IEEE 754 binary16, finite.
  void (*pack)(size_t n, size_t k, size_t group, const int8_t* w, const uint16_t* scale, void* packed);
  void (*run)(const GemmF32W4Args* args);
};
struct DwConvF32Args {
  size_t channels, kernel_h, kernel_w, stride_w, dilation_w;
  size_t x_width, y_width;
  int32_t pad_left;
  const float* const* rows;
  size_t x_stride;
  const float* zero_pixel;
  const float* w;  // [kernel_h][kernel_w][channels]
  float* y;
  size_t y_stride;
  EpilogueF32 epilogue;
};
struct DwConvF32Kernel {
  const char* name;
  void (*run)(const DwConvF32Args* args);
};

// Outputs of a pool whose windows have the same shape, `x_step` floats apart. Tap (i, j) of the first is at x + i * row_stride + j * column_stride.
struct PoolF32Args {
  size_t channels, rows, columns;  // of a window: what lies in the image; may be 0
  const float* x;
  size_t row_stride, column_stride;  // floats
  size_t outputs, x_step, y_step;    // y_step: floats from one output to the next
  float* y;
};

// Vector kernels over `n` contiguous elements; nothing is read or written beyond them. y may be x, a or b itself.
// The result for an element does not depend on n or on its place, bit for bit.
struct VectorKernels {
  const char* name;
  void (*lut_q8)(size_t n, const uint8_t* x, const uint8_t* table, uint8_t* y);  // table: indexed by the stored byte
  // BinaryQ8Attrs add (sign = +1) or sub (-1)
  void (*add_q8)(size_t n, const uint8_t* a, const uint8_t* b, uint8_t* y, int32_t a_zp, int32_t b_zp, int32_t y_zp, int32_t y_lo, int32_t y_hi, float a_mul, float b_mul);
  void (*quantize)(size_t n, const float* x, uint8_t* y, float scale, int32_t zp);
  void (*dequantize)(size_t n, const uint8_t* x, float* y, float scale, int32_t zp);
  void (*max_q8)(size_t n, const uint8_t* a, uint8_t* y);                    // y = max(y, a): one tap of a max pool
  void (*sum_q8)(size_t n, const uint8_t* a, int32_t* acc);                  // acc += a: one tap of an average pool
  void (*add_f32)(size_t n, const float* a, const float* b, float* y);
  void (*mul_f32)(size_t n, const float* a, const float* b, float* y);
  void (*clamp_f32)(size_t n, const float* x, float* y, float lo, float hi);
  void (*sigmoid_f32)(size_t n, const float* x, float* y);                   // |error| <= 2 ulp-ish, stated in the unit
  void (*exp_f32)(size_t n, const float* x, float* y);
  // min(max(alpha * x + beta, 0), 1), and x times that; the product is rounded before the addition, NaN stays NaN.
  void (*hard_sigmoid_f32)(size_t n, const float* x, float* y, float alpha, float beta);
  void (*hard_swish_f32)(size_t n, const float* x, float* y, float alpha, float beta);
  void (*max_pool_f32)(const PoolF32Args* args);  // max(-inf, every tap), which passes over NaN in x
  void (*sum_pool_f32)(const PoolF32Args* args);  // 0 + every tap, row by row
  // y = a[0] b[0] c[0] a[1] b[1] .., 3 n bytes: planes of colours to pixels.
  void (*interleave3_q8)(size_t n, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y);
};

// peak: no kernel of any op, but how fast the ISA's instructions multiply what is in registers already, for benches (sterna/peak.h).
struct PeakLoop {
  const char* instruction;  // "vpdpbusd zmm"; "vpmaddwd + vpaddd ymm" where it takes several
  bool is_float;            // multiplies float32; else 8-bit integers
  uint32_t macs;            // multiply-adds of one call of run
  void (*run)();
};
struct PeakKernel {
  const char* name;  // "peak/avx512vnni"
  const PeakLoop* loops;
  size_t count;
};

// Everything one ISA offers. A null member means: use ref's; no peak is known.
struct IsaKernels {
  const char* isa;
  uint8_t activation;  // DType wanted for 8-bit activations
  const GemmQ8Kernel* gemm_q8;
  const DwConvQ8Kernel* dwconv_q8;
  const GemmF32Kernel* gemm_f32;
  const DwConvF32Kernel* dwconv_f32;
  const VectorKernels* vector;
  const GemmNarrowKernel *gemm_w46, *gemm_u4u4;
  const GemmBitsKernel *gemm_bnn, *gemm_tbn, *gemm_tnn;
  const BitPlaneKernels* bit_planes;
  const GemmF32W4Kernel* gemm_f32w4;
  const PeakKernel* peak;
};

}  // namespace sterna
