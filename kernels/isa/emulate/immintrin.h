// Stands in for the compiler's <immintrin.h> when units of AVX2, AVX-VNNI and AVX-512 are compiled a second time, for a CPU that has none of
// these (cmake/emulation.cmake): the 256- and 512-bit intrinsics that the units use, computed with those of SSE4.1 and plain C++.
//
// The results are the instructions' own, bit for bit; times mean nothing. An intrinsic that is missing here fails to compile: add it. Where
// Intel leaves bits undefined, they are 0x5a here, so that a kernel that relies on them fails its tests. Operations as in Intel's
// Intrinsics Guide (https://www.intel.com/content/www/us/en/docs/intrinsics-guide).
#pragma once
#include <smmintrin.h>

#include <cstddef>
#include <cstdint>

#define STERNA_SOURCE_EMULATION 1

// Registers of N parts of 128 bits.
template <int N>
struct SternaInts {
  static constexpr int kParts = N;
  __m128i part[N];
};
template <int N>
struct SternaFloats {
  static constexpr int kParts = N;
  __m128 part[N];
};
using __m256i = SternaInts<2>;
using __m512i = SternaInts<4>;
using __m256 = SternaFloats<2>;
using __m512 = SternaFloats<4>;
using __mmask16 = uint16_t;
using __mmask32 = uint32_t;
using __mmask64 = uint64_t;

// The predicates in use: another one does not compile.
enum SternaPredicate { _CMP_UNORD_Q = 0x03, _CMP_ORD_Q = 0x07, _CMP_LT_OQ = 0x11, _CMP_NLE_UQ = 0x16 };

namespace {

inline __m256i Join(__m128i a, __m128i b) { return {{a, b}}; }
inline __m256 Join(__m128 a, __m128 b) { return {{a, b}}; }
inline __m512i Join(__m128i a, __m128i b, __m128i c, __m128i d) { return {{a, b, c, d}}; }
inline __m512 Join(__m128 a, __m128 b, __m128 c, __m128 d) { return {{a, b, c, d}}; }

// A register as wide as W, of f(i) for each part i.
template <typename W, typename F>
inline auto Each(F f) {
  if constexpr (W::kParts == 2) return Join(f(0), f(1));
  else return Join(f(0), f(1), f(2), f(3));
}

// A register as an array, and back.
template <typename T, typename W>
struct Lanes {
  static constexpr size_t kCount = sizeof(W) / sizeof(T);
  T at[kCount];
  Lanes() = default;
  explicit Lanes(const W& wide) { __builtin_memcpy(at, &wide, sizeof wide); }
  W Wide() const {
    W wide;
    __builtin_memcpy(&wide, at, sizeof wide);
    return wide;
  }
};

template <typename T, typename W, typename F>
inline W EachLane(F f) {
  Lanes<T, W> lanes;
  for (size_t i = 0; i < lanes.kCount; ++i) lanes.at[i] = f(i);
  return lanes.Wide();
}

inline __m128i Undefined() { return _mm_set1_epi8(0x5a); }

// Masked off lanes are neither read nor written.
template <typename T, typename W>
inline W LoadMasked(uint64_t mask, const T* p) {
  return EachLane<T, W>([=](size_t i) { return (mask >> i & 1) != 0 ? p[i] : T{0}; });
}
template <typename T, typename W>
inline void StoreMasked(T* p, uint64_t mask, const W& x) {
  const Lanes<T, W> lanes(x);
  for (size_t i = 0; i < lanes.kCount; ++i) {
    if ((mask >> i & 1) != 0) p[i] = lanes.at[i];
  }
}
template <typename T, typename W>
inline W BlendByMask(uint64_t mask, const W& if_clear, const W& if_set) {
  const Lanes<T, W> clear(if_clear), set(if_set);
  return EachLane<T, W>([&](size_t i) { return (mask >> i & 1) != 0 ? set.at[i] : clear.at[i]; });
}
// bits(i): those of part i, of which there are `per_part`.
template <typename W, typename F>
inline uint64_t MaskOfParts(int per_part, F bits) {
  uint64_t mask = 0;
  for (int i = 0; i < W::kParts; ++i) mask |= static_cast<uint64_t>(static_cast<uint32_t>(bits(i))) << (per_part * i);
  return mask;
}

// acc + u8 x s8 summed over each lane's four bytes. pmaddubsw would saturate: the products are made of 16-bit operands.
inline __m128i DotPart(__m128i acc, __m128i u, __m128i s) {
  const __m128i low = _mm_madd_epi16(_mm_cvtepu8_epi16(u), _mm_cvtepi8_epi16(s));
  const __m128i high = _mm_madd_epi16(_mm_cvtepu8_epi16(_mm_srli_si128(u, 8)), _mm_cvtepi8_epi16(_mm_srli_si128(s, 8)));
  return _mm_add_epi32(acc, _mm_hadd_epi32(low, high));
}

inline __m128i CountOnesPart(__m128i x) {
  const __m128i table = _mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4), nibble = _mm_set1_epi8(15);
  const __m128i bytes = _mm_add_epi8(_mm_shuffle_epi8(table, _mm_and_si128(x, nibble)), _mm_shuffle_epi8(table, _mm_and_si128(_mm_srli_epi16(x, 4), nibble)));
  return _mm_madd_epi16(_mm_maddubs_epi16(bytes, _mm_set1_epi8(1)), _mm_set1_epi16(1));
}

