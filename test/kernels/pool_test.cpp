// Every runnable table of pools against ref, bit for bit.
#include <cmath>
#include <limits>

#include "array_cases.h"

namespace sterna_test {
namespace {

using sterna::PoolKernels;

void CheckBytes(const PoolKernels& kernel, const PoolKernels& ref, DType type, size_t n, Random& random) {
  Guarded a(n), b(n), expected(n), actual(n), expected_sum(n * 4), actual_sum(n * 4);
  FillActivations(a, type, random), FillActivations(b, type, random);
  std::memcpy(expected.data(), b.data(), n), std::memcpy(actual.data(), b.data(), n);
  ref.max_q8(n, a.data(), expected.data());
  kernel.max_q8(n, a.data(), actual.data());
  ExpectSame(kernel.name, "max_q8", n, expected, actual);
  for (size_t i = 0; i < n; ++i) expected_sum.as<int32_t>()[i] = actual_sum.as<int32_t>()[i] = random.Int(-1000000, 1000000);
  ref.sum_q8(n, a.data(), expected_sum.as<int32_t>());
  kernel.sum_q8(n, a.data(), actual_sum.as<int32_t>());
  ExpectSame(kernel.name, "sum_q8", n, expected_sum, actual_sum);
}

// NaN is NaN, whatever its other bits.
void UniteNaN(const Guarded& values) {
  for (size_t i = 0; i < values.size() / 4; ++i) {
    if (std::isnan(values.as<float>()[i])) values.as<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  }
}

// `n` channels of two outputs, whose windows overlap.
void CheckPools(const PoolKernels& kernel, const PoolKernels& ref, size_t n, Random& random) {
  const size_t rows = static_cast<size_t>(random.Int(0, 3)), columns = static_cast<size_t>(random.Int(1, 3));
  const size_t pixel = n + static_cast<size_t>(random.Int(0, 2)), row = (columns + 2) * pixel;
  Guarded x((rows * row + 2 * pixel) * 4), expected((pixel + n) * 4), actual((pixel + n) * 4);
  std::memset(expected.data(), 0x77, expected.size()), std::memset(actual.data(), 0x77, actual.size());
  for (size_t i = 0; i < x.size() / 4; ++i) x.as<float>()[i] = random.Int(0, 9) == 0 ? std::numeric_limits<float>::quiet_NaN() : random.Float(-3.0f, 3.0f);
  sterna::PoolF32Args args{n, rows, columns, x.as<float>(), row, pixel, 2, pixel, pixel, expected.as<float>()};
  ref.max_pool_f32(&args);
  args.y = actual.as<float>();
  kernel.max_pool_f32(&args);
  UniteNaN(expected), UniteNaN(actual);
  ExpectSame(kernel.name, "max_pool_f32", n, expected, actual);
  for (size_t i = 0; i < x.size() / 4; ++i) x.as<float>()[i] = random.Float(-3.0f, 3.0f);
  kernel.sum_pool_f32(&args);
  args.y = expected.as<float>();
  ref.sum_pool_f32(&args);
  ExpectSame(kernel.name, "sum_pool_f32", n, expected, actual);
}

void TestAll(const PoolKernels& kernel, DType type) {
  const PoolKernels& ref = *sterna::RefKernels(type).pool;
  Random random(7);
  for (size_t n : kArraySizes) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      CheckBytes(kernel, ref, type, n, random);
      CheckPools(kernel, ref, n, random);
    }
  }
}

}  // namespace

STERNA_TEST(pool_kernels_equal_ref) {
  ForEachIsa("pool", &sterna::IsaKernels::pool, [](const sterna::IsaKernels& isa) { TestAll(*isa.pool, static_cast<DType>(isa.activation)); });
  TestAll(sterna_pool_ref_u8, DType::kU8);
  TestAll(sterna_pool_ref_s8, DType::kS8);
}

}  // namespace sterna_test
