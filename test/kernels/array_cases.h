// What tests of kernels over arrays have in common: sizes around the registers of every ISA, and comparison byte by byte.
#pragma once
#include "kernel_cases.h"

namespace sterna_test {

inline constexpr size_t kArraySizes[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 500};

inline void ExpectSame(const char* name, const char* what, size_t n, const Guarded& expected, const Guarded& actual) {
  const long at = FirstDifference(expected.data(), actual.data(), expected.size());
  EXPECT_MSG(at < 0, Format("%s %s n=%zu: byte %ld is %d instead of %d", name, what, n, at, actual.data()[at], expected.data()[at]));
}

inline void FillActivations(const Guarded& memory, DType type, Random& random) {
  for (size_t i = 0; i < memory.size(); ++i) memory.data()[i] = Activation(random, type, i % 5 == 0 ? Fill::kExtremes : Fill::kRandom);
}

}  // namespace sterna_test
