// The quantized epilogue (RequantQ8, microkernel.h) on 16 elements at a time, bit-equal to sterna/requant.h.
//
// Bounds and zero-points are integers and rounding is monotonic, so clamping after rounding gives the same bits as clamping
// before it: fcvtns (half to even) and every narrowing saturate, and [lo, hi] lies within int8. 22 instructions for 16 elements:
// 4 scvtf, 4 fmul, 4 fcvtns, 4 sqxtn to 16 bits, 2 sqadd of the zero-point, 2 sqxtn to 8, smax, smin.
#pragma once
#include <arm_neon.h>

#include "sterna/microkernel.h"

namespace sterna {

// 16 bytes of A, kept as a vector: without the empty asm, GCC turns every lane taken from it into a scalar load and a dup.
static inline int8x16_t LoadRowNeon(const int8_t* a) {
  int8x16_t v = vld1q_s8(a);
  __asm__("" : "+w"(v));
  return v;
}

// 32 bytes of B with one ldp: the empty asm keeps the two loads together.
static inline void LoadPairNeon(const int8_t* b, int8x16_t* first, int8x16_t* second) {
  int8x16_t v0 = vld1q_s8(b), v1 = vld1q_s8(b + 16);
  __asm__("" : "+w"(v0), "+w"(v1));
  *first = v0, *second = v1;
}

// A point that accumulators cross in registers: without it, GCC copies some of them on every turn of the loop before it.
template <int M>
static inline __attribute__((always_inline)) void PinNeon(int32x4_t (&acc)[M][4]) {
  for (int r = 0; r < M; ++r) __asm__("" : "+w"(acc[r][0]), "+w"(acc[r][1]), "+w"(acc[r][2]), "+w"(acc[r][3]));
}

// R(x) + zp, clamped to [lo, hi].
struct NarrowNeon {
  int16x8_t zp;
  int8x16_t lo, hi;
};

static inline NarrowNeon MakeNarrowNeon(int32_t lo, int32_t hi, int32_t zp) {
  return {vdupq_n_s16(static_cast<int16_t>(zp)), vdupq_n_s8(static_cast<int8_t>(lo)), vdupq_n_s8(static_cast<int8_t>(hi))};
}

static inline int8x16_t NarrowToS8(const NarrowNeon& n, const float32x4_t x[4]) {
  const int16x8_t low = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x[0])), vcvtnq_s32_f32(x[1]));
  const int16x8_t high = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(x[2])), vcvtnq_s32_f32(x[3]));
  const int8x16_t bytes = vqmovn_high_s16(vqmovn_s16(vqaddq_s16(low, n.zp)), vqaddq_s16(high, n.zp));
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

// What one run of a kernel needs of RequantQ8, in registers' form.
struct RequantNeon {
  NarrowNeon mid, out;
  WeighNeon weigh_mid, weigh_res;
  const float *scale, *scale_neg;
  const uint8_t *table, *residual;
  size_t residual_stride;
  bool plain;  // scale and narrow, nothing else
};

static inline RequantNeon MakeRequantNeon(const RequantQ8& r) {
  return {MakeNarrowNeon(r.mid_lo, r.mid_hi, r.mid_zp),
          MakeNarrowNeon(r.y_lo, r.y_hi, r.y_zp),
          MakeWeighNeon(r.mid_zp, r.mid_mul),
          MakeWeighNeon(r.res_zp, r.res_mul),
          r.scale,
          r.scale_neg,
          r.table,
          r.residual,
          r.residual_stride,
          r.scale_neg == nullptr && r.table == nullptr && r.residual == nullptr};
}

// The whole epilogue of 16 channels from `o` on, in row `row` of the residual. Out of line: inlined, its many live values would
// push the tile's accumulators to the stack on the common path too.
static __attribute__((noinline)) int8x16_t RequantizeFullNeon(const RequantNeon& r, int32x4x4_t acc, size_t row, size_t o) {
  float32x4_t x[4];
  for (int i = 0; i < 4; ++i) {
    float32x4_t scale = vld1q_f32(r.scale + o + 4 * i);
    if (r.scale_neg != nullptr) scale = vbslq_f32(vcltzq_s32(acc.val[i]), vld1q_f32(r.scale_neg + o + 4 * i), scale);
    x[i] = vmulq_f32(vcvtq_f32_s32(acc.val[i]), scale);
  }
  int8x16_t q = NarrowToS8(r.mid, x);
  if (r.table != nullptr) q = LookupNeon(r.table, q);
  if (r.residual == nullptr) return q;
  const int8x16_t residual = vld1q_s8(reinterpret_cast<const int8_t*>(r.residual + row * r.residual_stride + o));
  return AddBytesNeon(r.weigh_mid, r.weigh_res, r.out, q, residual);
}

static inline __attribute__((always_inline)) int8x16_t RequantizeNeon(const RequantNeon& r, const int32x4_t acc[4], size_t row, size_t o) {
  if (!r.plain) return RequantizeFullNeon(r, {{acc[0], acc[1], acc[2], acc[3]}}, row, o);
  float32x4_t x[4];
  for (int i = 0; i < 4; ++i) x[i] = vmulq_f32(vcvtq_f32_s32(acc[i]), vld1q_f32(r.scale + o + 4 * i));
  return NarrowToS8(r.mid, x);
}

// The first `count` bytes, 1..15.
static __attribute__((noinline)) void StoreSomeNeon(int8_t* y, int8x16_t v, size_t count) {
  int8x8_t part = vget_low_s8(v);
  if (count & 8) {
    vst1_s8(y, part);
    y += 8;
    part = vget_high_s8(v);
  }
  for (size_t i = 0; i < (count & 7); ++i) {
    vst1_lane_s8(y + i, part, 0);
    part = vext_s8(part, part, 1);
  }
}

// The first `count` bytes, or all 16 when there are more.
static inline __attribute__((always_inline)) void StoreBytesNeon(uint8_t* y, int8x16_t v, size_t count) {
  int8_t* out = reinterpret_cast<int8_t*>(y);
  count >= 16 ? vst1q_s8(out, v) : StoreSomeNeon(out, v, count);
}

}  // namespace sterna
