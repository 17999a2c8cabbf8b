#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// gemm_q8: y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k]),  i < m, o < n
struct GemmQ8Args {
  size_t m, n, k;
  const uint8_t* a;
  size_t a_stride;     // bytes
  const void* packed;  // by this kernel's pack function; holds the weights, and bias - a_zp * sum(w)
  uint8_t* y;
  size_t y_stride;     // bytes
  RequantQ8 requant;   // unused where `wide` has an offset
  void* scratch;       // at least scratch_bytes(args), 64-byte aligned
  WideQ8 wide = {};
};
struct GemmQ8Kernel {
  const char* name;  // "gemm_q8/avx512vnni"
  size_t (*packed_bytes)(size_t n, size_t k);
  // w: row-major [n][k], in [-127, 127]. bias may be nullptr. false: this kernel cannot be exact for these weights.
  bool (*pack)(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmQ8Args* args);
};

}  // namespace sterna
