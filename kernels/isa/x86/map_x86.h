// A loop over bytes for the units of several families, a register of a byte vector Q (isa/x86/q8_*.h) at a time. Exactly n bytes are read and
// written: the last, incomplete register goes through a mask.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

// y[i] = op(a[i], b[i]). y may be a or b.
template <typename Q, typename Op>
inline __attribute__((always_inline)) void MapBytes(size_t n, const uint8_t* a, const uint8_t* b, uint8_t* y, Op op) {
  size_t i = 0;
  for (; i + Q::kBytes <= n; i += Q::kBytes) Q::StoreInt(y + i, op(Q::LoadInt(a + i), Q::LoadInt(b + i)));
  if (i == n) return;
  const typename Q::Mask mask = Q::MakeMask(n - i);
  const typename Q::Int last = op(Q::template LoadParts<1>(1, mask, a + i, 0), Q::template LoadParts<1>(1, mask, b + i, 0));
  Q::template StoreParts<1>(last, 1, mask, y + i, 0);
}

}  // namespace
}  // namespace sterna
