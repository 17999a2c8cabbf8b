// 8-bit arithmetic in ymm registers, for the kernels that the x86 instruction sets share: see q8_avx512.h, whose interface this is.
//
// Dot is exact for all u8 x s8, on an instruction that saturates: vpmaddubsw sums two products in 16 bits, and 2 * 255 * 127
// does not fit. Two products of opposite sign always do: 255 * 127 = 32385. So even depths multiply by |w| and odd ones by
// -|w|, and where that changes the sign of a weight, the activation a is complemented: w * a = 255 * w + (-w) * (255 - a).
// The complement is an xor, the constants are in the bias (gemm_q8/pack_x86.h), and vpmaddwd with ones widens the pairs. Two
// multiplies for 32 products, as vpmaddubsw alone would need, on CPUs that start two a cycle and have ports left for the rest.
#pragma once
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "q8_bytes.h"

namespace sterna {
namespace {

struct Q8Vec256 {
  using Int = __m256i;
  using Float = __m256;
  using Mask = size_t;  // a number of bytes
  static constexpr size_t kLanes = 8, kBytes = 32;
  static constexpr bool kComplements = true;
  static constexpr size_t kWeightBytes = 64;
  static constexpr size_t kDwDepth = 2;
  using DwWeight = int16_t;
  static constexpr bool kDwReloads = true;
  static constexpr int kDwOutputs = 2;  // outputs at a time: 8 accumulators

  // Tiles of gemm_q8, by vectors: 12 x 8 and 4 x 16. Eight accumulators, two vectors of weights and two of complements, a
  // broadcast, two products and ones fill 15 of 16 registers. A sum takes a cycle, so few accumulators suffice.
  static constexpr int kGemmVectors = 2;
  static constexpr int kGemmRows[] = {12, 4};

