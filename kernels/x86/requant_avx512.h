// The quantized epilogue (RequantQ8, microkernel.h) on 64 elements at a time, bit-equal to sterna/requant.h.
//
// Bounds and zero-points are integers, so clamping to hi before rounding and to lo after it gives the same result as both
// before; min(x, hi) also keeps vcvtps2dq in range from above, and from below it returns INT_MIN, which every later
// saturation carries down to lo. Two packs narrow four vectors to one: 128-bit lane l of the result is
// [x0[4l..4l+3], x1[..], x2[..], x3[..]], which unpacking with zero undoes.
#pragma once
#include <immintrin.h>

#include "sterna/microkernel.h"

namespace sterna {

// R(clamp(x)) + zp, clamped to [lo, hi] within [0, 255].
struct Narrow512 {
  __m512 hi;      // hi - zp
  __m512i zp, lo; // 16-bit, 8-bit
};

static inline Narrow512 MakeNarrow512(int32_t lo, int32_t hi, int32_t zp) {
  return {_mm512_set1_ps(static_cast<float>(hi - zp)), _mm512_set1_epi16(static_cast<int16_t>(zp)),
          _mm512_set1_epi8(static_cast<int8_t>(lo))};
}

// min returns its second operand when one is NaN, and vcvtps2dq turns that into INT_MIN: NaN becomes lo, as in ref.
static inline __m512i RoundBelow512(__m512 hi, __m512 x) { return _mm512_cvtps_epi32(_mm512_min_ps(hi, x)); }

static inline __m512i NarrowToU8(const Narrow512& n, __m512 x0, __m512 x1, __m512 x2, __m512 x3) {
  const __m512i a = _mm512_packs_epi32(RoundBelow512(n.hi, x0), RoundBelow512(n.hi, x1));
  const __m512i b = _mm512_packs_epi32(RoundBelow512(n.hi, x2), RoundBelow512(n.hi, x3));
  return _mm512_max_epu8(_mm512_packus_epi16(_mm512_adds_epi16(a, n.zp), _mm512_adds_epi16(b, n.zp)), n.lo);
}

// From the lane order of NarrowToU8 to [x0, x1, x2, x3].
static inline __m512i InVectorOrder512(__m512i bytes) {
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_epi32(order, bytes);
}

static inline __m512 Scale512(__m512i acc, __m512 scale) { return _mm512_mul_ps(_mm512_cvtepi32_ps(acc), scale); }

// Scale512 with scale_neg for negative accumulators (PRelu).
static inline __m512 ScaleSigned512(__m512i acc, __m512 scale, __m512 scale_neg) {
  const __mmask16 negative = _mm512_movepi32_mask(acc);
  return Scale512(acc, _mm512_mask_blend_ps(negative, scale, scale_neg));
}

// 64 lookups in a table of 256 bytes.
static inline __m512i Lookup512(const uint8_t* table, __m512i index) {
  const __m512i t0 = _mm512_loadu_si512(table), t1 = _mm512_loadu_si512(table + 64);
  const __m512i t2 = _mm512_loadu_si512(table + 128), t3 = _mm512_loadu_si512(table + 192);
  const __m512i low = _mm512_permutex2var_epi8(t0, index, t1), high = _mm512_permutex2var_epi8(t2, index, t3);
  return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index), low, high);
}

static inline __m512 WeighBytes512(__m512i words, bool upper, __m512i zp, __m512 mul) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i wide = upper ? _mm512_unpackhi_epi16(words, zero) : _mm512_unpacklo_epi16(words, zero);
  return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(wide, zp)), mul);
}

// One operand of an addition: (byte - zp) * mul.
struct Weigh512 {
  __m512i zp;  // 32-bit
  __m512 mul;
};

static inline Weigh512 MakeWeigh512(int32_t zp, float mul) { return {_mm512_set1_epi32(zp), _mm512_set1_ps(mul)}; }

// out((a - a_zp) * a_mul + (b - b_zp) * b_mul), in any order of bytes that a and b share.
static inline __m512i AddBytes512(const Weigh512& wa, const Weigh512& wb, const Narrow512& out, __m512i a, __m512i b) {
  const __m512i zero = _mm512_setzero_si512();
  const __m512i a_lo = _mm512_unpacklo_epi8(a, zero), a_hi = _mm512_unpackhi_epi8(a, zero);
  const __m512i b_lo = _mm512_unpacklo_epi8(b, zero), b_hi = _mm512_unpackhi_epi8(b, zero);
  const __m512 s0 = _mm512_add_ps(WeighBytes512(a_lo, false, wa.zp, wa.mul), WeighBytes512(b_lo, false, wb.zp, wb.mul));
  const __m512 s1 = _mm512_add_ps(WeighBytes512(a_lo, true, wa.zp, wa.mul), WeighBytes512(b_lo, true, wb.zp, wb.mul));
  const __m512 s2 = _mm512_add_ps(WeighBytes512(a_hi, false, wa.zp, wa.mul), WeighBytes512(b_hi, false, wb.zp, wb.mul));
  const __m512 s3 = _mm512_add_ps(WeighBytes512(a_hi, true, wa.zp, wa.mul), WeighBytes512(b_hi, true, wb.zp, wb.mul));
  return NarrowToU8(out, s0, s1, s2, s3);
}

// What one run of a kernel needs of RequantQ8, in registers' form.
struct Requant512 {
  Narrow512 mid, out;
  Weigh512 weigh_mid, weigh_res;
  const float *scale, *scale_neg;
  const uint8_t *table, *residual;
  size_t residual_stride;
  bool plain;  // scale and narrow, nothing else
};

static inline Requant512 MakeRequant512(const RequantQ8& r) {
  return {MakeNarrow512(r.mid_lo, r.mid_hi, r.mid_zp),
          MakeNarrow512(r.y_lo, r.y_hi, r.y_zp),
          MakeWeigh512(r.mid_zp, r.mid_mul),
          MakeWeigh512(r.res_zp, r.res_mul),
          r.scale,
          r.scale_neg,
          r.table,
          r.residual,
          r.residual_stride,
          r.scale_neg == nullptr && r.table == nullptr && r.residual == nullptr};
}

// Table and residual, after narrowing; q and residual in the same order.
static inline __m512i FinishBytes512(const Requant512& r, __m512i q, __m512i residual) {
  if (r.table != nullptr) q = Lookup512(r.table, q);
  if (r.residual != nullptr) q = AddBytes512(r.weigh_mid, r.weigh_res, r.out, q, residual);
  return q;
}

}  // namespace sterna
