// Every gemm_w46 and gemm_u4u4 that runs here, ref included, against gemm_q8/ref: bit-equal for all codes and weights that pack takes.
#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::GemmNarrowKernel;
using sterna::GemmQ8Args;

struct Subject {
  const GemmNarrowKernel* kernel;
  DType type;
};

struct Range {
  int32_t lo, hi;
  int32_t middle() const { return (lo + hi + 1) >> 1; }
};

struct Case {
  size_t m, n, k;
  int options;
  Range a, w;          // what A and W hold; A as values of the activation type
  bool extremes;       // rows of A and of W hold their lowest value, their highest, or both, in turn; else anything
  int32_t a_zp;
  float typical;       // magnitude of a sum, from which the scales follow
};

int32_t Pick(Random& random, Range range, bool extremes, size_t row) {
  if (!extremes) return random.Int(range.lo, range.hi);
  const bool high = row % 3 == 2 ? random.Int(0, 1) != 0 : row % 3 == 1;
  return high ? range.hi : range.lo;
}

void Expect(const Subject& subject, const Case& c, const GemmQ8Args& shape, const int8_t* w, const int32_t* bias) {
  const sterna::GemmQ8Kernel& q8 = *sterna::RefKernels(subject.type).gemm_q8;
  const GemmNarrowKernel& kernel = *subject.kernel;
  const size_t y_bytes = c.m == 0 ? 0 : (c.m - 1) * shape.y_stride + c.n;
  Guarded expected(y_bytes), actual(y_bytes);
  GemmQ8Args args = shape;

  Guarded plain(RoundUp(q8.packed_bytes(c.n, c.k), 64));
  EXPECT(q8.pack(c.n, c.k, w, bias, c.a_zp, plain.data()));
  args.packed = plain.data(), args.y = expected.data();
  q8.run(&args);

  Guarded packed(RoundUp(kernel.packed_bytes(c.n, c.k), 64)), scratch(RoundUp(kernel.scratch_bytes(c.m, c.n, c.k), 64));
  const bool taken = kernel.pack(c.n, c.k, w, bias, c.a_zp, c.a.lo, c.a.hi, packed.data());
  EXPECT_MSG(taken, Format("%s refused weights in [%d, %d] for codes in [%d, %d]", kernel.name, c.w.lo, c.w.hi, c.a.lo, c.a.hi));
  if (!taken) return;
  args.packed = packed.data(), args.y = actual.data(), args.scratch = scratch.data();
  kernel.run(&args);

  const long at = FirstDifference(expected.data(), actual.data(), y_bytes);
  EXPECT_MSG(at < 0, Format("%s m=%zu n=%zu k=%zu options=%d a=[%d, %d] w=[%d, %d] a_zp=%d: byte %ld is %d instead of %d", kernel.name, c.m, c.n,
                            c.k, c.options, c.a.lo, c.a.hi, c.w.lo, c.w.hi, c.a_zp, at, actual.data()[at], expected.data()[at]));
}

void Compare(const Subject& subject, const Case& c, Random& random) {
  const size_t a_stride = c.k + 13, y_stride = c.n + 5;
  Guarded a(c.m == 0 ? 0 : (c.m - 1) * a_stride + c.k, 63);
  Guarded w(c.n * c.k), bias(c.n * 4);
  for (size_t i = 0; i < a.size(); ++i) a.data()[i] = static_cast<uint8_t>(Pick(random, c.a, c.extremes, i / a_stride));
  for (size_t i = 0; i < w.size(); ++i) w.as<int8_t>()[i] = static_cast<int8_t>(Pick(random, c.w, c.extremes, i / c.k));
  const int32_t largest = static_cast<int32_t>(c.typical / 4.0f);
  for (size_t o = 0; o < c.n; ++o) bias.as<int32_t>()[o] = random.Int(-largest, largest);
  RandomRequant requant(random, subject.type, c.options, c.m, c.n, c.typical);
  // Sums in the middle of what a byte shows: one that lost 2^16 on the way is never hidden by a clamp.
  if ((c.options & 8) == 0) requant.requant.mid_zp = Lowest(subject.type) + 128;

  GemmQ8Args args{};
  args.m = c.m, args.n = c.n, args.k = c.k;
  args.a = a.data(), args.a_stride = a_stride, args.y_stride = y_stride;
  args.requant = requant.requant;
  Expect(subject, c, args, w.as<int8_t>(), (c.options & 1) == 0 ? bias.as<int32_t>() : nullptr);
}

