// The quantized GEMM of the x86 instruction sets, over a vector type V (isa/x86/q8_*.h) with its tile sizes, and a way S to sum products: DotSums here,
// those of few codes in gemm_w46/gemm_x86.h.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        bit-equal to ref for all inputs
//
// A tile keeps rows x vectors accumulators in registers; a step loads `vectors` vectors of weights and broadcasts four bytes
// of each row of A. All loops over the tile are unrolled by templates, or the compiler would spill it. A panel of weights
// stays in L1 or L2 while a block of rows streams past; where S reads weights in another form than they are packed in, scratch holds it.
// Preconditions: rows of A may be read up to 3 bytes past k; packed by Pack; scale arrays padded to 64 entries; scratch of
// ScratchBytes.
#pragma once
#include "kernel.h"
#include "isa/x86/tile_q8_x86.h"
#include "pack_x86.h"

namespace sterna {
namespace {

// What the sums of a tile are made of.
struct SumsOf {
  const int32_t* bias;
  const uint8_t* a;
  size_t a_stride;
  const int8_t* w;
  size_t steps;  // of four activations of each row
};

// Sums of 32 bits by V::Dot, which is exact for all activations and weights.
template <typename V>
struct DotSums {
  static constexpr size_t kHeaderBytes = 0;                   // before the bias
  static constexpr size_t kPackedBytes = V::kBytes;           // of a vector of weights, as they are packed
  static constexpr size_t kWeightBytes = V::kWeightBytes;     // and as Sum reads them: after Expand, if kExpands
  static constexpr bool kComplements = V::kComplements;       // isa/x86/q8_avx2.h
  static constexpr bool kExpands = V::kComplements;
  static void Expand(const int8_t* w, size_t vectors, int8_t* out) { V::ExpandWeights(w, vectors, out); }

  static DotSums Of(const void*) { return {}; }

  // acc[row][vector] = bias + the products.
  template <int kRows, int kVectors>
  inline __attribute__((always_inline)) void Sum(typename V::Int (&acc)[kRows * kVectors], const SumsOf& of) const {
    const uint8_t* a = of.a;
    const int8_t* w = of.w;
    const size_t stride = of.a_stride;
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::LoadInt(of.bias + i % kVectors * V::kLanes);
    for (size_t step = of.steps; step != 0; --step, a += 4, w += kVectors * kWeightBytes) {
      typename V::Weights weights[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weights[v] = V::LoadWeights(w + v * kWeightBytes);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const typename V::Int four = V::BroadcastFour(a + i * stride);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = V::Dot(acc[i * kVectors + v], four, weights[v]);
      }
    }
  }
};

template <typename V, typename S = DotSums<V>>
struct GemmQ8 {
  using Int = typename V::Int;
  using Finish = TileQ8<V>;
  static constexpr size_t kLanes = V::kLanes;
  static constexpr size_t kBlockBytes = 64 * 1024;  // of rows of A and y, which every panel passes over before the next block
  static constexpr size_t kMinBlockRows = 64;       // a block reads all weights: it must be worth it

  static PackQ8Shape ShapeOf(size_t n, size_t k) { return {n, k, kLanes, V::kGemmVectors, S::kComplements}; }
  static size_t PackedBytes(size_t n, size_t k) {
    return S::kHeaderBytes + CeilDiv(n, kLanes) * (kLanes * sizeof(int32_t) + CeilDiv(k, kGemmDepth) * S::kPackedBytes);
  }

  static bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
    PackQ8(ShapeOf(n, k), w, bias, a_zp, packed);
    return true;
  }

  static size_t BlockRows(size_t n, size_t k) {
    const size_t fitting = kBlockBytes / (n + k + 1);
    return fitting > kMinBlockRows ? fitting : kMinBlockRows;
  }

  // One panel, expanded.
  static size_t ScratchBytes(size_t, size_t n, size_t k) {
    const size_t vectors = CeilDiv(n, kLanes), most = V::kGemmVectors;
    return S::kExpands ? (vectors < most ? vectors : most) * S::kWeightBytes * CeilDiv(k, kGemmDepth) : 0;
  }

  struct Job : Finish::Output {
    S sums;
    size_t steps;  // ceil(k / 4)
    size_t a_stride;
  };

