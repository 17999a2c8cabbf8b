// How fast every runnable kernel is on the layers of MobileNetV2-224, and what share of the CPU's measured peak that is.
//
//   kernels_bench [family]            e.g. kernels_bench gemm_q8; all families without an argument
//   kernels_bench bits                binary and ternary products, and whole 3x3 layers, as multiples of the same ISA's gemm_q8
//
// Prints JSON lines: first one a peak (independent multiply-adds on registers, nothing else), then one a kernel and shape.
// The kernels of a shape take turns, and the fastest of their runs counts: other processes can only slow one down.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "bench_support.h"
#include "engine/engine.h"
#include "program_builder.h"
#include "sterna/peak.h"
#include "sterna/registry.h"

namespace {

using namespace sterna_bench;

// ---- peaks -----------------------------------------------------------------------------------------------------------------

struct Peaks {
  double int8 = 0, f32 = 0;  // 1e9 multiply-adds a second; 0: unknown
};

Peaks MeasurePeaks(const char* isa) {
  std::vector<sterna::PeakRate> rates;
  Peaks peaks;
  if (!sterna::MeasurePeaks(isa, &rates).ok()) return peaks;
  for (const sterna::PeakRate& rate : rates) {
    double& peak = rate.is_float ? peaks.f32 : peaks.int8;
    peak = std::max(peak, rate.macs_per_second * 1e-9);
  }
  return peaks;
}

// ---- shapes ----------------------------------------------------------------------------------------------------------------

struct GemmShape {
  const char* layer;
  size_t m, n, k;
  bool residual;
};
constexpr GemmShape kGemms[] = {
    {"stem", 12544, 32, 27, false},     {"project 112", 12544, 16, 32, false}, {"expand 112", 12544, 96, 16, false},
    {"project 56", 3136, 24, 96, false}, {"expand 56", 3136, 144, 24, false},   {"project 56 + x", 3136, 24, 144, true},
    {"project 28", 784, 32, 144, false}, {"expand 28", 784, 192, 32, false},    {"project 28 + x", 784, 32, 192, true},
    {"project 14", 196, 64, 192, false}, {"expand 14", 196, 384, 64, false},    {"project 14 + x", 196, 64, 384, true},
    {"project 14 96", 196, 96, 384, false}, {"expand 14 96", 196, 576, 96, false}, {"project 14 96 + x", 196, 96, 576, true},
    {"project 7", 49, 160, 576, false},  {"expand 7", 49, 960, 160, false},     {"project 7 + x", 49, 160, 960, true},
    {"project 7 320", 49, 320, 960, false}, {"head", 49, 1280, 320, false},     {"classifier", 1, 1000, 1280, false},
};

struct DwShape {
  size_t channels, width, stride, kernel;
};
constexpr DwShape kDepthwise[] = {{32, 112, 1, 3}, {96, 112, 2, 3}, {144, 56, 1, 3}, {144, 56, 2, 3}, {192, 28, 1, 3},
                                  {192, 28, 2, 3}, {384, 14, 1, 3}, {576, 14, 1, 3}, {576, 14, 2, 3}, {960, 7, 1, 3},
                                  {240, 28, 1, 5}, {672, 14, 1, 5}};

// ---- measuring -------------------------------------------------------------------------------------------------------------

struct Contender {
  sterna::KernelSet kernels;
  Peaks peaks;
  sterna::DType activation;
};

// prepare(kernels) returns a function that runs its kernel once, on memory of its own.
template <typename Prepare>
void Compare(const std::vector<Contender>& contenders, const std::string& shape, double macs, bool is_float,
             const char* (*name)(const sterna::KernelSet&), Prepare prepare) {
  std::vector<double> best(contenders.size(), std::numeric_limits<double>::infinity());
  std::vector<std::function<void()>> runs;
  for (const Contender& contender : contenders) runs.push_back(prepare(contender.kernels));
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      const double seconds = SecondsOf(runs[i]);
      best[i] = seconds < best[i] ? seconds : best[i];
    }
  }
  for (size_t i = 0; i < contenders.size(); ++i) {
    const double speed = macs / best[i] * 1e-9, peak = is_float ? contenders[i].peaks.f32 : contenders[i].peaks.int8;
    std::printf("{\"kernel\": \"%s\", \"shape\": \"%s\", \"us\": %.2f, \"gmac_s\": %.1f, \"share_of_peak\": ", name(contenders[i].kernels),
                shape.c_str(), best[i] * 1e6, speed);
    peak > 0 ? std::printf("%.3f}\n", speed / peak) : std::printf("null}\n");
  }
  std::fflush(stdout);
}

