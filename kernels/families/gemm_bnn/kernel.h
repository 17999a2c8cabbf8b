#pragma once
#include "sterna/epilogue.h"

namespace sterna {

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

}  // namespace sterna
