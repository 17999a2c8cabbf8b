// Every runnable gemm_f32 and dwconv_f32 against double precision: within the bound of the contract (ErrorBoundF32, sterna/epilogue.h).
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernel_cases.h"

namespace sterna_test {
namespace {

using sterna::DwConvF32Args;
using sterna::EpilogueF32;
using sterna::GemmF32Args;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void FillRandom(const Guarded& memory, Random& random) {
  for (size_t i = 0; i < memory.size() / 4; ++i) memory.as<float>()[i] = random.Float(-1.0f, 1.0f);
}

constexpr size_t kFloatSlack = 60;  // the 63 bytes that kernels may read past a row, in whole floats

// Whatever lies in the slack must not matter, NaN least of all.
void FillSlackWithNan(const Guarded& memory) { std::memset(memory.data() + memory.size(), 0xff, kFloatSlack); }

// `options`: bit 0 bias, bit 1 slope, bit 2 residual, bit 3 residual first, bit 4 relu, bit 5 clamp to [0, 6] * 0.1.
struct RandomEpilogue {
  EpilogueF32 epilogue{};
  Guarded bias, slope, residual;

  RandomEpilogue(Random& random, int options, size_t rows, size_t channels)
      : bias(channels * 4), slope(channels * 4), residual(rows * (channels + 3) * 4, kFloatSlack) {
    FillRandom(bias, random), FillRandom(slope, random), FillRandom(residual, random);
    FillSlackWithNan(residual);
    epilogue.bias = (options & 1) != 0 ? bias.as<float>() : nullptr;
    epilogue.slope = (options & 2) != 0 ? slope.as<float>() : nullptr;
    epilogue.residual = (options & 4) != 0 ? residual.as<float>() : nullptr;
    epilogue.residual_stride = channels + 3;
    epilogue.residual_first = (options & 8) != 0;
    epilogue.lo = (options & 48) != 0 ? 0.0f : -kInfinity;
    epilogue.hi = (options & 32) != 0 ? 0.6f : kInfinity;
  }
};

double Activate(const EpilogueF32& e, double v, size_t o) {
  if (e.slope != nullptr) return v < 0 ? v * static_cast<double>(e.slope[o]) : v;
  return std::min(std::max(v, static_cast<double>(e.lo)), static_cast<double>(e.hi));
}

double Finish(const EpilogueF32& e, double acc, size_t row, size_t o) {
  const double v = acc + (e.bias != nullptr ? static_cast<double>(e.bias[o]) : 0.0);
  if (e.residual == nullptr) return Activate(e, v, o);
  const double r = static_cast<double>(e.residual[row * e.residual_stride + o]);
  return e.residual_first ? Activate(e, v + r, o) : Activate(e, v, o) + r;
}

// Weights that lie the other way round are packed to the same bytes, and so are those with a factor, as if they had been multiplied before.
void CheckStridedPacking(const sterna::GemmF32Kernel& kernel, size_t n, size_t k, Random& random) {
  const size_t stride = n + 3, bytes = RoundUp(kernel.packed_bytes(n, k), 64);
  Guarded w(n * k * 4), turned(((k - 1) * stride + n) * 4), wanted(bytes), packed(bytes);
  FillRandom(w, random);
  for (size_t o = 0; o < n; ++o) {
    for (size_t p = 0; p < k; ++p) turned.as<float>()[p * stride + o] = w.as<float>()[o * k + p], w.as<float>()[o * k + p] *= 0.37f;
  }
  std::memset(wanted.data(), 0, bytes), std::memset(packed.data(), 0, bytes);
  kernel.pack(n, k, sterna::DenseF32(w.as<float>(), k), wanted.data());
  kernel.pack(n, k, {turned.as<float>(), 1, stride, 0.37f}, packed.data());
  EXPECT_MSG(FirstDifference(wanted.data(), packed.data(), bytes) < 0, Format("%s n=%zu k=%zu: strided weights are packed to other bytes", kernel.name, n, k));
}

void CheckGemm(const sterna::GemmF32Kernel& kernel, size_t m, size_t n, size_t k, int options, Random& random) {
  const size_t a_stride = k + 5, y_stride = n + 3;
  Guarded a(m == 0 ? 0 : ((m - 1) * a_stride + k) * 4, kFloatSlack), w(n * k * 4), y(m == 0 ? 0 : ((m - 1) * y_stride + n) * 4);
  FillRandom(a, random), FillRandom(w, random), FillSlackWithNan(a);
  for (size_t i = 0; m > 0 && i < m - 1; ++i) std::memset(a.as<float>() + i * a_stride + k, 0xff, 5 * 4);
  RandomEpilogue epilogue(random, options, m, n);
  Guarded packed(RoundUp(kernel.packed_bytes(n, k), 64)), scratch(RoundUp(kernel.scratch_bytes(m, n, k), 64));
  kernel.pack(n, k, sterna::DenseF32(w.as<float>(), k), packed.data());
  const GemmF32Args args{m, n, k, a.as<float>(), a_stride, packed.data(), y.as<float>(), y_stride, epilogue.epilogue, scratch.data()};
  kernel.run(&args);
  for (size_t i = 0; i < m; ++i) {
    for (size_t o = 0; o < n; ++o) {
      double sum = 0, magnitude = 2;
      for (size_t p = 0; p < k; ++p) {
        const double term = static_cast<double>(a.as<float>()[i * a_stride + p]) * static_cast<double>(w.as<float>()[o * k + p]);
        sum += term, magnitude += std::fabs(term);
      }
      const double expected = Finish(epilogue.epilogue, sum, i, o), actual = static_cast<double>(y.as<float>()[i * y_stride + o]);
      EXPECT_MSG(std::fabs(expected - actual) <= sterna::ErrorBoundF32(k, magnitude),
                 Format("%s m=%zu n=%zu k=%zu options=%d: y[%zu][%zu] is %g instead of %g", kernel.name, m, n, k, options, i, o, actual, expected));
    }
    if (i + 1 == m) break;
    uint8_t gap[12];
    std::memset(gap, 0xa5, sizeof(gap));
    EXPECT_MSG(std::memcmp(y.as<float>() + i * y_stride + n, gap, sizeof(gap)) == 0, Format("%s wrote past row %zu", kernel.name, i));
  }
}

void TestGemm(const sterna::IsaKernels& isa) {
  Random random(5);
  int options = 0;
  for (size_t m : {0, 1, 2, 3, 5, 6, 7, 8, 9, 13, 17}) {
    for (size_t n : {1, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 48, 49, 70}) {
      for (size_t k : {1, 2, 3, 4, 7, 8, 9, 16, 31, 64, 129}) {
        CheckGemm(*isa.gemm_f32, m, n, k, options & 63, random);
        options += 11;
      }
    }
  }
  for (int all = 0; all < 64; ++all) CheckGemm(*isa.gemm_f32, 11, 37, 500, all, random);
  // Around every ISA's tiles, and matrices that kernels cut into blocks of rows.
  for (size_t n : {12, 24, 32, 40, 63, 64, 65, 80, 129}) {
    for (size_t m = 1; m <= 27; ++m, options += 11) CheckGemm(*isa.gemm_f32, m, n, 9, options & 63, random);
  }
  CheckGemm(*isa.gemm_f32, 203, 70, 300, 5, random);
  // Depths that are cut into parts, with and without a copy of A.
  for (const int epilogue : {0, 1, 7, 13, 21, 33}) CheckGemm(*isa.gemm_f32, 26, 37, 1000, epilogue, random);
  CheckGemm(*isa.gemm_f32, 131, 300, 1300, 1 + 4, random);
  for (size_t n : {1, 4, 17, 40, 64, 130}) {
    for (size_t k : {1, 15, 16, 17, 50}) CheckStridedPacking(*isa.gemm_f32, n, k, random);
  }
}

// Bits of y must not depend on how rows and columns are divided among calls: threads divide them in any way.
void CheckDivision(const sterna::GemmF32Kernel& kernel, size_t m, size_t n, size_t k, Random& random) {
  Guarded a(m * k * 4, kFloatSlack), w(n * k * 4), whole(m * n * 4), parts(m * n * 4);
  FillRandom(a, random), FillRandom(w, random), FillSlackWithNan(a);
  RandomEpilogue epilogue(random, 1 + 4 + 16, m, n);
  const auto run = [&](size_t row, size_t rows, size_t column, size_t columns, const Guarded& y) {
    Guarded packed(RoundUp(kernel.packed_bytes(columns, k), 64)), scratch(RoundUp(kernel.scratch_bytes(rows, columns, k), 64));
    kernel.pack(columns, k, sterna::DenseF32(w.as<float>() + column * k, k), packed.data());
    EpilogueF32 e = epilogue.epilogue;
    e.bias += column, e.residual += row * e.residual_stride + column;
    const GemmF32Args args{rows, columns, k, a.as<float>() + row * k, k, packed.data(), y.as<float>() + row * n + column, n, e, scratch.data()};
    kernel.run(&args);
  };
  run(0, m, 0, n, whole);
  for (size_t row = 0; row < m;) {
    const size_t rows = std::min<size_t>(static_cast<size_t>(random.Int(1, 9)), m - row);
    run(row, rows, 0, n, parts);
    row += rows;
  }
  EXPECT_MSG(FirstDifference(whole.data(), parts.data(), whole.size()) < 0, Format("%s m=%zu n=%zu k=%zu: bits depend on the division of rows", kernel.name, m, n, k));
  for (size_t column = 0; column < n;) {
    const size_t columns = std::min<size_t>(static_cast<size_t>(random.Int(1, 70)), n - column);
    run(0, m, column, columns, parts);
    column += columns;
  }
  EXPECT_MSG(FirstDifference(whole.data(), parts.data(), whole.size()) < 0, Format("%s m=%zu n=%zu k=%zu: bits depend on the division of columns", kernel.name, m, n, k));
}

void TestDivision(const sterna::IsaKernels& isa) {
  Random random(8);
  for (size_t m : {1, 5, 8, 23}) {
    for (size_t n : {1, 16, 50, 130}) {
      for (size_t k : {1, 7, 64, 201}) CheckDivision(*isa.gemm_f32, m, n, k, random);
    }
  }
  // Few rows are multiplied at once, many in parts of the depth, and wide products in blocks of columns.
  CheckDivision(*isa.gemm_f32, 30, 70, 901, random);
  CheckDivision(*isa.gemm_f32, 200, 520, 700, random);
}

// Windows in an image of `channels`, 3 rows of taps: the bits of the matrix that im2col would make of them.
void CheckPieces(const sterna::GemmF32Kernel& kernel, size_t m, size_t n, size_t length, size_t step, int options, Random& random) {
  constexpr size_t kPieces = 3;
  const size_t row = (m - 1) * step + length + 2, k = kPieces * length;
  Guarded image(((kPieces - 1) * row + (m - 1) * step + length) * 4), w(n * k * 4), matrix(m * k * 4, kFloatSlack);
  Guarded expected(m * n * 4), actual(m * n * 4);
  FillRandom(image, random), FillRandom(w, random), FillSlackWithNan(matrix);
  for (size_t i = 0; i < m; ++i) {
    for (size_t p = 0; p < kPieces; ++p) {
      std::memcpy(matrix.as<float>() + i * k + p * length, image.as<float>() + p * row + i * step, length * 4);
    }
  }
  RandomEpilogue epilogue(random, options, m, n);
  Guarded packed(RoundUp(kernel.packed_bytes(n, k), 64)), scratch(RoundUp(kernel.scratch_bytes(m, n, k), 64));
  kernel.pack(n, k, sterna::DenseF32(w.as<float>(), k), packed.data());
  GemmF32Args args{m, n, k, matrix.as<float>(), k, packed.data(), expected.as<float>(), n, epilogue.epilogue, scratch.data()};
  kernel.run(&args);
  args.a = image.as<float>(), args.a_stride = step, args.y = actual.as<float>();
  kernel.run_pieces(&args, kPieces, row);
  EXPECT_MSG(FirstDifference(expected.data(), actual.data(), expected.size()) < 0, Format("%s m=%zu n=%zu: pieces of %zu, %zu apart, give other bits", kernel.name, m, n, length, step));
}

void TestPieces(const sterna::IsaKernels& isa) {
  if (isa.gemm_f32->run_pieces == nullptr) return;
  Random random(9);
  int options = 0;
  for (size_t m : {1, 5, 12, 13, 31, 80}) {
    for (size_t n : {1, 16, 24, 70, 130}) {
      for (size_t length : {1, 9, 48}) {
        for (size_t step : {1, 6, 48}) CheckPieces(*isa.gemm_f32, m, n, length, step, options & 63, random), options += 11;
      }
    }
  }
}

// Scratch is allocated for all rows, and threads give a call fewer.
void TestScratch(const sterna::IsaKernels& isa) {
  const sterna::GemmF32Kernel& kernel = *isa.gemm_f32;
  for (size_t k : {97, 384, 768, 3072}) {
    size_t most = 0;
    for (size_t m = 1; m <= 1600; ++m) {
      const size_t bytes = kernel.scratch_bytes(m, 768, k);
      EXPECT_MSG(bytes >= most, Format("%s k=%zu: %zu rows want %zu bytes of scratch, fewer want %zu", kernel.name, k, m, bytes, most));
      most = std::max(most, bytes);
    }
  }
}

struct DwCase {
  size_t channels, kernel_h, kernel_w, stride, dilation, x_width;
  int32_t pad;
  int options;
  size_t left_out = 0;  // of the outputs that the row has
};

size_t OutputWidth(const DwCase& c) {
  const long span = static_cast<long>(c.x_width) + 2 * c.pad - static_cast<long>(c.dilation * (c.kernel_w - 1)) - 1;
  const size_t all = span < 0 ? 0 : static_cast<size_t>(span) / c.stride + 1;
  return all > c.left_out ? all - c.left_out : 0;
}

struct DwInput {
  std::vector<std::unique_ptr<Guarded>> memory;
  std::vector<const float*> rows;
};

void CheckDwOutput(const char* name, const DwCase& c, const DwConvF32Args& args, const DwInput& input) {
  for (size_t j = 0; j < args.y_width; ++j) {
    for (size_t ch = 0; ch < c.channels; ++ch) {
      double sum = 0, magnitude = 2;
      for (size_t t = 0; t < c.kernel_h * c.kernel_w; ++t) {
        const long x = static_cast<long>(j * c.stride + t % c.kernel_w * c.dilation) - c.pad;
        if (x < 0 || x >= static_cast<long>(c.x_width)) continue;
        const double value = static_cast<double>(input.rows[t / c.kernel_w][static_cast<size_t>(x) * args.x_stride + ch]);
        const double term = value * static_cast<double>(args.w[t * c.channels + ch]);
        sum += term, magnitude += std::fabs(term);
      }
      const double expected = Finish(args.epilogue, sum, j, ch), actual = static_cast<double>(args.y[j * args.y_stride + ch]);
      EXPECT_MSG(std::fabs(expected - actual) <= sterna::ErrorBoundF32(c.kernel_h * c.kernel_w, magnitude),
                 Format("%s C=%zu %zux%zu stride=%zu dilation=%zu width=%zu options=%d: y[%zu][%zu] is %g instead of %g", name, c.channels,
                        c.kernel_h, c.kernel_w, c.stride, c.dilation, c.x_width, c.options, j, ch, actual, expected));
    }
  }
}

void CheckDw(const sterna::DwConvF32Kernel& kernel, const DwCase& c, Random& random) {
  const size_t x_stride = c.channels + 3, y_stride = c.channels + 1, y_width = OutputWidth(c);
  DwInput input;
  for (size_t kh = 0; kh < c.kernel_h; ++kh) {
    input.memory.push_back(std::make_unique<Guarded>(((c.x_width - 1) * x_stride + c.channels) * 4, kFloatSlack));
    FillRandom(*input.memory.back(), random), FillSlackWithNan(*input.memory.back());
    input.rows.push_back(input.memory.back()->as<float>());
  }
  Guarded zero(c.channels * 4, kFloatSlack), w(c.kernel_h * c.kernel_w * c.channels * 4, kFloatSlack);
  Guarded y(y_width == 0 ? 0 : ((y_width - 1) * y_stride + c.channels) * 4);
  std::memset(zero.data(), 0, zero.size());
  FillRandom(w, random), FillSlackWithNan(w), FillSlackWithNan(zero);
  RandomEpilogue epilogue(random, c.options, y_width, c.channels);
  const DwConvF32Args args{c.channels, c.kernel_h, c.kernel_w, c.stride, c.dilation, c.x_width, y_width, c.pad, input.rows.data(),
                           x_stride, zero.as<float>(), w.as<float>(), y.as<float>(), y_stride, epilogue.epilogue};
  kernel.run(&args);
  CheckDwOutput(kernel.name, c, args, input);
}

// Two rows at once give the bits of one after the other, whether the lower one reads the input rows of the upper or not.
void CheckDwTwoRows(const sterna::DwConvF32Kernel& kernel, const DwCase& c, Random& random) {
  const size_t x_stride = c.channels + 3, y_stride = c.channels + 1, y_width = OutputWidth(c);
  if (kernel.run_two == nullptr || y_width == 0) return;
  Guarded input((c.kernel_h + 3) * c.x_width * x_stride * 4, kFloatSlack), zero(c.channels * 4, kFloatSlack), w(c.kernel_h * c.kernel_w * c.channels * 4, kFloatSlack);
  FillRandom(input, random), FillRandom(w, random), FillSlackWithNan(input), FillSlackWithNan(w);
  std::memset(zero.data(), 0, zero.size());
  const size_t row_bytes = ((y_width - 1) * y_stride + c.channels) * 4;
  for (const size_t apart : {1, 2, 3}) {
    std::vector<const float*> rows[2];
    Guarded y[4] = {Guarded(row_bytes), Guarded(row_bytes), Guarded(row_bytes), Guarded(row_bytes)};
    RandomEpilogue epilogues[2] = {RandomEpilogue(random, c.options, y_width, c.channels), RandomEpilogue(random, c.options, y_width, c.channels)};
    epilogues[1].epilogue.bias = epilogues[0].epilogue.bias, epilogues[1].epilogue.slope = epilogues[0].epilogue.slope;
    DwConvF32Args args[4];
    for (size_t i = 0; i < 4; ++i) {
      if (i < 2) for (size_t kh = 0; kh < c.kernel_h; ++kh) rows[i].push_back(input.as<float>() + (kh + i * apart) * c.x_width * x_stride);
      args[i] = {c.channels, c.kernel_h, c.kernel_w, c.stride, c.dilation, c.x_width, y_width, c.pad, rows[i % 2].data(),
                 x_stride, zero.as<float>(), w.as<float>(), y[i].as<float>(), y_stride, epilogues[i % 2].epilogue};
    }
    for (size_t i = 0; i < 4; ++i) std::memset(y[i].data(), 0, row_bytes);
    kernel.run(&args[0]), kernel.run(&args[1]);
    kernel.run_two(&args[2], &args[3]);
    for (size_t i = 0; i < 2; ++i) {
      EXPECT_MSG(std::memcmp(y[i].data(), y[i + 2].data(), row_bytes) == 0,
                 Format("%s C=%zu %zux%zu stride=%zu dilation=%zu width=%zu pad=%d options=%d: row %zu of two, %zu apart, has other bits than alone", kernel.name,
                        c.channels, c.kernel_h, c.kernel_w, c.stride, c.dilation, c.x_width, c.pad, c.options, i, apart));
    }
  }
}

void TestDwTwoRows(const sterna::IsaKernels& isa) {
  Random random(7);
  int options = 0;
  const size_t kernels[][2] = {{3, 3}, {5, 5}, {1, 3}, {2, 5}, {7, 7}};
  for (const auto& kernel : kernels) {
    for (size_t channels : {5, 16, 19, 40}) {
      for (size_t width : {1, 2, 4, 5, 7, 8, 9, 14, 20, 24, 25, 26, 33, 36, 61}) {
        for (int32_t pad : {0, 1, 2, 7}) CheckDwTwoRows(*isa.dwconv_f32, {channels, kernel[0], kernel[1], 1, 1, width, pad, options & 63, (options / 11) % 3 * 4u}, random);
        options += 11;
      }
    }
  }
  CheckDwTwoRows(*isa.dwconv_f32, {19, 3, 3, 2, 1, 40, 1, 5}, random);
  CheckDwTwoRows(*isa.dwconv_f32, {19, 3, 3, 1, 2, 40, 2, 7}, random);
}

void TestDw(const sterna::IsaKernels& isa) {
  Random random(6);
  int options = 0;
  const size_t kernels[][2] = {{3, 3}, {5, 5}, {1, 1}, {1, 3}, {3, 1}, {7, 7}};
  for (const auto& kernel : kernels) {
    for (size_t channels : {1, 3, 4, 7, 8, 9, 15, 16, 17, 33, 50}) {
      for (size_t width : {1, 2, 3, 4, 5, 8, 13}) {
        for (size_t stride : {1, 2}) {
          for (size_t dilation : {1, 2}) {
            CheckDw(*isa.dwconv_f32, {channels, kernel[0], kernel[1], stride, dilation, width, static_cast<int32_t>(kernel[1] / 2 * dilation), options & 63},
                    random);
            options += 11;
          }
        }
      }
    }
  }
  // More than one group of outputs at each width of the rest, a larger stride, and a kernel too large for a table of pointers.
  for (size_t width = 14; width < 26; ++width, options += 11) CheckDw(*isa.dwconv_f32, {35, 3, 3, 1, 1, width, 1, options & 63}, random);
  // Wide rows, whose ends are done apart: every kernel with loops of its own, with padding, without, and with more than the taps reach.
  for (size_t kernel : {1, 3, 5}) {
    for (size_t width : {25, 28, 33, 34, 61}) {
      for (size_t stride : {1, 2, 3}) {
        for (size_t dilation : {1, 2}) {
          for (int32_t pad : {0, 1, 2, 7}) CheckDw(*isa.dwconv_f32, {19, kernel, kernel, stride, dilation, width, pad, options & 63, (options / 11) % 3 * 4u}, random);
          options += 11;
        }
      }
    }
  }
  CheckDw(*isa.dwconv_f32, {35, 3, 3, 3, 1, 40, 1, 5}, random);
  CheckDw(*isa.dwconv_f32, {35, 11, 11, 1, 3, 45, 15, 2}, random);
}

}  // namespace

STERNA_TEST(gemm_f32_is_within_its_bound) {
  ForEachIsa("gemm_f32", &sterna::IsaKernels::gemm_f32, TestGemm);
  TestGemm(sterna::kIsaRows[0].kernels);
}
STERNA_TEST(gemm_f32_does_not_depend_on_how_the_work_is_divided) {
  ForEachIsa("gemm_f32", &sterna::IsaKernels::gemm_f32, TestDivision);
  TestDivision(sterna::kIsaRows[0].kernels);
}
STERNA_TEST(gemm_f32_takes_rows_in_pieces) { ForEachIsa("gemm_f32", &sterna::IsaKernels::gemm_f32, TestPieces); }
STERNA_TEST(gemm_f32_has_scratch_for_fewer_rows) { ForEachIsa("gemm_f32", &sterna::IsaKernels::gemm_f32, TestScratch); }
STERNA_TEST(dwconv_f32_is_within_its_bound) {
  ForEachIsa("dwconv_f32", &sterna::IsaKernels::dwconv_f32, TestDw);
  TestDw(sterna::kIsaRows[0].kernels);
}
STERNA_TEST(dwconv_f32_takes_two_rows) { ForEachIsa("dwconv_f32", &sterna::IsaKernels::dwconv_f32, TestDwTwoRows); }

}  // namespace sterna_test