// Bit (4 a + 2 b + c) of the table, for each bit of the operands.
inline __m128i TernaryPart(__m128i a, __m128i b, __m128i c, int table) {
  const __m128i ones = _mm_set1_epi8(-1);
  __m128i result = _mm_setzero_si128();
  for (int i = 0; i < 8; ++i) {
    if ((table >> i & 1) == 0) continue;
    const __m128i pa = (i & 4) != 0 ? a : _mm_xor_si128(a, ones), pb = (i & 2) != 0 ? b : _mm_xor_si128(b, ones);
    result = _mm_or_si128(result, _mm_and_si128(_mm_and_si128(pa, pb), (i & 1) != 0 ? c : _mm_xor_si128(c, ones)));
  }
  return result;
}

inline float HalfBitsToFloat(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, exponent = half >> 10 & 31, fraction = half & 0x3ffu;
  uint32_t bits = sign | (exponent + 112) << 23 | fraction << 13;
  if (exponent == 31) bits = sign | 0x7f800000u | fraction << 13;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
    return sign != 0 ? -magnitude : magnitude;
  }
  float value;
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}

// a * b + c, rounded once.
template <typename W>
inline W FusedMultiplyAdd(const W& a, const W& b, const W& c, float sign) {
  const Lanes<float, W> x(a), y(b), z(c);
  return EachLane<float, W>([&](size_t i) { return __builtin_fmaf(sign * x.at[i], y.at[i], z.at[i]); });
}

}  // namespace

// Both widths of an operation on each 128 bits by itself: T is i for integers, and empty for floats.
#define STERNA_UNARY(W, name, op) \
  static inline W name(W a) { return Each<W>([&](int i) { return op(a.part[i]); }); }
#define STERNA_BINARY(W, name, op) \
  static inline W name(W a, W b) { return Each<W>([&](int i) { return op(a.part[i], b.part[i]); }); }
