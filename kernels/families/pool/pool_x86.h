// Pools over a byte vector Q (isa/x86/q8_*.h) and a float vector F (isa/x86/vec_*.h), equal to ref bit for bit. The float ones keep up to four
// vectors of channels in registers over all taps of a window. Memory limits their speed.
#pragma once
#include "kernel.h"
#include "isa/x86/map_x86.h"

namespace sterna {
namespace {

template <typename Q, typename F>
struct Pools {
  using Int = typename Q::Int;
  using Reg = typename F::Reg;
  static constexpr size_t kLanes = F::kLanes;

  static void Max(size_t n, const uint8_t* a, uint8_t* y) {
    MapBytes<Q>(n, a, y, y, [](Int av, Int yv) { return Q::MaxU8(av, yv); });
  }

  static void Sum(size_t n, const uint8_t* a, int32_t* acc) {
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) F::AddBytesTo(a + i, acc + i);
    for (; i < n; ++i) acc[i] += a[i];
  }

  // kVectors of channels, from `channel` on, of every output; all lanes exist, or but for the last those of `mask`.
  template <size_t kVectors, bool kWhole, typename Op>
  static inline __attribute__((always_inline)) void PoolBlock(const PoolF32Args& a, size_t channel, typename F::Mask mask, Reg start, Op op) {
    const auto load = [mask](const float* p) { return kWhole ? F::Load(p) : F::LoadPart(p, mask); };
    const float* window = a.x + channel;
    float* y = a.y + channel;
    for (size_t o = 0; o < a.outputs; ++o, window += a.x_step, y += a.y_step) {
      Reg acc[kVectors];
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) acc[v] = start;
      const float* row = window;
      for (size_t i = 0; i < a.rows; ++i, row += a.row_stride) {
        const float* tap = row;
        for (size_t j = 0; j < a.columns; ++j, tap += a.column_stride) {
#pragma GCC unroll 4
          for (size_t v = 0; v < kVectors; ++v) acc[v] = op(load(tap + v * kLanes), acc[v]);
        }
      }
#pragma GCC unroll 4
      for (size_t v = 0; v < kVectors; ++v) {
        if constexpr (kWhole) {
          F::Store(y + v * kLanes, acc[v]);
        } else {
          F::StorePart(y, mask, acc[v]);
        }
      }
    }
  }

  template <typename Op>
  static inline __attribute__((always_inline)) void Pool(const PoolF32Args& a, Reg start, Op op) {
    const size_t n = a.channels;
    const typename F::Mask all = F::MakeMask(kLanes);
    size_t c = 0;
    for (; c + 4 * kLanes <= n; c += 4 * kLanes) PoolBlock<4, true>(a, c, all, start, op);
    for (; c + 2 * kLanes <= n; c += 2 * kLanes) PoolBlock<2, true>(a, c, all, start, op);
    for (; c + kLanes <= n; c += kLanes) PoolBlock<1, true>(a, c, all, start, op);
    if (c < n) PoolBlock<1, false>(a, c, F::MakeMask(n - c), start, op);
  }

  static void MaxPoolF32(const PoolF32Args* args) {
    Pool(*args, F::Set(-__builtin_inff()), [](Reg v, Reg acc) { return F::MaxOrNaN(acc, v); });
  }

  static void SumPoolF32(const PoolF32Args* args) {
    Pool(*args, F::Set(0.0f), [](Reg v, Reg acc) { return F::Add(acc, v); });
  }

  static constexpr PoolKernels Kernels(const char* name) { return {name, Max, Sum, MaxPoolF32, SumPoolF32}; }
};

}  // namespace
}  // namespace sterna
