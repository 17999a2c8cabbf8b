// What 4.6 and 4 bits gain: gemm_w46 and gemm_u4u4 against gemm_q8 and gemm_f32 of the same ISA, by depth.
//
//   narrow_bench [isa]                e.g. narrow_bench avx2; every runnable ISA that has the kernels without an argument
//
// Prints JSON lines. The four take turns in bursts; a ratio is how many times faster, by the median over the rounds of the ratio within a
// round, which what other processes take falls out of.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "bench_support.h"
#include "sterna/registry.h"

namespace {

using namespace sterna_bench;
using sterna::IsaKernels;

struct Shape {
  size_t m, n, k;
};

sterna::RequantQ8 Requant(const Memory& scales) { return {Floats(scales), nullptr, 3, 0, 28, nullptr, nullptr, 0, 0, 0, 0, 0, 0.0f, 0.0f}; }

// Bytes of values in [lo, hi].
Memory Codes(size_t bytes, int32_t lo, int32_t hi) {
  const Memory memory = Allocate(bytes);
  sterna_test::Random random(3);
  for (size_t i = 0; i < bytes; ++i) memory.get()[i] = static_cast<uint8_t>(random.Int(lo, hi));
  return memory;
}

template <typename Kernel, typename Pack>
std::function<void()> Prepare(const Kernel& kernel, const Shape& s, int32_t highest, int32_t weight, Pack pack) {
  const Memory a = Codes(s.m * s.k, 0, highest), w = Codes(s.n * s.k, -weight, weight), y = Allocate(s.m * s.n), scales = Scales(s.n);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, s.k)), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, s.k));
  if (!pack(reinterpret_cast<const int8_t*>(w.get()), packed.get())) std::abort();
  return [=, &kernel] {
    const sterna::GemmQ8Args args = {s.m, s.n, s.k, a.get(), s.k, packed.get(), y.get(), s.n, Requant(scales), scratch.get()};
    kernel.run(&args);
  };
}

std::function<void()> PrepareNarrow(const sterna::GemmNarrowKernel& kernel, const Shape& s, int32_t highest, int32_t weight) {
  return Prepare(kernel, s, highest, weight, [&](const int8_t* w, void* packed) { return kernel.pack(s.n, s.k, w, nullptr, 7, 0, highest, packed); });
}
std::function<void()> PrepareQ8(const sterna::GemmQ8Kernel& kernel, const Shape& s) {
  return Prepare(kernel, s, 255, 127, [&](const int8_t* w, void* packed) { return kernel.pack(s.n, s.k, w, nullptr, 7, packed); });
}

std::function<void()> PrepareF32(const sterna::GemmF32Kernel& kernel, const Shape& s) {
  const Memory a = AllocateFloats(s.m * s.k), w = AllocateFloats(s.n * s.k), y = AllocateFloats(s.m * s.n), bias = Scales(s.n);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, s.k)), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, s.k));
  kernel.pack(s.n, s.k, sterna::DenseF32(Floats(w), s.k), packed.get());
  return [=, &kernel] {
    float* out = reinterpret_cast<float*>(y.get());
    const sterna::GemmF32Args args = {s.m, s.n, s.k, Floats(a), s.k, packed.get(), out, s.n, {Floats(bias), nullptr, 0.0f, 6.0f, nullptr, 0, 0}, scratch.get()};
    kernel.run(&args);
  };
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<long>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

enum Contender { kQ8, kF32, kW46, kU4U4, kContenders };

void Bench(const sterna::KernelSet& k, const Shape& s) {
  const std::function<void()> runs[kContenders] = {PrepareQ8(*k.gemm_q8, s), PrepareF32(*k.gemm_f32, s), PrepareNarrow(*k.gemm_w46, s, 28, 9),
                                                   PrepareNarrow(*k.gemm_u4u4, s, 15, 7)};
  std::vector<double> seconds[kContenders];
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kContenders; ++i) seconds[i].push_back(SecondsOf(runs[i]));
  }
  const auto gain = [&](Contender slow, Contender fast) {
    std::vector<double> ratios;
    for (size_t i = 0; i < seconds[slow].size(); ++i) ratios.push_back(seconds[slow][i] / seconds[fast][i]);
    return Median(ratios);
  };
  const double macs = static_cast<double>(s.m) * static_cast<double>(s.n) * static_cast<double>(s.k);
  const auto speed = [&](Contender c) { return macs * 1e-9 / *std::min_element(seconds[c].begin(), seconds[c].end()); };
  std::printf("{\"isa\": \"%s\", \"shape\": \"%zux%zux%zu\", \"gmac_s\": {\"q8\": %.1f, \"f32\": %.1f, \"w46\": %.1f, \"u4u4\": %.1f}, "
              "\"w46_vs_q8\": %.2f, \"w46_vs_f32\": %.2f, \"u4u4_vs_q8\": %.2f, \"u4u4_vs_f32\": %.2f, \"w46_vs_u4u4\": %.2f}\n",
              k.isa, s.m, s.n, s.k, speed(kQ8), speed(kF32), speed(kW46), speed(kU4U4), gain(kQ8, kW46), gain(kF32, kW46), gain(kQ8, kU4U4),
              gain(kF32, kU4U4), gain(kU4U4, kW46));
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  for (size_t i = 1; i < sterna::kIsaRowCount; ++i) {
    const IsaKernels& row = sterna::kIsaRows[i].kernels;
    if (row.gemm_w46 == nullptr || row.gemm_u4u4 == nullptr || (argc > 1 && std::strcmp(argv[1], row.isa) != 0)) continue;
    sterna::KernelSet kernels;
    if (!sterna::SelectKernels(row.isa, static_cast<sterna::DType>(row.activation), &kernels).ok()) continue;
    for (size_t k : {32, 64, 128, 256, 576, 1152, 2304}) {
      for (size_t m : {192, 784, 3136}) {
        for (size_t n : {96, 192, 384}) Bench(kernels, {m, n, k});
      }
    }
    for (size_t k : {256, 1024}) Bench(kernels, {1, 1000, k});
  }
  return 0;
}
