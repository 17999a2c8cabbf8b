// What the NEON tiles share: loads that GCC leaves alone, and the epilogue of RequantQ8 (microkernel.h) for rows of 16 channels.
#pragma once
#include "requant_neon.h"

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

// Accumulators that start from the bias. For every row anew: loads in pairs cost the multipliers nothing, moves do.
template <int N>
static inline __attribute__((always_inline)) void LoadBiasNeon(const int32_t* bias, int32x4_t (&acc)[N]) {
  __asm__ volatile("" : "+r"(bias));  // else GCC loads once and moves
  for (int i = 0; i < N; i += 2) {
    int32x4_t v0 = vld1q_s32(bias + 4 * i), v1 = vld1q_s32(bias + 4 * i + 4);
    __asm__("" : "+w"(v0), "+w"(v1));
    acc[i] = v0, acc[i + 1] = v1;
  }
}

// What one run of a kernel needs of RequantQ8, in registers' form.
struct RequantNeon {
  NarrowNeon mid, out;
  WeighNeon weigh_mid, weigh_res;
  const float *scale, *scale_neg;
  const uint8_t *table, *residual;
  size_t residual_stride;
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
          r.residual_stride};
}

// How a block of channels ends, cheapest first. kSaturate: the bounds are int8's own, so narrowing does all the clamping.
enum class FinishNeon : uint8_t { kSaturate, kClamp, kGeneral };

// For a block of `width` channels that the kernel computes `computed` of.
static inline FinishNeon FinishOf(const RequantQ8& r, size_t width, size_t computed) {
  if (r.scale_neg != nullptr || r.table != nullptr || r.residual != nullptr || width < computed) return FinishNeon::kGeneral;
  return r.mid_lo == -128 && r.mid_hi == 127 ? FinishNeon::kSaturate : FinishNeon::kClamp;
}

// The whole epilogue of 16 channels from `o` on, in row `row` of the residual.
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

// Where a block of channels goes: at output row `row` and channel `o`; `width` channels exist.
struct TargetNeon {
  uint8_t* y;
  const float* scale;  // of its first channel
  size_t y_stride, row, o, width;
};

// One row of at most 16 channels, with all options.
static __attribute__((noinline)) void FinishFullNeon(const RequantNeon& r, int32x4x4_t acc, uint8_t* y, size_t row, size_t o, size_t width) {
  const int8x16_t bytes = RequantizeFullNeon(r, acc, row, o);
  width >= 16 ? vst1q_s8(reinterpret_cast<int8_t*>(y), bytes) : StoreSomeNeon(reinterpret_cast<int8_t*>(y), bytes, width);
}

// M rows of 4 * N channels, from memory.
template <int N>
static __attribute__((noinline)) void FinishRowsFullNeon(const RequantNeon& r, const int32x4_t (*acc)[N], size_t rows, const TargetNeon& to) {
  const int32x4_t zero = vdupq_n_s32(0);
  uint8_t* y = to.y;
  for (size_t i = 0; i < rows; ++i, y += to.y_stride) {
    for (size_t n = 0; n < N && 4 * n < to.width; n += 4) {
      const bool half = n + 4 > N;  // the last block has 8 channels
      const int32x4x4_t block = {{acc[i][n], acc[i][n + 1], half ? zero : acc[i][n + 2], half ? zero : acc[i][n + 3]}};
      FinishFullNeon(r, block, y + 4 * n, to.row + i, to.o + 4 * n, to.width - 4 * n);
    }
  }
}

static inline __attribute__((always_inline)) float32x4_t ScaleNeon(int32x4_t acc, float32x4_t scale) { return vmulq_f32(vcvtq_f32_s32(acc), scale); }

// M rows of 4 * N channels, all of which exist, without options.
template <int M, int N, bool kClamp>
static inline __attribute__((always_inline)) void FinishRowsPlainNeon(const RequantNeon& r, const int32x4_t (&acc)[M][N], const TargetNeon& to) {
  const NarrowNeon mid = r.mid;  // a copy that the stores below cannot change
  float32x4_t s[N];
#pragma GCC unroll 8
  for (int n = 0; n < N; n += 2) {
    s[n] = vld1q_f32(to.scale + 4 * n), s[n + 1] = vld1q_f32(to.scale + 4 * n + 4);
    __asm__("" : "+w"(s[n]), "+w"(s[n + 1]));
  }
  int8_t* y = reinterpret_cast<int8_t*>(to.y);
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, y += to.y_stride) {
#pragma GCC unroll 2
    for (int n = 0; n + 4 <= N; n += 4) {
      const int8x16_t v = SaturateToS8(mid, ScaleNeon(acc[i][n], s[n]), ScaleNeon(acc[i][n + 1], s[n + 1]), ScaleNeon(acc[i][n + 2], s[n + 2]),
                                       ScaleNeon(acc[i][n + 3], s[n + 3]));
      vst1q_s8(y + 4 * n, kClamp ? vminq_s8(vmaxq_s8(v, mid.lo), mid.hi) : v);
    }
    if (N % 4 != 0) {
      const int8x8_t v = SaturateToS8(mid, ScaleNeon(acc[i][N - 2], s[N - 2]), ScaleNeon(acc[i][N - 1], s[N - 1]));
      vst1_s8(y + 4 * (N - 2), kClamp ? vmin_s8(vmax_s8(v, vget_low_s8(mid.lo)), vget_low_s8(mid.hi)) : v);
    }
  }
}

// Requantizes and stores M rows of 4 * N channels, N = 2, 4 or 6. The common cases stay in registers; the others go through memory.
template <int M, int N>
static inline __attribute__((always_inline)) void FinishRowsNeon(const RequantNeon& r, const int32x4_t (&acc)[M][N], const TargetNeon& to,
                                                                FinishNeon finish) {
  if (__builtin_expect(finish == FinishNeon::kSaturate, 1)) return FinishRowsPlainNeon<M, N, false>(r, acc, to);
  if (finish == FinishNeon::kClamp) return FinishRowsPlainNeon<M, N, true>(r, acc, to);
  int32x4_t copy[M][N];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) copy[i][n] = acc[i][n];
  }
  const TargetNeon target = to;  // a copy, so that the caller's stays in registers
  FinishRowsFullNeon<N>(r, copy, M, target);
}

}  // namespace sterna
