// dots_s8/neondot: for ARMv8.2 with dot product: sdot adds four products into 32 bits, exact for all values.
//
// Registers: 4 sums, 1 of the vector, 1 of a row. 16 products take a load and a multiply.
#include "dots_neon.h"

namespace {

struct Core : DotsNeon {
  static inline Sum Add(Sum sum, const int8_t* row, int8x16_t x) { return vdotq_s32(sum, Load(row), x); }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_neondot;
const sterna::DotsS8Kernel sterna_dots_s8_neondot = {"dots_s8/neondot", sterna::Dots<Core>};
}
