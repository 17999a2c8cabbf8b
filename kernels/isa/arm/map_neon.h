// A loop over bytes for the units of several families, 16 at a time. The last, incomplete vector goes through a buffer and the same body: exactly
// n bytes are read and written, and a result does not depend on its place.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

inline int8x16_t LoadBytes(const uint8_t* p) { return vld1q_s8(reinterpret_cast<const int8_t*>(p)); }
inline void StoreBytes(uint8_t* p, int8x16_t v) { vst1q_s8(reinterpret_cast<int8_t*>(p), v); }

// y = body(a, b) for bytes.
template <typename Body>
inline __attribute__((always_inline)) void ForPairsOfBytes(size_t n, const uint8_t* a, const uint8_t* b, uint8_t* y, Body body) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) StoreBytes(y + i, body(LoadBytes(a + i), LoadBytes(b + i)));
  if (i == n) return;
  uint8_t tail_a[16] = {}, tail_b[16] = {};
  __builtin_memcpy(tail_a, a + i, n - i);
  __builtin_memcpy(tail_b, b + i, n - i);
  StoreBytes(tail_a, body(LoadBytes(tail_a), LoadBytes(tail_b)));
  __builtin_memcpy(y + i, tail_a, n - i);
}

}  // namespace
}  // namespace sterna
