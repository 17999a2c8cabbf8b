// What the kernel tests share: walking the registry, and random epilogues that cover every option of RequantQ8.
#pragma once
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "sterna/registry.h"

namespace sterna_test {

using sterna::DType;

// A unit in the last place of the float that v rounds to.
inline double UlpOf(double v) {
  int exponent;
  std::frexp(v, &exponent);
  return std::ldexp(1.0, v == 0 || exponent < -125 ? -149 : exponent - 24);
}

inline size_t RoundUp(size_t v, size_t to) { return (v + to - 1) / to * to; }

// Calls test(row) for each ISA except ref that has a kernel of the family and runs here; enters each into the ledger.
template <typename Kernel, typename Test>
void ForEachIsa(const char* family, const Kernel* sterna::IsaKernels::*member, Test test) {
  const std::vector<sterna::IsaStatus> statuses = sterna::DescribeIsas();
  for (size_t i = 1; i < sterna::kIsaRowCount; ++i) {
    const sterna::IsaRow& row = sterna::kIsaRows[i];
    const std::string name = std::string(family) + "/" + row.kernels.isa;
    if (row.kernels.*member == nullptr) {
      if (row.built) Ledger(name, "not run: no unit, falls back");
      continue;
    }
    if (!statuses[i].runnable) {
      Ledger(name, "not run: " + statuses[i].reason);
      continue;
    }
    EXPECT_MSG(name == (row.kernels.*member)->name, "the descriptor of " + name + " has another name");
    test(row.kernels);
    Ledger(name, HowItRuns());
  }
}

enum class Fill { kRandom, kLow, kHigh, kExtremes };

inline int32_t Lowest(DType type) { return type == DType::kU8 ? 0 : -128; }

// A byte of the activation type; kExtremes mixes the two ends.
inline uint8_t Activation(Random& random, DType type, Fill fill) {
  const int32_t lo = Lowest(type), hi = lo + 255;
  switch (fill) {
    case Fill::kLow: return static_cast<uint8_t>(lo);
    case Fill::kHigh: return static_cast<uint8_t>(hi);
    case Fill::kExtremes: return static_cast<uint8_t>(random.Int(0, 1) != 0 ? hi : lo);
    case Fill::kRandom: break;
  }
  return static_cast<uint8_t>(random.Int(lo, hi));
}

inline int8_t Weight(Random& random, Fill fill) {
  switch (fill) {
    case Fill::kLow: return -127;
    case Fill::kHigh: return 127;
    case Fill::kExtremes: return random.Int(0, 1) != 0 ? 127 : -127;
    case Fill::kRandom: break;
  }
  return static_cast<int8_t>(random.Int(-127, 127));
}

// A RequantQ8 with its arrays in guarded memory. `options`: bit 0 scale_neg, bit 1 table, bit 2 residual, bit 3 narrow clamps,
// bit 4 scales that are powers of two (so that ties happen), bit 5 the residual row is wider than it needs to be.
struct RandomRequant {
  sterna::RequantQ8 requant{};
  Guarded scale, scale_neg, table, residual;

  RandomRequant(Random& random, DType type, int options, size_t rows, size_t channels, float typical_acc)
      : scale(RoundUp(channels, 64) * 4), scale_neg(RoundUp(channels, 64) * 4), table(256),
        residual(rows * Stride(options, channels), 63) {
    for (size_t o = 0; o < RoundUp(channels, 64); ++o) {
      const float base = 100.0f / typical_acc;
      scale.as<float>()[o] = (options & 16) != 0 ? PowerOfTwo(base) : random.Float(0.2f, 2.0f) * base;
      scale_neg.as<float>()[o] = (options & 16) != 0 ? -PowerOfTwo(base) : random.Float(-1.0f, 1.0f) * base;
    }
    const int32_t lo = Lowest(type), hi = lo + 255;
    for (size_t i = 0; i < 256; ++i) table.data()[i] = static_cast<uint8_t>(random.Int(lo, hi));
    for (size_t i = 0; i < residual.size(); ++i) residual.data()[i] = static_cast<uint8_t>(random.Int(lo, hi));
    requant.scale = scale.as<float>();
    requant.scale_neg = (options & 1) != 0 ? scale_neg.as<float>() : nullptr;
    requant.table = (options & 2) != 0 ? table.data() : nullptr;
    requant.residual = (options & 4) != 0 ? residual.data() : nullptr;
    requant.residual_stride = Stride(options, channels);
    const bool narrow = (options & 8) != 0;
    requant.mid_zp = random.Int(lo, hi);
    requant.mid_lo = narrow ? random.Int(lo, lo + 100) : lo;
    requant.mid_hi = narrow ? random.Int(requant.mid_lo, hi) : hi;
    requant.res_zp = random.Int(lo, hi);
    requant.y_zp = random.Int(lo, hi);
    requant.y_lo = narrow ? random.Int(lo, lo + 100) : lo;
    requant.y_hi = narrow ? random.Int(requant.y_lo, hi) : hi;
    requant.mid_mul = (options & 16) != 0 ? 0.5f : random.Float(0.01f, 3.0f);
    requant.res_mul = (options & 16) != 0 ? 0.25f : random.Float(0.01f, 3.0f);
  }

 private:
  static size_t Stride(int options, size_t channels) { return channels + ((options & 32) != 0 ? 7 : 0); }
  static float PowerOfTwo(float v) {
    float p = 1.0f;
    while (p > v) p *= 0.5f;
    return p;
  }
};

// Index of the first byte that differs, or -1.
inline long FirstDifference(const void* a, const void* b, size_t bytes) {
  const uint8_t *x = static_cast<const uint8_t*>(a), *y = static_cast<const uint8_t*>(b);
  for (size_t i = 0; i < bytes; ++i) {
    if (x[i] != y[i]) return static_cast<long>(i);
  }
  return -1;
}

template <typename... Args>
std::string Format(const char* format, Args... args) {
  char text[512];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

}  // namespace sterna_test
