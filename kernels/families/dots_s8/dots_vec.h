// What the vector units of dots_s8 share: four rows pass at a time, so that the vector is loaded once for four products and four sums are on their
// way. A Core multiplies and adds:
//
//   Sum, Zero()                  a register of partial sums
//   kStep                        bytes of a row that one call of Add takes
//   Load(x)                      a step of the vector
//   Add(sum, row, x)             the products of a step of a row are added to the sum
//   Total(sum)                   the sum of the register's parts
//   Offset(depth, x)             what is to be subtracted from every total
#pragma once
#include "kernel.h"

namespace sterna {
namespace {

template <typename Core, int kRows>
static inline void DotRows(size_t depth, const int8_t* rows, const int8_t* x, int32_t offset, int32_t* y) {
  typename Core::Sum sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = Core::Zero();
  for (size_t k = 0; k < depth; k += Core::kStep) {
    const auto step = Core::Load(x + k);
    for (int r = 0; r < kRows; ++r) sum[r] = Core::Add(sum[r], rows + r * depth + k, step);
  }
  for (int r = 0; r < kRows; ++r) y[r] = static_cast<int32_t>(static_cast<uint32_t>(Core::Total(sum[r])) - static_cast<uint32_t>(offset));
}

template <typename Core>
void Dots(size_t n, size_t depth, const int8_t* rows, const int8_t* x, int32_t* y) {
  const int32_t offset = Core::Offset(depth, x);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) DotRows<Core, 4>(depth, rows + i * depth, x, offset, y + i);
  for (; i < n; ++i) DotRows<Core, 1>(depth, rows + i * depth, x, offset, y + i);
}

}  // namespace
}  // namespace sterna
