// Every runnable table of functions of rows against double precision, within the bounds of families/rows_f32/kernel.h.
#include <algorithm>
#include <cfenv>
#include <cmath>
#include <limits>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::RowsF32Kernels;

constexpr double kEpsilon = 1.0 / (1 << 23);
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Random floats next to a guard page, mostly at a place that is not aligned.
struct RandomRow : Guarded {
  RandomRow(Random& random, size_t n, float lowest, float highest) : Guarded(n * 4) {
    for (size_t i = 0; i < n; ++i) as<float>()[i] = random.Float(lowest, highest);
  }
};

void CheckSoftmax(const RowsF32Kernels& kernels, size_t n, float range, Random& random) {
  RandomRow x(random, n, -range, range);
  Guarded y(n * 4);
  kernels.softmax(n, x.as<float>(), y.as<float>());
  const double largest = static_cast<double>(*std::max_element(x.as<float>(), x.as<float>() + n));
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x.as<float>()[i]) - largest);
  for (size_t i = 0; i < n; ++i) {
    const double depth = largest - static_cast<double>(x.as<float>()[i]), exact = std::exp(-depth) / sum;
    const double bound = kEpsilon * (sterna::kSoftmaxTerms + depth + static_cast<double>(n) / 4) * exact + sterna::kSoftmaxDenormal;
    EXPECT_MSG(std::fabs(static_cast<double>(y.as<float>()[i]) - exact) <= bound, Format("%s softmax n=%zu i=%zu: %.9g instead of %.17g", kernels.name, n, i, static_cast<double>(y.as<float>()[i]), exact));
  }
  kernels.softmax(n, x.as<float>(), x.as<float>());
  EXPECT_MSG(FirstDifference(x.data(), y.data(), n * 4) < 0, Format("%s softmax n=%zu: in place differs", kernels.name, n));
}

// -infinity counts nothing; NaN, infinity and nothing but -infinity make the row NaN.
void CheckSoftmaxSpecials(const RowsF32Kernels& kernels, size_t n, Random& random) {
  const auto with = [&](float special, size_t from, size_t to, auto check) {
    RandomRow x(random, n, -3, 3);
    Guarded y(n * 4);
    std::fill(x.as<float>() + from, x.as<float>() + to, special);
    kernels.softmax(n, x.as<float>(), y.as<float>());
    EXPECT_MSG(std::all_of(y.as<float>(), y.as<float>() + n, check), Format("%s softmax n=%zu with %g in [%zu, %zu)", kernels.name, n, static_cast<double>(special), from, to));
  };
  for (size_t at = 0; at < n; ++at) {
    with(std::numeric_limits<float>::quiet_NaN(), at, at + 1, [](float v) { return std::isnan(v); });
    with(kInfinity, at, at + 1, [](float v) { return std::isnan(v); });
  }
  with(-kInfinity, 0, n, [](float v) { return std::isnan(v); });
  if (n > 1) with(-kInfinity, 1, n, [](float v) { return v == 0.0f || v == 1.0f; });
}

// A result that underflows costs some CPUs more than a whole row, so that lanes beyond its end must have none.
void CheckNoUnderflow(const RowsF32Kernels& kernels, size_t n, Random& random) {
  RandomRow x(random, n, -8, 8);
  Guarded y(n * 4);
  std::feclearexcept(FE_UNDERFLOW);
  kernels.softmax(n, x.as<float>(), y.as<float>());
  EXPECT_MSG(std::fetestexcept(FE_UNDERFLOW) == 0, Format("%s softmax n=%zu: a lane underflows", kernels.name, n));
}

struct NormalizeCase {
  size_t n;
  bool scaled, shifted;
  float mean, range;
};

