// On four floats in an xmm: the sum and the largest of them, to which wider vectors are folded first, and what every x86 vector type shares.
#pragma once
#include <smmintrin.h>

#include <cstddef>

namespace sterna {
namespace {

static inline float SumOfFour(__m128 v) {
  const __m128 pairs = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

static inline float LargestOfFour(__m128 v) {
  const __m128 pairs = _mm_max_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_max_ss(pairs, _mm_shuffle_ps(pairs, pairs, 1)));
}

static inline float SquareRootOfOne(float x) { return _mm_cvtss_f32(_mm_sqrt_ss(_mm_set_ss(x))); }

// Four pixels of three planes of floats: a0 b0 c0 a1 b1 ..
static inline void InterleaveFour(const float* a, const float* b, const float* c, float* y) {
  const __m128 p = _mm_loadu_ps(a), q = _mm_loadu_ps(b), r = _mm_loadu_ps(c);
  const __m128 low = _mm_unpacklo_ps(p, q), high = _mm_unpackhi_ps(p, q);
  _mm_storeu_ps(y, _mm_shuffle_ps(low, _mm_shuffle_ps(r, low, 0xa0), 0x84));
  _mm_storeu_ps(y + 4, _mm_shuffle_ps(_mm_shuffle_ps(low, r, 0x5f), high, 0x48));
  _mm_storeu_ps(y + 8, _mm_shuffle_ps(_mm_shuffle_ps(r, high, 0xaa), _mm_shuffle_ps(high, r, 0xff), 0x88));
}

}  // namespace
}  // namespace sterna