#define STERNA_BINARY_BOTH(T, operation)                                   \
  STERNA_BINARY(__m256##T, _mm256_##operation, _mm_##operation)            \
  STERNA_BINARY(__m512##T, _mm512_##operation, _mm_##operation)
#define STERNA_LOGIC_BOTH(operation)                                               \
  STERNA_BINARY(__m256i, _mm256_##operation##_si256, _mm_##operation##_si128)      \
  STERNA_BINARY(__m512i, _mm512_##operation##_si512, _mm_##operation##_si128)
#define STERNA_SHIFT(W, name, op) \
  static inline W name(W a, unsigned count) { return Each<W>([&](int i) { return op(a.part[i], _mm_cvtsi32_si128(static_cast<int>(count))); }); }
#define STERNA_SET(W, name, op, Scalar) \
  static inline W name(Scalar x) { return Each<W>([&](int) { return op(x); }); }
#define STERNA_SET_BOTH(T, operation, Scalar)                              \
  STERNA_SET(__m256##T, _mm256_##operation, _mm_##operation, Scalar)       \
  STERNA_SET(__m512##T, _mm512_##operation, _mm_##operation, Scalar)

STERNA_BINARY_BOTH(i, add_epi8)
STERNA_BINARY_BOTH(i, add_epi16)
STERNA_BINARY_BOTH(i, add_epi32)
STERNA_BINARY_BOTH(i, adds_epi16)
STERNA_BINARY_BOTH(i, sub_epi8)
STERNA_BINARY_BOTH(i, sub_epi32)
STERNA_BINARY_BOTH(i, madd_epi16)
STERNA_BINARY(__m256i, _mm256_sub_epi16, _mm_sub_epi16)
STERNA_BINARY_BOTH(i, maddubs_epi16)
STERNA_BINARY_BOTH(i, max_epu8)
STERNA_BINARY_BOTH(i, min_epu8)
STERNA_BINARY_BOTH(i, packs_epi32)
STERNA_BINARY_BOTH(i, packus_epi16)
STERNA_BINARY_BOTH(i, unpacklo_epi8)
STERNA_BINARY_BOTH(i, unpackhi_epi8)
STERNA_BINARY_BOTH(i, unpacklo_epi16)
STERNA_BINARY_BOTH(i, unpackhi_epi16)
STERNA_BINARY(__m256i, _mm256_cmpeq_epi8, _mm_cmpeq_epi8)
STERNA_BINARY(__m256i, _mm256_cmpgt_epi8, _mm_cmpgt_epi8)
STERNA_BINARY(__m256i, _mm256_cmpgt_epi32, _mm_cmpgt_epi32)
STERNA_BINARY(__m256i, _mm256_shuffle_epi8, _mm_shuffle_epi8)
STERNA_BINARY(__m256i, _mm256_sign_epi8, _mm_sign_epi8)
STERNA_UNARY(__m256i, _mm256_abs_epi8, _mm_abs_epi8)
STERNA_LOGIC_BOTH(and)
STERNA_LOGIC_BOTH(or)
STERNA_LOGIC_BOTH(xor)
STERNA_SHIFT(__m256i, _mm256_slli_epi16, _mm_sll_epi16)
STERNA_SHIFT(__m256i, _mm256_slli_epi32, _mm_sll_epi32)
STERNA_SHIFT(__m256i, _mm256_srai_epi32, _mm_sra_epi32)
STERNA_SHIFT(__m256i, _mm256_srai_epi16, _mm_sra_epi16)
STERNA_SHIFT(__m256i, _mm256_srli_epi16, _mm_srl_epi16)
STERNA_SHIFT(__m256i, _mm256_srli_epi32, _mm_srl_epi32)
STERNA_SHIFT(__m512i, _mm512_slli_epi16, _mm_sll_epi16)
STERNA_SHIFT(__m512i, _mm512_srli_epi32, _mm_srl_epi32)
STERNA_SHIFT(__m512i, _mm512_slli_epi32, _mm_sll_epi32)
STERNA_SHIFT(__m512i, _mm512_srai_epi32, _mm_sra_epi32)
STERNA_BINARY_BOTH(, add_ps)
STERNA_BINARY_BOTH(, sub_ps)
STERNA_BINARY_BOTH(, mul_ps)
STERNA_BINARY_BOTH(, div_ps)
STERNA_BINARY_BOTH(, min_ps)
STERNA_BINARY_BOTH(, max_ps)
STERNA_BINARY_BOTH(, or_ps)
STERNA_BINARY_BOTH(, and_ps)
STERNA_BINARY_BOTH(, andnot_ps)
STERNA_BINARY_BOTH(, xor_ps)
STERNA_SET_BOTH(i, set1_epi8, char)
STERNA_SET_BOTH(i, set1_epi16, short)
STERNA_SET_BOTH(i, set1_epi32, int)
STERNA_SET_BOTH(, set1_ps, float)

// Loads and stores.
static inline __m256i _mm256_loadu_si256(const __m256i* p) { return Each<__m256i>([=](int i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p) + i); }); }
static inline __m512i _mm512_loadu_si512(const void* p) { return Each<__m512i>([=](int i) { return _mm_loadu_si128(static_cast<const __m128i*>(p) + i); }); }
static inline __m256 _mm256_loadu_ps(const float* p) { return Each<__m256>([=](int i) { return _mm_loadu_ps(p + 4 * i); }); }
static inline __m512 _mm512_loadu_ps(const float* p) { return Each<__m512>([=](int i) { return _mm_loadu_ps(p + 4 * i); }); }
static inline void _mm256_storeu_si256(__m256i* p, __m256i x) { __builtin_memcpy(static_cast<void*>(p), &x, sizeof x); }
static inline void _mm512_storeu_si512(void* p, __m512i x) { __builtin_memcpy(p, &x, sizeof x); }
static inline void _mm256_storeu_ps(float* p, __m256 x) { __builtin_memcpy(p, &x, sizeof x); }
static inline void _mm512_storeu_ps(float* p, __m512 x) { __builtin_memcpy(p, &x, sizeof x); }
static inline __m256 _mm256_maskload_ps(const float* p, __m256i mask) {
  return LoadMasked<float, __m256>(MaskOfParts<__m256i>(4, [&](int i) { return _mm_movemask_ps(_mm_castsi128_ps(mask.part[i])); }), p);
}
static inline __m128i _mm_maskz_loadu_epi8(__mmask16 mask, const void* p) { return LoadMasked<uint8_t, __m128i>(mask, static_cast<const uint8_t*>(p)); }
static inline __m256i _mm256_maskz_loadu_epi8(__mmask32 mask, const void* p) { return LoadMasked<uint8_t, __m256i>(mask, static_cast<const uint8_t*>(p)); }
static inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* p) { return LoadMasked<uint8_t, __m512i>(mask, static_cast<const uint8_t*>(p)); }
static inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const float* p) { return LoadMasked<float, __m512>(mask, p); }
static inline void _mm_mask_storeu_epi8(void* p, __mmask16 mask, __m128i x) { StoreMasked(static_cast<uint8_t*>(p), mask, x); }
static inline void _mm256_mask_storeu_epi8(void* p, __mmask32 mask, __m256i x) { StoreMasked(static_cast<uint8_t*>(p), mask, x); }
static inline void _mm512_mask_storeu_epi8(void* p, __mmask64 mask, __m512i x) { StoreMasked(static_cast<uint8_t*>(p), mask, x); }
static inline void _mm512_mask_storeu_ps(float* p, __mmask16 mask, __m512 x) { StoreMasked(p, mask, x); }

// Registers made of other ones.
static inline __m256i _mm256_setzero_si256() { return _mm256_set1_epi8(0); }
static inline __m512i _mm512_setzero_si512() { return _mm512_set1_epi8(0); }
static inline __m256 _mm256_setzero_ps() { return _mm256_set1_ps(0.0f); }
static inline __m512 _mm512_setzero_ps() { return _mm512_set1_ps(0.0f); }
static inline __m256i _mm256_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h) { return {{_mm_setr_epi32(a, b, c, d), _mm_setr_epi32(e, f, g, h)}}; }
static inline __m512i _mm512_setr_epi32(int a, int b, int c, int d, int e, int f, int g, int h, int i, int j, int k, int l, int m, int n, int o, int p) {
  return {{_mm_setr_epi32(a, b, c, d), _mm_setr_epi32(e, f, g, h), _mm_setr_epi32(i, j, k, l), _mm_setr_epi32(m, n, o, p)}};
}
static inline __m512 _mm512_setr_ps(float a, float b, float c, float d, float e, float f, float g, float h, float i, float j, float k, float l, float m, float n,
                                    float o, float p) {
  return {{_mm_setr_ps(a, b, c, d), _mm_setr_ps(e, f, g, h), _mm_setr_ps(i, j, k, l), _mm_setr_ps(m, n, o, p)}};
}
static inline __m256i _mm256_set_m128i(__m128i high, __m128i low) { return {{low, high}}; }
static inline __m256i _mm256_broadcastsi128_si256(__m128i x) { return {{x, x}}; }
static inline __m128i _mm256_castsi256_si128(__m256i x) { return x.part[0]; }
static inline __m256 _mm256_castsi256_ps(__m256i x) { return Each<__m256i>([&](int i) { return _mm_castsi128_ps(x.part[i]); }); }
static inline __m256i _mm256_castps_si256(__m256 x) { return Each<__m256>([&](int i) { return _mm_castps_si128(x.part[i]); }); }
static inline __m512i _mm512_castps_si512(__m512 x) { return Each<__m512>([&](int i) { return _mm_castps_si128(x.part[i]); }); }
static inline __m512 _mm512_castsi512_ps(__m512i x) { return Each<__m512i>([&](int i) { return _mm_castsi128_ps(x.part[i]); }); }
static inline __m128i _mm512_castsi512_si128(__m512i x) { return x.part[0]; }
static inline __m256i _mm512_castsi512_si256(__m512i x) { return {{x.part[0], x.part[1]}}; }
static inline __m512i _mm512_castsi128_si512(__m128i x) { return {{x, Undefined(), Undefined(), Undefined()}}; }
static inline __m512i _mm512_castsi256_si512(__m256i x) { return {{x.part[0], x.part[1], Undefined(), Undefined()}}; }
static inline __m128i _mm256_extracti128_si256(__m256i x, int at) { return x.part[at & 1]; }
static inline __m128i _mm512_extracti32x4_epi32(__m512i x, int at) { return x.part[at & 3]; }
static inline __m256i _mm512_extracti64x4_epi64(__m512i x, int at) { return {{x.part[2 * (at & 1)], x.part[2 * (at & 1) + 1]}}; }
static inline __m512i _mm512_inserti32x4(__m512i x, __m128i part, int at) {
  x.part[at & 3] = part;
  return x;
}
static inline __m512i _mm512_inserti64x4(__m512i x, __m256i half, int at) {
  x.part[2 * (at & 1)] = half.part[0];
  x.part[2 * (at & 1) + 1] = half.part[1];
  return x;
}

// Across 128-bit lanes.
static inline __m256i _mm256_permute2x128_si256(__m256i a, __m256i b, int choice) {
  const auto pick = [&](int of) { return (of & 8) != 0 ? _mm_setzero_si128() : (of & 2) != 0 ? b.part[of & 1] : a.part[of & 1]; };
  return {{pick(choice & 15), pick(choice >> 4 & 15)}};
}
static inline __m512i _mm512_shuffle_i32x4(__m512i a, __m512i b, int choice) {
  return {{a.part[choice & 3], a.part[choice >> 2 & 3], b.part[choice >> 4 & 3], b.part[choice >> 6 & 3]}};
}
static inline __m256i _mm256_permutevar8x32_epi32(__m256i x, __m256i index) {
  const Lanes<uint32_t, __m256i> from(x), at(index);
  return EachLane<uint32_t, __m256i>([&](size_t i) { return from.at[at.at[i] & 7]; });
}
static inline __m512i _mm512_permutexvar_epi32(__m512i index, __m512i x) {
  const Lanes<uint32_t, __m512i> from(x), at(index);
  return EachLane<uint32_t, __m512i>([&](size_t i) { return from.at[at.at[i] & 15]; });
}
static inline __m512 _mm512_permutexvar_ps(__m512i index, __m512 x) {
  const Lanes<uint32_t, __m512i> at(index);
  const Lanes<float, __m512> from(x);
  return EachLane<float, __m512>([&](size_t i) { return from.at[at.at[i] & 15]; });
}
static inline __m512 _mm512_permutex2var_ps(__m512 a, __m512i index, __m512 b) {
  const Lanes<uint32_t, __m512i> at(index);
  const Lanes<float, __m512> first(a), second(b);
  return EachLane<float, __m512>([&](size_t i) { return (at.at[i] & 16) != 0 ? second.at[at.at[i] & 15] : first.at[at.at[i] & 15]; });
}
static inline __m512i _mm512_permutex2var_epi8(__m512i a, __m512i index, __m512i b) {
  const Lanes<uint8_t, __m512i> first(a), second(b), at(index);
  return EachLane<uint8_t, __m512i>([&](size_t i) { return (at.at[i] & 64) != 0 ? second.at[at.at[i] & 63] : first.at[at.at[i] & 63]; });
}

// Conversions.
static inline __m256i _mm256_cvtepi8_epi16(__m128i x) { return {{_mm_cvtepi8_epi16(x), _mm_cvtepi8_epi16(_mm_srli_si128(x, 8))}}; }
static inline __m256i _mm256_cvtepu8_epi16(__m128i x) { return {{_mm_cvtepu8_epi16(x), _mm_cvtepu8_epi16(_mm_srli_si128(x, 8))}}; }
static inline __m256i _mm256_cvtepu8_epi32(__m128i x) { return {{_mm_cvtepu8_epi32(x), _mm_cvtepu8_epi32(_mm_srli_si128(x, 4))}}; }
static inline __m256i _mm256_cvtepu16_epi32(__m128i x) { return {{_mm_cvtepu16_epi32(x), _mm_cvtepu16_epi32(_mm_srli_si128(x, 8))}}; }
static inline __m512i _mm512_cvtepu8_epi16(__m256i x) {
  const __m256i low = _mm256_cvtepu8_epi16(x.part[0]), high = _mm256_cvtepu8_epi16(x.part[1]);
  return {{low.part[0], low.part[1], high.part[0], high.part[1]}};
}
static inline __m512i _mm512_cvtepu8_epi32(__m128i x) {
  return {{_mm_cvtepu8_epi32(x), _mm_cvtepu8_epi32(_mm_srli_si128(x, 4)), _mm_cvtepu8_epi32(_mm_srli_si128(x, 8)), _mm_cvtepu8_epi32(_mm_srli_si128(x, 12))}};
}
static inline __m256 _mm256_cvtepi32_ps(__m256i x) { return Each<__m256i>([&](int i) { return _mm_cvtepi32_ps(x.part[i]); }); }
static inline __m512 _mm512_cvtepi32_ps(__m512i x) { return Each<__m512i>([&](int i) { return _mm_cvtepi32_ps(x.part[i]); }); }
static inline __m256i _mm256_cvtps_epi32(__m256 x) { return Each<__m256>([&](int i) { return _mm_cvtps_epi32(x.part[i]); }); }
static inline __m512i _mm512_cvtps_epi32(__m512 x) { return Each<__m512>([&](int i) { return _mm_cvtps_epi32(x.part[i]); }); }
static inline __m512 _mm512_cvtph_ps(__m256i x) {
  const Lanes<uint16_t, __m256i> halves(x);
  return EachLane<float, __m512>([&](size_t i) { return HalfBitsToFloat(halves.at[i]); });
}

// Floats.
static inline __m256 _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c) { return FusedMultiplyAdd(a, b, c, 1.0f); }
static inline __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c) { return FusedMultiplyAdd(a, b, c, 1.0f); }
static inline __m256 _mm256_fnmadd_ps(__m256 a, __m256 b, __m256 c) { return FusedMultiplyAdd(a, b, c, -1.0f); }
static inline __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c) { return FusedMultiplyAdd(a, b, c, -1.0f); }
// The mode is an immediate; of vrndscaleps' immediate the upper half, a number of fraction bits, is zero.
template <int kMode, typename W>
static inline W SternaRound(W x) {
  static_assert((kMode & 0xf0) == 0, "rounding to fractions is not emulated");
  return Each<W>([&](int i) { return _mm_round_ps(x.part[i], kMode); });
}
#define _mm256_round_ps(x, mode) SternaRound<(mode)>(x)
#define _mm512_roundscale_ps(x, mode) SternaRound<(mode)>(x)
// x * 2^floor(n), rounded once.
static inline __m512 _mm512_scalef_ps(__m512 x, __m512 n) {
  const Lanes<float, __m512> values(x), powers(n);
  return EachLane<float, __m512>([&](size_t i) { return __builtin_ldexpf(values.at[i], static_cast<int>(__builtin_floorf(powers.at[i]))); });
}
static inline __m128 SternaCompare(__m128 a, __m128 b, SternaPredicate predicate) {
  if (predicate == _CMP_UNORD_Q) return _mm_cmpunord_ps(a, b);
  if (predicate == _CMP_NLE_UQ) return _mm_cmpnle_ps(a, b);
  return predicate == _CMP_ORD_Q ? _mm_cmpord_ps(a, b) : _mm_cmplt_ps(a, b);
}
static inline __m256 _mm256_cmp_ps(__m256 a, __m256 b, SternaPredicate predicate) {
  return Each<__m256>([&](int i) { return SternaCompare(a.part[i], b.part[i], predicate); });
}
static inline __m256 _mm256_blendv_ps(__m256 a, __m256 b, __m256 signs) {
  return Each<__m256>([&](int i) { return _mm_blendv_ps(a.part[i], b.part[i], signs.part[i]); });
}

