// Eight floats in a ymm, for the float kernels that avx2 and avx512vnni share.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

struct Vec256 {
  using Reg = __m256;
  struct Mask {
    __m256i lanes;
    size_t count;
  };
  static constexpr size_t kLanes = 8;

  // Tiles of gemm_f32, by vectors: 12 x 8 and 6 x 16. Twelve accumulators, two vectors of weights and a broadcast fill 15 of
  // 16 registers; 8 would hide the latency of an fma.
  static constexpr int kGemmVectors = 2;
  static constexpr int kGemmRows[] = {12, 6};

  // The first `n` lanes; all, when n is larger.
  static inline Mask MakeMask(size_t n) {
    const size_t count = n < kLanes ? n : kLanes;
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return {_mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int32_t>(count)), lane), count};
  }

  static inline Reg Set(float x) { return _mm256_set1_ps(x); }
  static inline Reg Load(const float* p) { return _mm256_loadu_ps(p); }
  static inline Reg LoadPart(const float* p, Mask mask) { return _mm256_maskload_ps(p, mask.lanes); }
  static inline void Store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  // vmaskmov stores are microcoded on AMD: tens of cycles.
  static inline void StorePart(float* p, Mask mask, Reg x) {
    if (mask.count == kLanes) return Store(p, x);
    float lanes[kLanes];
    Store(lanes, x);
    for (size_t i = 0; i < mask.count; ++i) p[i] = lanes[i];
  }
  static inline Reg Add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static inline Reg Mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static inline Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static inline Reg Min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static inline Reg Max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  // x < 0 ? x * slope : x. The comparison, not the sign bit, decides: -0.0 stays.
  static inline Reg NegativeTimes(Reg x, Reg slope) {
    return _mm256_blendv_ps(x, _mm256_mul_ps(x, slope), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
  }
};

}  // namespace
}  // namespace sterna
