// The requantization arithmetic of program.h, once, for ref and for the tails of SIMD kernels (rule K7).
// Needs -ffp-contract=off and the default rounding mode (to nearest, ties to even); every scale is finite (the loader checks).
// Everything is `static inline`, so that an ISA unit that includes it exports nothing.
#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// R(v) for |v| <= 2^22, which every clamped value satisfies: adding 1.5 * 2^23 leaves no bits for a fraction. Unlike lrintf it
// vectorizes on every target.
static inline int32_t RoundHalfEven(float v) {
  constexpr float kMagic = 12582912.0f;
  return static_cast<int32_t>((v + kMagic) - kMagic);
}

// min(max(v, lo), hi) of what becomes a whole number: NaN becomes lo, as in maxps and fmaxnm.
static inline float ClampFloat(float v, float lo, float hi) {
  v = v > lo ? v : lo;
  return v < hi ? v : hi;
}

// min(max(v, lo), hi) of what stays a float: NaN stays NaN. The bound is the first operand of maxps and minps, which return the second for NaN.
static inline float ClampKeepingNaN(float v, float lo, float hi) {
  v = v < lo ? lo : v;
  return v > hi ? hi : v;
}

// R(clamp(v)) + zp, where [lo, hi] bounds the result.
static inline int32_t RoundClamped(float v, int32_t lo, int32_t hi, int32_t zp) {
  return RoundHalfEven(ClampFloat(v, static_cast<float>(lo - zp), static_cast<float>(hi - zp))) + zp;
}

// The epilogue of ConvQ8Attrs for one element: `acc` of output channel `o`, and the residual element (ignored when
// r.residual is null). T is the activation type.
template <typename T>
static inline T RequantizeQ8(const RequantQ8& r, int32_t acc, size_t o, T residual) {
  const float m = acc < 0 && r.scale_neg != nullptr ? r.scale_neg[o] : r.scale[o];
  int32_t q = RoundClamped(static_cast<float>(acc) * m, r.mid_lo, r.mid_hi, r.mid_zp);
  if (r.table != nullptr) q = static_cast<T>(r.table[static_cast<uint8_t>(q)]);
  if (r.residual == nullptr) return static_cast<T>(q);
  const float mid = static_cast<float>(q - r.mid_zp) * r.mid_mul;
  const float res = static_cast<float>(static_cast<int32_t>(residual) - r.res_zp) * r.res_mul;
  return static_cast<T>(RoundClamped(mid + res, r.y_lo, r.y_hi, r.y_zp));
}

// The epilogue of EpilogueF32 for one element.
static inline float ActivateF32(const EpilogueF32& e, float v, size_t o) {
  if (e.slope != nullptr) return v < 0.0f ? v * e.slope[o] : v;
  return ClampKeepingNaN(v, e.lo, e.hi);
}

static inline float EpilogueOfF32(const EpilogueF32& e, float acc, size_t o, float residual) {
  float v = e.bias != nullptr ? acc + e.bias[o] : acc;
  if (e.residual == nullptr) return ActivateF32(e, v, o);
  if (e.residual_first) return ActivateF32(e, v + residual, o);
  return ActivateF32(e, v, o) + residual;
}

}  // namespace sterna
