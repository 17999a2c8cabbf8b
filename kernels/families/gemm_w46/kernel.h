#pragma once
#include "families/gemm_q8/kernel.h"

namespace sterna {

// gemm_w46 and gemm_u4u4: gemm_q8, bit for bit, for codes so few that many products fit a sum of 16 bits (Trusov et al.: 4.6 and 4 bits).
// u4u4 keeps its weights, in [-8, 7], two to a byte, and takes activations of at most 16 codes. What counts as a code of A is the value
// minus an offset that the kernel chooses; run() takes the arguments of gemm_q8, and requantizes always.
struct GemmNarrowKernel {
  const char* name;  // "gemm_w46/avx2"
  size_t (*packed_bytes)(size_t n, size_t k);
  // As GemmQ8Kernel::pack. Stored values of A are in [a_lo, a_hi]. false: codes and weights do not fit this kernel's sums, or its storage.
  bool (*pack)(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmQ8Args* args);
};

}  // namespace sterna