// Masks.
static inline int _mm256_movemask_ps(__m256 x) { return static_cast<int>(MaskOfParts<__m256>(4, [&](int i) { return _mm_movemask_ps(x.part[i]); })); }
static inline int _mm256_movemask_epi8(__m256i x) { return static_cast<int>(MaskOfParts<__m256i>(16, [&](int i) { return _mm_movemask_epi8(x.part[i]); })); }
static inline __mmask64 _mm512_movepi8_mask(__m512i x) { return MaskOfParts<__m512i>(16, [&](int i) { return _mm_movemask_epi8(x.part[i]); }); }
static inline __mmask16 _mm512_movepi32_mask(__m512i x) {
  return static_cast<__mmask16>(MaskOfParts<__m512i>(4, [&](int i) { return _mm_movemask_ps(_mm_castsi128_ps(x.part[i])); }));
}
static inline __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, SternaPredicate predicate) {
  return static_cast<__mmask16>(MaskOfParts<__m512>(4, [&](int i) { return _mm_movemask_ps(SternaCompare(a.part[i], b.part[i], predicate)); }));
}
static inline __mmask32 _mm256_cmpneq_epu8_mask(__m256i a, __m256i b) { return ~static_cast<__mmask32>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b))); }
static inline __mmask32 _mm256_cmplt_epu8_mask(__m256i a, __m256i b) { return _mm256_cmpneq_epu8_mask(_mm256_max_epu8(a, b), a); }
static inline __m512 _mm512_mask_blend_ps(__mmask16 mask, __m512 a, __m512 b) { return BlendByMask<float>(mask, a, b); }
static inline __m512 _mm512_mask_max_ps(__m512 otherwise, __mmask16 mask, __m512 a, __m512 b) { return BlendByMask<float>(mask, otherwise, _mm512_max_ps(a, b)); }
static inline __m512i _mm512_mask_blend_epi8(__mmask64 mask, __m512i a, __m512i b) { return BlendByMask<uint8_t>(mask, a, b); }
static inline __m512 _mm512_mask_mul_ps(__m512 otherwise, __mmask16 mask, __m512 a, __m512 b) { return BlendByMask<float>(mask, otherwise, _mm512_mul_ps(a, b)); }

// What AVX-VNNI and AVX-512's extensions add.
static inline __m256i _mm256_dpbusd_avx_epi32(__m256i acc, __m256i u, __m256i s) {
  return Each<__m256i>([&](int i) { return DotPart(acc.part[i], u.part[i], s.part[i]); });
}
static inline __m512i _mm512_dpbusd_epi32(__m512i acc, __m512i u, __m512i s) {
  return Each<__m512i>([&](int i) { return DotPart(acc.part[i], u.part[i], s.part[i]); });
}
static inline __m512i _mm512_popcnt_epi32(__m512i x) { return Each<__m512i>([&](int i) { return CountOnesPart(x.part[i]); }); }
static inline __m512i _mm512_ternarylogic_epi32(__m512i a, __m512i b, __m512i c, int table) {
  return Each<__m512i>([&](int i) { return TernaryPart(a.part[i], b.part[i], c.part[i], table); });
}
