// What the NEON tiles share: loads that GCC leaves alone, and the epilogue of RequantQ8 (sterna/epilogue.h) for rows of 16 channels.
#pragma once
#include "requant_neon.h"

namespace sterna {

// 16 bytes of A, kept as a vector: without the empty asm, GCC turns every lane taken from it into a scalar load and a dup.
static inline int8x16_t LoadRowNeon(const int8_t* a) {
  int8x16_t v = vld1q_s8(a);
  __asm__("" : "+w"(v));
  return v;
}

// 64 or 32 bytes of B in one instruction, which moves `b` on: for vld1q_s8_x4 GCC emits an addition.
static inline __attribute__((always_inline)) int8x16x4_t LoadFourNeon(const int8_t*& b) {
  int8x16x4_t v;
  __asm__("ld1 {%S0.16b - %V0.16b}, [%1], #64" : "=w"(v), "+r"(b) : "m"(*reinterpret_cast<const int8_t(*)[64]>(b)));
  return v;
}

static inline __attribute__((always_inline)) int8x16x2_t LoadTwoNeon(const int8_t*& b) {
  int8x16x2_t v;
  __asm__("ld1 {%S0.16b - %T0.16b}, [%1], #32" : "=w"(v), "+r"(b) : "m"(*reinterpret_cast<const int8_t(*)[32]>(b)));
  return v;
}

// The bias of 4 * N channels as a row of accumulators. For every row anew: loads in pairs cost the multipliers nothing, moves do.
template <int N>
static inline __attribute__((always_inline)) void LoadBiasNeon(const int32_t*& bias, int32x4_t (&acc)[N]) {
  __asm__ volatile("" : "+r"(bias));  // else GCC loads once and moves; the same variable, so that there is nothing to move here either
  for (int i = 0; i < N; i += 2) {
    acc[i] = vld1q_s32(bias + 4 * i), acc[i + 1] = vld1q_s32(bias + 4 * i + 4);
  }
}

// What one run of a kernel needs of RequantQ8, in registers' form.
struct RequantNeon {
  NarrowNeon mid, out;
  WeighNeon weigh_mid, weigh_res;
  float32x4_t mid_lo, mid_hi;  // without the zero-point
  const float *scale, *scale_neg;
  const uint8_t *table, *residual;
  size_t residual_stride;
  WideQ8 wide;
};

static inline RequantNeon MakeRequantNeon(const RequantQ8& r, const WideQ8& wide = {}) {
  return {MakeNarrowNeon(r.mid_lo, r.mid_hi, r.mid_zp),
          MakeNarrowNeon(r.y_lo, r.y_hi, r.y_zp),
          MakeWeighNeon(r.mid_zp, r.mid_mul),
          MakeWeighNeon(r.res_zp, r.res_mul),
          vdupq_n_f32(static_cast<float>(r.mid_lo - r.mid_zp)),
          vdupq_n_f32(static_cast<float>(r.mid_hi - r.mid_zp)),
          r.scale,
          r.scale_neg,
          r.table,
          r.residual,
          r.residual_stride,
          wide};
}

// How a block of channels ends, cheapest first. Where the bounds are int8's own, narrowing does all the clamping; kBounded: and no sum
// leaves 16 bits when scaled. kResidual: an addition and nothing else. kWide: elements of 32 bits.
enum class FinishNeon : uint8_t { kBounded, kSaturate, kClamp, kResidual, kGeneral, kWide };

// Whether every |sum * scale| of `channels`, a multiple of 4, is within kBoundNeon. reach[c]: no |sum| of channel c is larger.
static inline bool IsBoundedNeon(const float* reach, const float* scale, size_t channels) {
  float32x4_t most = vdupq_n_f32(0.0f);
  for (size_t c = 0; c < channels; c += 4) most = vmaxq_f32(most, vabsq_f32(vmulq_f32(vld1q_f32(reach + c), vld1q_f32(scale + c))));
  return vmaxvq_f32(most) <= kBoundNeon;
}

// For the block of `computed` channels from `o` on, of which `width` exist. `reach`: of its first channel; nullptr: not worth the look.
static inline FinishNeon FinishOf(const RequantQ8& r, size_t o, size_t width, size_t computed, const float* reach) {
  if (r.scale_neg != nullptr || r.table != nullptr || width < computed) return FinishNeon::kGeneral;
  if (r.residual != nullptr) return FinishNeon::kResidual;
  if (r.mid_lo != -128 || r.mid_hi != 127) return FinishNeon::kClamp;
  return reach != nullptr && r.mid_zp % 2 == 0 && IsBoundedNeon(reach, r.scale + o, computed) ? FinishNeon::kBounded : FinishNeon::kSaturate;
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

// Scales of 4 * N channels.
template <int N>
static inline __attribute__((always_inline)) void LoadScalesNeon(const float* scale, float32x4_t (&s)[N]) {
#pragma GCC unroll 8
  for (int n = 0; n < N; n += 2) {
    s[n] = vld1q_f32(scale + 4 * n), s[n + 1] = vld1q_f32(scale + 4 * n + 4);
    __asm__("" : "+w"(s[n]), "+w"(s[n + 1]));
  }
}

// 8 results in 16 bits, from block `n` of a row on.
template <FinishNeon kFinish, int N>
static inline __attribute__((always_inline)) int16x8_t WordsNeon(const NarrowNeon& mid, const int32x4_t (&acc)[N], const float32x4_t (&s)[N], int n) {
  const float32x4_t x0 = ScaleNeon(acc[n], s[n]), x1 = ScaleNeon(acc[n + 1], s[n + 1]);
  return kFinish == FinishNeon::kBounded ? BoundedWords(mid, x0, x1) : SaturatedWords(mid, x0, x1);
}

// M rows of 4 * N channels, all of which exist, without options.
template <FinishNeon kFinish, int M, int N>
static inline __attribute__((always_inline)) void FinishRowsPlainNeon(const RequantNeon& r, const int32x4_t (&acc)[M][N], const TargetNeon& to) {
  const NarrowNeon mid = r.mid;  // a copy that the stores below cannot change
  constexpr bool kClamp = kFinish == FinishNeon::kClamp;
  float32x4_t s[N];
  LoadScalesNeon(to.scale, s);
  int8_t* y = reinterpret_cast<int8_t*>(to.y);
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, y += to.y_stride) {
#pragma GCC unroll 2
    for (int n = 0; n + 4 <= N; n += 4) {
      const int8x16_t v = vqmovn_high_s16(vqmovn_s16(WordsNeon<kFinish>(mid, acc[i], s, n)), WordsNeon<kFinish>(mid, acc[i], s, n + 2));
      vst1q_s8(y + 4 * n, kClamp ? vminq_s8(vmaxq_s8(v, mid.lo), mid.hi) : v);
    }
    if (N % 4 != 0) {
      const int8x8_t v = vqmovn_s16(WordsNeon<kFinish>(mid, acc[i], s, N - 2));
      vst1_s8(y + 4 * (N - 2), kClamp ? vmin_s8(vmax_s8(v, vget_low_s8(mid.lo)), vget_low_s8(mid.hi)) : v);
    }
  }
}

// (clamp(R(acc * scale) + zp) - zp) * mul, clamped without the zero-point: it comes and goes.
static inline __attribute__((always_inline)) float32x4_t WeighSumNeon(const RequantNeon& r, int32x4_t acc, float32x4_t scale) {
  return vmulq_f32(vminq_f32(vmaxq_f32(vrndnq_f32(ScaleNeon(acc, scale)), r.mid_lo), r.mid_hi), r.weigh_mid.mul);
}

// The sums of 8 channels, from block `n` of a row on, with their residual; in 16 bits.
template <int N>
static inline __attribute__((always_inline)) int16x8_t AddWordsNeon(const RequantNeon& r, const int32x4_t (&acc)[N], const float32x4_t (&s)[N], int n,
                                                                    int8x8_t residual) {
  const float32x4x2_t x = WeighHalf(r.weigh_res, residual);
  return SaturatedWords(r.out, vaddq_f32(WeighSumNeon(r, acc[n], s[n]), x.val[0]), vaddq_f32(WeighSumNeon(r, acc[n + 1], s[n + 1]), x.val[1]));
}

// M rows of 4 * N channels, all of which exist, with a residual.
template <int M, int N>
static inline __attribute__((always_inline)) void FinishRowsResidualNeon(const RequantNeon& requant, const int32x4_t (&acc)[M][N], const TargetNeon& to) {
  const RequantNeon r = requant;  // a copy that the stores below cannot change
  float32x4_t s[N];
  LoadScalesNeon(to.scale, s);
  int8_t* y = reinterpret_cast<int8_t*>(to.y);
  const int8_t* residual = reinterpret_cast<const int8_t*>(r.residual + to.row * r.residual_stride + to.o);
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i, y += to.y_stride, residual += r.residual_stride) {
#pragma GCC unroll 2
    for (int n = 0; n + 4 <= N; n += 4) {
      const int8x16_t v = vld1q_s8(residual + 4 * n);
      const int16x8_t low = AddWordsNeon(r, acc[i], s, n, vget_low_s8(v)), high = AddWordsNeon(r, acc[i], s, n + 2, vget_high_s8(v));
      vst1q_s8(y + 4 * n, vminq_s8(vmaxq_s8(vqmovn_high_s16(vqmovn_s16(low), high), r.out.lo), r.out.hi));
    }
    if (N % 4 != 0) {
      const int8x8_t v = vqmovn_s16(AddWordsNeon(r, acc[i], s, N - 2, vld1_s8(residual + 4 * (N - 2))));
      vst1_s8(y + 4 * (N - 2), vmin_s8(vmax_s8(v, vget_low_s8(r.out.lo)), vget_low_s8(r.out.hi)));
    }
  }
}

