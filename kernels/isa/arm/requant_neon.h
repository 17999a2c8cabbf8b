// The quantized epilogue (RequantQ8, sterna/epilogue.h) on 16 elements at a time, bit-equal to sterna/requant.h.
//
// Bounds and zero-points are integers and rounding is monotonic, so clamping after rounding gives the same bits as clamping
// before it: fcvtns (half to even) and every narrowing saturate, and [lo, hi] lies within int8. 22 instructions for 16 elements:
// 4 scvtf, 4 fmul, 4 fcvtns, 4 sqxtn to 16 bits, 2 sqadd of the zero-point, 2 sqxtn to 8, smax, smin. Where no sum of a layer can leave
// 16 bits, 16 do: 4 scvtf, 4 fmul, 4 fadd, 2 uzp1, 2 sqxtn (BoundedWords).
#pragma once
#include <arm_neon.h>

#include "sterna/epilogue.h"

namespace sterna {

// R(x) + zp, clamped to [lo, hi].
struct NarrowNeon {
  int16x8_t zp;
  int8x16_t lo, hi;
  float32x4_t magic;  // 1.5 * 2^23 + zp
};

static inline NarrowNeon MakeNarrowNeon(int32_t lo, int32_t hi, int32_t zp) {
  return {vdupq_n_s16(static_cast<int16_t>(zp)), vdupq_n_s8(static_cast<int8_t>(lo)), vdupq_n_s8(static_cast<int8_t>(hi)),
          vdupq_n_f32(12582912.0f + static_cast<float>(zp))};
}

// Largest |x| that BoundedWords takes: with the zero-point added, and x itself rounded, it stays within 16 bits.
constexpr float kBoundNeon = 32000.0f;

// R(x) + zp for |x| <= kBoundNeon and an even zp. The sum lies in [2^23, 2^24), where floats are the integers, so the addition rounds
// half to even; its low 16 bits are the result, since 2^22 is a multiple of 2^16. An odd zp would turn the ties.
static inline __attribute__((always_inline)) int16x8_t BoundedWords(const NarrowNeon& n, float32x4_t x0, float32x4_t x1) {
  return vuzp1q_s16(vreinterpretq_s16_f32(vaddq_f32(x0, n.magic)), vreinterpretq_s16_f32(vaddq_f32(x1, n.magic)));
}

// R(x) + zp, saturated to 16 bits.
static inline __attribute__((always_inline)) int16x8_t SaturatedWords(const NarrowNeon& n, float32x4_t x0, float32x4_t x1) {
  return vqaddq_s16(vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x0)), vcvtnq_s32_f32(x1)), n.zp);
}

static inline int8x16_t NarrowToS8(const NarrowNeon& n, const float32x4_t x[4]) {
  const int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(SaturatedWords(n, x[0], x[1])), SaturatedWords(n, x[2], x[3]));
  return vminq_s8(vmaxq_s8(bytes, n.lo), n.hi);
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

static inline __attribute__((always_inline)) float32x4x2_t WeighHalf(const WeighNeon& w, int8x8_t bytes) {
  const int16x8_t words = vsubl_s8(bytes, w.zp);
  return {{vmulq_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(words))), w.mul), vmulq_f32(vcvtq_f32_s32(vmovl_high_s16(words)), w.mul)}};
}

static inline void WeighBytes(const WeighNeon& w, int8x16_t bytes, float32x4_t y[4]) {
  const float32x4x2_t low = WeighHalf(w, vget_low_s8(bytes)), high = WeighHalf(w, vget_high_s8(bytes));
  y[0] = low.val[0], y[1] = low.val[1], y[2] = high.val[0], y[3] = high.val[1];
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
