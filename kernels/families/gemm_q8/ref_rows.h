// What the references of the GEMMs of codes share: the loop over the outputs, and what follows a sum of products.
#pragma once
#include "kernel.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

// WideQ8 (sterna/epilogue.h) of one sum.
inline void StoreWide(const WideQ8& wide, int32_t sum, size_t o, uint8_t* y) {
  const int32_t whole = static_cast<int32_t>(static_cast<uint32_t>(sum) + static_cast<uint32_t>(wide.offset[o]));
  if (wide.scale == nullptr) {
    __builtin_memcpy(y, &whole, sizeof whole);
    return;
  }
  const float value = static_cast<float>(whole) * wide.scale[o] + wide.bias[o];
  __builtin_memcpy(y, &value, sizeof value);
}

// y[i][o] = epilogue(bias[o] + sum(a[i], o)), sums modulo 2^32.
template <typename T, typename Sum>
void RunRows(const GemmQ8Args* args, const int32_t* bias, Sum sum) {
  const RequantQ8& r = args->requant;
  for (size_t i = 0; i < args->m; ++i) {
    const T* a = reinterpret_cast<const T*>(args->a + i * args->a_stride);
    const T* residual = reinterpret_cast<const T*>(r.residual != nullptr ? r.residual + i * r.residual_stride : nullptr);
    T* y = reinterpret_cast<T*>(args->y + i * args->y_stride);
    for (size_t o = 0; o < args->n; ++o) {
      const uint32_t acc = static_cast<uint32_t>(sum(a, o)) + static_cast<uint32_t>(bias[o]);
      if (args->wide.offset != nullptr) StoreWide(args->wide, static_cast<int32_t>(acc), o, reinterpret_cast<uint8_t*>(y) + o * sizeof acc);
      else y[o] = RequantizeQ8<T>(r, static_cast<int32_t>(acc), o, residual != nullptr ? residual[o] : T{0});
    }
  }
}

}  // namespace
}  // namespace sterna
