// Counts of differing bits by an instruction that counts them in each lane: a lane is an output channel, and a step 32 bits of depth, whose
// word is broadcast. Nothing is summed across lanes.
#pragma once
#include "families/gemm_bnn/kernel.h"
#include "gemm_bits.h"

namespace sterna {
namespace {

template <typename V, Bits kKind>
struct PopcountCore {
  using Vector = V;
  using Int = typename V::Int;
  static constexpr Bits kBits = kKind;
  static constexpr bool kGated = kBits == Bits::kTernary;
  static constexpr size_t kWidth = V::kLanes;
  static constexpr int kPlanes = kBits == Bits::kTernary ? 2 : 1;
  static constexpr int kVectors = kBits == Bits::kTernary ? 2 : 4;
  static constexpr int kRows[] = {12, kBits == Bits::kTernary ? 10 : 12, 8, 6};

  static void PutWord(const WordAt& at, uint32_t word, void* panel) {
    static_cast<uint32_t*>(panel)[((at.word * at.vectors + at.vector) * kPlanes + at.plane) * kWidth + at.channel] = word;
  }
  static size_t BlockScratch(size_t, size_t) { return 0; }
  static void PrepareRows(const GemmBitsArgs&, size_t, size_t, void*) {}

  template <typename Gemm, int kRows, int kVectors>
  static inline __attribute__((always_inline)) void Tile(const typename Gemm::Job& job, const typename Gemm::Place& at) {
    Int acc[kRows * kVectors];
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::Zero();
    const GemmBitsArgs& args = *job.args;
    const size_t stride = args.a_stride;
    const uint32_t* sign = args.sign + (job.first + at.row) * stride;
    const uint32_t* mask = kBits == Bits::kBinary ? sign : args.mask + (job.first + at.row) * stride;
    const uint8_t* w = at.w;
    for (size_t word = args.words; word != 0; --word, ++sign, ++mask, w += kVectors * kPlanes * V::kBytes) {
      Int weights[kVectors * kPlanes];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors * kPlanes; ++v) weights[v] = V::LoadInt(w + v * V::kBytes);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const Int a = V::Broadcast(sign + i * stride);
        const uint32_t* a_mask = mask + i * stride;
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) {
          Int& count = acc[i * kVectors + v];
          const Int w_sign = weights[v * kPlanes];
          if constexpr (kBits == Bits::kBinary) count = V::AddInt(count, V::CountDiffering(a, w_sign));
          if constexpr (kBits == Bits::kTernaryBinary) count = V::AddInt(count, V::CountDiffering(a_mask, a, w_sign));
          if constexpr (kBits == Bits::kTernary) count = V::AddTernary(count, V::Broadcast(a_mask), a, weights[v * kPlanes + 1], w_sign);
          V::Settle(count);
        }
      }
    }
    Gemm::template FinishCounts<kRows, kVectors>(job, at, acc);
  }
};

}  // namespace
}  // namespace sterna