// WideQ8 of four channels from `o` on.
template <bool kFloats>
static inline __attribute__((always_inline)) int32x4_t WidenNeon(const WideQ8& wide, int32x4_t acc, size_t o) {
  const int32x4_t sum = vaddq_s32(acc, vld1q_s32(wide.offset + o));
  return kFloats ? vreinterpretq_s32_f32(vaddq_f32(ScaleNeon(sum, vld1q_f32(wide.scale + o)), vld1q_f32(wide.bias + o))) : sum;
}

// M rows of 4 * N channels, from memory.
template <int N>
static __attribute__((noinline)) void StoreWideNeon(const WideQ8& wide, const int32x4_t (*acc)[N], size_t rows, const TargetNeon& to) {
  uint8_t* y = to.y + (sizeof(int32_t) - 1) * to.o;
  for (size_t i = 0; i < rows; ++i, y += to.y_stride) {
    for (size_t n = 0; n < N && 4 * n < to.width; ++n) {
      const int32x4_t v = wide.scale != nullptr ? WidenNeon<true>(wide, acc[i][n], to.o + 4 * n) : WidenNeon<false>(wide, acc[i][n], to.o + 4 * n);
      int32_t lanes[4];
      vst1q_s32(lanes, v);
      const size_t left = to.width - 4 * n;
      if (left >= 4) vst1q_s32(reinterpret_cast<int32_t*>(y + 16 * n), v);
      else __builtin_memcpy(y + 16 * n, lanes, left * sizeof(int32_t));
    }
  }
}

