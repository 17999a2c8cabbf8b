// dots_s8/neon: for ARMv8.0, exact for all values: smull makes products of 16 bits, and sadalp adds neighbours into 32 bits at once, since two
// products of -128 would not fit 16 bits.
//
// Registers: 4 sums, 1 of the vector, 1 of a row, 2 of products. 16 products take a load, 2 multiplies and 2 additions.
#include <arm_neon.h>

#include "kernel.h"

namespace sterna {
namespace {

template <int kRows>
inline void DotRows(size_t depth, const int8_t* rows, const int8_t* x, int32_t* y) {
  int32x4_t sum[kRows];
  for (int r = 0; r < kRows; ++r) sum[r] = vdupq_n_s32(0);
  for (size_t k = 0; k < depth; k += 16) {
    const int8x16_t step = vld1q_s8(x + k);
    for (int r = 0; r < kRows; ++r) {
      const int8x16_t row = vld1q_s8(rows + r * depth + k);
      sum[r] = vpadalq_s16(sum[r], vmull_s8(vget_low_s8(row), vget_low_s8(step)));
      sum[r] = vpadalq_s16(sum[r], vmull_high_s8(row, step));
    }
  }
  for (int r = 0; r < kRows; ++r) y[r] = vaddvq_s32(sum[r]);
}

void Run(size_t n, size_t depth, const int8_t* rows, const int8_t* x, int32_t* y) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) DotRows<4>(depth, rows + i * depth, x, y + i);
  for (; i < n; ++i) DotRows<1>(depth, rows + i * depth, x, y + i);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_neon;
const sterna::DotsS8Kernel sterna_dots_s8_neon = {"dots_s8/neon", sterna::Run};
}
