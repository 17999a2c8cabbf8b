// audio: the power spectrum and the bands over a float vector F (isa/<architecture>/vec_*.h), for every instruction set.
//
// Formula: kernel.h. The complex transform is Stockham's (radix 4, and 2 where the length asks for it), in two halves with a transposition in
// between, so that even its first pass works on whole vectors (after D. H. Bailey, "FFTs in external or hierarchical memory", 1990).
// Registers: a radix-4 butterfly holds 8 values, 6 twiddles and 8 results, which 16 registers just miss; twiddles then come from memory, where
// they are broadcast. A pass is bound by loads and stores, since all of it lies in the first-level cache: 2 * points floats of scratch are
// 8 KiB for 512 points (Zen 5, avx512vnni: 0.5 us a frame, see DECISIONS.md).
// Preconditions: those of SpectrumPlan; x, power and scratch do not overlap.
#pragma once
#include "kernel.h"

namespace sterna {
namespace {

// Real and imaginary parts lie apart.
struct Complex {
  float *re, *im;
};

template <typename F>
struct Spectrum {
  using Reg = typename F::Reg;
  using Mask = typename F::Mask;
  static constexpr size_t kLanes = F::kLanes;

  struct Value {
    Reg re, im;
  };

  template <bool kPart>
  static inline __attribute__((always_inline)) Value Load(const Complex& from, size_t at, Mask mask) {
    if (kPart) return {F::LoadPart(from.re + at, mask), F::LoadPart(from.im + at, mask)};
    return {F::Load(from.re + at), F::Load(from.im + at)};
  }
  template <bool kPart>
  static inline __attribute__((always_inline)) void Store(const Complex& to, size_t at, Mask mask, Value v) {
    if (kPart) {
      F::StorePart(to.re + at, mask, v.re);
      F::StorePart(to.im + at, mask, v.im);
    } else {
      F::Store(to.re + at, v.re);
      F::Store(to.im + at, v.im);
    }
  }
  static inline Value Add(Value a, Value b) { return {F::Add(a.re, b.re), F::Add(a.im, b.im)}; }
  static inline Value Sub(Value a, Value b) { return {F::Sub(a.re, b.re), F::Sub(a.im, b.im)}; }
  // a times the twiddle w[0] + i w[1].
  static inline Value Times(Value a, const float* w) {
    const Reg re = F::Set(w[0]), im = F::Set(w[1]);
    return {F::Sub(F::Mul(a.re, re), F::Mul(a.im, im)), F::Add(F::Mul(a.re, im), F::Mul(a.im, re))};
  }

  // One butterfly of radix 4: inputs a quarter of `step` apart, outputs `s` apart.
  template <bool kPart>
  static inline __attribute__((always_inline)) void Butterfly4(const Complex& x, size_t in, size_t quarter, const Complex& y, size_t out, size_t s, const float* w, Mask mask) {
    const Value a = Load<kPart>(x, in, mask), b = Load<kPart>(x, in + quarter, mask);
    const Value c = Load<kPart>(x, in + 2 * quarter, mask), d = Load<kPart>(x, in + 3 * quarter, mask);
    const Value ac = Add(a, c), amc = Sub(a, c), bd = Add(b, d), bmd = Sub(b, d);
    // amc -+ i * bmd
    const Value minus = {F::Add(amc.re, bmd.im), F::Sub(amc.im, bmd.re)}, plus = {F::Sub(amc.re, bmd.im), F::Add(amc.im, bmd.re)};
    Store<kPart>(y, out, mask, Add(ac, bd));
    Store<kPart>(y, out + s, mask, Times(minus, w));
    Store<kPart>(y, out + 2 * s, mask, Times(Sub(ac, bd), w + 2));
    Store<kPart>(y, out + 3 * s, mask, Times(plus, w + 4));
  }

  // All passes of a transform of `length` values along a matrix of length x batch. Begins in x; both are overwritten. Returns where the result is.
  static Complex Transform(size_t length, size_t batch, const float* twiddles, Complex x, Complex y) {
    size_t s = batch;
    for (; length >= 4; length /= 4, s *= 4) {
      const size_t quarter = length / 4 * s;
      for (size_t p = 0; p < length / 4; ++p, twiddles += 6) {
        size_t q = 0;
        for (; q + kLanes <= s; q += kLanes) Butterfly4<false>(x, q + s * p, quarter, y, q + 4 * s * p, s, twiddles, Mask{});
        if (q < s) Butterfly4<true>(x, q + s * p, quarter, y, q + 4 * s * p, s, twiddles, F::MakeMask(s - q));
      }
      const Complex swapped = x;
      x = y, y = swapped;
    }
    if (length == 1) return x;
    for (size_t q = 0; q < s; q += kLanes) {
      const Mask mask = F::MakeMask(s - q);
      const Value a = Load<true>(x, q, mask), b = Load<true>(x, q + s, mask);
      Store<true>(y, q, mask, Add(a, b));
      Store<true>(y, q + s, mask, Sub(a, b));
    }
    return y;
  }

