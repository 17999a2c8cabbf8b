// The float epilogue (EpilogueF32, sterna/epilogue.h) on 4 channels at a time.
#pragma once
#include <arm_neon.h>

#include "isa/arm/vec_neon.h"
#include "sterna/epilogue.h"

namespace sterna {

// For 4 channels from `o` on, of which `count` exist.
struct EpilogueF32Neon {
  float32x4_t bias, slope, lo, hi;
  const float* residual;
  size_t residual_stride, count;
  bool has_slope, residual_first;
  bool plain;  // bias, clamp and a whole store, nothing else
};

static inline EpilogueF32Neon MakeEpilogueF32Neon(const EpilogueF32& e, size_t o, size_t count) {
  const float32x4_t zero = vdupq_n_f32(0.0f);
  return {e.bias != nullptr ? LoadSomeF32(e.bias + o, count) : zero,
          e.slope != nullptr ? LoadSomeF32(e.slope + o, count) : zero,
          vdupq_n_f32(e.lo),
          vdupq_n_f32(e.hi),
          e.residual != nullptr ? e.residual + o : nullptr,
          e.residual_stride,
          count,
          e.slope != nullptr,
          e.residual_first != 0,
          e.slope == nullptr && e.residual == nullptr && count >= 4};
}

// fmax and fmin keep NaN, as ref does.
static inline float32x4_t ActivateF32Neon(const EpilogueF32Neon& e, float32x4_t v) {
  if (e.has_slope) return vbslq_f32(vcltzq_f32(v), vmulq_f32(v, e.slope), v);
  return vminq_f32(vmaxq_f32(v, e.lo), e.hi);
}

// One vector of output row (or pixel) `row`, with all options.
static __attribute__((noinline)) void FinishFullF32Neon(const EpilogueF32Neon& e, float32x4_t acc, size_t row, float* y) {
  float32x4_t v = vaddq_f32(acc, e.bias);
  if (e.residual == nullptr) {
    v = ActivateF32Neon(e, v);
  } else {
    const float32x4_t residual = LoadSomeF32(e.residual + row * e.residual_stride, e.count);
    v = e.residual_first ? ActivateF32Neon(e, vaddq_f32(v, residual)) : vaddq_f32(ActivateF32Neon(e, v), residual);
  }
  StoreSomeF32(y, v, e.count);
}

// Finishes and stores it. Only the common case is inlined, so that it keeps its accumulators in registers.
static inline __attribute__((always_inline)) void FinishF32Neon(const EpilogueF32Neon& e, float32x4_t acc, size_t row, float* y) {
  if (!e.plain) return FinishFullF32Neon(e, acc, row, y);
  vst1q_f32(y, vminq_f32(vmaxq_f32(vaddq_f32(acc, e.bias), e.lo), e.hi));
}

}  // namespace sterna
