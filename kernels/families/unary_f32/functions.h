// unary_f32: the functions over a float vector F (isa/<architecture>/vec_*.h), for every instruction set.
//
// Errors stay within the bounds of kernel.h; floor, ceil and round have none. Signed zeros, infinities and NaN are as ref's, but for
// gelu(-infinity), which is 0.
//
// tanh, erf and gelu are looked up in pieces (piecewise.h) where lanes can choose among registers; their formulas here are for the others.
//
// Nothing is limited by registers: up to 12 constants at a time are operands in memory, and the iterations overlap, since none depends on
// another. Both branches of a function are computed, and one is selected. Without fma (SSE4.1) products are rounded before they are added, so
// results differ between instruction sets in the last bits.
#pragma once
#include "kernel.h"
#include "isa/exp_f32.h"
#include "piecewise.h"

namespace sterna {
namespace {

template <typename F>
struct Functions {
  using Reg = typename F::Reg;
  static constexpr size_t kLanes = F::kLanes;

  template <typename Op>
  static inline __attribute__((always_inline)) void Map(size_t n, const float* x, float* y, Op op) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) F::Store(y + i, op(F::Load(x + i)));
    if (i == n) return;
    const typename F::Mask mask = F::MakeMask(n - i);
    F::StorePart(y + i, mask, op(F::LoadPart(x + i, mask)));
  }

  // A polynomial, the coefficient of the highest power first.
  template <size_t kCount>
  static inline __attribute__((always_inline)) Reg Polynomial(Reg x, const float (&coefficients)[kCount]) {
    Reg p = F::Set(coefficients[0]);
#pragma GCC unroll 16
    for (size_t i = 1; i < kCount; ++i) p = F::Fma(p, x, F::Set(coefficients[i]));
    return p;
  }