  // to[c * rows + r] = from[r * columns + c] * between[r * columns + c]
  static void TransposeTwiddled(const SpectrumPlan& plan, const Complex& from, const Complex& to) {
    for (size_t r = 0; r < plan.rows; ++r) {
      const size_t row = r * plan.columns;
      for (size_t c = 0; c < plan.columns; c += kLanes) {
        const Mask mask = F::MakeMask(plan.columns - c);
        const Value v = Load<true>(from, row + c, mask);
        const Reg wr = F::LoadPart(plan.between_re + row + c, mask), wi = F::LoadPart(plan.between_im + row + c, mask);
        float re[kLanes], im[kLanes];
        F::Store(re, F::Sub(F::Mul(v.re, wr), F::Mul(v.im, wi)));
        F::Store(im, F::Add(F::Mul(v.re, wi), F::Mul(v.im, wr)));
        const size_t count = plan.columns - c < kLanes ? plan.columns - c : kLanes;
        for (size_t i = 0; i < count; ++i) to.re[(c + i) * plan.rows + r] = re[i], to.im[(c + i) * plan.rows + r] = im[i];
      }
    }
  }

  // The spectrum of the real signal from that of its even and odd values as one complex signal: z = E + i O; X[k] = E[k] + w^k O[k], and
  // X[n - k] is the conjugate of E[k] - w^k O[k].
  static void Split(const SpectrumPlan& plan, const float* __restrict re, const float* __restrict im, float* __restrict power) {
    const size_t n = plan.points / 2;
    for (size_t k = 1; k <= n / 2; ++k) {
      const float er = 0.5f * (re[k] + re[n - k]), ei = 0.5f * (im[k] - im[n - k]);
      const float od = 0.5f * (im[k] + im[n - k]), oi = 0.5f * (re[n - k] - re[k]);
      const float tr = od * plan.split_re[k] - oi * plan.split_im[k], ti = od * plan.split_im[k] + oi * plan.split_re[k];
      const float pr = er + tr, pi = ei + ti, mr = er - tr, mi = ei - ti;
      power[n - k] = mr * mr + mi * mi;
      power[k] = pr * pr + pi * pi;
    }
    const float sum = re[0] + im[0], difference = re[0] - im[0];
    power[0] = sum * sum;
    power[n] = difference * difference;
  }

  static void Power(const SpectrumPlan* plan, const float* x, float* power, float* scratch) {
    const size_t n = plan->points / 2;
    const Complex a = {scratch, scratch + n}, b = {scratch + 2 * n, scratch + 3 * n};
    for (size_t i = 0; i < n; ++i) a.re[i] = x[2 * i], a.im[i] = x[2 * i + 1];
    const Complex columns = Transform(plan->rows, plan->columns, plan->row_twiddles, a, b);
    const Complex other = columns.re == a.re ? b : a;
    TransposeTwiddled(*plan, columns, other);
    const Complex z = Transform(plan->columns, plan->rows, plan->column_twiddles, other, columns);
    Split(*plan, z.re, z.im, power);
  }

  static void Bands(const BandTable* table, const float* x, float* y) {
    for (size_t m = 0; m < table->bands; ++m) {
      const float *from = x + table->first[m], *weights = table->weights + table->offset[m];
      const size_t length = table->length[m];
      Reg sum = F::Set(0.0f);
      size_t i = 0;
      for (; i + kLanes <= length; i += kLanes) sum = F::Add(sum, F::Mul(F::Load(weights + i), F::Load(from + i)));
      if (i < length) {
        const Mask mask = F::MakeMask(length - i);
        sum = F::Add(sum, F::Mul(F::LoadPart(weights + i, mask), F::LoadPart(from + i, mask)));
      }
      float lanes[kLanes];
      F::Store(lanes, sum);
      for (size_t half = kLanes / 2; half > 0; half /= 2) {
        for (size_t k = 0; k < half; ++k) lanes[k] += lanes[k + half];
      }
      y[m] = lanes[0];
    }
  }

  static constexpr AudioKernels Kernels(const char* name) { return {name, Power, Bands}; }
};

}  // namespace
}  // namespace sterna