std::string Name(const GemmShape& s) {
  return std::string(s.layer) + " " + std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k);
}
std::string Name(const DwShape& s) {
  return std::to_string(s.channels) + " channels, width " + std::to_string(s.width) + ", " + std::to_string(s.kernel) + "x" +
         std::to_string(s.kernel) + " / " + std::to_string(s.stride);
}

std::function<void()> PrepareGemmQ8(const sterna::GemmQ8Kernel& kernel, const GemmShape& s) {
  const Memory a = Allocate(s.m * s.k), w = Allocate(s.n * s.k), y = Allocate(s.m * s.n), residual = Allocate(s.m * s.n);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, s.k)), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, s.k));
  const Memory scales = Scales(s.n);
  kernel.pack(s.n, s.k, reinterpret_cast<const int8_t*>(w.get()), nullptr, 7, packed.get());
  return [=, &kernel] {
    const sterna::RequantQ8 requant = {Floats(scales), nullptr, 3, 0, 255, nullptr, s.residual ? residual.get() : nullptr, s.n, 5, 7, 0,
                                       255, 0.5f, 0.5f};
    const sterna::GemmQ8Args args = {s.m, s.n, s.k, a.get(), s.k, packed.get(), y.get(), s.n, requant, scratch.get()};
    kernel.run(&args);
  };
}

std::function<void()> PrepareGemmF32(const sterna::GemmF32Kernel& kernel, const GemmShape& s) {
  const Memory a = AllocateFloats(s.m * s.k), w = AllocateFloats(s.n * s.k), y = AllocateFloats(s.m * s.n);
  const Memory residual = AllocateFloats(s.m * s.n);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, s.k)), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, s.k));
  const Memory bias = Scales(s.n);
  kernel.pack(s.n, s.k, sterna::DenseF32(Floats(w), s.k), packed.get());
  return [=, &kernel] {
    const sterna::EpilogueF32 epilogue = {Floats(bias), nullptr, 0.0f, 6.0f, s.residual ? Floats(residual) : nullptr, s.n, 0};
    float* out = reinterpret_cast<float*>(y.get());
    const sterna::GemmF32Args args = {s.m, s.n, s.k, Floats(a), s.k, packed.get(), out, s.n, epilogue, scratch.get()};
    kernel.run(&args);
  };
}

// The rows of a whole square picture, zero rows above and below. T: uint8_t or float.
template <typename T, typename Row>
void ForEachRow(const DwShape& s, const T* x, const T* zeros, Row row) {
  const size_t pad = s.kernel / 2;
  for (size_t y = 0; y * s.stride < s.width; ++y) {
    const T* rows[8];
    for (size_t i = 0; i < s.kernel; ++i) {
      const size_t at = y * s.stride + i;
      rows[i] = at < pad || at - pad >= s.width ? zeros : x + (at - pad) * s.width * s.channels;
    }
    row(y, rows);
  }
}

std::function<void()> PrepareDwQ8(const sterna::DwConvQ8Kernel& kernel, const DwShape& s) {
  const size_t out = (s.width + s.stride - 1) / s.stride, pixels = s.width * s.width, c = s.channels, k = s.kernel;
  const Memory x = Allocate(pixels * c), y = Allocate(out * out * c), zeros = Allocate(s.width * c), w = Allocate(k * k * c);
  const Memory packed = Allocate(kernel.packed_bytes(c, k, k)), scratch = Allocate(kernel.scratch_bytes(c, k, k, s.width, out));
  const Memory scales = Scales(c);
  kernel.pack(c, k, k, reinterpret_cast<const int8_t*>(w.get()), nullptr, 7, packed.get());
  return [=, &kernel] {
    const sterna::RequantQ8 requant = {Floats(scales), nullptr, 3, 0, 255, nullptr, nullptr, 0, 5, 7, 0, 255, 0.5f, 0.5f};
    ForEachRow<uint8_t>(s, x.get(), zeros.get(), [&](size_t row, const uint8_t* const* rows) {
      const sterna::DwConvQ8Args args = {c, k, k, s.stride, 1, s.width, out, static_cast<int32_t>(k / 2), rows, c, zeros.get(),
                                         packed.get(), y.get() + row * out * c, c, requant, scratch.get()};
      kernel.run(&args);
    });
  };
}

