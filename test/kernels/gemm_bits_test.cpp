// Every runnable gemm_bnn, gemm_tbn, gemm_tnn and bit_planes against ref, bit-equal for every input; and ref against its formulas.
#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::BitPlaneKernels;
using sterna::GemmBitsArgs;
using sterna::GemmBitsKernel;
using sterna::IsaKernels;
using sterna::KernelSet;

struct Family {
  const char* name;
  const GemmBitsKernel* IsaKernels::*of_isa;
  const GemmBitsKernel* KernelSet::*of_set;
  bool ternary_a, ternary_w;
};
constexpr Family kBnn = {"gemm_bnn", &IsaKernels::gemm_bnn, &KernelSet::gemm_bnn, false, false};
constexpr Family kTbn = {"gemm_tbn", &IsaKernels::gemm_tbn, &KernelSet::gemm_tbn, true, false};
constexpr Family kTnn = {"gemm_tnn", &IsaKernels::gemm_tnn, &KernelSet::gemm_tnn, true, true};

enum class Codes { kRandom, kMinus, kPlus, kZero };
constexpr Codes kAllCodes[] = {Codes::kRandom, Codes::kMinus, Codes::kPlus, Codes::kZero};
enum class RowBias { kNone, kSomeRows, kEveryRow };

struct Case {
  size_t m, n, words;
  Codes a, w;
  int options;         // of RandomRequant
  RowBias row_bias;
  bool bias, sums;
  bool holes = false;  // elements that do not exist lie anywhere, as after the taps of a convolution
};

// A sign and a mask plane. Where nothing exists both are 0, and so is the sign where the mask is; a binary operand has no zeros.
struct Planes {
  Guarded sign, mask;

  Planes(Random& random, size_t rows, size_t stride, const std::vector<uint32_t>& exists, Codes codes, bool ternary, size_t slack)
      : sign(Bytes(rows, stride, exists.size()), slack), mask(Bytes(rows, stride, exists.size()), slack) {
    for (size_t i = 0; i < rows; ++i) {
      for (size_t p = 0; p < exists.size(); ++p) {
        const uint32_t random_mask = static_cast<uint32_t>(random.Next()), random_sign = static_cast<uint32_t>(random.Next());
        const uint32_t nonzero = !ternary ? exists[p] : codes == Codes::kRandom ? random_mask & exists[p] : codes == Codes::kZero ? 0 : exists[p];
        const uint32_t negative = codes == Codes::kMinus ? ~0u : codes == Codes::kPlus ? 0 : random_sign;
        sign.as<uint32_t>()[i * stride + p] = negative & nonzero;
        mask.as<uint32_t>()[i * stride + p] = nonzero;
      }
    }
  }
  static size_t Bytes(size_t rows, size_t stride, size_t words) { return rows == 0 ? 0 : ((rows - 1) * stride + words) * 4; }
};

// Which bits of a row stand for an element.
std::vector<uint32_t> Existing(Random& random, const Case& c) {
  std::vector<uint32_t> exists(c.words, ~0u);
  for (uint32_t& word : exists) word = c.holes ? static_cast<uint32_t>(random.Next()) : word;
  if (!c.holes && c.a == Codes::kRandom) exists.back() >>= random.Int(0, 31);
  return exists;
}

size_t Count(const std::vector<uint32_t>& words) {
  size_t count = 0;
  for (uint32_t word : words) count += static_cast<size_t>(__builtin_popcount(word));
  return count;
}

struct Weights {
  const Planes& planes;
  size_t depth;
  const int32_t* bias;
  bool ternary;
};

void RunInto(const GemmBitsKernel& kernel, GemmBitsArgs args, const Weights& w, uint8_t* y, int32_t* sums) {
  Guarded packed(RoundUp(kernel.packed_bytes(args.n, args.words), 64)), scratch(RoundUp(kernel.scratch_bytes(args.m, args.n, args.words), 64));
  kernel.pack(args.n, args.words, w.depth, w.planes.sign.as<uint32_t>(), w.ternary ? w.planes.mask.as<uint32_t>() : nullptr, w.bias, packed.data());
  args.packed = packed.data(), args.scratch = scratch.data();
  args.y = y, args.sums = sums;
  kernel.run(&args);
}

