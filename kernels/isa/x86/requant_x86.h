// RequantQ8 (sterna/epilogue.h) in the form that the x86 kernels keep it, over a vector type V (q8_avx512.h, q8_avx2.h).
#pragma once
#include "sterna/epilogue.h"

namespace sterna {
namespace {

template <typename V>
struct Requant {
  typename V::Narrower mid, out;
  typename V::Weigher weigh_mid, weigh_res;
  const float *scale, *scale_neg;  // scale_neg is scale when there is none
  const uint8_t *table, *residual;
  size_t residual_stride;
  bool is_signed;  // scale_neg differs from scale
  bool plain;      // scale and narrow, nothing else
};

template <typename V>
Requant<V> MakeRequant(const RequantQ8& r) {
  return {V::MakeNarrower(r.mid_lo, r.mid_hi, r.mid_zp),
          V::MakeNarrower(r.y_lo, r.y_hi, r.y_zp),
          V::MakeWeigher(r.mid_zp, r.mid_mul),
          V::MakeWeigher(r.res_zp, r.res_mul),
          r.scale,
          r.scale_neg != nullptr ? r.scale_neg : r.scale,
          r.table,
          r.residual,
          r.residual_stride,
          r.scale_neg != nullptr,
          r.scale_neg == nullptr && r.table == nullptr && r.residual == nullptr};
}

// out((a - a_zp) * a_mul + (b - b_zp) * b_mul), in any order of bytes that a and b share.
template <typename V>
inline typename V::Int AddBytes(const typename V::Weigher& wa, const typename V::Weigher& wb, const typename V::Narrower& out,
                                typename V::Int a, typename V::Int b) {
  using Int = typename V::Int;
  const Int zero = V::Zero(), bits = V::FloatBits();
  const Int a_low = V::UnpackLow8(a, zero), a_high = V::UnpackHigh8(a, zero);
  const Int b_low = V::UnpackLow8(b, zero), b_high = V::UnpackHigh8(b, zero);
  return V::Narrow(out, V::Add(V::Weigh(wa, V::UnpackLow16(a_low, bits)), V::Weigh(wb, V::UnpackLow16(b_low, bits))),
                   V::Add(V::Weigh(wa, V::UnpackHigh16(a_low, bits)), V::Weigh(wb, V::UnpackHigh16(b_low, bits))),
                   V::Add(V::Weigh(wa, V::UnpackLow16(a_high, bits)), V::Weigh(wb, V::UnpackLow16(b_high, bits))),
                   V::Add(V::Weigh(wa, V::UnpackHigh16(a_high, bits)), V::Weigh(wb, V::UnpackHigh16(b_high, bits))));
}

// Table and residual, after narrowing; q and residual in the same order.
template <typename V>
inline typename V::Int FinishBytes(const Requant<V>& r, typename V::Int q, typename V::Int residual) {
  if (r.table != nullptr) q = V::Lookup(r.table, q);
  if (r.residual != nullptr) q = AddBytes<V>(r.weigh_mid, r.weigh_res, r.out, q, residual);
  return q;
}

}  // namespace
}  // namespace sterna
