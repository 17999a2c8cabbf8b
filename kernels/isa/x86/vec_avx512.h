// Sixteen floats in a zmm, for the float kernels that the x86 instruction sets share.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "fold_x86.h"
#include "steer.h"

namespace sterna {
namespace {

struct Vec512 {
  using Reg = __m512;
  using Mask = __mmask16;
  static constexpr size_t kLanes = 16;
  static constexpr bool kLooksUp = true;  // whether lanes choose among 16 or 32 numbers in registers
  static constexpr bool kTestsCheaply = false;  // looking up is faster

  // Tiles of gemm_f32, by vectors: 12 x 16, 12 x 32, 8 x 48 and 6 x 64. The wider three keep 24 accumulators, beside 2..4
  // vectors of weights and a broadcast, of 32 registers; 8 would hide the latency of an fma.
  static constexpr int kGemmVectors = 4;
  static constexpr int kGemmRows[] = {12, 12, 8, 6};

  // The first `n` lanes; all, when n is larger.
  static inline Mask MakeMask(size_t n) { return n >= 16 ? Mask{0xffff} : static_cast<Mask>((1u << n) - 1); }

  static inline Reg Set(float x) { return _mm512_set1_ps(x); }
  static inline Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  // Keeps a loaded value in its register: gcc would else load it again for each use, and loads are what is short.
  static inline void Pin(Reg& x) { STERNA_STEER(asm("" : "+v"(x)), (void)x); }
  static inline Reg LoadPart(const float* p, Mask mask) { return _mm512_maskz_loadu_ps(mask, p); }
  static inline void Store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static inline void StorePart(float* p, Mask mask, Reg x) { _mm512_mask_storeu_ps(p, mask, x); }
  static inline Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static inline Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static inline Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static inline Reg Min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static inline Reg Max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  // The larger of both, NaN when either is: for running maxima. Max alone returns its second operand for NaN, and so would forget the first.
  static inline Reg MaxOrNaN(Reg a, Reg b) { return _mm512_mask_max_ps(a, _mm512_cmp_ps_mask(a, a, _CMP_ORD_Q), a, b); }
  static inline Reg Div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  // c - a * b
  static inline Reg NegFma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }
  static inline Reg Round(Reg x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static inline Reg Floor(Reg x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
  static inline Reg Ceil(Reg x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC); }
  // x * 2^n for an integral n in [-160, 160], rounded once.
  static inline Reg TimesPowerOfTwo(Reg x, Reg n) { return _mm512_scalef_ps(x, n); }
  // x * 2^floor(n), rounded once, for the same n.
  static inline Reg TimesPowerOfTwoBelow(Reg x, Reg n) { return _mm512_scalef_ps(x, n); }
  // By the lowest 4 or 5 bits of each lane of `index`.
  using Index = __m512i;
  static inline Reg LookUp16(const float* table, Index index) { return _mm512_permutexvar_ps(index, _mm512_loadu_ps(table)); }
  static inline Reg LookUp32(const float* table, Index index) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), index, _mm512_loadu_ps(table + 16));
  }
  static inline Index BitsOf(Reg x) { return _mm512_castps_si512(x); }
  // Exponent and the two highest bits of the mantissa of a positive x: which quarter of an octave it is in.
  static inline Index QuarterOctave(Reg x) { return _mm512_srli_epi32(_mm512_castps_si512(x), 21); }
  static inline Reg MinusAbs(Reg x) { return _mm512_or_ps(x, Set(-0.0f)); }
  static inline Reg Abs(Reg x) { return _mm512_andnot_ps(Set(-0.0f), x); }
  // |magnitude| with the sign of the other.
  static inline Reg CopySign(Reg magnitude, Reg sign) { return _mm512_or_ps(Abs(magnitude), _mm512_and_ps(sign, Set(-0.0f))); }
  static inline Reg SelectLess(Reg a, Reg b, Reg if_less, Reg otherwise) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), otherwise, if_less);
  }
  // 2^n from n + 1.5 * 2^23, for an integral n in [-126, 127].
  static inline Reg PowerOfTwoShifted(Reg shifted) { return _mm512_scalef_ps(Set(1.0f), Sub(shifted, Set(0x1.8p23f))); }
  // m in [sqrt(1/2), sqrt(2)) with x = m * 2^e, for a positive normal x.
  static inline Reg SplitPowerOfTwo(Reg x, Reg* e) {
    const __m512i bits = _mm512_castps_si512(x), n = _mm512_srai_epi32(_mm512_sub_epi32(bits, _mm512_set1_epi32(0x3f3504f3)), 23);
    *e = _mm512_cvtepi32_ps(n);
    return _mm512_castsi512_ps(_mm512_sub_epi32(bits, _mm512_slli_epi32(n, 23)));
  }
  // -x where the integral n is odd.
  static inline Reg FlipOdd(Reg x, Reg n) { return _mm512_xor_ps(x, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtps_epi32(n), 31))); }
  static inline Reg FromBytes(const uint8_t* p, int32_t zp) {
    const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(v, _mm512_set1_epi32(zp)));
  }
  static inline void AddBytesTo(const uint8_t* p, int32_t* acc) {
    const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    _mm512_storeu_si512(acc, _mm512_add_epi32(_mm512_loadu_si512(acc), v));
  }
  // x < 0 ? x * slope : x
  static inline Reg NegativeTimes(Reg x, Reg slope) {
    return _mm512_mask_mul_ps(x, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), x, slope);
  }
  // Pixels of three planes that are interleaved at a time.
  static constexpr size_t kInterleaves = 16;
  static inline void Interleave3(const float* a, const float* b, const float* c, float* y) {
    const Reg p = Load(a), q = Load(b), r = Load(c);
    const Reg ab0 = _mm512_permutex2var_ps(p, _mm512_setr_epi32(0, 16, 0, 1, 17, 0, 2, 18, 0, 3, 19, 0, 4, 20, 0, 5), q);
    Store(y, _mm512_permutex2var_ps(ab0, _mm512_setr_epi32(0, 1, 16, 3, 4, 17, 6, 7, 18, 9, 10, 19, 12, 13, 20, 15), r));
    const Reg ab1 = _mm512_permutex2var_ps(p, _mm512_setr_epi32(21, 0, 6, 22, 0, 7, 23, 0, 8, 24, 0, 9, 25, 0, 10, 26), q);
    Store(y + 16, _mm512_permutex2var_ps(ab1, _mm512_setr_epi32(0, 21, 2, 3, 22, 5, 6, 23, 8, 9, 24, 11, 12, 25, 14, 15), r));
    const Reg ab2 = _mm512_permutex2var_ps(p, _mm512_setr_epi32(0, 11, 27, 0, 12, 28, 0, 13, 29, 0, 14, 30, 0, 15, 31, 0), q);
    Store(y + 32, _mm512_permutex2var_ps(ab2, _mm512_setr_epi32(26, 1, 2, 27, 4, 5, 28, 7, 8, 29, 10, 11, 30, 13, 14, 31), r));
  }
  // Over all lanes: the quarters meet in memory.
  static inline float SumOf(Reg x) {
    float lanes[kLanes];
    Store(lanes, x);
    return SumOfFour(_mm_add_ps(_mm_add_ps(_mm_loadu_ps(lanes), _mm_loadu_ps(lanes + 4)), _mm_add_ps(_mm_loadu_ps(lanes + 8), _mm_loadu_ps(lanes + 12))));
  }
  static inline float LargestOf(Reg x) {
    float lanes[kLanes];
    Store(lanes, x);
    return LargestOfFour(_mm_max_ps(_mm_max_ps(_mm_loadu_ps(lanes), _mm_loadu_ps(lanes + 4)), _mm_max_ps(_mm_loadu_ps(lanes + 8), _mm_loadu_ps(lanes + 12))));
  }
  static inline float SquareRoot(float x) { return SquareRootOfOne(x); }
};

}  // namespace
}  // namespace sterna