// Numbers for each row, from three arrays that take turns, or for two rows of three.
std::vector<const int32_t*> RowBiases(Random& random, const Case& c, std::vector<std::unique_ptr<Guarded>>* arrays) {
  for (int i = 0; i < 3; ++i) {
    arrays->push_back(std::make_unique<Guarded>(RoundUp(c.n, 64) * 4));
    for (size_t o = 0; o < c.n; ++o) arrays->back()->as<int32_t>()[o] = random.Int(-500, 500);
  }
  std::vector<const int32_t*> rows;
  for (size_t i = 0; i < c.m; ++i) rows.push_back(c.row_bias == RowBias::kSomeRows && i % 3 == 1 ? nullptr : (*arrays)[i % 3]->as<int32_t>());
  return rows;
}

void Compare(const Family& family, const IsaKernels& isa, const Case& c, Random& random) {
  const DType type = static_cast<DType>(isa.activation);
  const KernelSet set = sterna::RefKernels(type);
  const GemmBitsKernel &kernel = *(isa.*family.of_isa), &ref = *(set.*family.of_set);
  const size_t a_stride = c.words + 3, y_stride = c.n + 5, sums_stride = c.n + 7;
  const std::vector<uint32_t> exists = Existing(random, c);
  const Planes a(random, c.m, a_stride, exists, c.a, family.ternary_a, 60), w(random, c.n, c.words, exists, c.w, family.ternary_w, 0);
  Guarded bias(c.n * 4);
  for (size_t o = 0; o < c.n; ++o) bias.as<int32_t>()[o] = random.Int(-50, 50);
  std::vector<std::unique_ptr<Guarded>> arrays;
  const std::vector<const int32_t*> row_bias = RowBiases(random, c, &arrays);
  RandomRequant requant(random, type, c.options, c.m, c.n, 16.0f * static_cast<float>(c.words));

  GemmBitsArgs args{};
  args.m = c.m, args.n = c.n, args.words = c.words;
  args.sign = a.sign.as<uint32_t>(), args.mask = family.ternary_a ? a.mask.as<uint32_t>() : nullptr, args.a_stride = a_stride;
  args.row_bias = c.row_bias == RowBias::kNone ? nullptr : row_bias.data();
  args.y_stride = y_stride, args.sums_stride = sums_stride;
  args.requant = requant.requant;
  const Weights weights{w, Count(exists), c.bias ? bias.as<int32_t>() : nullptr, family.ternary_w};
  const size_t bytes = c.m == 0 ? 0 : c.sums ? ((c.m - 1) * sums_stride + c.n) * 4 : (c.m - 1) * y_stride + c.n;
  Guarded expected(bytes), actual(bytes);
  RunInto(ref, args, weights, c.sums ? nullptr : expected.data(), c.sums ? expected.as<int32_t>() : nullptr);
  RunInto(kernel, args, weights, c.sums ? nullptr : actual.data(), c.sums ? actual.as<int32_t>() : nullptr);
  const long at = FirstDifference(expected.data(), actual.data(), bytes);
  EXPECT_MSG(at < 0, Format("%s m=%zu n=%zu words=%zu options=%d codes=%d,%d row_bias=%d sums=%d: byte %ld is %d instead of %d", kernel.name, c.m, c.n, c.words,
                            c.options, static_cast<int>(c.a), static_cast<int>(c.w), static_cast<int>(c.row_bias), c.sums, at, actual.data()[at], expected.data()[at]));
}

// Every option comes up with every other: the counts of options are coprime.
void TestShapes(const Family& family, const IsaKernels& isa) {
  Random random(1);
  int turn = 0;
  for (size_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 17, 27}) {
    for (size_t n : {1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 97, 130}) {
      for (size_t words : {1, 2, 3, 5, 9}) {
        const Case c{m, n, words, Codes::kRandom, Codes::kRandom, turn * 11 & 63, static_cast<RowBias>(turn % 3), turn % 5 != 0, turn % 7 == 0, turn % 2 == 0};
        Compare(family, isa, c, random);
        ++turn;
      }
    }
  }
  Compare(family, isa, {700, 70, 36, Codes::kRandom, Codes::kRandom, 0, RowBias::kNone, true, false}, random);
  Compare(family, isa, {700, 70, 36, Codes::kRandom, Codes::kRandom, 7, RowBias::kSomeRows, true, false}, random);
}

