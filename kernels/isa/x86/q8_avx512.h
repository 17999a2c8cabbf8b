// 8-bit arithmetic in zmm registers, for the kernels that the x86 instruction sets share: dot products and the quantized
// epilogue (RequantQ8, sterna/epilogue.h), bit-equal to sterna/requant.h.
//
// Bounds and zero-points are integers, so clamping to hi before rounding and to lo after it gives the same result as both
// before; min(x, hi) also keeps vcvtps2dq in range from above, and from below it returns INT_MIN, which every later
// saturation carries down to lo. Two packs narrow four vectors to one: 128-bit lane l of the result is
// [x0[4l..4l+3], x1[..], x2[..], x3[..]] ("lane order"), which unpacking with zero undoes.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

struct Q8Vec512 {
  using Int = __m512i;    // 16 x 32 bits, or 64 bytes
  using Float = __m512;
  using Mask = __mmask64;  // of bytes
  static constexpr size_t kLanes = 16, kBytes = 64;
  static constexpr bool kComplements = false;   // Dot multiplies activations and weights as they are: see q8_avx2.h
  static constexpr size_t kWeightBytes = 64;    // that LoadWeights reads
  static constexpr size_t kDwDepth = 4;         // products that one lane of DwDot sums
  using DwWeight = int8_t;
  static constexpr bool kDwReloads = false;     // columns stay in registers
  static constexpr int kDwOutputs = 4;          // outputs that share weights in the general path: 16 accumulators

  // Tiles of gemm_q8, by vectors: 12 x 16, 12 x 32, 8 x 48 and 6 x 64. The wider three keep 24 accumulators, beside 2..4
  // vectors of weights and a broadcast, of 32 registers; their 10..14 loads hide behind 24 vpdpbusd.
  static constexpr int kGemmVectors = 4;
  static constexpr int kGemmRows[] = {12, 12, 8, 6};

  static inline Int LoadInt(const void* p) { return _mm512_loadu_si512(p); }
  static inline void StoreInt(void* p, Int x) { _mm512_storeu_si512(p, x); }
  static inline Float LoadFloat(const float* p) { return _mm512_loadu_ps(p); }
  using Weights = Int;
  static inline Weights LoadWeights(const int8_t* p) { return _mm512_loadu_si512(p); }
  static inline Int BroadcastFour(const uint8_t* p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
  }
  // Each lane adds four products to its sum.
  static inline Int Dot(Int acc, Int activations, Weights weights) { return _mm512_dpbusd_epi32(acc, activations, weights); }
  static inline Int DwDot(Int acc, Int column, Int weights) { return _mm512_dpbusd_epi32(acc, column, weights); }

