// Every runnable table of the feature gate's kernels against ref, bit for bit, at the ends of the ranges and with every length of tail.
#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::CellCosineKernel;
using sterna::CellSums;

constexpr size_t kChannels[] = {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 64, 96, 500, sterna::kMaxCosineChannels};
constexpr int kLargest = 255 * (1 << sterna::kBackgroundBits);

void Check(const CellCosineKernel& kernel, const CellCosineKernel& ref, size_t channels, Fill fill, Random& random) {
  const size_t cells = channels > 1000 ? 1 : 5, n = cells * channels;
  Guarded x(n), background(n * 2), expected(cells * sizeof(CellSums)), actual(cells * sizeof(CellSums)), learned(n * 2);
  const bool is_signed = random.Int(0, 1) != 0;
  const int32_t zp = fill == Fill::kRandom ? random.Int(0, 255) : fill == Fill::kLow ? 255 : 0;
  for (size_t i = 0; i < n; ++i) {
    x.data()[i] = Activation(random, is_signed ? DType::kS8 : DType::kU8, fill);
    const int at = random.Int(0, 1) != 0 ? kLargest : -kLargest;
    background.as<int16_t>()[i] = static_cast<int16_t>(fill == Fill::kRandom ? random.Int(-kLargest, kLargest) : fill == Fill::kExtremes ? at : kLargest);
  }
  sterna::CellCosineArgs args{cells, channels, x.data(), static_cast<uint8_t>(is_signed ? 0x80 : 0), zp, background.as<int16_t>(), expected.as<CellSums>()};
  ref.sums(&args);
  args.sums = actual.as<CellSums>();
  kernel.sums(&args);
  EXPECT_MSG(std::memcmp(expected.data(), actual.data(), expected.size()) == 0, Format("%s sums: %zu channels differ from ref", kernel.name, channels));
  for (int shift = 1; shift <= 7; ++shift) {
    std::memcpy(learned.data(), background.data(), n * 2);
    ref.blend(n, x.data(), args.flip, zp, shift, background.as<int16_t>());
    kernel.blend(n, x.data(), args.flip, zp, shift, learned.as<int16_t>());
    EXPECT_MSG(std::memcmp(background.data(), learned.data(), n * 2) == 0, Format("%s blend: %zu numbers by %d bits differ from ref", kernel.name, n, shift));
  }
}

}  // namespace

STERNA_TEST(cell_cosine_equals_ref) {
  ForEachIsa("cell_cosine", &sterna::IsaKernels::cell_cosine, [](const sterna::IsaKernels& row) {
    Random random(29);
    const sterna::KernelSet ref = sterna::RefKernels(DType::kU8);
    for (const size_t channels : kChannels) {
      for (const Fill fill : {Fill::kRandom, Fill::kExtremes, Fill::kLow, Fill::kHigh}) Check(*row.cell_cosine, *ref.cell_cosine, channels, fill, random);
    }
  });
}

}  // namespace sterna_test
