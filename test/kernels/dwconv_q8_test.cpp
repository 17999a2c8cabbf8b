// Every runnable dwconv_q8 against ref: bit-equal for every input.
#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::DwConvQ8Args;
using sterna::DwConvQ8Kernel;

struct Case {
  size_t channels, kernel_h, kernel_w, stride, dilation, x_width;
  int32_t pad_left, pad_right;
  int options;
  Fill x_fill, w_fill;
  float typical = 30000.0f;  // magnitude of a sum, from which the scales follow
};

// Columns of output, or 0 when the kernel does not fit.
size_t OutputWidth(const Case& c) {
  const long span = static_cast<long>(c.x_width) + c.pad_left + c.pad_right - static_cast<long>(c.dilation * (c.kernel_w - 1)) - 1;
  return span < 0 ? 0 : static_cast<size_t>(span) / c.stride + 1;
}

// The operands of kernel_h + stride input rows, so of two output rows.
struct Operands {
  std::vector<std::unique_ptr<Guarded>> memory;  // one image row each
  std::vector<const uint8_t*> rows;
  Guarded zero, w, bias;
  RandomRequant requant;
  DwConvQ8Args args{};  // of the upper row
  int32_t x_zp;
  bool has_bias;

  Operands(DType type, const Case& c, Random& random)
      : zero(c.channels, 63),
        w(c.kernel_h * c.kernel_w * c.channels),
        bias(c.channels * 4),
        requant(random, type, c.options, 2 * OutputWidth(c), c.channels, c.typical),
        x_zp(random.Int(Lowest(type), Lowest(type) + 255)),
        has_bias((c.options & 8) == 0) {
    const size_t x_stride = RoundUp(c.channels, 16) + (c.options & 1 ? 16 : 0);
    for (size_t i = 0; i < c.kernel_h + c.stride; ++i) {
      memory.push_back(std::make_unique<Guarded>((c.x_width - 1) * x_stride + c.channels, 63));
      // The last tap row of the upper row points to padding, as at the lower border.
      const bool padding = i + 1 == c.kernel_h && (c.options & 2) != 0;
      for (size_t j = 0; j < memory.back()->size(); ++j) {
        memory.back()->data()[j] = padding ? static_cast<uint8_t>(x_zp) : Activation(random, type, c.x_fill);
      }
      rows.push_back(memory.back()->data());
    }
    std::memset(zero.data(), x_zp, c.channels);
    for (size_t i = 0; i < w.size(); ++i) w.as<int8_t>()[i] = Weight(random, c.w_fill);
    for (size_t o = 0; o < c.channels; ++o) bias.as<int32_t>()[o] = random.Int(-20000, 20000);
    args.channels = c.channels, args.kernel_h = c.kernel_h, args.kernel_w = c.kernel_w;
    args.stride_w = c.stride, args.dilation_w = c.dilation;
    args.x_width = c.x_width, args.y_width = OutputWidth(c), args.pad_left = c.pad_left;
    args.rows = rows.data(), args.x_stride = x_stride, args.zero_pixel = zero.data(), args.y_stride = c.channels + 5;
    args.requant = requant.requant;
  }

  // The row below, which reads `stride` rows further down.
  DwConvQ8Args Lower(size_t stride) const {
    DwConvQ8Args lower = args;
    lower.rows += stride;
    lower.y += args.y_width * args.y_stride;
    if (lower.requant.residual != nullptr) lower.requant.residual += args.y_width * args.requant.residual_stride;
    return lower;
  }
  size_t OutputBytes(size_t lines) const { return args.y_width == 0 ? 0 : (lines * args.y_width - 1) * args.y_stride + args.channels; }
};

// One output row into y, or with `two` both.
void RunInto(const DwConvQ8Kernel& kernel, Operands& operands, const Case& c, bool two, uint8_t* y) {
  DwConvQ8Args& args = operands.args;
  Guarded packed(RoundUp(kernel.packed_bytes(args.channels, args.kernel_h, args.kernel_w), 64));
  const int32_t* bias = operands.has_bias ? operands.bias.as<int32_t>() : nullptr;
  if (!kernel.pack(args.channels, args.kernel_h, args.kernel_w, operands.w.as<int8_t>(), bias, operands.x_zp, packed.data())) {
    Fail(__FILE__, __LINE__, std::string(kernel.name) + " refused the weights");
    return;
  }
  Guarded scratch(RoundUp(kernel.scratch_bytes(args.channels, args.kernel_h, args.kernel_w, args.x_width, args.y_width), 64));
  args.packed = packed.data();
  args.scratch = scratch.data();
  args.y = y;
  const DwConvQ8Args lower = operands.Lower(c.stride);
  if (two && kernel.run_two != nullptr) return kernel.run_two(&args, &lower);
  kernel.run(&args);
  if (two) kernel.run(&lower);
}

