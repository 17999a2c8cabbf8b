// What the benches share: short bursts, and memory as kernels want it.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "harness.h"

namespace sterna_bench {

constexpr int kRounds = 25;
constexpr double kSecondsPerRun = 0.0004;  // long enough for the clock, short enough to fit between two interruptions

inline double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

template <typename Run>
double SecondsOf(Run run) {
  const double start = Now();
  int runs = 0;
  do run(), ++runs;
  while (Now() - start < kSecondsPerRun);
  return (Now() - start) / runs;
}

using Memory = std::shared_ptr<uint8_t>;

// Aligned to 64 bytes, with the slack that kernels may read, filled with small values.
inline Memory Allocate(size_t bytes) {
  const size_t size = (bytes + 64 + 63) / 64 * 64;
  const Memory memory(static_cast<uint8_t*>(std::aligned_alloc(64, size)), std::free);
  sterna_test::Random random(1);
  for (size_t i = 0; i < size; ++i) memory.get()[i] = static_cast<uint8_t>(random.Int(0, 63));
  return memory;
}

// Floats whose products are no denormal numbers, which are slow to multiply unless it is by fma.
inline Memory AllocateFloats(size_t count) {
  const Memory memory = Allocate(count * sizeof(float));
  sterna_test::Random random(2);
  for (size_t i = 0; i < count; ++i) reinterpret_cast<float*>(memory.get())[i] = random.Float(-1.0f, 1.0f);
  return memory;
}

inline Memory Scales(size_t n) {
  const Memory memory = Allocate((n + 64) * sizeof(float));
  for (size_t i = 0; i < n + 64; ++i) reinterpret_cast<float*>(memory.get())[i] = 0.0004f;
  return memory;
}

inline const float* Floats(const Memory& memory) { return reinterpret_cast<const float*>(memory.get()); }

}  // namespace sterna_bench