// Requantizes and stores M rows of 4 * N channels, N = 2, 4, 6 or 8. The common cases stay in registers; the others go through memory.
template <int M, int N>
static inline __attribute__((always_inline)) void FinishRowsNeon(const RequantNeon& r, const int32x4_t (&acc)[M][N], const TargetNeon& to,
                                                                FinishNeon finish) {
  if (__builtin_expect(finish == FinishNeon::kBounded, 1)) return FinishRowsPlainNeon<FinishNeon::kBounded>(r, acc, to);
  if (finish == FinishNeon::kSaturate) return FinishRowsPlainNeon<FinishNeon::kSaturate>(r, acc, to);
  if (finish == FinishNeon::kClamp) return FinishRowsPlainNeon<FinishNeon::kClamp>(r, acc, to);
  if (finish == FinishNeon::kResidual) return FinishRowsResidualNeon(r, acc, to);
  int32x4_t copy[M][N];
#pragma GCC unroll 8
  for (int i = 0; i < M; ++i) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) copy[i][n] = acc[i][n];
  }
  const TargetNeon target = to;  // a copy, so that the caller's stays in registers
  if (finish == FinishNeon::kWide) return StoreWideNeon<N>(r.wide, copy, M, target);
  FinishRowsFullNeon<N>(r, copy, M, target);
}

// A panel of packed weights, at output channel `o`. B: what the weights are packed as.
template <typename B>
struct PanelNeon {
  const B* b;
  const int32_t* bias;
  const float* scale;
  size_t o, width;  // channels that exist
  FinishNeon finish;
};

}  // namespace sterna
