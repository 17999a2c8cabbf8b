// Four floats in an xmm, for the float kernels that the x86 instruction sets share. There is no fma: a product is rounded
// before it is added.
#pragma once
#include <smmintrin.h>

#include <cstddef>
#include <cstdint>

#include "fold_x86.h"

namespace sterna {
namespace {

struct Vec128 {
  using Reg = __m128;
  using Mask = size_t;  // a number of lanes
  static constexpr size_t kLanes = 4;
  static constexpr bool kLooksUp = false;  // whether lanes choose among 16 or 32 numbers in registers
  static constexpr bool kTestsCheaply = true;  // whether AllAtMost costs little beside a few operations

  // Tiles of gemm_f32, by vectors: 12 x 4 and 6 x 8. Twelve accumulators, two vectors of weights, a broadcast and a product
  // fill the 16 registers.
  static constexpr int kGemmVectors = 2;
  static constexpr int kGemmRows[] = {12, 6};

  // The first `n` lanes; all, when n is larger.
  static inline Mask MakeMask(size_t n) { return n < kLanes ? n : kLanes; }

  static inline Reg Set(float x) { return _mm_set1_ps(x); }
  static inline Reg Load(const float* p) { return _mm_loadu_ps(p); }
  // Keeps a loaded value in its register: gcc would else load it again for each use, and loads are what is short.
  static inline void Pin(Reg& x) { asm("" : "+x"(x)); }
  static inline Reg LoadTwo(const float* p) { return _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))); }
  static inline Reg LoadPart(const float* p, Mask mask) {
    switch (mask) {
      case 0: return _mm_setzero_ps();
      case 1: return _mm_load_ss(p);
      case 2: return LoadTwo(p);
      case 3: return _mm_movelh_ps(LoadTwo(p), _mm_load_ss(p + 2));
      default: return Load(p);
    }
  }
  static inline void Store(float* p, Reg x) { _mm_storeu_ps(p, x); }
  static inline void StorePart(float* p, Mask mask, Reg x) {
    if (mask == kLanes) return Store(p, x);
    if (mask >= 2) _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_castps_si128(x));
    if (mask == 1) _mm_store_ss(p, x);
    if (mask == 3) _mm_store_ss(p + 2, _mm_movehl_ps(x, x));
  }
  static inline Reg Add(Reg a, Reg b) { return _mm_add_ps(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return _mm_sub_ps(a, b); }
  static inline Reg Mul(Reg a, Reg b) { return _mm_mul_ps(a, b); }
  static inline Reg Fma(Reg a, Reg b, Reg c) { return _mm_add_ps(_mm_mul_ps(a, b), c); }
  static inline Reg Min(Reg a, Reg b) { return _mm_min_ps(a, b); }
  static inline Reg Max(Reg a, Reg b) { return _mm_max_ps(a, b); }
  // The larger of both, NaN when either is: for running maxima. Max alone returns its second operand for NaN, and so would forget the first.
  static inline Reg MaxOrNaN(Reg a, Reg b) { return _mm_or_ps(Max(a, b), _mm_cmpunord_ps(a, a)); }
  static inline Reg Div(Reg a, Reg b) { return _mm_div_ps(a, b); }
  // c - a * b
  static inline Reg NegFma(Reg a, Reg b, Reg c) { return _mm_sub_ps(c, _mm_mul_ps(a, b)); }
  static inline Reg Round(Reg x) { return _mm_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static inline Reg Floor(Reg x) { return _mm_round_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static inline Reg Ceil(Reg x) { return _mm_round_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  // x * 2^n for an integral n in [-160, 160], rounded once: |x| is in [0.5, 2), so the first product is exact.
  static inline Reg TimesPowerOfTwo(Reg x, Reg n) {
    const __m128i whole = _mm_cvtps_epi32(n), half = _mm_srai_epi32(whole, 1);
    return Mul(Mul(x, PowerOfTwo(half)), PowerOfTwo(_mm_sub_epi32(whole, half)));
  }
  static inline Reg PowerOfTwo(__m128i n) {
    return _mm_castsi128_ps(_mm_slli_epi32(_mm_add_epi32(n, _mm_set1_epi32(127)), 23));
  }
  static inline Reg MinusAbs(Reg x) { return _mm_or_ps(x, Set(-0.0f)); }
  static inline Reg Abs(Reg x) { return _mm_andnot_ps(Set(-0.0f), x); }
  // |magnitude| with the sign of the other.
  static inline Reg CopySign(Reg magnitude, Reg sign) { return _mm_or_ps(Abs(magnitude), _mm_and_ps(sign, Set(-0.0f))); }
  static inline Reg SelectLess(Reg a, Reg b, Reg if_less, Reg otherwise) {
    return _mm_blendv_ps(otherwise, if_less, _mm_cmplt_ps(a, b));
  }
  // 2^n from n + 1.5 * 2^23, for an integral n in [-126, 127]; 0 for -127.
  static inline Reg PowerOfTwoShifted(Reg shifted) {
    return _mm_castsi128_ps(_mm_add_epi32(_mm_slli_epi32(_mm_castps_si128(shifted), 23), _mm_set1_epi32(0x3f800000)));
  }
  // Whether every lane is at most `limit`, and none is NaN.
  static inline bool AllAtMost(Reg x, float limit) { return _mm_movemask_ps(_mm_cmpnle_ps(x, Set(limit))) == 0; }
  // m in [sqrt(1/2), sqrt(2)) with x = m * 2^e, for a positive normal x.
  static inline Reg SplitPowerOfTwo(Reg x, Reg* e) {
    const __m128i bits = _mm_castps_si128(x), n = _mm_srai_epi32(_mm_sub_epi32(bits, _mm_set1_epi32(0x3f3504f3)), 23);
    *e = _mm_cvtepi32_ps(n);
    return _mm_castsi128_ps(_mm_sub_epi32(bits, _mm_slli_epi32(n, 23)));
  }
  // -x where the integral n is odd.
  static inline Reg FlipOdd(Reg x, Reg n) { return _mm_xor_ps(x, _mm_castsi128_ps(_mm_slli_epi32(_mm_cvtps_epi32(n), 31))); }
  static inline __m128i LoadBytes(const uint8_t* p) {
    int32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return _mm_cvtepu8_epi32(_mm_cvtsi32_si128(four));
  }
  static inline Reg FromBytes(const uint8_t* p, int32_t zp) {
    return _mm_cvtepi32_ps(_mm_sub_epi32(LoadBytes(p), _mm_set1_epi32(zp)));
  }
  static inline void AddBytesTo(const uint8_t* p, int32_t* acc) {
    __m128i* sum = reinterpret_cast<__m128i*>(acc);
    _mm_storeu_si128(sum, _mm_add_epi32(_mm_loadu_si128(sum), LoadBytes(p)));
  }
  // x < 0 ? x * slope : x. The comparison, not the sign bit, decides: -0.0 stays.
  static inline Reg NegativeTimes(Reg x, Reg slope) {
    return _mm_blendv_ps(x, _mm_mul_ps(x, slope), _mm_cmplt_ps(x, _mm_setzero_ps()));
  }
  // Over all lanes.
  // Pixels of three planes that are interleaved at a time.
  static constexpr size_t kInterleaves = 4;
  static inline void Interleave3(const float* a, const float* b, const float* c, float* y) { InterleaveFour(a, b, c, y); }
  static inline float SumOf(Reg x) { return SumOfFour(x); }
  static inline float LargestOf(Reg x) { return LargestOfFour(x); }
  static inline float SquareRoot(float x) { return SquareRootOfOne(x); }
};

}  // namespace
}  // namespace sterna