// The largest counts, positive and negative, at every number of words around which a sum of bytes could overflow.
void TestCounts(const Family& family, const IsaKernels& isa) {
  Random random(2);
  for (Codes a : kAllCodes) {
    for (Codes w : kAllCodes) {
      for (size_t words = 1; words <= 70; ++words) Compare(family, isa, {3, 37, words, a, w, 0, RowBias::kNone, false, true}, random);
    }
  }
}

// The same for sums of 16 bits, signed and unsigned.
void TestDepths(const Family& family, const IsaKernels& isa) {
  Random random(3);
  for (Codes a : kAllCodes) {
    for (Codes w : {Codes::kMinus, Codes::kPlus}) {
      for (size_t words : {1022, 1023, 1024, 1025, 2047, 2048, 2049, 2063, 4097, 16400}) Compare(family, isa, {2, 17, words, a, w, 0, RowBias::kNone, true, true}, random);
    }
  }
}

// Scales of 1 and more, and results to either side of 16 bits.
void TestScales(const Family& family, const IsaKernels& isa) {
  Random random(4);
  for (float scale : {1e-4f, 1.0f, 3.0f, 200.0f, 1e30f}) {
    for (int options = 0; options < 64; ++options) {
      const DType type = static_cast<DType>(isa.activation);
      const KernelSet set = sterna::RefKernels(type);
      const std::vector<uint32_t> exists(8, ~0u);
      const Planes a(random, 9, 8, exists, Codes::kRandom, family.ternary_a, 60), w(random, 70, 8, exists, Codes::kRandom, family.ternary_w, 0);
      RandomRequant requant(random, type, options, 9, 70, 100.0f / scale);
      GemmBitsArgs args{};
      args.m = 9, args.n = 70, args.words = 8, args.a_stride = 8, args.y_stride = 70;
      args.sign = a.sign.as<uint32_t>(), args.mask = family.ternary_a ? a.mask.as<uint32_t>() : nullptr;
      args.requant = requant.requant;
      Guarded expected(9 * 70), actual(9 * 70);
      RunInto(*(set.*family.of_set), args, {w, 256, nullptr, family.ternary_w}, expected.data(), nullptr);
      RunInto(*(isa.*family.of_isa), args, {w, 256, nullptr, family.ternary_w}, actual.data(), nullptr);
      const long at = FirstDifference(expected.data(), actual.data(), 9 * 70);
      EXPECT_MSG(at < 0, Format("%s scale=%g options=%d: byte %ld is %d instead of %d", (isa.*family.of_isa)->name, static_cast<double>(scale), options, at, actual.data()[at], expected.data()[at]));
    }
  }
}

void TestAll(const Family& family, void (*test)(const Family&, const IsaKernels&)) {
  ForEachIsa(family.name, family.of_isa, [&](const IsaKernels& isa) { test(family, isa); });
}

void TestBitPlanes(const IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const BitPlaneKernels& ref = *sterna::RefKernels(type).bit_planes;
  Random random(5);
  for (size_t n = 1; n <= 300; ++n) {
    const size_t words = (n + 31) / 32;
    Guarded x(n, 63), sign[2] = {{words * 4}, {words * 4}}, mask[2] = {{words * 4}, {words * 4}};
    const int32_t lo = Lowest(type), zps[] = {lo + 1, lo + 128, lo + 254, lo, lo + 255, random.Int(lo, lo + 255)};
    const int32_t zp = zps[n % 6];
    for (size_t i = 0; i < n; ++i) x.data()[i] = static_cast<uint8_t>(n % 2 == 0 ? random.Int(lo, lo + 255) : std::min(std::max(zp + random.Int(-1, 1), lo), lo + 255));
    for (const bool masked : {true, false}) {
      ref.from_q8(n, x.data(), zp, sign[0].as<uint32_t>(), masked ? mask[0].as<uint32_t>() : nullptr);
      isa.bit_planes->from_q8(n, x.data(), zp, sign[1].as<uint32_t>(), masked ? mask[1].as<uint32_t>() : nullptr);
      const bool same = FirstDifference(sign[0].data(), sign[1].data(), words * 4) < 0 && FirstDifference(mask[0].data(), mask[1].data(), words * 4) < 0;
      EXPECT_MSG(same, Format("%s n=%zu zp=%d masked=%d: other planes", isa.bit_planes->name, n, zp, masked));
    }
  }
}