std::function<void()> PrepareDwF32(const sterna::DwConvF32Kernel& kernel, const DwShape& s) {
  const size_t out = (s.width + s.stride - 1) / s.stride, pixels = s.width * s.width, c = s.channels, k = s.kernel;
  const Memory x = AllocateFloats(pixels * c), y = AllocateFloats(out * out * c), zeros = AllocateFloats(s.width * c);
  const Memory w = AllocateFloats(k * k * c);
  const Memory bias = Scales(c);
  return [=, &kernel] {
    const sterna::EpilogueF32 epilogue = {Floats(bias), nullptr, 0.0f, 6.0f, nullptr, 0, 0};
    ForEachRow<float>(s, Floats(x), Floats(zeros), [&](size_t row, const float* const* rows) {
      float* to = reinterpret_cast<float*>(y.get()) + row * out * c;
      const sterna::DwConvF32Args args = {c, k, k, s.stride, 1, s.width, out, static_cast<int32_t>(k / 2), rows, c, Floats(zeros), Floats(w),
                                          to, c, epilogue};
      kernel.run(&args);
    });
  };
}

void BenchGemms(const std::vector<Contender>& contenders, bool q8, bool f32) {
  using sterna::KernelSet;
  for (const GemmShape& s : kGemms) {
    const double macs = static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
    if (q8) {
      Compare(contenders, Name(s), macs, false, [](const KernelSet& k) { return k.gemm_q8->name; },
              [&](const KernelSet& k) { return PrepareGemmQ8(*k.gemm_q8, s); });
    }
    if (f32) {
      Compare(contenders, Name(s), macs, true, [](const KernelSet& k) { return k.gemm_f32->name; },
              [&](const KernelSet& k) { return PrepareGemmF32(*k.gemm_f32, s); });
    }
  }
}

void BenchDepthwise(const std::vector<Contender>& contenders, bool q8, bool f32) {
  using sterna::KernelSet;
  for (const DwShape& s : kDepthwise) {
    const size_t out = (s.width + s.stride - 1) / s.stride;
    const double macs = static_cast<double>(out * out * s.channels * s.kernel * s.kernel);
    if (q8) {
      Compare(contenders, Name(s), macs, false, [](const KernelSet& k) { return k.dwconv_q8->name; },
              [&](const KernelSet& k) { return PrepareDwQ8(*k.dwconv_q8, s); });
    }
    if (f32) {
      Compare(contenders, Name(s), macs, true, [](const KernelSet& k) { return k.dwconv_f32->name; },
              [&](const KernelSet& k) { return PrepareDwF32(*k.dwconv_f32, s); });
    }
  }
}

std::function<void()> PrepareGemmBits(const sterna::GemmBitsKernel& kernel, const GemmShape& s, bool ternary_a, bool ternary_w) {
  const size_t words = s.k / 32;
  const Memory sign = Allocate(s.m * words * 4), mask = Allocate(s.m * words * 4), w = Allocate(s.n * words * 4), y = Allocate(s.m * s.n);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, words)), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, words)), scales = Scales(s.n);
  const auto planes = [](const Memory& memory) { return reinterpret_cast<const uint32_t*>(memory.get()); };
  kernel.pack(s.n, words, s.k, planes(w), ternary_w ? planes(w) : nullptr, nullptr, packed.get());
  return [=, &kernel] {
    const sterna::RequantQ8 requant = {Floats(scales), nullptr, 3, 0, 255, nullptr, nullptr, s.n, 5, 7, 0, 255, 0.5f, 0.5f};
    const sterna::GemmBitsArgs args = {s.m, s.n, words, planes(sign), ternary_a ? planes(mask) : nullptr, words, packed.get(), nullptr, nullptr, 0, y.get(), s.n, requant, scratch.get()};
    kernel.run(&args);
  };
}

