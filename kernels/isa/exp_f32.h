// e^x over a float vector F (isa/<architecture>/vec_*.h), for every instruction set.
//
// e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is taken in two parts, so that n * the first is exact; e^r is
// 1 + r + r^2 * p(r), the polynomial of Cephes' expf. Error within 2 ulp; NaN gives NaN.
#pragma once

namespace sterna {
namespace {

// n, and e^r - 1 in *fraction.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ReduceExp(typename F::Reg x, typename F::Reg* fraction) {
  using Reg = typename F::Reg;
  const Reg n = F::Round(F::Mul(x, F::Set(1.44269504f)));
  const Reg r = F::NegFma(n, F::Set(-2.12194440e-4f), F::NegFma(n, F::Set(0.693359375f), x));
  Reg p = F::Set(1.9875691500e-4f);
  p = F::Fma(p, r, F::Set(1.3981999507e-3f));
  p = F::Fma(p, r, F::Set(8.3334519073e-3f));
  p = F::Fma(p, r, F::Set(4.1665795894e-2f));
  p = F::Fma(p, r, F::Set(1.6666665459e-1f));
  p = F::Fma(p, r, F::Set(5.0000001201e-1f));
  *fraction = F::Fma(F::Mul(r, r), p, r);
  return n;
}

// The bounds are beyond overflow to inf and underflow to 0; max and min keep NaN in their second operand.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpOf(typename F::Reg x) {
  typename F::Reg fraction;
  const typename F::Reg n = ReduceExp<F>(F::Min(F::Set(90.0f), F::Max(F::Set(-105.0f), x)), &fraction);
  return F::TimesPowerOfTwo(F::Add(fraction, F::Set(1.0f)), n);
}

// e^x - 1 for x <= 0, without cancellation: within 2 ulp. For positive x: any value.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpMinusOneOf(typename F::Reg x) {
  typename F::Reg fraction;
  const typename F::Reg power = F::PowerOfTwo(ReduceExp<F>(F::Max(F::Set(-30.0f), x), &fraction));
  return F::Fma(fraction, power, F::Add(power, F::Set(-1.0f)));
}

}  // namespace
}  // namespace sterna