// Level pairs N_x / N_w of 4.6 bits (Trusov et al., doi 10.3390/math12050651, table 1), and what 4 bits hold.
struct Levels {
  int32_t x;
  Range w;
};
constexpr Levels kPairs[] = {{29, {-9, 9}},   {25, {-10, 10}}, {23, {-11, 11}}, {127, {-2, 2}},  {85, {-3, 3}},  {63, {-4, 4}},
                             {51, {-5, 5}},   {43, {-6, 6}},   {37, {-7, 7}},   {31, {-8, 8}},   {21, {-12, 12}}, {19, {-14, 14}},
                             {17, {-15, 15}}, {13, {-21, 21}}, {9, {-31, 31}},  {5, {-63, 63}}};
constexpr Levels kNibbles[] = {{16, {-8, 7}}};
constexpr size_t kThorough = 3;  // of the first pairs

// Ranges of `levels` codes: at either end of the type, and around its middle.
Range CodesAt(DType type, int32_t levels, int place) {
  const int32_t lo = Lowest(type) + (place == 0 ? 0 : place == 1 ? (256 - levels) / 2 : 256 - levels);
  return {lo, lo + levels - 1};
}

Case RandomCase(const Subject& s, size_t m, size_t n, size_t k, const Levels& levels, int turn, Random& random) {
  const Range codes = CodesAt(s.type, levels.x, turn % 3);
  const int32_t zps[] = {codes.lo, codes.middle(), Lowest(s.type), Lowest(s.type) + 255, random.Int(Lowest(s.type), Lowest(s.type) + 255)};
  const int32_t zp = zps[turn / 3 % 5];
  // A zero-point far from the codes makes long sums.
  const int32_t offset = codes.middle() > zp ? codes.middle() - zp : zp - codes.middle();
  const float width = static_cast<float>(levels.x * levels.w.hi) / 4.0f + static_cast<float>(offset * levels.w.hi) / 2.0f;
  return {m, n, k, turn * 11 & 63, codes, levels.w, false, zp, 3.0f * width * __builtin_sqrtf(static_cast<float>(k)) + 10.0f};
}

template <size_t kCount>
void TestShapes(const Subject& subject, const Levels (&table)[kCount]) {
  Random random(11);
  int turn = 0;
  for (size_t m : {0, 1, 2, 3, 4, 5, 7, 8, 9, 13, 19}) {
    for (size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 48, 49, 65, 99}) {
      for (size_t k : {1, 2, 3, 4, 5, 8, 15, 16, 17, 33, 67, 160}) {
        Compare(subject, RandomCase(subject, m, n, k, table[static_cast<size_t>(turn) % kCount], turn, random), random);
        ++turn;
      }
    }
  }
  for (size_t n : {12, 28, 40, 56, 63, 64, 79, 80, 96, 128, 129}) {
    for (size_t m = 1; m <= 27; ++m, ++turn) Compare(subject, RandomCase(subject, m, n, 9, table[static_cast<size_t>(turn) % kCount], turn, random), random);
  }
  for (int all = 0; all < 8; ++all, ++turn) Compare(subject, RandomCase(subject, 203, 130, 1001, table[0], turn, random), random);
  Compare(subject, RandomCase(subject, 1500, 17, 40, table[0], turn, random), random);
}

// Products of one magnitude, the largest, of one sign or of both: sums as long as a sum of 16 bits may be, and one product longer.
void TestExtremes(const Subject& subject, const Levels& levels, size_t k, int place, Random& random) {
  const Range codes = CodesAt(subject.type, levels.x, place);
  const int32_t half = levels.x / 2 + 1, weight = levels.w.hi > -levels.w.lo ? levels.w.hi : -levels.w.lo;
  const float typical = static_cast<float>(half * weight) * static_cast<float>(k);
  Compare(subject, {3, 3, k, 0, codes, levels.w, true, codes.middle(), typical}, random);
}

template <size_t kCount>
void TestDepths(const Subject& subject, const Levels (&table)[kCount]) {
  Random random(12);
  for (size_t pair = 0; pair < kCount; ++pair) {
    const Levels& levels = table[pair];
    // Kernels sum in one, two or four lanes for a channel, of codes that start at 0 or are counted from the middle.
    const int32_t product = levels.x / 2 * (levels.w.hi > -levels.w.lo ? levels.w.hi : -levels.w.lo);
    const size_t flush = static_cast<size_t>(32767 / product);
    for (size_t lanes : {1, 2, 4}) {
      for (size_t k : {lanes * flush - 1, lanes * flush, lanes * flush + 1, 2 * lanes * flush + 3}) {
        for (int place = 0; place < 3; ++place) TestExtremes(subject, levels, k, place, random);
      }
    }
    if (pair >= kThorough) continue;
    for (size_t k = 1; k < 620; ++k) TestExtremes(subject, levels, k, static_cast<int>(k % 3), random);
    for (int place = 0; place < 3; ++place) TestExtremes(subject, levels, 66000, place, random);
  }
}