  // R(clamp(x)) + zp, clamped to [lo, hi] within [0, 255].
  struct Narrower {
    Float hi;           // hi - zp
    Int zp, lo, hi_u8;  // 16-bit, 8-bit, 8-bit
  };
  static inline Narrower MakeNarrower(int32_t lo, int32_t hi, int32_t zp) {
    return {_mm512_set1_ps(static_cast<float>(hi - zp)), _mm512_set1_epi16(static_cast<int16_t>(zp)),
            _mm512_set1_epi8(static_cast<int8_t>(lo)), _mm512_set1_epi8(static_cast<int8_t>(hi))};
  }
  // min returns its second operand when one is NaN, and vcvtps2dq makes INT_MIN of it: NaN becomes lo, as in ref.
  static inline Int RoundBelow(Float hi, Float x) { return _mm512_cvtps_epi32(_mm512_min_ps(hi, x)); }
  static inline Int Narrow(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm512_packs_epi32(RoundBelow(n.hi, x0), RoundBelow(n.hi, x1));
    const Int b = _mm512_packs_epi32(RoundBelow(n.hi, x2), RoundBelow(n.hi, x3));
    return _mm512_max_epu8(_mm512_packus_epi16(_mm512_adds_epi16(a, n.zp), _mm512_adds_epi16(b, n.zp)), n.lo);
  }
  // Narrow for x < 2^31, which needs no clamp before the rounding.
  static inline Int NarrowSmall(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm512_packs_epi32(_mm512_cvtps_epi32(x0), _mm512_cvtps_epi32(x1));
    const Int b = _mm512_packs_epi32(_mm512_cvtps_epi32(x2), _mm512_cvtps_epi32(x3));
    const Int q = _mm512_packus_epi16(_mm512_adds_epi16(a, n.zp), _mm512_adds_epi16(b, n.zp));
    return _mm512_min_epu8(_mm512_max_epu8(q, n.lo), n.hi_u8);
  }
  static inline bool AllBelowOne(Float x) { return _mm512_cmp_ps_mask(x, _mm512_set1_ps(1.0f), _CMP_LT_OQ) == 0xffff; }
  // From lane order to [x0, x1, x2, x3].
  static inline Int InVectorOrder(Int bytes) {
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), bytes);
  }

  static inline Float Scale(Int acc, Float scale) { return _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale); }
  // Scale with scale_neg for negative accumulators (PRelu).
  static inline Float ScaleSigned(Int acc, Float scale, Float scale_neg) {
    return Scale(acc, _mm512_mask_blend_ps(_mm512_movepi32_mask(acc), scale, scale_neg));
  }

  // 64 lookups in a table of 256 bytes.
  static inline Int Lookup(const uint8_t* table, Int index) {
    const Int low = _mm512_permutex2var_epi8(LoadInt(table), index, LoadInt(table + 64));
    const Int high = _mm512_permutex2var_epi8(LoadInt(table + 128), index, LoadInt(table + 192));
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
  }

  // One operand of an addition: (byte - zp) * mul. The product is never contracted with the sum (-ffp-contract=off).
  struct Weigher {
    Float base;  // 2^23 + zp
    Float mul;
  };
  static inline Weigher MakeWeigher(int32_t zp, float mul) {
    return {_mm512_set1_ps(8388608.0f + static_cast<float>(zp)), _mm512_set1_ps(mul)};
  }
  static inline Float Weigh(const Weigher& w, Int value) {
    return _mm512_mul_ps(_mm512_sub_ps(AsFloat(value), w.base), w.mul);
  }
  // A byte unpacked to 16 bits, then with this, is the float 2^23 + byte.
  static inline Int FloatBits() { return _mm512_set1_epi16(0x4b00); }

  static inline Int UnpackLow8(Int a, Int b) { return _mm512_unpacklo_epi8(a, b); }
  static inline Int UnpackHigh8(Int a, Int b) { return _mm512_unpackhi_epi8(a, b); }
  static inline Int UnpackLow16(Int a, Int b) { return _mm512_unpacklo_epi16(a, b); }
  static inline Int UnpackHigh16(Int a, Int b) { return _mm512_unpackhi_epi16(a, b); }
  static inline Float Add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static inline Int AddInt(Int a, Int b) { return _mm512_add_epi32(a, b); }
  static inline Int AsInt(Float x) { return _mm512_castps_si512(x); }
  static inline Int MaxU8(Int a, Int b) { return _mm512_max_epu8(a, b); }
  static inline Int Zero() { return _mm512_setzero_si512(); }

  // The first `n` bytes, n >= 1; all, when n is larger.
  static inline Mask MakeMask(size_t n) { return ~Mask{0} >> (kBytes - (n < kBytes ? n : kBytes)); }

  // kParts parts of a register, of which the first `count` are stored: part i at p + i * stride, as far as the mask allows.
  template <int kParts>
  static inline void StoreParts(Int bytes, size_t count, Mask mask, uint8_t* p, size_t stride) {
    if constexpr (kParts == 1) {
      if (mask == ~Mask{0}) return StoreInt(p, bytes);  // a masked store takes twice as long
      _mm512_mask_storeu_epi8(p, mask, bytes);
    } else if constexpr (kParts == 2) {
      const __mmask32 half = static_cast<__mmask32>(mask);
      _mm256_mask_storeu_epi8(p, half, _mm512_castsi512_si256(bytes));
      if (count > 1) _mm256_mask_storeu_epi8(p + stride, half, _mm512_extracti64x4_epi64(bytes, 1));
    } else {
      const __mmask16 quarter = static_cast<__mmask16>(mask);
      _mm_mask_storeu_epi8(p, quarter, _mm512_castsi512_si128(bytes));
      if (count > 1) _mm_mask_storeu_epi8(p + stride, quarter, _mm512_extracti32x4_epi32(bytes, 1));
      if (count > 2) _mm_mask_storeu_epi8(p + 2 * stride, quarter, _mm512_extracti32x4_epi32(bytes, 2));
      if (count > 3) _mm_mask_storeu_epi8(p + 3 * stride, quarter, _mm512_extracti32x4_epi32(bytes, 3));
    }
  }

  // The inverse; parts past `count` are unspecified.
  template <int kParts>
  static inline Int LoadParts(size_t count, Mask mask, const uint8_t* p, size_t stride) {
    if constexpr (kParts == 1) {
      return _mm512_maskz_loadu_epi8(mask, p);
    } else if constexpr (kParts == 2) {
      const __mmask32 half = static_cast<__mmask32>(mask);
      const Int first = _mm512_castsi256_si512(_mm256_maskz_loadu_epi8(half, p));
      return count > 1 ? _mm512_inserti64x4(first, _mm256_maskz_loadu_epi8(half, p + stride), 1) : first;
    } else {
      const __mmask16 quarter = static_cast<__mmask16>(mask);
      Int bytes = _mm512_castsi128_si512(_mm_maskz_loadu_epi8(quarter, p));
      if (count > 1) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(quarter, p + stride), 1);
      if (count > 2) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(quarter, p + 2 * stride), 2);
      if (count > 3) bytes = _mm512_inserti32x4(bytes, _mm_maskz_loadu_epi8(quarter, p + 3 * stride), 3);
      return bytes;
    }
  }

  // Whole parts from as many pointers.
  template <int kParts>
  static inline Int Gather(const uint8_t* const (&p)[4]) {
    if constexpr (kParts == 1) {
      return LoadInt(p[0]);
    } else if constexpr (kParts == 2) {
      const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p[0]));
      return _mm512_inserti64x4(_mm512_castsi256_si512(low), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p[1])), 1);
    } else {
      Int v = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p[0])));
      v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p[1])), 1);
      v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p[2])), 2);
      return _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(p[3])), 3);
    }
  }

  struct Quad {
    Int v[4];
  };

  // 64 floats, of `lanes` times 16 channels that repeat, so that lane l of vector j holds channels 16 l + 4 j .. + 3.
  static inline Quad LoadChannels(const float* p, size_t lanes) {
    const Int a = LoadInt(p), b = LoadInt(p + (lanes > 1 ? 16 : 0));
    const Int c = LoadInt(p + (lanes > 2 ? 32 : 0)), d = LoadInt(p + (lanes > 2 ? 48 : lanes > 1 ? 16 : 0));
    const Int ab_low = _mm512_shuffle_i32x4(a, b, 0x44), ab_high = _mm512_shuffle_i32x4(a, b, 0xee);
    const Int cd_low = _mm512_shuffle_i32x4(c, d, 0x44), cd_high = _mm512_shuffle_i32x4(c, d, 0xee);
    return {{_mm512_shuffle_i32x4(ab_low, cd_low, 0x88), _mm512_shuffle_i32x4(ab_low, cd_low, 0xdd),
             _mm512_shuffle_i32x4(ab_high, cd_high, 0x88), _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd)}};
  }

  static inline Float AsFloat(Int x) { return _mm512_castsi512_ps(x); }

  // Four rows of a column, interleaved by channel.
  static inline Quad Interleave(Int r0, Int r1, Int r2, Int r3) {
    const Int low01 = UnpackLow8(r0, r1), high01 = UnpackHigh8(r0, r1), low23 = UnpackLow8(r2, r3), high23 = UnpackHigh8(r2, r3);
    return {{UnpackLow16(low01, low23), UnpackHigh16(low01, low23), UnpackLow16(high01, high23), UnpackHigh16(high01, high23)}};
  }
};

}  // namespace
}  // namespace sterna