// All vectors of `depth` codes as rows of one word: base 3 of {0, 1, -1}, or base 2 of {1, -1}.
struct AllCodes {
  size_t rows = 1;
  std::vector<uint32_t> sign, mask;
  std::vector<std::vector<int>> codes;

  AllCodes(size_t depth, bool ternary) {
    const size_t base = ternary ? 3 : 2;
    for (size_t i = 0; i < depth; ++i) rows *= base;
    for (size_t row = 0; row < rows; ++row) {
      sign.push_back(0), mask.push_back(0), codes.emplace_back();
      size_t rest = row;
      for (size_t i = 0; i < depth; ++i, rest /= base) {
        const size_t digit = rest % base + (ternary ? 0 : 1);
        codes.back().push_back(digit == 2 ? -1 : static_cast<int>(digit));
        sign.back() |= static_cast<uint32_t>(digit == 2) << (7 * i);  // anywhere in the word
        mask.back() |= static_cast<uint32_t>(digit != 0) << (7 * i);
      }
    }
    for (int i = 0; i < 16; ++i) sign.push_back(0), mask.push_back(0);  // what may be read after the last row
  }
};

// Every product of all codes against the sum that it stands for.
void TestIdentity(const Family& family) {
  constexpr size_t kDepth = 4;
  const AllCodes a(kDepth, family.ternary_a), w(kDepth, family.ternary_w);
  const KernelSet set = sterna::RefKernels(DType::kU8);
  const GemmBitsKernel& ref = *(set.*family.of_set);
  std::vector<uint32_t> packed(ref.packed_bytes(w.rows, 1) / 4 + 1);
  ref.pack(w.rows, 1, kDepth, w.sign.data(), family.ternary_w ? w.mask.data() : nullptr, nullptr, packed.data());
  std::vector<int32_t> sums(a.rows * w.rows);
  GemmBitsArgs args{};
  args.m = a.rows, args.n = w.rows, args.words = 1;
  args.sign = a.sign.data(), args.mask = family.ternary_a ? a.mask.data() : nullptr, args.a_stride = 1;
  args.packed = packed.data();
  args.sums = sums.data(), args.sums_stride = w.rows;
  ref.run(&args);
  for (size_t i = 0; i < a.rows; ++i) {
    for (size_t o = 0; o < w.rows; ++o) {
      int expected = 0;
      for (size_t k = 0; k < kDepth; ++k) expected += a.codes[i][k] * w.codes[o][k];
      EXPECT_MSG(sums[i * w.rows + o] == expected, Format("%s: %zu times %zu is %d instead of %d", family.name, i, o, sums[i * w.rows + o], expected));
    }
  }
}

}  // namespace

STERNA_TEST(gemm_bnn_is_bit_equal_to_ref_for_all_shapes) { TestAll(kBnn, TestShapes); }
STERNA_TEST(gemm_tbn_is_bit_equal_to_ref_for_all_shapes) { TestAll(kTbn, TestShapes); }
STERNA_TEST(gemm_tnn_is_bit_equal_to_ref_for_all_shapes) { TestAll(kTnn, TestShapes); }
STERNA_TEST(gemm_bnn_counts_exactly_at_every_number_of_words) { TestAll(kBnn, TestCounts); }
STERNA_TEST(gemm_tbn_counts_exactly_at_every_number_of_words) { TestAll(kTbn, TestCounts); }
STERNA_TEST(gemm_tnn_counts_exactly_at_every_number_of_words) { TestAll(kTnn, TestCounts); }
STERNA_TEST(gemm_bnn_counts_exactly_beyond_16_bits) { TestAll(kBnn, TestDepths); }
STERNA_TEST(gemm_tbn_counts_exactly_beyond_16_bits) { TestAll(kTbn, TestDepths); }
STERNA_TEST(gemm_tnn_counts_exactly_beyond_16_bits) { TestAll(kTnn, TestDepths); }
STERNA_TEST(gemm_bnn_saturates_like_ref) { TestAll(kBnn, TestScales); }
STERNA_TEST(gemm_tbn_saturates_like_ref) { TestAll(kTbn, TestScales); }
STERNA_TEST(gemm_tnn_saturates_like_ref) { TestAll(kTnn, TestScales); }
STERNA_TEST(bit_planes_are_bit_equal_to_ref) { ForEachIsa("bit_planes", &IsaKernels::bit_planes, TestBitPlanes); }