bool Takes(const Subject& s, const std::vector<int8_t>& w, Range a) {
  Guarded packed(RoundUp(s.kernel->packed_bytes(1, w.size()), 64));
  return s.kernel->pack(1, w.size(), w.data(), nullptr, a.lo, a.lo, a.hi, packed.data());
}

// One weight beyond what the codes allow, wherever it stands; one code beyond what the weights allow.
void TestRefusalsOfW46(const Subject& subject) {
  for (const Levels& levels : kPairs) {
    for (int place = 0; place < 3; ++place) {
      const Range codes = CodesAt(subject.type, levels.x, place);
      const int8_t most = static_cast<int8_t>(127 / (levels.x / 2));
      for (size_t at : {0, 7, 20}) {
        std::vector<int8_t> w(21, 1);
        w[at] = static_cast<int8_t>(-most);
        EXPECT(Takes(subject, w, codes));
        w[at] = static_cast<int8_t>(most + 1);
        EXPECT(!Takes(subject, w, codes));
        w[at] = static_cast<int8_t>(-most - 1);
        EXPECT(!Takes(subject, w, codes));
      }
      const int8_t heaviest = levels.w.hi;
      if (place == 0) EXPECT(!Takes(subject, {heaviest}, {codes.lo, codes.lo + 2 * (127 / heaviest + 1)}));
    }
  }
  EXPECT(!Takes(subject, {-128}, {Lowest(subject.type), Lowest(subject.type) + 4}));
}

void TestRefusalsOfU4U4(const Subject& subject) {
  for (int place = 0; place < 3; ++place) {
    const Range codes = CodesAt(subject.type, 16, place);
    EXPECT(Takes(subject, {-8, 7, 0}, codes));
    EXPECT(!Takes(subject, {-8, 7, 8}, codes));
    EXPECT(!Takes(subject, {-9, 7, 0}, codes));
    EXPECT(!Takes(subject, {-8, 7, 0}, CodesAt(subject.type, 17, place)));
  }
}

template <typename Test>
void ForEachSubject(const char* family, const GemmNarrowKernel* sterna::IsaKernels::*member, const GemmNarrowKernel* sterna::KernelSet::*ref, Test test) {
  for (DType type : {DType::kU8, DType::kS8}) test(Subject{sterna::RefKernels(type).*ref, type});
  ForEachIsa(family, member, [&](const sterna::IsaKernels& isa) { test(Subject{isa.*member, static_cast<DType>(isa.activation)}); });
}

template <typename Test>
void ForEachW46(Test test) { ForEachSubject("gemm_w46", &sterna::IsaKernels::gemm_w46, &sterna::KernelSet::gemm_w46, test); }
template <typename Test>
void ForEachU4U4(Test test) { ForEachSubject("gemm_u4u4", &sterna::IsaKernels::gemm_u4u4, &sterna::KernelSet::gemm_u4u4, test); }

}  // namespace

STERNA_TEST(gemm_w46_is_bit_equal_to_gemm_q8_for_all_shapes) { ForEachW46([](const Subject& s) { TestShapes(s, kPairs); }); }
STERNA_TEST(gemm_w46_is_bit_equal_to_gemm_q8_where_16_bits_are_full) { ForEachW46([](const Subject& s) { TestDepths(s, kPairs); }); }
STERNA_TEST(gemm_w46_refuses_products_that_are_too_large) { ForEachW46(TestRefusalsOfW46); }
STERNA_TEST(gemm_u4u4_is_bit_equal_to_gemm_q8_for_all_shapes) { ForEachU4U4([](const Subject& s) { TestShapes(s, kNibbles); }); }
STERNA_TEST(gemm_u4u4_is_bit_equal_to_gemm_q8_where_16_bits_are_full) { ForEachU4U4([](const Subject& s) { TestDepths(s, kNibbles); }); }
STERNA_TEST(gemm_u4u4_refuses_what_4_bits_do_not_hold) { ForEachU4U4(TestRefusalsOfU4U4); }

}  // namespace sterna_test
