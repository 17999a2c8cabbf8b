// One GEMM kernel, `runs` times on the same numbers and nothing else, so that the difference of two runs of this program is that of so many
// kernel calls: for counting instructions under emulation, where a clock says nothing (kernels/tools/count-arm.sh).
//
//   gemm_count_bench FAMILY M N K RUNS        e.g. gemm_count_bench gemm_w46 192 96 576 4
//
// Runs on the best ISA of this CPU that STERNA_ISA allows. A holds 29 codes and W 19 (gemm_u4u4: 16 and 15), planes are random; the epilogue is that of
// a layer with a fused ReLU.
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "harness.h"
#include "sterna/registry.h"

namespace {

using sterna_test::Random;
using Memory = std::shared_ptr<uint8_t>;

struct Shape {
  size_t m, n, k;
};

// Aligned to 64 bytes, with the slack that kernels may read; signed numbers in [lo, hi].
Memory Allocate(size_t bytes, int32_t lo, int32_t hi) {
  const size_t size = (bytes + 64 + 63) / 64 * 64;
  const Memory memory(static_cast<uint8_t*>(std::aligned_alloc(64, size)), std::free);
  Random random(1);
  for (size_t i = 0; i < size; ++i) memory.get()[i] = static_cast<uint8_t>(random.Int(lo, hi));
  return memory;
}

sterna::RequantQ8 Requant(const std::vector<float>& scale, sterna::DType type) {
  const int32_t lo = type == sterna::DType::kS8 ? -128 : 0;
  return {scale.data(), nullptr, lo, lo, lo + 255, nullptr, nullptr, 0, 0, 0, 0, 0, 0, 0};
}

// Kernel: GemmQ8Kernel or GemmNarrowKernel. pack: calls its pack function.
template <typename Kernel, typename Pack>
bool RunCodes(const Kernel& kernel, const Shape& s, int runs, const Memory& a, const sterna::RequantQ8& requant, Pack pack) {
  const Memory y = Allocate(s.m * s.n, 0, 0);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, s.k), 0, 0), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, s.k), 0, 0);
  if (!pack(packed.get())) return false;
  const sterna::GemmQ8Args args = {s.m, s.n, s.k, a.get(), s.k, packed.get(), y.get(), s.n, requant, scratch.get()};
  for (int run = 0; run < runs; ++run) kernel.run(&args);
  return true;
}

bool RunBits(const sterna::GemmBitsKernel& kernel, const Shape& s, int runs, bool ternary_a, bool ternary_w, const sterna::RequantQ8& requant) {
  const size_t words = (s.k + 31) / 32;
  const Memory sign = Allocate(s.m * words * 4, 0, 255), w = Allocate(s.n * words * 4, 0, 255), y = Allocate(s.m * s.n, 0, 0);
  const Memory packed = Allocate(kernel.packed_bytes(s.n, words), 0, 0), scratch = Allocate(kernel.scratch_bytes(s.m, s.n, words), 0, 0);
  const uint32_t *a_plane = reinterpret_cast<const uint32_t*>(sign.get()), *w_plane = reinterpret_cast<const uint32_t*>(w.get());
  kernel.pack(s.n, words, s.k, w_plane, ternary_w ? w_plane : nullptr, nullptr, packed.get());
  const sterna::GemmBitsArgs args = {s.m, s.n, words, a_plane, ternary_a ? a_plane : nullptr, words, packed.get(), nullptr, nullptr, 0,
                                     y.get(), s.n, requant, scratch.get()};
  for (int run = 0; run < runs; ++run) kernel.run(&args);
  return true;
}

bool Run(const std::string& family, const sterna::KernelSet& kernels, const Shape& s, int runs, sterna::DType type) {
  const std::vector<float> scale((s.n + 63) / 64 * 64, 1e-3f);
  const sterna::RequantQ8 requant = Requant(scale, type);
  const int32_t lo = requant.mid_lo, levels = family == "gemm_u4u4" ? 16 : 29, weight = family == "gemm_u4u4" ? 7 : 9;
  const Memory a = Allocate(s.m * s.k, lo, lo + levels - 1), w = Allocate(s.n * s.k, -weight, weight);
  const int8_t* weights = reinterpret_cast<const int8_t*>(w.get());
  const auto narrow = [&](const sterna::GemmNarrowKernel& kernel) {
    return RunCodes(kernel, s, runs, a, requant, [&](void* packed) { return kernel.pack(s.n, s.k, weights, nullptr, lo, lo, lo + levels - 1, packed); });
  };
  if (family == "gemm_q8") {
    return RunCodes(*kernels.gemm_q8, s, runs, a, requant, [&](void* packed) { return kernels.gemm_q8->pack(s.n, s.k, weights, nullptr, lo, packed); });
  }
  if (family == "gemm_w46") return narrow(*kernels.gemm_w46);
  if (family == "gemm_u4u4") return narrow(*kernels.gemm_u4u4);
  if (family == "gemm_bnn") return RunBits(*kernels.gemm_bnn, s, runs, false, false, requant);
  if (family == "gemm_tbn") return RunBits(*kernels.gemm_tbn, s, runs, true, false, requant);
  if (family == "gemm_tnn") return RunBits(*kernels.gemm_tnn, s, runs, true, true, requant);
  return false;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) return std::fprintf(stderr, "usage: gemm_count_bench FAMILY M N K RUNS\n"), 2;
  const auto number = [&](int i) { return static_cast<size_t>(std::strtoul(argv[i], nullptr, 10)); };
  const sterna::IsaRow& best = sterna::BestIsa();
  const sterna::DType type = static_cast<sterna::DType>(best.kernels.activation);
  sterna::KernelSet kernels;
  if (!sterna::SelectKernels(nullptr, type, &kernels).ok() || !Run(argv[1], kernels, {number(2), number(3), number(4)}, static_cast<int>(number(5)), type)) {
    return std::fprintf(stderr, "gemm_count_bench: %s has no %s for these numbers\n", best.kernels.isa, argv[1]), 1;
  }
  return 0;
}
