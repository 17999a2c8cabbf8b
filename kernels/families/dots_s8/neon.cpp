// dots_s8/neon: for ARMv8.0, exact for all values: smull makes products of 16 bits, and sadalp adds neighbours into 32 bits at once, since two
// products of -128 would not fit 16 bits.
//
// Registers: 4 sums, 1 of the vector, 1 of a row, 2 of products. 16 products take a load, 2 multiplies and 2 additions.
#include "dots_neon.h"

namespace {

struct Core : DotsNeon {
  static inline Sum Add(Sum sum, const int8_t* rows, int8x16_t x) {
    const int8x16_t row = Load(rows);
    return vpadalq_s16(vpadalq_s16(sum, vmull_s8(vget_low_s8(row), vget_low_s8(x))), vmull_high_s8(row, x));
  }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_neon;
const sterna::DotsS8Kernel sterna_dots_s8_neon = {"dots_s8/neon", sterna::Dots<Core>};
}
