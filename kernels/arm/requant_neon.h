// The quantized epilogue (RequantQ8, microkernel.h) on 16 elements at a time, bit-equal to sterna/requant.h.
//
// Bounds and zero-points are integers and rounding is monotonic, so clamping after rounding gives the same bits as clamping
// before it: fcvtns (half to even) and every narrowing saturate, and [lo, hi] lies within int8. 22 instructions for 16 elements:
// 4 scvtf, 4 fmul, 4 fcvtns, 4 sqxtn to 16 bits, 2 sqadd of the zero-point, 2 sqxtn to 8, smax, smin.
#pragma once
#include <arm_neon.h>

#include "sterna/microkernel.h"

namespace sterna {

// R(x) + zp, clamped to [lo, hi].
struct NarrowNeon {
  int16x8_t zp;
  int8x16_t lo, hi;
};

static inline NarrowNeon MakeNarrowNeon(int32_t lo, int32_t hi, int32_t zp) {
  return {vdupq_n_s16(static_cast<int16_t>(zp)), vdupq_n_s8(static_cast<int8_t>(lo)), vdupq_n_s8(static_cast<int8_t>(hi))};
}

// R(x) + zp, saturated to int8: for 8 and for 16 elements.
static inline __attribute__((always_inline)) int8x8_t SaturateToS8(const NarrowNeon& n, float32x4_t x0, float32x4_t x1) {
  const int16x8_t words = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x0)), vcvtnq_s32_f32(x1));
  return vqmovn_s16(vqaddq_s16(words, n.zp));
}

static inline __attribute__((always_inline)) int8x16_t SaturateToS8(const NarrowNeon& n, float32x4_t x0, float32x4_t x1, float32x4_t x2,
                                                                    float32x4_t x3) {
  const int16x8_t high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x2)), vcvtnq_s32_f32(x3));
  return vqmovn_high_s16(SaturateToS8(n, x0, x1), vqaddq_s16(high, n.zp));
}

static inline int8x16_t NarrowToS8(const NarrowNeon& n, const float32x4_t x[4]) {
  return vminq_s8(vmaxq_s8(SaturateToS8(n, x[0], x[1], x[2], x[3]), n.lo), n.hi);
}

// 16 lookups in a table of 256 bytes.
static inline int8x16_t LookupNeon(const uint8_t* table, int8x16_t index) {
  const uint8x16_t quarter = vdupq_n_u8(64);
  uint8x16_t i = vreinterpretq_u8_s8(index);
  uint8x16_t y = vqtbl4q_u8(vld1q_u8_x4(table), i);  // an index out of range gives 0, or in vqtbx leaves y
  for (int q = 1; q < 4; ++q) {
    i = vsubq_u8(i, quarter);
    y = vqtbx4q_u8(y, vld1q_u8_x4(table + 64 * q), i);
  }
  return vreinterpretq_s8_u8(y);
}

// One operand of an addition: (byte - zp) * mul.
struct WeighNeon {
  int8x8_t zp;
  float32x4_t mul;
};

static inline WeighNeon MakeWeighNeon(int32_t zp, float mul) { return {vdup_n_s8(static_cast<int8_t>(zp)), vdupq_n_f32(mul)}; }

static inline void WeighBytes(const WeighNeon& w, int8x16_t bytes, float32x4_t y[4]) {
  const int16x8_t low = vsubl_s8(vget_low_s8(bytes), w.zp), high = vsubl_s8(vget_high_s8(bytes), w.zp);
  y[0] = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))), w.mul);
  y[1] = vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(low)), w.mul);
  y[2] = vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))), w.mul);
  y[3] = vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(high)), w.mul);
}

// out((a - a_zp) * a_mul + (b - b_zp) * b_mul)
static inline int8x16_t AddBytesNeon(const WeighNeon& wa, const WeighNeon& wb, const NarrowNeon& out, int8x16_t a, int8x16_t b) {
  float32x4_t x[4], y[4];
  WeighBytes(wa, a, x);
  WeighBytes(wb, b, y);
  for (int i = 0; i < 4; ++i) x[i] = vaddq_f32(x[i], y[i]);
  return NarrowToS8(out, x);
}

}  // namespace sterna
