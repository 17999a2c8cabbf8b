#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// The depth of dots_s8 is a multiple of this: callers pad rows and vector with zeros.
constexpr size_t kDotsStep = 64;
// 128 * 128 * depth fits 31 bits.
constexpr size_t kDotsMaxDepth = 65536;

// dots_s8: y[i] = sum_k rows[i * depth + k] * x[k], i < n: dense rows of signed bytes, any values, with one vector.
struct DotsS8Kernel {
  const char* name;
  void (*run)(size_t n, size_t depth, const int8_t* rows, const int8_t* x, int32_t* y);
};

}  // namespace sterna
