// dots_s8/neondot: for ARMv8.2 with dot product: sdot adds four products into 32 bits, exact for all values.
//
// Registers: 4 sums, 1 of the vector, 1 of a row. 16 products take a load and a multiply.
#include <arm_neon.h>

#include "dots_vec.h"

namespace {

struct Core {
  using Sum = int32x4_t;
  static constexpr size_t kStep = 16;
  static inline int8x16_t Load(const int8_t* p) { return vld1q_s8(p); }
  static inline Sum Zero() { return vdupq_n_s32(0); }
  static inline Sum Add(Sum sum, const int8_t* row, int8x16_t x) { return vdotq_s32(sum, Load(row), x); }
  static inline int32_t Total(Sum sum) { return vaddvq_s32(sum); }
  static inline int32_t Offset(size_t, const int8_t*) { return 0; }
};

}  // namespace

extern "C" {
extern const sterna::DotsS8Kernel sterna_dots_s8_neondot;
const sterna::DotsS8Kernel sterna_dots_s8_neondot = {"dots_s8/neondot", sterna::Dots<Core>};
}
