// 8-bit arithmetic in xmm registers, for CPUs without AVX (Atom, Celeron, before Haswell): see q8_avx512.h, whose interface
// this is, and q8_avx2.h for the exact dot product on pmaddubsw. A register is one 128-bit lane, so lane order is vector order.
#pragma once
#include <smmintrin.h>

#include <cstddef>
#include <cstdint>

#include "q8_bytes.h"

namespace sterna {
namespace {

struct Q8Vec128 {
  using Int = __m128i;
  using Float = __m128;
  using Mask = size_t;  // a number of bytes
  static constexpr size_t kLanes = 4, kBytes = 16;
  static constexpr bool kComplements = true;
  static constexpr size_t kWeightBytes = 32;
  static constexpr size_t kDwDepth = 2;
  using DwWeight = int16_t;
  static constexpr bool kDwReloads = true;
  static constexpr int kDwOutputs = 2;  // outputs at a time: 8 accumulators

  // Tiles of gemm_q8, by vectors: 12 x 4 and 4 x 8, as in q8_avx2.h; instructions that overwrite an operand need one copy more.
  static constexpr int kGemmVectors = 2;
  static constexpr int kGemmRows[] = {12, 4};

  static inline Int LoadInt(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static inline void StoreInt(void* p, Int x) { _mm_storeu_si128(static_cast<__m128i*>(p), x); }
  static inline Float LoadFloat(const float* p) { return _mm_loadu_ps(p); }
  static inline int32_t LoadFour(const uint8_t* p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
  }
  static inline Int BroadcastFour(const uint8_t* p) { return _mm_set1_epi32(LoadFour(p)); }

  // Of 4 channels: all ones where activations are complemented, and the weights that then apply.
  struct Weights {
    Int complement, signed_magnitude;
  };
  static inline Weights LoadWeights(const int8_t* p) { return {LoadInt(p), LoadInt(p + kBytes)}; }
  static inline Int Dot(Int acc, Int activations, const Weights& w) {
    const Int pairs = _mm_maddubs_epi16(_mm_xor_si128(activations, w.complement), w.signed_magnitude);
    return _mm_add_epi32(acc, _mm_madd_epi16(pairs, _mm_set1_epi16(1)));
  }
  static void ExpandWeights(const int8_t* w, size_t vectors, int8_t* out) {
    const Int alternating = _mm_set1_epi16(static_cast<int16_t>(0xff01));  // 1, -1, 1, ...
    for (; vectors != 0; --vectors, w += kBytes, out += kWeightBytes) {
      const Int weights = _mm_sign_epi8(LoadInt(w), alternating);
      StoreInt(out, _mm_cmpgt_epi8(Zero(), weights));
      StoreInt(out + kBytes, _mm_sign_epi8(_mm_abs_epi8(weights), alternating));
    }
  }

  // Two 16-bit products a lane.
  static inline Int DwDot(Int acc, Int column, Int weights) { return _mm_add_epi32(acc, _mm_madd_epi16(column, weights)); }

  struct Narrower {
    Float hi;
    Int zp, lo, hi_u8;
  };
  static inline Narrower MakeNarrower(int32_t lo, int32_t hi, int32_t zp) {
    return {_mm_set1_ps(static_cast<float>(hi - zp)), _mm_set1_epi16(static_cast<int16_t>(zp)),
            _mm_set1_epi8(static_cast<int8_t>(lo)), _mm_set1_epi8(static_cast<int8_t>(hi))};
  }
  static inline Int RoundBelow(Float hi, Float x) { return _mm_cvtps_epi32(_mm_min_ps(hi, x)); }
  static inline Int Narrow(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm_packs_epi32(RoundBelow(n.hi, x0), RoundBelow(n.hi, x1));
    const Int b = _mm_packs_epi32(RoundBelow(n.hi, x2), RoundBelow(n.hi, x3));
    return _mm_max_epu8(_mm_packus_epi16(_mm_adds_epi16(a, n.zp), _mm_adds_epi16(b, n.zp)), n.lo);
  }
  static inline Int NarrowSmall(const Narrower& n, Float x0, Float x1, Float x2, Float x3) {
    const Int a = _mm_packs_epi32(_mm_cvtps_epi32(x0), _mm_cvtps_epi32(x1));
    const Int b = _mm_packs_epi32(_mm_cvtps_epi32(x2), _mm_cvtps_epi32(x3));
    const Int q = _mm_packus_epi16(_mm_adds_epi16(a, n.zp), _mm_adds_epi16(b, n.zp));
    return _mm_min_epu8(_mm_max_epu8(q, n.lo), n.hi_u8);
  }
  static inline bool AllBelowOne(Float x) { return _mm_movemask_ps(_mm_cmplt_ps(x, _mm_set1_ps(1.0f))) == 0xf; }
  static inline Int InVectorOrder(Int bytes) { return bytes; }

  static inline Float Scale(Int acc, Float scale) { return _mm_mul_ps(_mm_cvtepi32_ps(acc), scale); }
  static inline Float ScaleSigned(Int acc, Float scale, Float scale_neg) {
    return Scale(acc, _mm_blendv_ps(scale, scale_neg, _mm_castsi128_ps(acc)));
  }

  static inline Int Lookup(const uint8_t* table, Int index) {
    alignas(16) uint8_t bytes[kBytes];
    StoreInt(bytes, index);
    LookupBytes(table, bytes, kBytes);
    return LoadInt(bytes);
  }

  struct Weigher {
    Float base;  // 2^23 + zp
    Float mul;
  };
  static inline Weigher MakeWeigher(int32_t zp, float mul) {
    return {_mm_set1_ps(8388608.0f + static_cast<float>(zp)), _mm_set1_ps(mul)};
  }
  static inline Float Weigh(const Weigher& w, Int value) { return _mm_mul_ps(_mm_sub_ps(AsFloat(value), w.base), w.mul); }
  // A byte unpacked to 16 bits, then with this, is the float 2^23 + byte.
  static inline Int FloatBits() { return _mm_set1_epi16(0x4b00); }

  static inline Int UnpackLow8(Int a, Int b) { return _mm_unpacklo_epi8(a, b); }
  static inline Int UnpackHigh8(Int a, Int b) { return _mm_unpackhi_epi8(a, b); }
  static inline Int UnpackLow16(Int a, Int b) { return _mm_unpacklo_epi16(a, b); }
  static inline Int UnpackHigh16(Int a, Int b) { return _mm_unpackhi_epi16(a, b); }
  static inline Float Add(Float a, Float b) { return _mm_add_ps(a, b); }
  static inline Int AddInt(Int a, Int b) { return _mm_add_epi32(a, b); }
  static inline Int AsInt(Float x) { return _mm_castps_si128(x); }
  static inline Int MaxU8(Int a, Int b) { return _mm_max_epu8(a, b); }
  static inline Int Zero() { return _mm_setzero_si128(); }

  static inline Mask MakeMask(size_t n) { return n < kBytes ? n : kBytes; }

  template <int kParts>
  static inline void StoreParts(Int bytes, size_t count, Mask mask, uint8_t* p, size_t stride) {
    constexpr size_t kPart = kBytes / kParts;
    if (mask < kPart) return StorePartly(bytes, kPart, count < kParts ? count : kParts, mask, p, stride);
    if constexpr (kParts == 1) {
      StoreInt(p, bytes);
    } else if constexpr (kParts == 2) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
      if (count > 1) _mm_storel_epi64(reinterpret_cast<__m128i*>(p + stride), _mm_srli_si128(bytes, 8));
    } else {
      StoreFour(p, _mm_cvtsi128_si32(bytes));
      if (count > 1) StoreFour(p + stride, _mm_extract_epi32(bytes, 1));
      if (count > 2) StoreFour(p + 2 * stride, _mm_extract_epi32(bytes, 2));
      if (count > 3) StoreFour(p + 3 * stride, _mm_extract_epi32(bytes, 3));
    }
  }
  static inline void StoreFour(uint8_t* p, int32_t four) { __builtin_memcpy(p, &four, sizeof four); }
  static inline void StorePartly(Int bytes, size_t part, size_t count, Mask mask, uint8_t* p, size_t stride) {
    alignas(16) uint8_t copy[kBytes];
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
      return _mm_unpacklo_epi64(LoadHalf(p), LoadHalf(p + (count > 1 ? stride : 0)));
    } else {
      return _mm_setr_epi32(LoadFour(p), LoadFour(p + (count > 1 ? stride : 0)), LoadFour(p + (count > 2 ? 2 * stride : 0)),
                            LoadFour(p + (count > 3 ? 3 * stride : 0)));
    }
  }
  static inline Int LoadHalf(const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
  static inline Int LoadPartly(size_t part, size_t count, Mask mask, const uint8_t* p, size_t stride) {
    alignas(16) uint8_t copy[kBytes] = {};
    GatherBytes(copy, part, count, mask, p, stride);
    return LoadInt(copy);
  }

  template <int kParts>
  static inline Int Gather(const uint8_t* const (&p)[4]) {
    static_assert(kParts == 1, "a lane is 128 bits");
    return LoadInt(p[0]);
  }

  struct Quad {
    Int v[4];
  };

  static inline Quad LoadChannels(const float* p, size_t) { return {{LoadInt(p), LoadInt(p + 4), LoadInt(p + 8), LoadInt(p + 12)}}; }

  static inline Float AsFloat(Int x) { return _mm_castsi128_ps(x); }

  // Two rows of a column, widened to 16 bits and interleaved by channel.
  static inline Quad Interleave(Int r0, Int r1) {
    const Int low = UnpackLow8(r0, r1), high = UnpackHigh8(r0, r1), zero = Zero();
    return {{UnpackLow8(low, zero), UnpackHigh8(low, zero), UnpackLow8(high, zero), UnpackHigh8(high, zero)}};
  }
};

}  // namespace
}  // namespace sterna
