// Every runnable gemm_q8 against ref: bit-equal for every input.
#include <cmath>
#include <cstring>
#include <limits>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::GemmQ8Args;
using sterna::GemmQ8Kernel;

struct Case {
  size_t m, n, k;
  int options;
  Fill a_fill, w_fill;
  bool bias;
  float typical = 0.0f;  // magnitude of a sum, from which the scales follow; 0: estimated
};

// Runs `kernel` into y, which has m rows of y_stride bytes and ends right after the last element.
void RunInto(const GemmQ8Kernel& kernel, GemmQ8Args args, const int8_t* w, const int32_t* bias, int32_t a_zp, uint8_t* y) {
  Guarded packed(RoundUp(kernel.packed_bytes(args.n, args.k), 64));
  if (!kernel.pack(args.n, args.k, w, bias, a_zp, packed.data())) {
    Fail(__FILE__, __LINE__, std::string(kernel.name) + " refused the weights");
    return;
  }
  Guarded scratch(RoundUp(kernel.scratch_bytes(args.m, args.n, args.k), 64));
  args.packed = packed.data();
  args.scratch = scratch.data();
  args.y = y;
  kernel.run(&args);
}

void Compare(const GemmQ8Kernel& kernel, const GemmQ8Kernel& ref, DType type, const Case& c, Random& random) {
  const size_t a_stride = c.k + 13, y_stride = c.n + 5;
  Guarded a(c.m == 0 ? 0 : (c.m - 1) * a_stride + c.k, 63);
  Guarded w(c.n * c.k), bias(c.n * 4);
  for (size_t i = 0; i < a.size(); ++i) a.data()[i] = Activation(random, type, c.a_fill);
  for (size_t i = 0; i < w.size(); ++i) w.as<int8_t>()[i] = Weight(random, c.w_fill);
  for (size_t o = 0; o < c.n; ++o) bias.as<int32_t>()[o] = random.Int(-20000, 20000);
  const int32_t zps[] = {Lowest(type), Lowest(type) + 128, Lowest(type) + 255, random.Int(Lowest(type), Lowest(type) + 255)};
  const int32_t a_zp = zps[random.Int(0, 3)];
  const float typical = c.w_fill == Fill::kRandom && c.a_fill == Fill::kRandom ? 6000.0f * __builtin_sqrtf(static_cast<float>(c.k)) : 10000.0f * static_cast<float>(c.k);
  RandomRequant requant(random, type, c.options, c.m, c.n, c.typical != 0.0f ? c.typical : typical);

  GemmQ8Args args{};
  args.m = c.m, args.n = c.n, args.k = c.k;
  args.a = a.data(), args.a_stride = a_stride, args.y_stride = y_stride;
  args.requant = requant.requant;
  const size_t y_bytes = c.m == 0 ? 0 : (c.m - 1) * y_stride + c.n;
  Guarded expected(y_bytes), actual(y_bytes);
  const int32_t* b = c.bias ? bias.as<int32_t>() : nullptr;
  RunInto(ref, args, w.as<int8_t>(), b, a_zp, expected.data());
  RunInto(kernel, args, w.as<int8_t>(), b, a_zp, actual.data());
  const long at = FirstDifference(expected.data(), actual.data(), y_bytes);
  EXPECT_MSG(at < 0, Format("%s m=%zu n=%zu k=%zu options=%d fills=%d,%d a_zp=%d: byte %ld is %d instead of %d", kernel.name, c.m, c.n, c.k,
                            c.options, static_cast<int>(c.a_fill), static_cast<int>(c.w_fill), a_zp, at, actual.data()[at], expected.data()[at]));
}