  static inline Int LoadInt(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  static inline void StoreInt(void* p, Int x) { _mm256_storeu_si256(static_cast<__m256i*>(p), x); }
  static inline Float LoadFloat(const float* p) { return _mm256_loadu_ps(p); }
  static inline Int BroadcastFour(const uint8_t* p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
  }

  // Of 8 channels: all ones where activations are complemented, and the weights that then apply.
  struct Weights {
    Int complement, signed_magnitude;
  };
  static inline Weights LoadWeights(const int8_t* p) { return {LoadInt(p), LoadInt(p + kBytes)}; }
  static inline Int Dot(Int acc, Int activations, const Weights& w) {
    const Int pairs = _mm256_maddubs_epi16(_mm256_xor_si256(activations, w.complement), w.signed_magnitude);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }

  // `vectors` registers of packed weights, as LoadWeights wants them.
  static void ExpandWeights(const int8_t* w, size_t vectors, int8_t* out) {
    const Int alternating = _mm256_set1_epi16(static_cast<int16_t>(0xff01));  // 1, -1, 1, ...
    for (; vectors != 0; --vectors, w += kBytes, out += kWeightBytes) {
      const Int weights = _mm256_sign_epi8(LoadInt(w), alternating);
      StoreInt(out, _mm256_cmpgt_epi8(Zero(), weights));
      StoreInt(out + kBytes, _mm256_sign_epi8(_mm256_abs_epi8(weights), alternating));
    }
  }

  // Two 16-bit products a lane.
  static inline Int DwDot(Int acc, Int column, Int weights) {
    return _mm256_add_epi32(acc, _mm256_madd_epi16(column, weights));
  }

  struct Narrower {
    Float hi;
    Int zp, lo, hi_u8;
  };
  static inline Narrower MakeNarrower(int32_t lo, int32_t hi, int32_t zp) {
    return {_mm256_set1_ps(static_cast<float>(hi - zp)), _mm256_set1_epi16(static_cast<int16_t>(zp)),
            _mm256_set1_epi8(static_cast<int8_t>(lo)), _mm256_set1_epi8(static_cast<int8_t>(hi))};
  }
  static inline Int RoundBelow(Float hi, Float x) { return _mm256_cvtps_epi32(_mm256_min_ps(hi, x)); }
  static inline Int Narrow(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm256_packs_epi32(RoundBelow(n.hi, x0), RoundBelow(n.hi, x1));
    const Int b = _mm256_packs_epi32(RoundBelow(n.hi, x2), RoundBelow(n.hi, x3));
    return _mm256_max_epu8(_mm256_packus_epi16(_mm256_adds_epi16(a, n.zp), _mm256_adds_epi16(b, n.zp)), n.lo);
  }
  static inline Int NarrowSmall(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm256_packs_epi32(_mm256_cvtps_epi32(x0), _mm256_cvtps_epi32(x1));
    const Int b = _mm256_packs_epi32(_mm256_cvtps_epi32(x2), _mm256_cvtps_epi32(x3));
    const Int q = _mm256_packus_epi16(_mm256_adds_epi16(a, n.zp), _mm256_adds_epi16(b, n.zp));
    return _mm256_min_epu8(_mm256_max_epu8(q, n.lo), n.hi_u8);
  }
  static inline bool AllBelowOne(Float x) { return _mm256_movemask_ps(_mm256_cmp_ps(x, _mm256_set1_ps(1.0f), _CMP_LT_OQ)) == 0xff; }
  static inline Int InVectorOrder(Int bytes) {
    return _mm256_permutevar8x32_epi32(bytes, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }

  static inline Float Scale(Int acc, Float scale) { return _mm256_mul_ps(_mm256_cvtepi32_ps(acc), scale); }
  static inline Float ScaleSigned(Int acc, Float scale, Float scale_neg) {
    return Scale(acc, _mm256_blendv_ps(scale, scale_neg, _mm256_castsi256_ps(acc)));
  }

  static inline Int Lookup(const uint8_t* table, Int index) {
    alignas(32) uint8_t bytes[kBytes];
    StoreInt(bytes, index);
    LookupBytes(table, bytes, kBytes);
    return LoadInt(bytes);
  }

  struct Weigher {
    Float base;  // 2^23 + zp
    Float mul;
  };
  static inline Weigher MakeWeigher(int32_t zp, float mul) {
    return {_mm256_set1_ps(8388608.0f + static_cast<float>(zp)), _mm256_set1_ps(mul)};
  }
  static inline Float Weigh(const Weigher& w, Int value) {
    return _mm256_mul_ps(_mm256_sub_ps(AsFloat(value), w.base), w.mul);
  }
  // A byte unpacked to 16 bits, then with this, is the float 2^23 + byte.
  static inline Int FloatBits() { return _mm256_set1_epi16(0x4b00); }

  static inline Int UnpackLow8(Int a, Int b) { return _mm256_unpacklo_epi8(a, b); }
  static inline Int UnpackHigh8(Int a, Int b) { return _mm256_unpackhi_epi8(a, b); }
  static inline Int UnpackLow16(Int a, Int b) { return _mm256_unpacklo_epi16(a, b); }
  static inline Int UnpackHigh16(Int a, Int b) { return _mm256_unpackhi_epi16(a, b); }
  static inline Float Add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static inline Int AddInt(Int a, Int b) { return _mm256_add_epi32(a, b); }
  static inline Int AsInt(Float x) { return _mm256_castps_si256(x); }
  static inline Int MaxU8(Int a, Int b) { return _mm256_max_epu8(a, b); }
  static inline Int Zero() { return _mm256_setzero_si256(); }

  static inline Mask MakeMask(size_t n) { return n < kBytes ? n : kBytes; }

  template <int kParts>
  static inline void StoreParts(Int bytes, size_t count, Mask mask, uint8_t* p, size_t stride) {
    constexpr size_t kPart = kBytes / kParts;
    if (mask < kPart) return StorePartly(bytes, kPart, count < kParts ? count : kParts, mask, p, stride);
    const __m128i low = _mm256_castsi256_si128(bytes), high = _mm256_extracti128_si256(bytes, 1);
    if constexpr (kParts == 1) {
      StoreInt(p, bytes);
    } else if constexpr (kParts == 2) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(p), low);
      if (count > 1) _mm_storeu_si128(reinterpret_cast<__m128i*>(p + stride), high);
    } else {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), low);
      if (count > 1) _mm_storel_epi64(reinterpret_cast<__m128i*>(p + stride), _mm_srli_si128(low, 8));
      if (count > 2) _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 2 * stride), high);
      if (count > 3) _mm_storel_epi64(reinterpret_cast<__m128i*>(p + 3 * stride), _mm_srli_si128(high, 8));
    }
  }
  static inline void StorePartly(Int bytes, size_t part, size_t count, Mask mask, uint8_t* p, size_t stride) {
    alignas(32) uint8_t copy[kBytes];
    StoreInt(copy, bytes);
    ScatterBytes(copy, part, count, mask, p, stride);
  }

  template <int kParts>
  static inline Int LoadParts(size_t count, Mask mask, const uint8_t* p, size_t stride) {
    constexpr size_t kPart = kBytes / kParts;
    if (mask < kPart) return LoadPartly(kPart, count < kParts ? count : kParts, mask, p, stride);
    if constexpr (kParts == 1) {
      return LoadInt(p);
    } else if constexpr (kParts == 2) {
      return _mm256_set_m128i(LoadHalf(p + (count > 1 ? stride : 0)), LoadHalf(p));
    } else {
      const __m128i low = _mm_unpacklo_epi64(LoadQuarter(p), LoadQuarter(p + (count > 1 ? stride : 0)));
      const __m128i high = _mm_unpacklo_epi64(LoadQuarter(p + (count > 2 ? 2 * stride : 0)), LoadQuarter(p + (count > 3 ? 3 * stride : 0)));
      return _mm256_set_m128i(high, low);
    }
  }
  static inline __m128i LoadHalf(const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
  static inline __m128i LoadQuarter(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static inline Int LoadPartly(size_t part, size_t count, Mask mask, const uint8_t* p, size_t stride) {
    alignas(32) uint8_t copy[kBytes] = {};
    GatherBytes(copy, part, count, mask, p, stride);
    return LoadInt(copy);
  }

  template <int kParts>
  static inline Int Gather(const uint8_t* const (&p)[4]) {
    static_assert(kParts <= 2, "a lane is 128 bits");
    if constexpr (kParts == 1) return LoadInt(p[0]);
    return _mm256_set_m128i(LoadHalf(p[1]), LoadHalf(p[0]));
  }

  struct Quad {
    Int v[4];
  };

  static inline Quad LoadChannels(const float* p, size_t lanes) {
    const size_t next = lanes > 1 ? 16 : 0;
    const Int a0 = LoadInt(p), a1 = LoadInt(p + 8), b0 = LoadInt(p + next), b1 = LoadInt(p + next + 8);
    return {{_mm256_permute2x128_si256(a0, b0, 0x20), _mm256_permute2x128_si256(a0, b0, 0x31),
             _mm256_permute2x128_si256(a1, b1, 0x20), _mm256_permute2x128_si256(a1, b1, 0x31)}};
  }

  static inline Float AsFloat(Int x) { return _mm256_castsi256_ps(x); }

  // Two rows of a column, widened to 16 bits and interleaved by channel.
  static inline Quad Interleave(Int r0, Int r1) {
    const Int low = UnpackLow8(r0, r1), high = UnpackHigh8(r0, r1), zero = Zero();
    return {{UnpackLow8(low, zero), UnpackHigh8(low, zero), UnpackLow8(high, zero), UnpackHigh8(high, zero)}};
  }
};

}  // namespace
}  // namespace sterna
