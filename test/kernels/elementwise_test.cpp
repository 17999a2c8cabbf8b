// Every runnable table of element-wise kernels against ref: integer results bit-equal, floats within their bound.
#include <cmath>
#include <limits>

#include "array_cases.h"

namespace sterna_test {
namespace {

using sterna::ElementwiseKernels;

void CheckBytes(const ElementwiseKernels& kernel, const ElementwiseKernels& ref, DType type, size_t n, Random& random) {
  Guarded a(n), table(256), expected(n), actual(n);
  FillActivations(a, type, random), FillActivations(table, type, random);
  ref.lut_q8(n, a.data(), table.data(), expected.data());
  kernel.lut_q8(n, a.data(), table.data(), actual.data());
  ExpectSame(kernel.name, "lut_q8", n, expected, actual);
  Guarded planes(3 * n), pixels(3 * n), expected_pixels(3 * n);
  FillActivations(planes, type, random);
  const uint8_t* plane = planes.data();
  ref.interleave3_q8(n, plane, plane + n, plane + 2 * n, expected_pixels.data());
  kernel.interleave3_q8(n, plane, plane + n, plane + 2 * n, pixels.data());
  ExpectSame(kernel.name, "interleave3_q8", n, expected_pixels, pixels);
  Guarded floats(12 * n), mixed(12 * n), expected_mixed(12 * n);
  for (size_t i = 0; i < 3 * n; ++i) floats.as<float>()[i] = static_cast<float>(i);
  const float* first = floats.as<float>();
  ref.interleave3_f32(n, first, first + n, first + 2 * n, expected_mixed.as<float>());
  kernel.interleave3_f32(n, first, first + n, first + 2 * n, mixed.as<float>());
  ExpectSame(kernel.name, "interleave3_f32", n, expected_mixed, mixed);
}

void CheckAdd(const ElementwiseKernels& kernel, const ElementwiseKernels& ref, DType type, size_t n, Random& random) {
  Guarded a(n), b(n), expected(n), actual(n);
  FillActivations(a, type, random), FillActivations(b, type, random);
  const int32_t lo = Lowest(type), hi = lo + 255;
  const int32_t a_zp = random.Int(lo, hi), b_zp = random.Int(lo, hi), y_zp = random.Int(lo, hi);
  const int32_t y_lo = random.Int(0, 1) != 0 ? lo : random.Int(lo, hi), y_hi = random.Int(y_lo, hi);
  const bool ties = random.Int(0, 1) != 0;
  const float a_mul = ties ? 0.5f : random.Float(0.01f, 2.0f), b_mul = ties ? -0.25f : random.Float(-2.0f, 2.0f);
  sterna::AddQ8Args args{n, a.data(), b.data(), expected.data(), a_zp, b_zp, y_zp, y_lo, y_hi, a_mul, b_mul};
  ref.add_q8(&args);
  args.y = actual.data();
  kernel.add_q8(&args);
  ExpectSame(kernel.name, "add_q8", n, expected, actual);
}

void CheckQuantize(const ElementwiseKernels& kernel, const ElementwiseKernels& ref, DType type, size_t n, Random& random) {
  Guarded x(n * 4), expected(n), actual(n), expected_f32(n * 4), actual_f32(n * 4);
  const float specials[] = {0.0f, -0.0f, 0.5f, -0.5f, 1.5f, 2.5f, 1e30f, -1e30f, std::numeric_limits<float>::infinity(),
                            -std::numeric_limits<float>::infinity(), 127.5f, -128.5f, 1e-40f, std::numeric_limits<float>::quiet_NaN()};
  for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Int(0, 2) == 0 ? specials[random.Int(0, 13)] : random.Float(-200.0f, 200.0f);
  const float scale = random.Int(0, 1) != 0 ? 1.0f : random.Float(0.001f, 2.0f);
  const int32_t zp = random.Int(Lowest(type), Lowest(type) + 255);
  ref.quantize(n, x.as<float>(), expected.data(), scale, zp);
  kernel.quantize(n, x.as<float>(), actual.data(), scale, zp);
  ExpectSame(kernel.name, "quantize", n, expected, actual);
  FillActivations(expected, type, random);
  ref.dequantize(n, expected.data(), expected_f32.as<float>(), scale, zp);
  kernel.dequantize(n, expected.data(), actual_f32.as<float>(), scale, zp);
  ExpectSame(kernel.name, "dequantize", n, expected_f32, actual_f32);
}

void CheckExactFloats(const ElementwiseKernels& kernel, const ElementwiseKernels& ref, size_t n, Random& random) {
  Guarded a(n * 4), b(n * 4), expected(n * 4), actual(n * 4);
  for (size_t i = 0; i < n; ++i) a.as<float>()[i] = random.Float(-3.0f, 3.0f), b.as<float>()[i] = random.Float(-3.0f, 3.0f);
  ref.add_f32(n, a.as<float>(), b.as<float>(), expected.as<float>());
  kernel.add_f32(n, a.as<float>(), b.as<float>(), actual.as<float>());
  ExpectSame(kernel.name, "add_f32", n, expected, actual);
  ref.mul_f32(n, a.as<float>(), b.as<float>(), expected.as<float>());
  kernel.mul_f32(n, a.as<float>(), b.as<float>(), actual.as<float>());
  ExpectSame(kernel.name, "mul_f32", n, expected, actual);
  ref.clamp_f32(n, a.as<float>(), expected.as<float>(), -1.0f, 2.0f);
  kernel.clamp_f32(n, a.as<float>(), actual.as<float>(), -1.0f, 2.0f);
  ExpectSame(kernel.name, "clamp_f32", n, expected, actual);
  if (n == 0) return;
  a.as<float>()[n / 2] = std::numeric_limits<float>::quiet_NaN();
  kernel.clamp_f32(n, a.as<float>(), actual.as<float>(), 0.0f, std::numeric_limits<float>::infinity());
  EXPECT_MSG(std::isnan(actual.as<float>()[n / 2]), Format("%s clamp_f32 n=%zu: NaN is lost", kernel.name, n));
}

void CheckHardGates(const ElementwiseKernels& kernel, const ElementwiseKernels& ref, size_t n, Random& random) {
  Guarded x(n * 4), expected(n * 4), actual(n * 4);
  const float specials[] = {0.0f, -0.0f, 3.0f, -3.0f, 2.9999998f, 1e30f, -1e30f, std::numeric_limits<float>::infinity()};
  for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Int(0, 2) == 0 ? specials[random.Int(0, 7)] : random.Float(-5.0f, 5.0f);
  ref.hard_sigmoid_f32(n, x.as<float>(), expected.as<float>(), 0.2f, 0.5f);
  kernel.hard_sigmoid_f32(n, x.as<float>(), actual.as<float>(), 0.2f, 0.5f);
  ExpectSame(kernel.name, "hard_sigmoid_f32", n, expected, actual);
  ref.hard_swish_f32(n, x.as<float>(), expected.as<float>(), 1.0f / 6.0f, 0.5f);
  kernel.hard_swish_f32(n, x.as<float>(), x.as<float>(), 1.0f / 6.0f, 0.5f);
  ExpectSame(kernel.name, "hard_swish_f32 in place", n, expected, x);
  if (n == 0) return;
  x.as<float>()[n - 1] = std::numeric_limits<float>::quiet_NaN();
  kernel.hard_sigmoid_f32(n, x.as<float>(), actual.as<float>(), 0.2f, 0.5f);
  EXPECT_MSG(std::isnan(actual.as<float>()[n - 1]), Format("%s hard_sigmoid_f32 n=%zu: NaN is lost", kernel.name, n));
}

using UnaryKernel = void (*)(size_t, const float*, float*);

// `ulps`: the bound that the contract states (families/elementwise/kernel.h).
void CheckTranscendental(const char* name, UnaryKernel run, double (*exact)(double), int ulps, size_t n, Random& random) {
  Guarded x(n * 4), y(n * 4);
  const float specials[] = {0.0f, -0.0f, 88.0f, -87.0f, -104.0f, 20.0f, -1000.0f, 1e-20f};
  for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Int(0, 3) == 0 ? specials[random.Int(0, 7)] : random.Float(-80.0f, 80.0f);
  run(n, x.as<float>(), y.as<float>());
  for (size_t i = 0; i < n; ++i) {
    const double expected = exact(static_cast<double>(x.as<float>()[i])), actual = static_cast<double>(y.as<float>()[i]);
    const double bound = ulps * UlpOf(expected);
    EXPECT_MSG(std::fabs(expected - actual) <= bound, Format("%s n=%zu: f(%g) is %g instead of %g", name, n, static_cast<double>(x.as<float>()[i]), actual, expected));
  }
}

// In place, and element by element: neither may change a bit, nor may large numbers among the neighbours.
void CheckPlaces(const char* name, UnaryKernel run, size_t n, Random& random) {
  Guarded x(n * 4), whole(n * 4), single(n * 4);
  for (size_t i = 0; i < n; ++i) x.as<float>()[i] = random.Int(0, 9) == 0 ? random.Float(-110.0f, 95.0f) : random.Float(-20.0f, 20.0f);
  run(n, x.as<float>(), whole.as<float>());
  for (size_t i = 0; i < n; ++i) run(1, x.as<float>() + i, single.as<float>() + i);
  ExpectSame(name, "one by one", n, whole, single);
  run(n, x.as<float>(), x.as<float>());
  ExpectSame(name, "in place", n, whole, x);
}

void CheckBytesInPlace(const ElementwiseKernels& kernel, DType type, size_t n, Random& random) {
  Guarded a(n), b(n), table(256), expected(n);
  FillActivations(a, type, random), FillActivations(b, type, random), FillActivations(table, type, random);
  const int32_t zp = Lowest(type) + 100, lo = Lowest(type), hi = lo + 255;
  sterna::AddQ8Args args{n, a.data(), b.data(), expected.data(), zp, zp, zp, lo, hi, 0.7f, 0.9f};
  kernel.add_q8(&args);
  args.y = a.data();
  kernel.add_q8(&args);
  ExpectSame(kernel.name, "add_q8 onto a", n, expected, a);
  kernel.lut_q8(n, b.data(), table.data(), expected.data());
  kernel.lut_q8(n, b.data(), table.data(), b.data());
  ExpectSame(kernel.name, "lut_q8 in place", n, expected, b);
}

double ExactSigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }
double ExactExp(double x) { return std::exp(x); }

void TestAll(const ElementwiseKernels& kernel, DType type) {
  const ElementwiseKernels& ref = *sterna::RefKernels(type).elementwise;
  Random random(7);
  for (size_t n : kArraySizes) {
    for (int repeat = 0; repeat < 4; ++repeat) {
      CheckBytes(kernel, ref, type, n, random);
      CheckAdd(kernel, ref, type, n, random);
      CheckQuantize(kernel, ref, type, n, random);
      CheckExactFloats(kernel, ref, n, random);
      CheckHardGates(kernel, ref, n, random);
      CheckTranscendental("sigmoid_f32", kernel.sigmoid_f32, ExactSigmoid, sterna::kSigmoidUlps, n, random);
      CheckTranscendental("exp_f32", kernel.exp_f32, ExactExp, sterna::kExpUlps, n, random);
      CheckPlaces("sigmoid_f32", kernel.sigmoid_f32, n, random);
      CheckPlaces("exp_f32", kernel.exp_f32, n, random);
      CheckBytesInPlace(kernel, type, n, random);
    }
  }
}

}  // namespace

STERNA_TEST(elementwise_kernels_equal_ref) {
  ForEachIsa("elementwise", &sterna::IsaKernels::elementwise, [](const sterna::IsaKernels& isa) { TestAll(*isa.elementwise, static_cast<DType>(isa.activation)); });
  TestAll(sterna_elementwise_ref_u8, DType::kU8);
  TestAll(sterna_elementwise_ref_s8, DType::kS8);
}

}  // namespace sterna_test
