// rows_f32: softmax and layer normalization of a row, over a float vector F (isa/<architecture>/vec_*.h), for every instruction set.
//
// Memory is passed over once: a row that fits L1 is read from memory for its largest value or its sum, and from L1 for the two passes that follow.
// The arithmetic of the exponential limits softmax, loads and stores limit the normalization; neither needs more than 12 registers. Errors are within
// the bounds of kernel.h. In the last, incomplete vector other lanes hold a value that changes nothing: the largest for e^x, whose results are then
// replaced by 0 (a result that underflows would cost more than the rest of a row), the mean for a variance.
#pragma once
#include "kernel.h"
#include "isa/exp_f32.h"

namespace sterna {
namespace {

alignas(64) constexpr float kLaneNumbers[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

template <typename F>
struct Rows {
  using Reg = typename F::Reg;
  static constexpr size_t kLanes = F::kLanes;

  // The first `count` lanes of x, `fill` in the others.
  static inline __attribute__((always_inline)) Reg Fill(Reg x, size_t count, Reg fill) {
    return F::SelectLess(F::Load(kLaneNumbers), F::Set(static_cast<float>(count)), x, fill);
  }
  static inline __attribute__((always_inline)) Reg LoadFilled(const float* x, size_t count, Reg fill) { return Fill(F::LoadPart(x, F::MakeMask(count)), count, fill); }

  // The sum of op(v) over the vectors v of a row. Two sums, since each addition waits for the one before.
  template <typename Op>
  static inline __attribute__((always_inline)) float Sum(size_t n, const float* x, Reg fill, Op op) {
    Reg even = F::Set(0.0f), odd = even;
    size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      even = F::Add(even, op(F::Load(x + i)));
      odd = F::Add(odd, op(F::Load(x + i + kLanes)));
    }
    if (i + kLanes <= n) {
      even = F::Add(even, op(F::Load(x + i)));
      i += kLanes;
    }
    if (i < n) odd = F::Add(odd, op(LoadFilled(x + i, n - i, fill)));
    return F::SumOf(F::Add(even, odd));
  }

  // NaN may or may not count: the exponential of a NaN is NaN, whatever is taken from it.
  static inline float Largest(size_t n, const float* x) {
    if (n < kLanes) return F::LargestOf(LoadFilled(x, n, F::Set(-__builtin_inff())));
    Reg even = F::Load(x), odd = F::Load(x + n - kLanes);  // the last vector may overlap the one before
    size_t i = kLanes;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      even = F::Max(F::Load(x + i), even);
      odd = F::Max(F::Load(x + i + kLanes), odd);
    }
    if (i + kLanes <= n) even = F::Max(F::Load(x + i), even);
    return F::LargestOf(F::Max(even, odd));
  }

  static void Softmax(size_t n, const float* x, float* y) {
    const Reg largest = F::Set(Largest(n, x));
    Reg sum = F::Set(0.0f);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) {
      const Reg e = ExpOf<F>(F::Sub(F::Load(x + i), largest));
      F::Store(y + i, e);
      sum = F::Add(sum, e);
    }
    const typename F::Mask rest = F::MakeMask(n - i);
    if (i < n) {
      const Reg e = Fill(ExpOf<F>(F::Sub(LoadFilled(x + i, n - i, largest), largest)), n - i, F::Set(0.0f));
      F::StorePart(y + i, rest, e);
      sum = F::Add(sum, e);
    }
    const Reg factor = F::Set(1.0f / F::SumOf(sum));
    for (i = 0; i + kLanes <= n; i += kLanes) F::Store(y + i, F::Mul(F::Load(y + i), factor));
    if (i < n) F::StorePart(y + i, rest, F::Mul(F::LoadPart(y + i, rest), factor));
  }

  template <bool kScaled, bool kShifted>
  static inline __attribute__((always_inline)) void Write(size_t n, const float* x, const float* scale, const float* bias, Reg mean, Reg factor, float* y) {
    const auto normal = [&](Reg v, Reg s, Reg b) {
      const Reg z = F::Mul(F::Sub(v, mean), factor);
      return kShifted ? F::Fma(z, s, b) : kScaled ? F::Mul(z, s) : z;
    };
    const Reg one = F::Set(1.0f), zero = F::Set(0.0f);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) F::Store(y + i, normal(F::Load(x + i), kScaled ? F::Load(scale + i) : one, kShifted ? F::Load(bias + i) : zero));
    if (i == n) return;
    const typename F::Mask rest = F::MakeMask(n - i);
    F::StorePart(y + i, rest, normal(F::LoadPart(x + i, rest), kScaled ? F::LoadPart(scale + i, rest) : one, kShifted ? F::LoadPart(bias + i, rest) : zero));
  }

  static void Normalize(size_t n, const float* x, const float* scale, const float* bias, float epsilon, float* y) {
    const float count = static_cast<float>(n);
    const Reg mean = F::Set(Sum(n, x, F::Set(0.0f), [](Reg v) { return v; }) / count);
    const float squares = Sum(n, x, mean, [mean](Reg v) {
      const Reg d = F::Sub(v, mean);
      return F::Mul(d, d);
    });
    const Reg factor = F::Set(1.0f / F::SquareRoot(squares / count + epsilon));
    if (scale != nullptr && bias != nullptr) return Write<true, true>(n, x, scale, bias, mean, factor, y);
    if (scale != nullptr) return Write<true, false>(n, x, scale, bias, mean, factor, y);
    if (bias != nullptr) return Write<false, true>(n, x, scale, bias, mean, factor, y);
    Write<false, false>(n, x, scale, bias, mean, factor, y);
  }

  // Only the largest keeps a NaN, and gives it to the smallest at the end.
  static void ExtendRange(size_t n, const float* x, float* low, float* high) {
    Reg smallest[2] = {F::Set(*low), F::Set(*low)}, largest[2] = {F::Set(*high), F::Set(*high)};
    const auto take = [&](int i, Reg v) { smallest[i] = F::Min(v, smallest[i]), largest[i] = F::MaxOrNaN(v, largest[i]); };
    size_t i = 0;
    for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
      take(0, F::Load(x + i));
      take(1, F::Load(x + i + kLanes));
    }
    if (i + kLanes <= n) {
      take(0, F::Load(x + i));
      i += kLanes;
    }
    if (i < n) take(1, LoadFilled(x + i, n - i, F::Set(*high)));
    alignas(64) float lanes[2][kLanes];
    F::Store(lanes[0], F::Min(smallest[0], smallest[1]));
    F::Store(lanes[1], F::MaxOrNaN(largest[0], largest[1]));
    for (size_t lane = 0; lane < kLanes; ++lane) {
      if (lanes[0][lane] < *low) *low = lanes[0][lane];
      if (lanes[1][lane] > *high || lanes[1][lane] != lanes[1][lane]) *high = lanes[1][lane];
    }
    if (*high != *high) *low = *high;
  }

  static constexpr RowsF32Kernels Kernels(const char* name) { return {name, Softmax, Normalize, ExtendRange}; }
};

}  // namespace
}  // namespace sterna