  // Rows of one panel.
  struct Place : Finish::Place {
    const int8_t* w;
    const int32_t* bias;
    const uint8_t* a;
  };

  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void Tile(const Job& job, const Place& at) {
    Int acc[kRows * kVectors];
    job.sums.template Sum<kRows, kVectors>(acc, {at.bias, at.a, job.a_stride, at.w, job.steps});
    Finish::template FinishTile<kRows, kVectors>(job, at, acc);
  }

  // `tiles` tiles, one below the other; `at` ends below them.
  template <int kRows, int kVectors>
  static __attribute__((noinline)) void Column(const Job& job, Place& at, size_t tiles) {
    for (; tiles != 0; --tiles) {
      Tile<kRows, kVectors>(job, at);
      at.a += kRows * job.a_stride;
      at.y += kRows * job.y_stride;
      if (at.residual != nullptr) at.residual += kRows * job.requant.residual_stride;
    }
  }

  template <int kVectors, int kRows = V::kGemmRows[kVectors - 1]>
  static void RunColumn(const Job& job, Place& at, size_t rows, size_t tiles) {
    if (rows == kRows) return Column<kRows, kVectors>(job, at, tiles);
    if constexpr (kRows > 1) RunColumn<kVectors, kRows - 1>(job, at, rows, tiles);
  }

  template <int kVectors = V::kGemmVectors>
  static void RunPanel(const Job& job, Place at, size_t vectors, size_t rows) {
    if constexpr (kVectors > 1) {
      if (vectors < kVectors) return RunPanel<kVectors - 1>(job, at, vectors, rows);
    }
    const Cut tiles = CutEvenly(rows, V::kGemmRows[kVectors - 1]);
    RunColumn<kVectors>(job, at, tiles.size + 1, tiles.longer);
    RunColumn<kVectors>(job, at, tiles.size, tiles.parts - tiles.longer);
  }

  // Every panel, for rows [first, first + rows), which start at `a`.
  static void RunBlock(const GemmQ8Args* args, const Job& job, const uint8_t* a, size_t first, size_t rows) {
    const int32_t* bias = reinterpret_cast<const int32_t*>(static_cast<const uint8_t*>(args->packed) + S::kHeaderBytes);
    const int8_t* w = reinterpret_cast<const int8_t*>(bias + RoundUp(args->n, kLanes));
    const uint8_t* residual = job.requant.residual;
    if (residual != nullptr) residual += first * job.requant.residual_stride;
    uint8_t* y = args->y + first * args->y_stride;
    for (size_t channel = 0; channel < args->n; channel += V::kGemmVectors * kLanes) {
      const size_t left = args->n - channel, most = V::kGemmVectors;
      const size_t vectors = CeilDiv(left, kLanes) < most ? CeilDiv(left, kLanes) : most;
      const typename V::Mask mask = V::MakeMask(left < vectors * kLanes ? left : vectors * kLanes);
      const int8_t* panel = w;
      if constexpr (S::kExpands) {
        S::Expand(w, vectors * job.steps, static_cast<int8_t*>(args->scratch));
        panel = static_cast<const int8_t*>(args->scratch);
      }
      RunPanel(job, {{channel, mask, y + channel, residual != nullptr ? residual + channel : nullptr}, panel, bias + channel, a}, vectors, rows);
      w += vectors * S::kPackedBytes * job.steps;
    }
  }

  static void Run(const GemmQ8Args* args) {
    const Job job = {Finish::MakeOutput(args->requant, args->n, args->y_stride, args->wide), S::Of(args->packed), CeilDiv(args->k, kGemmDepth), args->a_stride};
    const Cut blocks = CutEvenly(args->m, BlockRows(args->n, args->k));
    size_t first = 0;
    for (size_t block = 0; block < blocks.parts; ++block) {
      const size_t rows = PartSize(blocks, block);
      const uint8_t* a = args->a + first * args->a_stride;
      RunBlock(args, job, a, first, rows);
      first += rows;
    }
  }

  static constexpr GemmQ8Kernel Kernel(const char* name) { return {name, PackedBytes, Pack, ScratchBytes, Run}; }
};

}  // namespace
}  // namespace sterna
