// Every gemm_f32w4 that runs here, ref included, within its bound of sums in double precision; and the op, through programs.
#include "families/gemm_f32w4/half.h"

#include <cmath>
#include <cstring>

#include "engine/engine.h"
#include "kernel_cases.h"
#include "program_builder.h"

namespace sterna_test {
namespace {

using sterna::Engine;
using sterna::GemmF32W4Args;
using sterna::GemmF32W4Kernel;
using sterna::OpCode;
using sterna::StatusCode;


struct Problem {
  size_t m, n, k, group;
  std::vector<int8_t> w;
  std::vector<uint16_t> scale;
  std::vector<float> bias;

  Problem(size_t rows, size_t columns, size_t depth, size_t in_group, Random& random) : m(rows), n(columns), k(depth), group(in_group) {
    for (size_t i = 0; i < n * k; ++i) w.push_back(static_cast<int8_t>(random.Int(-8, 7)));
    // From the smallest numbers of 16 bits on, of either sign.
    for (size_t i = 0; i < n * (k / group); ++i) scale.push_back(static_cast<uint16_t>(random.Int(0, 1) << 15 | random.Int(0, 0x3fff)));
    for (size_t o = 0; o < n; ++o) bias.push_back(random.Float(-1.0f, 1.0f));
  }
  double Scale(size_t o, size_t p) const { return sterna::HalfToFloat(scale[o * (k / group) + p / group]); }
};

void ExpectWithinBound(const char* name, const Problem& s, const float* a, size_t a_stride, const float* y, size_t y_stride, bool bias) {
  for (size_t i = 0; i < s.m; ++i) {
    for (size_t o = 0; o < s.n; ++o) {
      double sum = bias ? s.bias[o] : 0.0, size = std::fabs(sum);
      for (size_t p = 0; p < s.k; ++p) {
        const double term = double{a[i * a_stride + p]} * s.Scale(o, p) * s.w[o * s.k + p];
        sum += term, size += std::fabs(term);
      }
      const double error = std::fabs(sum - double{y[i * y_stride + o]}), bound = sterna::ErrorBoundF32(s.k, size);
      if (!(error <= bound)) return Fail(__FILE__, __LINE__, Format("%s m=%zu n=%zu k=%zu group=%zu: y[%zu][%zu] is off by %g of %g", name, s.m, s.n, s.k, s.group, i, o, error, bound));
    }
  }
}

void Run(const GemmF32W4Kernel& kernel, const Problem& s, size_t rows, const float* a, size_t a_stride, float* y, size_t y_stride, bool bias) {
  Guarded packed(RoundUp(kernel.packed_bytes(s.n, s.k, s.group), 64)), biases(s.n * 4);
  std::memcpy(biases.data(), s.bias.data(), s.n * 4);
  kernel.pack(s.n, s.k, s.group, s.w.data(), s.scale.data(), packed.data());
  const GemmF32W4Args args{rows, s.n, s.k, s.group, a, a_stride, packed.data(), bias ? biases.as<float>() : nullptr, y, y_stride};
  kernel.run(&args);
}

void TestShapes(const GemmF32W4Kernel& kernel) {
  Random random(31);
  int turn = 0;
  for (size_t m : {0, 1, 2, 3, 4, 5, 9}) {
    for (size_t n : {1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 130}) {
      for (size_t group : {32, 64, 128}) {
        const size_t k = group * static_cast<size_t>(1 + turn % 4), a_stride = k + 3, y_stride = n + 5;
        const Problem s(m, n, k, group, random);
        const bool bias = turn++ % 2 == 0;
        const size_t a_count = m == 0 ? 0 : (m - 1) * a_stride + k, y_count = m == 0 ? 0 : (m - 1) * y_stride + n;
        Guarded a(a_count * 4, 60), y(y_count * 4);  // slack of whole floats keeps them aligned
        for (size_t i = 0; i < a_count; ++i) a.as<float>()[i] = random.Float(-2.0f, 2.0f);
        Run(kernel, s, m, a.as<float>(), a_stride, y.as<float>(), y_stride, bias);
        ExpectWithinBound(kernel.name, s, a.as<float>(), a_stride, y.as<float>(), y_stride, bias);
        std::vector<float> alone(n);
        for (size_t i = 0; i < m; ++i) {
          Run(kernel, s, 1, a.as<float>() + i * a_stride, a_stride, alone.data(), n, bias);
          EXPECT_MSG(FirstDifference(alone.data(), y.as<float>() + i * y_stride, n * 4) < 0, Format("%s: row %zu of %zu depends on the others", kernel.name, i, m));
        }
      }
    }
  }
}

constexpr uint32_t kRows = 3, kColumns = 200, kDepth = 192, kGroup = 64;

struct W4Program {
  std::vector<int8_t> w;
  std::vector<float> scale, bias;
  int32_t group = kGroup;