void Compare(const DwConvQ8Kernel& kernel, const DwConvQ8Kernel& ref, DType type, const Case& c, Random& random) {
  Operands operands(type, c, random);
  for (const bool two : {false, true}) {
    if (two && kernel.run_two == nullptr) continue;
    const size_t y_bytes = operands.OutputBytes(two ? 2 : 1);
    Guarded expected(y_bytes), actual(y_bytes);
    RunInto(ref, operands, c, two, expected.data());
    RunInto(kernel, operands, c, two, actual.data());
    const long at = FirstDifference(expected.data(), actual.data(), y_bytes);
    EXPECT_MSG(at < 0, Format("%s C=%zu %zux%zu stride=%zu dilation=%zu width=%zu pads=%d,%d options=%d rows=%d: byte %ld is %d instead of %d",
                              kernel.name, c.channels, c.kernel_h, c.kernel_w, c.stride, c.dilation, c.x_width, c.pad_left, c.pad_right, c.options,
                              two ? 2 : 1, at, actual.data()[at], expected.data()[at]));
  }
}

void TestShapes(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const DwConvQ8Kernel& ref = *sterna::RefKernels(type).dwconv_q8;
  Random random(3);
  int options = 0;
  const size_t kernels[][2] = {{3, 3}, {5, 5}, {1, 1}, {1, 3}, {3, 1}, {7, 7}, {2, 2}};
  for (const auto& kernel : kernels) {
    for (size_t channels : {1, 3, 8, 15, 16, 17, 31, 32, 33, 48, 67}) {
      for (size_t width : {1, 2, 3, 4, 5, 7, 8, 12, 19}) {
        for (size_t stride : {1, 2, 3}) {
          for (size_t dilation : {1, 2}) {
            const int32_t pad = static_cast<int32_t>(kernel[1] / 2 * dilation);
            const Case c{channels, kernel[0], kernel[1], stride, dilation, width, pad, options % 3 == 0 ? pad + 1 : pad,
                         options & 63, Fill::kRandom, Fill::kRandom};
            Compare(*isa.dwconv_q8, ref, type, c, random);
            options += 11;
          }
        }
      }
    }
  }
}

// Blocks of channels and what is left of them; rows and kernels longer than what a kernel keeps at a time; scales of 1 and more.
void TestBlocks(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const DwConvQ8Kernel& ref = *sterna::RefKernels(type).dwconv_q8;
  Random random(8);
  int options = 0;
  const auto check = [&](Case c) {
    c.options = options & 63, options += 11;
    Compare(*isa.dwconv_q8, ref, type, c, random);
  };
  for (size_t channels : {63, 64, 65, 79, 96, 97, 112, 127, 144}) {
    for (size_t stride : {1, 2}) {
      for (size_t width = 6; width < 30; ++width) check({channels, 3, 3, stride, 1, width, 1, 1, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 4, 3, stride, 1, 150, 1, 1, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 5, 5, stride, 1, 150, 2, 2, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 2, 75, stride, 1, 160, 3, 0, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 3, 9, stride, 40, 400, 0, 9, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 3, 3, stride, 1, 9, 1, 1, 0, Fill::kExtremes, Fill::kExtremes, 50.0f});
      check({channels, 3, 3, stride, 1, 9, 1, 1, 0, Fill::kExtremes, Fill::kExtremes, 1e-28f});
      // Padding wider than the kernel, and columns of the image that no tap reads.
      check({channels, 3, 3, stride, 1, 6, 5, 4, 0, Fill::kRandom, Fill::kRandom});
      check({channels, 3, 3, stride, 1, 9, -3, -2, 0, Fill::kRandom, Fill::kRandom});
    }
  }
}

void TestExtremes(const sterna::IsaKernels& isa) {
  const DType type = static_cast<DType>(isa.activation);
  const DwConvQ8Kernel& ref = *sterna::RefKernels(type).dwconv_q8;
  Random random(4);
  for (Fill x_fill : {Fill::kLow, Fill::kHigh, Fill::kExtremes, Fill::kRandom}) {
    for (Fill w_fill : {Fill::kLow, Fill::kHigh, Fill::kExtremes, Fill::kRandom}) {
      for (int options = 0; options < 32; ++options) {
        Compare(*isa.dwconv_q8, ref, type, {40, 3, 3, 1 + static_cast<size_t>(options & 1), 1, 11, 1, 1, options, x_fill, w_fill}, random);
        Compare(*isa.dwconv_q8, ref, type, {20, 5, 5, 1, 1, 9, 0, 0, options, x_fill, w_fill}, random);
      }
    }
  }
}

}  // namespace

STERNA_TEST(dwconv_q8_is_bit_equal_to_ref_for_all_shapes) { ForEachIsa("dwconv_q8", &sterna::IsaKernels::dwconv_q8, TestShapes); }
STERNA_TEST(dwconv_q8_is_bit_equal_to_ref_across_blocks) { ForEachIsa("dwconv_q8", &sterna::IsaKernels::dwconv_q8, TestBlocks); }
STERNA_TEST(dwconv_q8_is_bit_equal_to_ref_at_the_extremes) { ForEachIsa("dwconv_q8", &sterna::IsaKernels::dwconv_q8, TestExtremes); }

}  // namespace sterna_test