// Sums that leave as integers and as floats.
void CompareWide(const GemmQ8Kernel& kernel, const GemmQ8Kernel& ref, DType type, const Case& c, Random& random) {
  const size_t a_stride = c.k + 13, y_stride = c.n * 4 + 20, padded = RoundUp(c.n, 64);
  Guarded a(c.m == 0 ? 0 : (c.m - 1) * a_stride + c.k, 63), w(c.n * c.k), offset(padded * 4), scale(padded * 4), bias(padded * 4);
  for (size_t i = 0; i < a.size(); ++i) a.data()[i] = Activation(random, type, c.a_fill);
  for (size_t i = 0; i < w.size(); ++i) w.as<int8_t>()[i] = Weight(random, c.w_fill);
  for (size_t o = 0; o < padded; ++o) {
    offset.as<int32_t>()[o] = random.Int(0, 3) == 0 ? std::numeric_limits<int32_t>::max() - random.Int(0, 9) : random.Int(-9000000, 9000000);
    scale.as<float>()[o] = random.Int(0, 40) == 0 ? std::numeric_limits<float>::quiet_NaN() : random.Float(-0.01f, 0.01f);
    bias.as<float>()[o] = random.Int(0, 3) == 0 ? -0.0f : random.Float(-3.0f, 3.0f);
  }
  GemmQ8Args args{};
  args.m = c.m, args.n = c.n, args.k = c.k;
  args.a = a.data(), args.a_stride = a_stride, args.y_stride = y_stride;
  const size_t y_bytes = c.m == 0 ? 0 : (c.m - 1) * y_stride + c.n * 4;
  for (bool floats : {false, true}) {
    args.wide = {offset.as<int32_t>(), floats ? scale.as<float>() : nullptr, floats ? bias.as<float>() : nullptr};
    Guarded expected(y_bytes), actual(y_bytes);
    RunInto(ref, args, w.as<int8_t>(), nullptr, 0, expected.data());
    RunInto(kernel, args, w.as<int8_t>(), nullptr, 0, actual.data());
    long at = -1;
    for (size_t i = 0; i < c.m && at < 0; ++i) {
      for (size_t o = 0; o < c.n && at < 0; ++o) {
        const size_t from = i * y_stride + o * 4;
        float x, y;
        std::memcpy(&x, expected.data() + from, 4), std::memcpy(&y, actual.data() + from, 4);
        if (std::memcmp(&x, &y, 4) != 0 && !(floats && std::isnan(x) && std::isnan(y))) at = static_cast<long>(from);
      }
      const size_t gap = i + 1 < c.m ? y_stride - c.n * 4 : 0, end = i * y_stride + c.n * 4;
      if (at < 0 && FirstDifference(expected.data() + end, actual.data() + end, gap) >= 0) at = static_cast<long>(end);
    }
    EXPECT_MSG(at < 0, Format("%s m=%zu n=%zu k=%zu fills=%d,%d %s: byte %ld differs", kernel.name, c.m, c.n, c.k, static_cast<int>(c.a_fill), static_cast<int>(c.w_fill), floats ? "floats" : "integers", at));
  }
}

void TestWide(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(11);
  for (size_t n : {1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 99, 129, 195}) {
    for (size_t m : {0, 1, 2, 3, 4, 5, 6, 7, 9, 12, 13, 25}) CompareWide(*isa.gemm_q8, ref, type, {m, n, 13, 0, Fill::kRandom, Fill::kRandom, false}, random);
    for (size_t k : {1, 3, 4, 8, 17, 33, 64}) CompareWide(*isa.gemm_q8, ref, type, {5, n, k, 0, Fill::kRandom, Fill::kRandom, false}, random);
  }
  for (Fill fill : {Fill::kLow, Fill::kHigh, Fill::kExtremes}) CompareWide(*isa.gemm_q8, ref, type, {9, 50, 331, 0, fill, Fill::kExtremes, false}, random);
  CompareWide(*isa.gemm_q8, ref, type, {203, 130, 1001, 0, Fill::kRandom, Fill::kRandom, false}, random);
}

void TestShapes(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(1);
  int options = 0;
  for (size_t m : {0, 1, 2, 3, 4, 5, 7, 8, 9, 19}) {
    for (size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 65, 99}) {
      for (size_t k : {1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 63, 67, 160}) {
        const Case c{m, n, k, options & 63, Fill::kRandom, Fill::kRandom, (options & 1) == 0};
        Compare(*isa.gemm_q8, ref, type, c, random);
        options += 11;  // coprime with 64: every combination of options comes up
      }
    }
  }
}

// Heights and widths around those of every ISA's tiles, and matrices that kernels cut into blocks of rows.
void TestTiles(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(8);
  int options = 0;
  for (size_t n : {12, 16, 28, 32, 40, 48, 56, 63, 64, 65, 79, 80, 96, 127, 128, 129, 195}) {
    for (size_t m = 1; m <= 27; ++m, options += 11) {
      Compare(*isa.gemm_q8, ref, type, {m, n, 9, options & 63, Fill::kRandom, Fill::kRandom, true}, random);
    }
  }
  for (int all = 0; all < 8; ++all) Compare(*isa.gemm_q8, ref, type, {203, 130, 1001, all, Fill::kRandom, Fill::kRandom, true}, random);
  Compare(*isa.gemm_q8, ref, type, {1500, 17, 40, 0, Fill::kRandom, Fill::kRandom, true}, random);
}

