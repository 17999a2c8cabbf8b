// e^x over a float vector F (isa/<architecture>/vec_*.h), for every instruction set.
//
// e^x = 2^n * e^r with n = round(x / ln 2) and |r| <= ln 2 / 2. ln 2 is taken in two parts, so that n * the first is exact; e^r is
// 1 + r + r^2 * p(r), the polynomial of Cephes' expf. Error within 2 ulp; NaN gives NaN. Where lanes can look numbers up, e^x is
// 2^n * 2^(j / 16) * e^r with 16 n + j = round(16 x / ln 2), and |r| <= ln 2 / 32 needs a polynomial of degree 3: within 1.2 ulp.
#pragma once

namespace sterna {
namespace {

// n + 1.5 * 2^23, whose lowest bits are those of n, and e^r - 1 in *fraction.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ReduceExp(typename F::Reg x, typename F::Reg* fraction) {
  using Reg = typename F::Reg;
  const Reg shifted = F::Fma(x, F::Set(1.44269504f), F::Set(0x1.8p23f)), n = F::Sub(shifted, F::Set(0x1.8p23f));
  const Reg r = F::NegFma(n, F::Set(-2.12194440e-4f), F::NegFma(n, F::Set(0.693359375f), x));
  Reg p = F::Set(1.9875691500e-4f);
  p = F::Fma(p, r, F::Set(1.3981999507e-3f));
  p = F::Fma(p, r, F::Set(8.3334519073e-3f));
  p = F::Fma(p, r, F::Set(4.1665795894e-2f));
  p = F::Fma(p, r, F::Set(1.6666665459e-1f));
  p = F::Fma(p, r, F::Set(5.0000001201e-1f));
  *fraction = F::Fma(F::Mul(r, r), p, r);
  return shifted;
}

// 2^(j / 16)
alignas(64) constexpr float kSixteenths[16] = {1.0f,        1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f, 1.29683959f, 1.35425556f,
                                               1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f, 1.68179286f, 1.75625217f, 1.8340081f,  1.91520655f};

// x in [-105, 90], or NaN. The sum with 1.5 * 2^23 is rounded to a whole number, whose lowest bits are those of the sum.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpByTable(typename F::Reg x) {
  using Reg = typename F::Reg;
  const Reg shifted = F::Fma(x, F::Set(23.0831207f), F::Set(0x1.8p23f)), n = F::Sub(shifted, F::Set(0x1.8p23f));
  const Reg r = F::NegFma(n, F::Set(1.99663656e-6f), F::NegFma(n, F::Set(0x1.62ep-5f), x));
  const Reg p = F::Fma(F::Fma(F::Set(1.6666667e-1f), r, F::Set(0.5f)), F::Mul(r, r), r);
  const Reg power = F::LookUp16(kSixteenths, F::BitsOf(shifted));
  return F::TimesPowerOfTwoBelow(F::Fma(power, p, power), F::Mul(n, F::Set(0.0625f)));
}

constexpr float kNormalExp = 87.0f;  // e^x and 2^n are normal numbers for |x| up to here

// The bounds are beyond overflow to inf and underflow to 0; max and min keep NaN in their second operand.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpOfAny(typename F::Reg x) {
  const typename F::Reg bounded = F::Min(F::Set(90.0f), F::Max(F::Set(-105.0f), x));
  typename F::Reg fraction;
  const typename F::Reg n = F::Sub(ReduceExp<F>(bounded, &fraction), F::Set(0x1.8p23f));
  return F::TimesPowerOfTwo(F::Add(fraction, F::Set(1.0f)), n);
}

// Where vectors are tested cheaply, one of normal results takes a shorter way to the same bits.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpOf(typename F::Reg x) {
  if constexpr (F::kLooksUp) {
    return ExpByTable<F>(F::Min(F::Set(90.0f), F::Max(F::Set(-105.0f), x)));
  } else if constexpr (!F::kTestsCheaply) {
    return ExpOfAny<F>(x);
  } else {
    if (__builtin_expect(!F::AllAtMost(F::Abs(x), kNormalExp), 0)) return ExpOfAny<F>(x);
    typename F::Reg fraction;
    const typename F::Reg power = F::PowerOfTwoShifted(ReduceExp<F>(x, &fraction));
    return F::Fma(fraction, power, power);
  }
}

// e^x for x <= 88, and 0 for x < -88: no denormal results.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpOrZero(typename F::Reg x) {
  if constexpr (F::kLooksUp) {
    return ExpOf<F>(x);
  } else {
    typename F::Reg fraction;
    const typename F::Reg power = F::PowerOfTwoShifted(ReduceExp<F>(F::Max(F::Set(-88.0f), x), &fraction));
    return F::Fma(fraction, power, power);
  }
}

// e^x - 1 for x <= 0, without cancellation: within 2 ulp. For positive x: any value.
template <typename F>
static inline __attribute__((always_inline)) typename F::Reg ExpMinusOneOf(typename F::Reg x) {
  typename F::Reg fraction;
  const typename F::Reg power = F::PowerOfTwoShifted(ReduceExp<F>(F::Max(F::Set(-30.0f), x), &fraction));
  return F::Fma(fraction, power, F::Add(power, F::Set(-1.0f)));
}

}  // namespace
}  // namespace sterna