// Each family against gemm_q8, in turns: the ratio of the fastest runs, and the median of the ratios of neighbours.
void BenchBits(const std::vector<Contender>& contenders) {
  for (const Contender& c : contenders) {
    for (size_t m : {192, 784, 3136}) {
      for (size_t n : {96, 192, 384}) {
        for (size_t k : {256, 576, 1152}) {
          const GemmShape s = {"bits", m, n, k, false};
          const sterna::GemmBitsKernel* kernels[] = {c.kernels.gemm_bnn, c.kernels.gemm_tbn, c.kernels.gemm_tnn};
          const std::function<void()> runs[] = {PrepareGemmQ8(*c.kernels.gemm_q8, s), PrepareGemmBits(*kernels[0], s, false, false),
                                                PrepareGemmBits(*kernels[1], s, true, false), PrepareGemmBits(*kernels[2], s, true, true)};
          double best[4] = {1e9, 1e9, 1e9, 1e9};
          std::vector<double> ratios[4];
          for (int round = 0; round < kRounds; ++round) {
            double seconds[4];
            for (int i = 0; i < 4; ++i) seconds[i] = SecondsOf(runs[i]), best[i] = std::min(best[i], seconds[i]), ratios[i].push_back(seconds[0] / seconds[i]);
          }
          const double macs = static_cast<double>(m * n * k);
          for (int i = 1; i < 4; ++i) {
            std::nth_element(ratios[i].begin(), ratios[i].begin() + kRounds / 2, ratios[i].end());
            std::printf("{\"kernel\": \"%s\", \"shape\": \"%zux%zux%zu\", \"gmac_s\": %.0f, \"q8_gmac_s\": %.0f, \"times_q8\": %.2f, \"median\": %.2f}\n", kernels[i - 1]->name,
                        m, n, k, macs / best[i] * 1e-9, macs / best[0] * 1e-9, best[0] / best[i], ratios[i][kRounds / 2]);
          }
          std::fflush(stdout);
        }
      }
    }
  }
}

// A 3x3 layer on codes that a table makes of bytes, or on the bytes themselves; its engine, and the seconds that the layer alone takes.
class BenchLayer {
 public:
  BenchLayer(const char* isa, sterna::DType type, uint32_t side, uint32_t channels, int codes, int weights) {
    sterna_test::ProgramBuilder b(type);
    const int32_t zp = type == sterna::DType::kU8 ? 128 : 0;
    const uint32_t bytes = b.Input(type, {1, side, side, channels}), y = b.Output(type, {1, side, side, channels});
    uint32_t x = bytes;
    if (codes > 0) {
      std::vector<uint8_t> table(256);
      for (size_t i = 0; i < 256; ++i) table[i] = static_cast<uint8_t>(zp - 1 + (codes == 2 ? static_cast<int32_t>(i % 2) * 2 : static_cast<int32_t>(i % 3)));
      x = b.Tensor(type, {1, side, side, channels});
      b.Op(sterna::OpCode::kLutQ8, {bytes, b.Constant(type, {256}, table)}, x);
    }
    std::vector<int8_t> w(channels * channels * 9);
    sterna_test::Random random(4);
    for (int8_t& v : w) v = static_cast<int8_t>(weights == 2 ? random.Int(0, 1) * 2 - 1 : random.Int(-1, 1));
    const std::vector<float> scale(channels, 0.1f);
    b.Op(sterna::OpCode::kConvQ8, {x, b.Constant(sterna::DType::kS8, {channels, 3, 3, channels}, w), sterna::kAbsent, b.Constant(sterna::DType::kF32, {channels}, scale)}, y,
         sterna::ConvQ8Attrs{{1, 1, 1, 1, 1, 1, 1, 1, 1}, zp, zp, zp - 128, zp + 127, 0, 0, 0, 0, 0, 0});
    sterna::LoadOptions options;
    options.isa = isa, options.threads = 1;
    const std::vector<uint8_t> program = b.Build();
    if (!sterna::Engine::Load(program.data(), program.size(), options, &engine_).ok()) std::abort();
    in_.assign(engine_->InputBytes(0), 0), out_.resize(engine_->OutputBytes(0));
    for (uint8_t& byte : in_) byte = static_cast<uint8_t>(random.Next());
  }
  double Seconds() {
    const uint8_t* inputs[] = {in_.data()};
    uint8_t* outputs[] = {out_.data()};
    double ms[2];
    if (!engine_->Run(inputs, outputs, ms).ok()) std::abort();
    return ms[engine_->op_count() - 1] * 1e-3;
  }
  const char* kernel() const { return engine_->kernel(engine_->op_count() - 1); }