// Scales of 1 and more: products beyond 2^31, which no conversion to an integer holds, must saturate.
void TestLargeScales(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(9);
  for (float typical : {100.0f, 50.0f, 1e-4f, 1e-28f}) {
    for (int options = 0; options < 32; ++options) {
      Compare(*isa.gemm_q8, ref, type, {9, 70, 300, options, Fill::kExtremes, Fill::kExtremes, true, typical}, random);
    }
  }
}

// The largest sums there are, scaled to either side of what 16 bits hold: some kernels take a shorter way where nothing can leave them.
void TestBounds(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(10);
  const float largest = 128.0f * 127.0f * 300.0f;
  for (Fill a_fill : {Fill::kLow, Fill::kHigh}) {
    for (Fill w_fill : {Fill::kLow, Fill::kHigh}) {
      for (float results : {2000.0f, 15000.0f, 25000.0f, 31000.0f, 32000.0f, 32600.0f, 33000.0f, 60000.0f}) {
        for (int options : {0, 16, 32, 48}) Compare(*isa.gemm_q8, ref, type, {7, 48, 300, options, a_fill, w_fill, true, 100.0f * largest / results}, random);
      }
    }
  }
}

void TestExtremes(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const GemmQ8Kernel& ref = *sterna::RefKernels(type).gemm_q8;
  Random random(2);
  for (Fill a_fill : {Fill::kLow, Fill::kHigh, Fill::kExtremes, Fill::kRandom}) {
    for (Fill w_fill : {Fill::kLow, Fill::kHigh, Fill::kExtremes, Fill::kRandom}) {
      for (int options = 0; options < 32; ++options) {
        Compare(*isa.gemm_q8, ref, type, {9, 50, 131, options, a_fill, w_fill, true}, random);
      }
      // The longest sum that is exact in 32 bits (the loader refuses longer ones).
      Compare(*isa.gemm_q8, ref, type, {3, 5, 66000, 0, a_fill, w_fill, true}, random);
    }
  }
}

}  // namespace

STERNA_TEST(gemm_q8_is_bit_equal_to_ref_for_all_shapes) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestShapes); }
STERNA_TEST(gemm_q8_is_bit_equal_to_ref_around_the_tiles) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestTiles); }
STERNA_TEST(gemm_q8_is_bit_equal_to_ref_where_results_leave_16_bits) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestBounds); }
STERNA_TEST(gemm_q8_is_bit_equal_to_ref_where_sums_leave_in_32_bits) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestWide); }
STERNA_TEST(gemm_q8_saturates_like_ref_at_large_scales) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestLargeScales); }
STERNA_TEST(gemm_q8_is_bit_equal_to_ref_at_the_extremes) { ForEachIsa("gemm_q8", &sterna::IsaKernels::gemm_q8, TestExtremes); }

// Ref itself, against sums written out by hand.
STERNA_TEST(gemm_q8_ref_computes_what_the_formula_says) {
  const int8_t w[2][3] = {{1, -2, 3}, {127, 0, -127}};
  const int32_t bias[2] = {10, -7};
  const uint8_t a[3] = {5, 130, 250};
  float scale[64] = {0.5f, 0.001f}, scale_neg[64] = {2.0f, -0.01f};
  uint8_t packed[64], y[2];
  const GemmQ8Kernel& ref = sterna_gemm_q8_ref_u8;
  EXPECT(ref.packed_bytes(2, 3) <= sizeof(packed));
  EXPECT(ref.pack(2, 3, &w[0][0], bias, 128, packed));
  GemmQ8Args args{1, 2, 3, a, 3, packed, y, 2, {scale, scale_neg, 3, 0, 255, nullptr, nullptr, 0, 0, 0, 0, 255, 0, 0}, nullptr};
  ref.run(&args);
  // (5-128)*1 + (130-128)*-2 + (250-128)*3 + 10 = 249 -> 124.5 -> 124 (even) + 3
  EXPECT_MSG(y[0] == 127, Format("y[0] = %d", y[0]));
  // (5-128)*127 - (250-128)*127 - 7 = -31122, negative: * -0.01 = 311.22 -> clamped to 252 + 3
  EXPECT_MSG(y[1] == 255, Format("y[1] = %d", y[1]));
}

}  // namespace sterna_test