  static void Floor(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) { return F::Floor(v); });
  }
  static void Ceil(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) { return F::Ceil(v); });
  }
  static void Round(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) { return F::Round(v); });
  }

  // With t = e^(-2 |x|) - 1, tanh |x| = -t / (t + 2).
  static inline Reg TanhOf(Reg x) {
    if constexpr (F::kLooksUp) return F::CopySign(Piecewise<F>(kTanhTable, F::Abs(x), 9.99f), x);
    const Reg t = ExpMinusOneOf<F>(F::Mul(F::Abs(x), F::Set(-2.0f)));
    return F::CopySign(F::Div(t, F::Add(t, F::Set(2.0f))), x);
  }
  static void Tanh(size_t n, const float* x, float* y, float, float) { Map(n, x, y, TanhOf); }
  static void ScaledTanh(size_t n, const float* x, float* y, float alpha, float beta) {
    const Reg outer = F::Set(alpha), inner = F::Set(beta);
    Map(n, x, y, [outer, inner](Reg v) { return F::Mul(outer, TanhOf(F::Mul(inner, v))); });
  }

  static void Elu(size_t n, const float* x, float* y, float alpha, float) {
    const Reg slope = F::Set(alpha), zero = F::Set(0.0f);
    Map(n, x, y, [slope, zero](Reg v) { return F::SelectLess(v, zero, F::Mul(slope, ExpMinusOneOf<F>(v)), v); });
  }
  static void Selu(size_t n, const float* x, float* y, float alpha, float gamma) {
    const Reg slope = F::Set(alpha), factor = F::Set(gamma), zero = F::Set(0.0f);
    Map(n, x, y, [=](Reg v) { return F::Mul(factor, F::SelectLess(v, zero, F::Mul(slope, ExpMinusOneOf<F>(v)), v)); });
  }
  static void Celu(size_t n, const float* x, float* y, float alpha, float) {
    const Reg slope = F::Set(alpha), zero = F::Set(0.0f);
    Map(n, x, y, [slope, zero](Reg v) { return F::SelectLess(v, zero, F::Mul(slope, ExpMinusOneOf<F>(F::Div(v, slope))), v); });
  }

  // erf |x| of small |x|, and 1 - erf |x| of others: an odd polynomial, and e to the power of one (after N. Juffa,
  // https://stackoverflow.com/questions/35148198).
  static constexpr float kErfLimit = 0.927734375f;
  static inline Reg SmallErf(Reg t) {
    return F::Fma(Polynomial(F::Mul(t, t), {-5.96761703e-4f, 4.99119423e-3f, -2.67681349e-2f, 1.12819925e-1f, -3.76125336e-1f, 1.28379166e-1f}), t, t);
  }
  static inline Reg LargeErfc(Reg t) {
    const Reg p = Polynomial(t, {-1.72853470e-5f, 3.83197126e-4f, -3.88396438e-3f, 2.42546219e-2f, -1.06777877e-1f, -6.34846687e-1f, -1.28717512e-1f});
    return ExpOrZero<F>(F::Fma(p, t, F::Sub(F::Set(0.0f), t)));
  }
  static void Erf(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg t = F::Abs(v);
      if constexpr (F::kLooksUp) return F::CopySign(Piecewise<F>(kErfTable, t, 3.99f), v);
      return F::CopySign(F::SelectLess(F::Set(kErfLimit), t, F::Sub(F::Set(1.0f), LargeErfc(t)), SmallErf(t)), v);
    });
  }

  // erfc(t / sqrt 2) / 2, the upper tail of the normal distribution, for t in [0, 30], within 2e-8: 2 to the power of a polynomial, the minimax fit
  // to its logarithm up to 5.6; beyond, where the tail is below 1e-8, the polynomial goes on falling. 2^f - 1 is a minimax polynomial for |f| <= 1/2.
  static inline Reg UpperTail(Reg t) {
    if constexpr (F::kLooksUp) return Piecewise<F>(kUpperTailTable, t, 7.99f);
    const Reg log = Polynomial(t, {-2.7720491e-6f, 3.8620747e-5f, -1.8254759e-4f, -1.4587014e-4f, 7.075472e-3f, -5.2505028e-2f, -0.4592049f, -1.1511058f, -1.0f});
    const Reg bounded = F::Max(F::Set(-127.0f), log), shifted = F::Add(bounded, F::Set(0x1.8p23f)), f = F::Sub(bounded, F::Sub(shifted, F::Set(0x1.8p23f)));
    const Reg power = F::PowerOfTwoShifted(shifted);
    return F::Fma(F::Mul(f, power), Polynomial(f, {1.5353362e-4f, 1.3398874e-3f, 9.618437e-3f, 5.5503324e-2f, 0.24022648f, 0.6931472f}), power);
  }
  // max(x, 0) - |x| * the upper tail of |x|, which is 0 from 14 on, whatever it is multiplied with.
  static void Gelu(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg magnitude = F::Min(F::Set(30.0f), F::Abs(v)), zero = F::Set(0.0f);
      return F::NegFma(magnitude, UpperTail(magnitude), F::SelectLess(v, zero, zero, v));
    });
  }
  // x / (1 + e^(-2 u)) is x / 2 * (1 + tanh u).
  static void GeluTanh(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg cubic = F::Fma(F::Mul(F::Mul(v, v), F::Set(0.044715f * -1.59576912f)), v, F::Mul(v, F::Set(-1.59576912f)));
      return F::Div(v, F::Add(ExpOf<F>(cubic), F::Set(1.0f)));
    });
  }

  // x * tanh(log(1 + e)) with e = e^x is x * w / (w + 2) with w = e (e + 2). From x = 20 on the quotient is 1.
  static void Mish(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg e = ExpOf<F>(F::Min(F::Set(20.0f), v)), two = F::Set(2.0f), w = F::Mul(e, F::Add(e, two));
      return F::Mul(v, F::Div(w, F::Add(w, two)));
    });
  }

  // x = m 2^e with m between sqrt(1/2) and sqrt(2); log m by the polynomial of Cephes' logf. ln 2 is taken in two parts. x: a normal number.
  static inline Reg LogOfNormal(Reg x, Reg shift) {
    Reg e;
    const Reg f = F::Sub(F::SplitPowerOfTwo(x, &e), F::Set(1.0f)), square = F::Mul(f, f);
    e = F::Add(e, shift);
    const Reg p = Polynomial(f, {7.0376836292e-2f, -1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f,
                                 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f});
    const Reg low = F::NegFma(square, F::Set(0.5f), F::Fma(e, F::Set(-2.12194440e-4f), F::Mul(F::Mul(p, f), square)));
    return F::Fma(e, F::Set(0.693359375f), F::Add(f, low));
  }
  // Denormal numbers are multiplied by 2^24 first. Infinity and NaN stay as they are; zeros give -infinity, and negative numbers NaN.
  static void Log(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg least_normal = F::Set(0x1p-126f), zero = F::Set(0.0f), infinity = F::Set(__builtin_inff());
      const Reg normal = F::SelectLess(v, least_normal, F::Mul(v, F::Set(0x1p24f)), v);
      const Reg log = LogOfNormal(normal, F::SelectLess(v, least_normal, F::Set(-24.0f), zero));
      const Reg special = F::SelectLess(v, zero, F::Set(__builtin_nanf("")), F::Set(-__builtin_inff()));
      return F::SelectLess(v, F::Set(0x1p-149f), special, F::SelectLess(v, infinity, log, v));
    });
  }
  // max(x, 0) + log(1 + e) with e = e^-|x|; what rounding took from 1 + e is added to the logarithm.
  static void Softplus(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg e = ExpOf<F>(F::MinusAbs(v)), one = F::Set(1.0f), zero = F::Set(0.0f), sum = F::Add(e, one);
      const Reg lost = F::Sub(e, F::Sub(sum, one));
      return F::Add(F::SelectLess(v, zero, zero, v), F::Add(LogOfNormal(sum, zero), F::Div(lost, sum)));
    });
  }

  // sin(x) = (-1)^k sin(r) with r = x - k pi. pi is taken in five parts, the first four of 8 bits: their products with k are exact, so r is
  // right to the last bits also where it is small. sin(r) is r + r^3 p(r^2), within 1e-9 for |r| <= pi / 2.
  static inline Reg Sine(Reg x, Reg multiple, Reg k) {
    Reg r = F::NegFma(multiple, F::Set(3.140625f), x);
    r = F::NegFma(multiple, F::Set(0.000965118408f), r);
    r = F::NegFma(multiple, F::Set(2.5331974e-06f), r);
    r = F::NegFma(multiple, F::Set(1.97906047e-09f), r);
    r = F::NegFma(multiple, F::Set(5.12668814e-12f), r);
    const Reg square = F::Mul(r, r);
    const Reg p = F::Mul(Polynomial(square, {-2.38865869e-08f, 2.75252546e-06f, -0.000198408656f, 0.00833333097f, -0.166666672f}), square);
    return F::FlipOdd(F::Fma(p, r, r), k);
  }
  static void Sin(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg k = F::Round(F::Mul(v, F::Set(0.318309886f)));
      return F::SelectLess(F::Abs(v), F::Set(1e-4f), v, Sine(v, k, k));  // keeps -0, and x^3 is nothing
    });
  }
  // cos(x) = sin(x + pi / 2): the multiple of pi is half less than k.
  static void Cos(size_t n, const float* x, float* y, float, float) {
    Map(n, x, y, [](Reg v) {
      const Reg k = F::Round(F::Fma(v, F::Set(0.318309886f), F::Set(0.5f)));
      return Sine(v, F::Sub(k, F::Set(0.5f)), k);
    });
  }

  static constexpr UnaryF32Kernels Kernels(const char* name) {
    return {name, Floor, Ceil, Round, Tanh, ScaledTanh, Elu, Selu, Celu, Erf, Gelu, GeluTanh, Softplus, Mish, Log, Sin, Cos};
  }
};

}  // namespace
}  // namespace sterna