  std::vector<uint8_t> Build() const {
    ProgramBuilder b(DType::kU8);
    const uint32_t x = b.Input(DType::kF32, {1, kRows, kDepth}, kDepth + 16), y = b.Output(DType::kF32, {1, kRows, kColumns}, kColumns + 8);
    b.Op(OpCode::kMatMulW4, {x, b.Constant(DType::kS8, {kColumns, kDepth}, w), b.Constant(DType::kF32, {kColumns, kDepth / kGroup}, scale),
                             b.Constant(DType::kF32, {kColumns}, bias)}, y, sterna::MatMulW4Attrs{group});
    return b.Build();
  }
};

W4Program ProgramOf(const Problem& s) {
  W4Program program;
  program.w = s.w, program.bias = s.bias;
  for (uint16_t h : s.scale) program.scale.push_back(sterna::HalfToFloat(h));
  return program;
}

sterna::Status Load(const W4Program& program, const char* isa, int threads, std::unique_ptr<Engine>* engine) {
  sterna::LoadOptions options;
  options.isa = isa, options.threads = threads;
  const std::vector<uint8_t> bytes = program.Build();
  return Engine::Load(bytes.data(), bytes.size(), options, engine);
}

// Whether weights stay at 4 bits: where that is fast, and on ref, which has nothing faster.
bool KeepsNarrow(const char* isa) {
  sterna::KernelSet kernels;
  EXPECT(sterna::SelectKernels(isa, DType::kU8, &kernels).ok());
  return kernels.gemm_f32w4 != &sterna_gemm_f32w4_ref || std::strcmp(isa, "ref") == 0;
}

}  // namespace

STERNA_TEST(gemm_f32w4_is_within_its_bound) {
  TestShapes(sterna_gemm_f32w4_ref);
  ForEachIsa("gemm_f32w4", &sterna::IsaKernels::gemm_f32w4, [](const sterna::IsaKernels& isa) { TestShapes(*isa.gemm_f32w4); });
}

STERNA_TEST(products_by_4_bit_weights_run_on_every_isa_and_any_number_of_threads) {
  Random random(32);
  const Problem s(kRows, kColumns, kDepth, kGroup, random);
  std::vector<float> x(kRows * kDepth);
  for (float& v : x) v = random.Float(-2.0f, 2.0f);
  for (const sterna::IsaStatus& isa : sterna::DescribeIsas()) {
    if (!isa.runnable) continue;
    std::vector<float> first;
    for (int threads : {1, 2, 3}) {
      std::unique_ptr<Engine> engine;
      const sterna::Status status = Load(ProgramOf(s), isa.isa, threads, &engine);
      EXPECT_MSG(status.ok(), status.message);
      if (!status.ok()) return;
      std::vector<float> y(kRows * kColumns);
      const uint8_t* in[] = {reinterpret_cast<const uint8_t*>(x.data())};
      uint8_t* out[] = {reinterpret_cast<uint8_t*>(y.data())};
      EXPECT(engine->Run(in, out).ok());
      EXPECT_MSG(KeepsNarrow(isa.isa) == (std::strncmp(engine->kernel(0), "gemm_f32w4/", 11) == 0), Format("%s runs %s", isa.isa, engine->kernel(0)));
      ExpectWithinBound(isa.isa, s, x.data(), kDepth, y.data(), kColumns, true);
      if (first.empty()) first = y;
      EXPECT_MSG(first == y, Format("%s differs with %d threads", isa.isa, threads));
    }
  }
}

STERNA_TEST(what_4_bit_weights_cannot_be_is_refused) {
  Random random(33);
  const W4Program good = ProgramOf(Problem(kRows, kColumns, kDepth, kGroup, random));
  const auto expect = [&](auto change, StatusCode code) {
    W4Program bad = good;
    change(bad);
    std::unique_ptr<Engine> engine;
    EXPECT(Load(bad, nullptr, 1, &engine).code == code);
  };
  expect([](W4Program& p) { p.w[77] = 8; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.w[kColumns * kDepth - 1] = -9; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.scale[5] = 0.1f; }, StatusCode::kUnsupportedOp);       // between two numbers of 16 bits
  expect([](W4Program& p) { p.scale[5] = 65536.0f; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.scale[5] = NAN; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.group = 48; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.group = 0; }, StatusCode::kUnsupportedOp);
  expect([](W4Program& p) { p.group = 32; }, StatusCode::kShapeMismatch);
}

STERNA_TEST(halves_convert_both_ways) {
  for (uint32_t h = 0; h < 0x10000; ++h) {
    if ((h & 0x7c00) == 0x7c00) continue;  // infinities and NaN
    uint16_t back;
    EXPECT(sterna::FloatToHalf(sterna::HalfToFloat(static_cast<uint16_t>(h)), &back) && back == h);
  }
  EXPECT(sterna::HalfToFloat(0x3c00) == 1.0f && sterna::HalfToFloat(0xc500) == -5.0f && sterna::HalfToFloat(0x0001) == 0x1p-24f && sterna::HalfToFloat(0x7bff) == 65504.0f);
  uint16_t none;
  for (float x : {INFINITY, -INFINITY, NAN, 0x1p-25f, 65520.0f, 1.0005f}) EXPECT(!sterna::FloatToHalf(x, &none));
}

}  // namespace sterna_test
