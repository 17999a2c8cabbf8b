// What weights of 4 bits gain where reading them takes the time: gemm_f32w4 against gemm_f32 of the same ISA, one row and a few, in turns.
//
//   w4_bench
#include <algorithm>
#include <cstdio>
#include <functional>
#include <vector>

#include "bench_support.h"
#include "sterna/registry.h"

namespace {

using namespace sterna_bench;

constexpr size_t kGroup = 64;

std::function<void()> PrepareF32(const sterna::GemmF32Kernel& kernel, size_t m, size_t side) {
  const Memory a = AllocateFloats(m * side), w = AllocateFloats(side * side), y = AllocateFloats(m * side), packed = Allocate(kernel.packed_bytes(side, side));
  kernel.pack(side, side, sterna::DenseF32(Floats(w), side), packed.get());
  return [=, &kernel] {
    float* out = reinterpret_cast<float*>(y.get());
    const sterna::GemmF32Args args = {m, side, side, Floats(a), side, packed.get(), out, side, {nullptr, nullptr, -1e30f, 1e30f, nullptr, 0, 0}, nullptr};
    kernel.run(&args);
  };
}

std::function<void()> PrepareW4(const sterna::GemmF32W4Kernel& kernel, size_t m, size_t side) {
  const Memory a = AllocateFloats(m * side), y = AllocateFloats(m * side), packed = Allocate(kernel.packed_bytes(side, side, kGroup));
  std::vector<int8_t> w(side * side);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(i * 7 % 16) - 8;
  kernel.pack(side, side, kGroup, w.data(), std::vector<uint16_t>(side * side / kGroup, 0x2c00).data(), packed.get());
  return [=, &kernel] {
    const sterna::GemmF32W4Args args = {m, side, side, kGroup, Floats(a), side, packed.get(), nullptr, reinterpret_cast<float*>(y.get()), side};
    kernel.run(&args);
  };
}

void Bench(const sterna::KernelSet& k, size_t m, size_t side) {
  const std::function<void()> f32 = PrepareF32(*k.gemm_f32, m, side), w4 = PrepareW4(*k.gemm_f32w4, m, side);
  std::vector<double> slow, fast, gain;
  for (int round = 0; round < kRounds; ++round) {
    slow.push_back(SecondsOf(f32)), fast.push_back(SecondsOf(w4));
    gain.push_back(slow.back() / fast.back());
  }
  std::sort(gain.begin(), gain.end());
  std::printf("{\"kernel\": \"%s\", \"shape\": \"%zux%zux%zu\", \"us_f32\": %.0f, \"us_w4\": %.0f, \"w4_vs_f32\": %.2f}\n", k.gemm_f32w4->name, m, side, side,
              *std::min_element(slow.begin(), slow.end()) * 1e6, *std::min_element(fast.begin(), fast.end()) * 1e6, gain[gain.size() / 2]);
  std::fflush(stdout);
}

}  // namespace

int main() {
  for (size_t i = 1; i < sterna::kIsaRowCount; ++i) {
    const sterna::IsaKernels& row = sterna::kIsaRows[i].kernels;
    sterna::KernelSet kernels;
    if (row.gemm_f32w4 == nullptr || !sterna::SelectKernels(row.isa, static_cast<sterna::DType>(row.activation), &kernels).ok()) continue;
    for (size_t m : {1, 4, 16}) {
      for (size_t side : {1024, 2048, 4096}) Bench(kernels, m, side);
    }
  }
  return 0;
}