 private:
  std::unique_ptr<sterna::Engine> engine_;
  std::vector<uint8_t> in_, out_;
};

void BenchLayers(const std::vector<Contender>& contenders) {
  constexpr struct { uint32_t side, channels; } kLayers[] = {{56, 16}, {56, 32}, {56, 64}, {28, 64}, {28, 128}, {14, 128}, {14, 256}};
  for (const Contender& c : contenders) {
    for (const auto& l : kLayers) {
      BenchLayer layers[] = {{c.kernels.isa, c.activation, l.side, l.channels, 0, 3}, {c.kernels.isa, c.activation, l.side, l.channels, 2, 2},
                             {c.kernels.isa, c.activation, l.side, l.channels, 3, 2}, {c.kernels.isa, c.activation, l.side, l.channels, 3, 3}};
      double best[4] = {1e9, 1e9, 1e9, 1e9};
      for (int round = 0; round < 4 * kRounds; ++round) {
        for (int i = 0; i < 4; ++i) best[i] = std::min(best[i], layers[i].Seconds());
      }
      const double macs = 9.0 * l.side * l.side * l.channels * l.channels;
      for (int i = 1; i < 4; ++i) {
        std::printf("{\"kernel\": \"layer on %s\", \"shape\": \"3x3, %u channels, %ux%u\", \"gmac_s\": %.0f, \"q8_gmac_s\": %.0f, \"times_q8\": %.2f}\n", layers[i].kernel(), l.channels,
                    l.side, l.side, macs / best[i] * 1e-9, macs / best[0] * 1e-9, best[0] / best[i]);
      }
      std::fflush(stdout);
    }
  }
}

// Every runnable ISA but ref, which would take minutes.
std::vector<Contender> FindContenders() {
  std::vector<Contender> contenders;
  for (const sterna::IsaStatus& status : sterna::DescribeIsas()) {
    if (!status.runnable || std::strcmp(status.isa, "ref") == 0) continue;
    for (size_t i = 0; i < sterna::kIsaRowCount; ++i) {
      const sterna::IsaRow& row = sterna::kIsaRows[i];
      Contender c = {{}, MeasurePeaks(status.isa), static_cast<sterna::DType>(row.kernels.activation)};
      if (std::strcmp(row.kernels.isa, status.isa) != 0) continue;
      if (!sterna::SelectKernels(status.isa, c.activation, &c.kernels).ok()) continue;
      std::printf("{\"isa\": \"%s\", \"cpu\": \"%s\", \"peak_int8_gmac_s\": %.1f, \"peak_f32_gmac_s\": %.1f}\n", status.isa,
                  sterna::DetectCpu().model.c_str(), c.peaks.int8, c.peaks.f32);
      contenders.push_back(c);
    }
  }
  return contenders;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string family = argc > 1 ? argv[1] : "";
  const auto wanted = [&](const char* name) { return family.empty() || family == name; };
  const std::vector<Contender> contenders = FindContenders();
  BenchGemms(contenders, wanted("gemm_q8"), wanted("gemm_f32"));
  BenchDepthwise(contenders, wanted("dwconv_q8"), wanted("dwconv_f32"));
  if (wanted("bits")) BenchLayers(contenders), BenchBits(contenders);
  return 0;
}
