// Four floats in a NEON register, for the float kernels that all instruction sets share. The names are those of isa/x86/vec_*.h.
#pragma once
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

// The first `count` of 4 floats; zeros stand for the others.
static inline float32x4_t LoadSomeF32(const float* p, size_t count) {
  if (count >= 4) return vld1q_f32(p);
  float32x4_t v = vld1q_lane_f32(p, vdupq_n_f32(0.0f), 0);
  if (count > 1) v = vld1q_lane_f32(p + 1, v, 1);
  return count > 2 ? vld1q_lane_f32(p + 2, v, 2) : v;
}

static inline void StoreSomeF32(float* p, float32x4_t v, size_t count) {
  if (count >= 4) return vst1q_f32(p, v);
  vst1q_lane_f32(p, v, 0);
  if (count > 1) vst1q_lane_f32(p + 1, v, 1);
  if (count > 2) vst1q_lane_f32(p + 2, v, 2);
}

struct VecNeon {
  using Reg = float32x4_t;
  using Mask = size_t;  // a number of lanes
  static constexpr size_t kLanes = 4;
  static constexpr bool kLooksUp = false;  // whether lanes choose among 16 or 32 numbers in registers
  static constexpr bool kTestsCheaply = false;  // whether a test of all lanes costs little beside a few operations

  static inline Mask MakeMask(size_t n) { return n < kLanes ? n : kLanes; }
  static inline Reg Set(float x) { return vdupq_n_f32(x); }
  static inline Reg Load(const float* p) { return vld1q_f32(p); }
  static inline Reg LoadPart(const float* p, Mask mask) { return LoadSomeF32(p, mask); }
  static inline void Store(float* p, Reg x) { vst1q_f32(p, x); }
  static inline void StorePart(float* p, Mask mask, Reg x) { StoreSomeF32(p, x, mask); }
  static inline Reg Add(Reg a, Reg b) { return vaddq_f32(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return vsubq_f32(a, b); }
  static inline Reg Mul(Reg a, Reg b) { return vmulq_f32(a, b); }
  static inline Reg Div(Reg a, Reg b) { return vdivq_f32(a, b); }
  static inline Reg Fma(Reg a, Reg b, Reg c) { return vfmaq_f32(c, a, b); }
  // c - a * b
  static inline Reg NegFma(Reg a, Reg b, Reg c) { return vfmsq_f32(c, a, b); }
  // NaN when either is.
  static inline Reg Min(Reg a, Reg b) { return vminq_f32(a, b); }
  static inline Reg Max(Reg a, Reg b) { return vmaxq_f32(a, b); }
  static inline Reg MaxOrNaN(Reg a, Reg b) { return vmaxq_f32(a, b); }
  static inline Reg Round(Reg x) { return vrndnq_f32(x); }
  static inline Reg Floor(Reg x) { return vrndmq_f32(x); }
  static inline Reg Ceil(Reg x) { return vrndpq_f32(x); }
  static inline Reg Abs(Reg x) { return vabsq_f32(x); }
  static inline Reg MinusAbs(Reg x) { return vnegq_f32(vabsq_f32(x)); }
  static inline Reg CopySign(Reg magnitude, Reg sign) { return vbslq_f32(vdupq_n_u32(0x80000000u), sign, magnitude); }
  static inline Reg SelectLess(Reg a, Reg b, Reg if_less, Reg otherwise) { return vbslq_f32(vcltq_f32(a, b), if_less, otherwise); }
  // x * 2^n for an integral n in [-160, 160], rounded once: |x| is in [0.5, 2), so the first product is exact.
  static inline Reg TimesPowerOfTwo(Reg x, Reg n) {
    const int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
    return vmulq_f32(vmulq_f32(x, PowerOfInteger(half)), PowerOfInteger(vsubq_s32(whole, half)));
  }
  // 2^n from n + 1.5 * 2^23, for an integral n in [-126, 127]; 0 for -127.
  static inline Reg PowerOfTwoShifted(Reg shifted) {
    return vreinterpretq_f32_s32(vaddq_s32(vshlq_n_s32(vreinterpretq_s32_f32(shifted), 23), vdupq_n_s32(0x3f800000)));
  }
  static inline Reg PowerOfInteger(int32x4_t n) { return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23)); }
  // m in [sqrt(1/2), sqrt(2)) with x = m * 2^e, for a positive normal x.
  static inline Reg SplitPowerOfTwo(Reg x, Reg* e) {
    const int32x4_t bits = vreinterpretq_s32_f32(x), n = vshrq_n_s32(vsubq_s32(bits, vdupq_n_s32(0x3f3504f3)), 23);
    *e = vcvtq_f32_s32(n);
    return vreinterpretq_f32_s32(vsubq_s32(bits, vshlq_n_s32(n, 23)));
  }
  // -x where the integral n is odd.
  static inline Reg FlipOdd(Reg x, Reg n) { return vreinterpretq_f32_s32(veorq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vcvtq_s32_f32(n), 31))); }
  // Over all lanes.
  static inline float SumOf(Reg x) { return vaddvq_f32(x); }
  static inline float LargestOf(Reg x) { return vmaxvq_f32(x); }
  static inline float SquareRoot(float x) { return vget_lane_f32(vsqrt_f32(vdup_n_f32(x)), 0); }
};

}  // namespace
}  // namespace sterna
