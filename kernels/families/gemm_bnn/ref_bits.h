// What the references of the bit kernels share: planes of W as they come, and a count of each word.
#pragma once
#include "kernel.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

inline int32_t CountBits(uint32_t word) {
  int32_t count = 0;
  for (; word != 0; word &= word - 1) ++count;
  return count;
}

// Packed layout: int32 depth, int32 bias[n], sign plane [n][words], and for tnn the mask plane.
inline void PackPlanes(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t* mask, const int32_t* bias, void* packed) {
  int32_t* header = static_cast<int32_t*>(packed);
  header[0] = static_cast<int32_t>(depth);
  for (size_t o = 0; o < n; ++o) header[1 + o] = bias != nullptr ? bias[o] : 0;
  uint32_t* planes = reinterpret_cast<uint32_t*>(header + 1 + n);
  for (size_t i = 0; i < n * words; ++i) planes[i] = sign[i];
  for (size_t i = 0; mask != nullptr && i < n * words; ++i) planes[n * words + i] = mask[i];
}

// Calls dot(sign_a, mask_a, sign_w, mask_w, depth) for each output: rows of `words` words, masks null where an operand has none.
template <typename T, typename Dot>
void RunBits(const GemmBitsArgs* args, bool masked_weights, Dot dot) {
  const int32_t* bias = static_cast<const int32_t*>(args->packed) + 1;
  const uint32_t* sign = reinterpret_cast<const uint32_t*>(bias + args->n);
  const RequantQ8& r = args->requant;
  for (size_t i = 0; i < args->m; ++i) {
    const size_t at = i * args->a_stride;
    const int32_t* row_bias = args->row_bias != nullptr ? args->row_bias[i] : nullptr;
    for (size_t o = 0; o < args->n; ++o) {
      const uint32_t *w = sign + o * args->words, *w_mask = masked_weights ? w + args->n * args->words : nullptr;
      const int32_t sum = dot(args->sign + at, args->mask != nullptr ? args->mask + at : nullptr, w, w_mask, bias[-1]);
      const uint32_t acc = static_cast<uint32_t>(sum) + static_cast<uint32_t>(bias[o]) + static_cast<uint32_t>(row_bias != nullptr ? row_bias[o] : 0);
      if (args->sums != nullptr) {
        args->sums[i * args->sums_stride + o] = static_cast<int32_t>(acc);
        continue;
      }
      const T* residual = reinterpret_cast<const T*>(r.residual != nullptr ? r.residual + i * r.residual_stride : nullptr);
      reinterpret_cast<T*>(args->y + i * args->y_stride)[o] = RequantizeQ8<T>(r, static_cast<int32_t>(acc), o, residual != nullptr ? residual[o] : T{0});
    }
  }
}

inline size_t NoScratch(size_t, size_t, size_t) { return 0; }
template <size_t kPlanes>
size_t PackedBytes(size_t n, size_t words) {
  return sizeof(int32_t) * (1 + n) + kPlanes * n * words * sizeof(uint32_t);
}

}  // namespace
}  // namespace sterna
