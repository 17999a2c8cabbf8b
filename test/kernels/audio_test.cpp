// Every runnable audio kernel against sums in double precision: bounds as in families/audio/kernel.h.
#include "audio/spectrum_plan.h"

#include <cmath>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::AudioKernels;

// By the definition, with sines of the C library.
std::vector<double> ExactAmplitudes(const float* x, size_t n, std::vector<size_t> bins) {
  std::vector<double> all;
  for (size_t k : bins) {
    double re = 0, im = 0;
    for (size_t i = 0; i < n; ++i) {
      const double angle = 2 * M_PI * static_cast<double>(i * k % n) / static_cast<double>(n);
      re += static_cast<double>(x[i]) * std::cos(angle), im -= static_cast<double>(x[i]) * std::sin(angle);
    }
    all.push_back(std::sqrt(re * re + im * im));
  }
  return all;
}

// Few enough that the definition's square of work stays small, and all of them for small transforms.
std::vector<size_t> Bins(size_t points) {
  std::vector<size_t> bins;
  const size_t step = points <= 256 ? 1 : points / 128;
  for (size_t k = 0; k <= points / 2; k += step) bins.push_back(k);
  for (size_t k : {size_t{1}, size_t{3}, points / 4 - 1, points / 4 + 1, points / 2 - 1}) bins.push_back(k);
  return bins;
}

void Fill(Random& random, int kind, float* x, size_t n) {
  for (size_t i = 0; i < n; ++i) {
    const double t = static_cast<double>(i);
    if (kind == 0) x[i] = random.Float(-1, 1);
    if (kind == 1) x[i] = i == n / 3 ? 1.0f : 0.0f;
    if (kind == 2) x[i] = static_cast<float>(std::sin(t * 0.37) + 1e-4 * std::sin(t * 1.9));
    if (kind == 3) x[i] = 1.0f;
    if (kind == 4) x[i] = 0.0f;
  }
}

void TestPower(const AudioKernels& kernels) {
  Random random(3);
  for (size_t points = sterna::kLeastPoints; points <= sterna::kMostPoints; points *= 2) {
    const sterna::SpectrumTables tables(points);
    const std::vector<size_t> bins = Bins(points);
    for (int kind = 0; kind < (points > 2048 ? 1 : 5); ++kind) {
      Guarded x(points * 4), power((points / 2 + 1) * 4), scratch(points * 8);
      Fill(random, kind, x.as<float>(), points);
      kernels.power(&tables.plan(), x.as<float>(), power.as<float>(), scratch.as<float>());
      const std::vector<double> exact = ExactAmplitudes(x.as<float>(), points, bins);
      double norm = 0;
      for (size_t i = 0; i < points; ++i) norm += std::pow(static_cast<double>(x.as<float>()[i]), 2);
      const double n = static_cast<double>(points), bound = sterna::kSpectrumError * std::log2(n) * std::sqrt(n) * std::sqrt(norm);
      for (size_t i = 0; i < bins.size(); ++i) {
        const double amplitude = std::sqrt(static_cast<double>(power.as<float>()[bins[i]]));
        EXPECT_MSG(std::fabs(amplitude - exact[i]) <= bound,
                   Format("%s %zu points, signal %d, bin %zu: %.9g instead of %.9g", kernels.name, points, kind, bins[i], amplitude, exact[i]));
      }
    }
  }
}

void TestBands(const AudioKernels& kernels) {
  Random random(5);
  const size_t n = 257;
  Guarded x(n * 4);
  for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Float(-1, 1);
  std::vector<uint32_t> first, length, offset;
  std::vector<float> weights;
  for (size_t size : {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 257}) {
    for (size_t at : {size_t{0}, n - size}) {
      first.push_back(static_cast<uint32_t>(at)), length.push_back(static_cast<uint32_t>(size)), offset.push_back(static_cast<uint32_t>(weights.size()));
      for (size_t i = 0; i < size; ++i) weights.push_back(random.Float(-2, 2));
    }
  }
  Guarded packed(weights.size() * 4), y(first.size() * 4);
  std::memcpy(packed.data(), weights.data(), packed.size());
  const sterna::BandTable table = {first.size(), first.data(), length.data(), offset.data(), packed.as<float>()};
  kernels.bands(&table, x.as<float>(), y.as<float>());
  for (size_t m = 0; m < first.size(); ++m) {
    double sum = 0, magnitude = 0;
    for (size_t i = 0; i < length[m]; ++i) {
      const double term = static_cast<double>(weights[offset[m] + i]) * static_cast<double>(x.as<float>()[first[m] + i]);
      sum += term, magnitude += std::fabs(term);
    }
    const double bound = sterna::kBandError * static_cast<double>(length[m]) * magnitude;
    EXPECT_MSG(std::fabs(static_cast<double>(y.as<float>()[m]) - sum) <= bound, Format("%s band of %u: %.9g instead of %.9g", kernels.name, length[m], static_cast<double>(y.as<float>()[m]), sum));
  }
}

void TestAudio(const AudioKernels& kernels) {
  TestPower(kernels);
  TestBands(kernels);
}

}  // namespace

STERNA_TEST(audio_is_within_its_bounds) {
  ForEachIsa("audio", &sterna::IsaKernels::audio, [](const sterna::IsaKernels& isa) { TestAudio(*isa.audio); });
  TestAudio(sterna_audio_ref);
}

}  // namespace sterna_test
