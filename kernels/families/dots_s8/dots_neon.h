// What the units of dots_s8 for Arm share: all but how products are added.
#pragma once
#include <arm_neon.h>

#include "dots_vec.h"

namespace {

struct DotsNeon {
  using Sum = int32x4_t;
  static constexpr size_t kStep = 16;
  static inline int8x16_t Load(const int8_t* p) { return vld1q_s8(p); }
  static inline Sum Zero() { return vdupq_n_s32(0); }
  static inline int32_t Total(Sum sum) { return vaddvq_s32(sum); }
  static inline int32_t Offset(size_t, const int8_t*) { return 0; }
};

}  // namespace
