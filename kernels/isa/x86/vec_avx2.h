// Eight floats in a ymm, for the float kernels that the x86 instruction sets share.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "fold_x86.h"
#include "steer.h"

namespace sterna {
namespace {

struct Vec256 {
  using Reg = __m256;
  struct Mask {
    __m256i lanes;
    size_t count;
  };
  static constexpr size_t kLanes = 8;
  static constexpr bool kLooksUp = false;  // whether lanes choose among 16 or 32 numbers in registers
  static constexpr bool kTestsCheaply = true;  // whether AllAtMost costs little beside a few operations

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
  // Keeps a loaded value in its register: gcc would else load it again for each use, and loads are what is short.
  static inline void Pin(Reg& x) { STERNA_STEER(asm("" : "+x"(x)), (void)x); }
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
  static inline Reg Sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static inline Reg Mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static inline Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static inline Reg Min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static inline Reg Max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  // The larger of both, NaN when either is: for running maxima. Max alone returns its second operand for NaN, and so would forget the first.
  static inline Reg MaxOrNaN(Reg a, Reg b) { return _mm256_or_ps(Max(a, b), _mm256_cmp_ps(a, a, _CMP_UNORD_Q)); }
  static inline Reg Div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  // c - a * b
  static inline Reg NegFma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }
  static inline Reg Round(Reg x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static inline Reg Floor(Reg x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static inline Reg Ceil(Reg x) { return _mm256_round_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  // x * 2^n for an integral n in [-160, 160], rounded once: |x| is in [0.5, 2), so the first product is exact.
  static inline Reg TimesPowerOfTwo(Reg x, Reg n) {
    const __m256i whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    return Mul(Mul(x, PowerOfTwo(half)), PowerOfTwo(_mm256_sub_epi32(whole, half)));
  }
  static inline Reg PowerOfTwo(__m256i n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
  }
  static inline Reg MinusAbs(Reg x) { return _mm256_or_ps(x, Set(-0.0f)); }
  static inline Reg Abs(Reg x) { return _mm256_andnot_ps(Set(-0.0f), x); }
  // |magnitude| with the sign of the other.
  static inline Reg CopySign(Reg magnitude, Reg sign) { return _mm256_or_ps(Abs(magnitude), _mm256_and_ps(sign, Set(-0.0f))); }
  static inline Reg SelectLess(Reg a, Reg b, Reg if_less, Reg otherwise) {
    return _mm256_blendv_ps(otherwise, if_less, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  // 2^n from n + 1.5 * 2^23, for an integral n in [-126, 127]; 0 for -127.
  static inline Reg PowerOfTwoShifted(Reg shifted) {
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(shifted), 23), _mm256_set1_epi32(0x3f800000)));
  }
  // Whether every lane is at most `limit`, and none is NaN.
  static inline bool AllAtMost(Reg x, float limit) { return _mm256_movemask_ps(_mm256_cmp_ps(x, Set(limit), _CMP_NLE_UQ)) == 0; }
  // m in [sqrt(1/2), sqrt(2)) with x = m * 2^e, for a positive normal x.
  static inline Reg SplitPowerOfTwo(Reg x, Reg* e) {
    const __m256i bits = _mm256_castps_si256(x), n = _mm256_srai_epi32(_mm256_sub_epi32(bits, _mm256_set1_epi32(0x3f3504f3)), 23);
    *e = _mm256_cvtepi32_ps(n);
    return _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_slli_epi32(n, 23)));
  }
  // -x where the integral n is odd.
  static inline Reg FlipOdd(Reg x, Reg n) { return _mm256_xor_ps(x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtps_epi32(n), 31))); }
  static inline Reg FromBytes(const uint8_t* p, int32_t zp) {
    const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(v, _mm256_set1_epi32(zp)));
  }
  static inline void AddBytesTo(const uint8_t* p, int32_t* acc) {
    const __m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    __m256i* sum = reinterpret_cast<__m256i*>(acc);
    _mm256_storeu_si256(sum, _mm256_add_epi32(_mm256_loadu_si256(sum), v));
  }
  // x < 0 ? x * slope : x. The comparison, not the sign bit, decides: -0.0 stays.
  static inline Reg NegativeTimes(Reg x, Reg slope) {
    return _mm256_blendv_ps(x, _mm256_mul_ps(x, slope), _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
  }
  // Over all lanes: the halves meet in memory.
  // Pixels of three planes that are interleaved at a time.
  static constexpr size_t kInterleaves = 4;
  static inline void Interleave3(const float* a, const float* b, const float* c, float* y) { InterleaveFour(a, b, c, y); }
  static inline float SumOf(Reg x) {
    float lanes[kLanes];
    Store(lanes, x);
    return SumOfFour(_mm_add_ps(_mm_loadu_ps(lanes), _mm_loadu_ps(lanes + 4)));
  }
  static inline float LargestOf(Reg x) {
    float lanes[kLanes];
    Store(lanes, x);
    return LargestOfFour(_mm_max_ps(_mm_loadu_ps(lanes), _mm_loadu_ps(lanes + 4)));
  }
  static inline float SquareRoot(float x) { return SquareRootOfOne(x); }
};

}  // namespace
}  // namespace sterna