void CheckNormalize(const RowsF32Kernels& kernels, const NormalizeCase& c, Random& random) {
  const float epsilon = 1e-5f;
  RandomRow x(random, c.n, c.mean - c.range, c.mean + c.range), scale(random, c.n, -2, 2), bias(random, c.n, -2, 2);
  Guarded y(c.n * 4);
  kernels.normalize(c.n, x.as<float>(), c.scaled ? scale.as<float>() : nullptr, c.shifted ? bias.as<float>() : nullptr, epsilon, y.as<float>());
  double mean = 0, variance = 0, largest = 0;
  for (size_t i = 0; i < c.n; ++i) mean += static_cast<double>(x.as<float>()[i]) / static_cast<double>(c.n);
  for (size_t i = 0; i < c.n; ++i) {
    const double v = static_cast<double>(x.as<float>()[i]);
    variance += (v - mean) * (v - mean) / static_cast<double>(c.n), largest = std::max(largest, std::fabs(v));
  }
  const double deviation = std::sqrt(variance + static_cast<double>(epsilon));
  for (size_t i = 0; i < c.n; ++i) {
    const double normal = (static_cast<double>(x.as<float>()[i]) - mean) / deviation;
    const double factor = c.scaled ? static_cast<double>(scale.as<float>()[i]) : 1.0, summand = c.shifted ? static_cast<double>(bias.as<float>()[i]) : 0.0;
    const double exact = normal * factor + summand, terms = sterna::kNormalizeTerms + static_cast<double>(c.n) / 4;
    const double bound = kEpsilon * (terms * (largest / deviation + std::fabs(normal)) * std::fabs(factor) + std::fabs(exact) + std::fabs(summand));
    EXPECT_MSG(std::fabs(static_cast<double>(y.as<float>()[i]) - exact) <= bound, Format("%s normalize n=%zu i=%zu: %.9g instead of %.17g", kernels.name, c.n, i, static_cast<double>(y.as<float>()[i]), exact));
  }
  kernels.normalize(c.n, x.as<float>(), c.scaled ? scale.as<float>() : nullptr, c.shifted ? bias.as<float>() : nullptr, epsilon, x.as<float>());
  EXPECT_MSG(FirstDifference(x.data(), y.data(), c.n * 4) < 0, Format("%s normalize n=%zu: in place differs", kernels.name, c.n));
}

// The range of a row and what is known before; a NaN anywhere makes both ends NaN.
void CheckRange(const RowsF32Kernels& kernels, size_t n, Random& random) {
  RandomRow x(random, n, -5, 5);
  for (float known : {0.0f, 4.9f, 7.0f}) {
    float low = -known, high = known;
    kernels.extend_range(n, x.as<float>(), &low, &high);
    const float smallest = std::min(-known, *std::min_element(x.as<float>(), x.as<float>() + n));
    const float largest = std::max(known, *std::max_element(x.as<float>(), x.as<float>() + n));
    EXPECT_MSG(low == smallest && high == largest, Format("%s extend_range n=%zu: [%g, %g]", kernels.name, n, static_cast<double>(low), static_cast<double>(high)));
  }
  for (size_t at = 0; at < n; ++at) {
    const float was = x.as<float>()[at];
    x.as<float>()[at] = std::numeric_limits<float>::quiet_NaN();
    float low = 0, high = 0;
    kernels.extend_range(n, x.as<float>(), &low, &high);
    EXPECT_MSG(std::isnan(low) && std::isnan(high), Format("%s extend_range n=%zu: NaN at %zu is lost", kernels.name, n, at));
    x.as<float>()[at] = at % 2 == 0 ? kInfinity : -kInfinity;
    low = 0, high = 0;
    kernels.extend_range(n, x.as<float>(), &low, &high);
    EXPECT_MSG(at % 2 == 0 ? high == kInfinity : low == -kInfinity, Format("%s extend_range n=%zu: infinity at %zu is lost", kernels.name, n, at));
    x.as<float>()[at] = was;
  }
  float low = std::numeric_limits<float>::quiet_NaN(), high = low;
  kernels.extend_range(n, x.as<float>(), &low, &high);
  EXPECT_MSG(std::isnan(low) && std::isnan(high), Format("%s extend_range n=%zu: a NaN from before is lost", kernels.name, n));
}

void TestRows(const RowsF32Kernels& kernels) {
  Random random(13);
  for (size_t n : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 35, 48, 63, 64, 65, 99, 197, 1000}) {
    for (float range : {0.5f, 8.0f, 90.0f}) CheckSoftmax(kernels, n, range, random);
    CheckNoUnderflow(kernels, n, random);
    for (int options = 0; options < 4; ++options) {
      CheckNormalize(kernels, {n, (options & 1) != 0, (options & 2) != 0, 0.0f, 1.0f}, random);
      CheckNormalize(kernels, {n, (options & 1) != 0, (options & 2) != 0, 100.0f, 3.0f}, random);
    }
  }
  for (size_t n : {1, 3, 8, 16, 21, 40}) CheckSoftmaxSpecials(kernels, n, random);
  for (size_t n : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 64, 65, 200}) CheckRange(kernels, n, random);
}

}  // namespace

STERNA_TEST(rows_f32_are_within_their_bounds) {
  ForEachIsa("rows_f32", &sterna::IsaKernels::rows_f32, [](const sterna::IsaKernels& isa) { TestRows(*isa.rows_f32); });
  TestRows(sterna_rows_f32_ref);
}

}  // namespace sterna_test