STERNA_TEST(bit_products_of_all_codes_are_their_sums) {
  for (const Family& family : {kBnn, kTbn, kTnn}) TestIdentity(family);
}

STERNA_TEST(bit_planes_ref_computes_what_the_formula_says) {
  std::vector<uint8_t> x(35, 8);  // 0
  x[0] = 7, x[2] = 9, x[31] = 7, x[33] = 200, x[34] = 0;
  uint32_t sign[2], mask[2];
  sterna_bit_planes_ref_u8.from_q8(35, x.data(), 8, sign, mask);
  EXPECT(sign[0] == 0x80000001u && mask[0] == 0x80000005u && sign[1] == 4u && mask[1] == 6u);
  const uint8_t negative[2] = {0xff, 1};  // -1 and 1
  sterna_bit_planes_ref_s8.from_q8(2, negative, 0, sign, nullptr);
  EXPECT(sign[0] == 1u);
}

// Ref itself, against sums written out by hand: a = (1, -1, 0 or 1, -1), w = (1, 1, -1, -1) and (-1, 1, 1, 0 or 1).
STERNA_TEST(bit_products_of_ref_go_through_bias_and_epilogue) {
  const uint32_t a_sign[17] = {0xa}, a_mask[17] = {0xb}, w_sign[2] = {0xc, 0x1}, w_mask[2] = {0xf, 0x7};
  const int32_t bias[2] = {10, -3}, row[64] = {100, 1};
  const int32_t* row_bias[1] = {row};
  const float scale[64] = {0.5f, -2.0f};
  uint32_t packed[16];
  const struct { Family family; int32_t sums[2]; } cases[] = {
      {kBnn, {10 + 0 + 100, -3 - 2 + 1}},      // (1 - 1 - 1 + 1), (-1 - 1 + 1 - 1)
      {kTbn, {10 + 1 + 100, -3 - 3 + 1}},      // (1 - 1 + 0 + 1), (-1 - 1 + 0 - 1)
      {kTnn, {10 + 1 + 100, -3 - 2 + 1}}};     // (1 - 1 + 0 + 1), (-1 - 1 + 0 - 0)
  for (const auto& c : cases) {
    const KernelSet set = sterna::RefKernels(DType::kU8);
    const GemmBitsKernel& ref = *(set.*c.family.of_set);
    EXPECT(ref.packed_bytes(2, 1) <= sizeof(packed));
    ref.pack(2, 1, 4, w_sign, c.family.ternary_w ? w_mask : nullptr, bias, packed);
    int32_t sums[2];
    uint8_t y[2];
    GemmBitsArgs args{1, 2, 1, a_sign, c.family.ternary_a ? a_mask : nullptr, 1, packed, row_bias, sums, 2, nullptr, 0, {}, nullptr};
    ref.run(&args);
    EXPECT_MSG(sums[0] == c.sums[0] && sums[1] == c.sums[1], Format("%s: %d, %d instead of %d, %d", c.family.name, sums[0], sums[1], c.sums[0], c.sums[1]));
    args.sums = nullptr, args.y = y, args.y_stride = 2;
    args.requant = {scale, nullptr, 3, 0, 255, nullptr, nullptr, 0, 0, 0, 0, 255, 0, 0};
    ref.run(&args);
    EXPECT_MSG(y[0] == (c.family.ternary_a ? 59 : 58) && y[1] == 3 - 2 * c.sums[1], Format("%s: y is %d, %d", c.family.name, y[0], y[1]));
  }
}

}  // namespace sterna_test
