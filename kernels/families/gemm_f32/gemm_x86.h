// The float GEMM of the x86 instruction sets, over a vector type V (isa/x86/vec_*.h) and its tile sizes.
//
//   y[i][o] = epilogue(sum_k a[i][k] * w[o][k])        within ErrorBoundF32(k) (sterna/epilogue.h): one fma a term, in order of k;
//                                                      sse41 rounds the product too, within the same bound
//
// A tile keeps rows x vectors accumulators in registers; a step of k loads `vectors` vectors of weights and broadcasts one
// element of A for each row. All loops over the tile are unrolled by templates, or the compiler would spill it.
// Packed: panels (isa/x86/panels.h) of float [k][channels of the panel], channels past n zero.
#pragma once
#include "isa/x86/panels.h"
#include "kernel.h"
#include "pack_panel.h"

namespace sterna {
namespace {

constexpr size_t kBlockBytes = 128 * 1024;  // of rows of A and y, which every panel passes over before the next block
constexpr size_t kMinBlockRows = 64;         // a block reads all weights: it must be worth it

template <typename V>
struct GemmF32 {
  static constexpr size_t kLanes = V::kLanes, kMaxVectors = V::kGemmVectors;

  static size_t PackedBytes(size_t n, size_t k) { return RoundUp(n, kLanes) * k * sizeof(float); }
  static size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

  static void Pack(size_t n, size_t k, const StridedF32& w, void* packed) {
    float* out = static_cast<float*>(packed);
    const Cut panels = CutEvenly(CeilDiv(n, kLanes), kMaxVectors);
    size_t first = 0;
    for (size_t panel = 0; panel < panels.parts; ++panel) {
      const size_t width = PartSize(panels, panel) * kLanes;
      out = PackPanelF32(n, k, w, first, width, out);
      first += width;
    }
  }

  // Where the floats of a row of A are (GemmF32Kernel::run_pieces).
  struct Pieces {
    size_t count, length, stride;
  };

  // Rows of one panel. `columns` of its channels exist.
  struct Place {
    const GemmF32Args* args;
    Pieces pieces;
    const float* w;
    size_t channel, columns;
    const float* a;
    float* y;
    const float* residual;
  };

  static typename V::Mask MaskOf(const Place& at, size_t v) {
    const size_t start = v * kLanes;
    return V::MakeMask(at.columns > start ? at.columns - start : 0);
  }

  // PRelu and residuals: out of line, from accumulators in memory.
  static __attribute__((noinline)) void FinishTile(const Place& at, const typename V::Reg* acc, size_t rows, size_t vectors) {
    const EpilogueF32& e = at.args->epilogue;
    for (size_t v = 0; v < vectors; ++v) {
      const typename V::Mask mask = MaskOf(at, v);
      const size_t o = at.channel + v * kLanes;
      const typename V::Reg bias = e.bias != nullptr ? V::LoadPart(e.bias + o, mask) : V::Set(0.0f);
      const typename V::Reg slope = e.slope != nullptr ? V::LoadPart(e.slope + o, mask) : V::Set(0.0f);
      for (size_t i = 0; i < rows; ++i) {
        typename V::Reg x = V::Add(acc[i * vectors + v], bias), r = V::Set(0.0f);
        if (e.residual != nullptr) r = V::LoadPart(at.residual + i * e.residual_stride + v * kLanes, mask);
        if (e.residual_first) x = V::Add(x, r);
        x = e.slope != nullptr ? V::NegativeTimes(x, slope) : V::Min(V::Set(e.hi), V::Max(V::Set(e.lo), x));
        if (!e.residual_first && e.residual != nullptr) x = V::Add(x, r);
        V::StorePart(at.y + i * at.args->y_stride + v * kLanes, mask, x);
      }
    }
  }

  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void ClampTile(const Place& at, const typename V::Reg (&acc)[kRows * kVectors]) {
    const EpilogueF32& e = at.args->epilogue;
    const typename V::Reg lo = V::Set(e.lo), hi = V::Set(e.hi);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) {
      const typename V::Mask mask = MaskOf(at, v);
      const typename V::Reg bias = e.bias != nullptr ? V::LoadPart(e.bias + at.channel + v * kLanes, mask) : V::Set(0.0f);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const typename V::Reg x = V::Add(acc[i * kVectors + v], bias);
        V::StorePart(at.y + i * at.args->y_stride + v * kLanes, mask, V::Min(hi, V::Max(lo, x)));
      }
    }
  }

  template <int kRows, int kVectors>
  static __attribute__((noinline)) void Tile(const Place& at) {
    typename V::Reg acc[kRows * kVectors];
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::Set(0.0f);
    const float* w = at.w;
    const size_t stride = at.args->a_stride;
    for (size_t piece = 0; piece < at.pieces.count; ++piece) {
      const float* a = at.a + piece * at.pieces.stride;
      for (size_t p = at.pieces.length; p != 0; --p, ++a, w += kVectors * kLanes) {
        typename V::Reg weights[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) weights[v] = V::Load(w + v * kLanes);
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
          const typename V::Reg x = V::Set(a[i * stride]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = V::Fma(x, weights[v], acc[i * kVectors + v]);
        }
      }
    }
    const EpilogueF32& e = at.args->epilogue;
    if (e.slope == nullptr && e.residual == nullptr) return ClampTile<kRows, kVectors>(at, acc);
    typename V::Reg spilled[kRows * kVectors];
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) spilled[i] = acc[i];
    FinishTile(at, spilled, kRows, kVectors);
  }

  template <int kVectors, int kRows = V::kGemmRows[kVectors - 1]>
  static void RunTile(const Place& at, size_t rows) {
    if (rows == kRows) return Tile<kRows, kVectors>(at);
    if constexpr (kRows > 1) RunTile<kVectors, kRows - 1>(at, rows);
  }

  template <int kVectors = V::kGemmVectors>
  static void RunPanel(Place at, size_t vectors, size_t rows) {
    if constexpr (kVectors > 1) {
      if (vectors < kVectors) return RunPanel<kVectors - 1>(at, vectors, rows);
    }
    const Cut tiles = CutEvenly(rows, V::kGemmRows[kVectors - 1]);
    for (size_t tile = 0; tile < tiles.parts; ++tile) {
      const size_t count = PartSize(tiles, tile);
      RunTile<kVectors>(at, count);
      at.a += count * at.args->a_stride;
      at.y += count * at.args->y_stride;
      if (at.residual != nullptr) at.residual += count * at.args->epilogue.residual_stride;
    }
  }

  // Every panel, for rows [first, first + rows).
  static void RunBlock(const GemmF32Args* args, const Pieces& pieces, size_t first, size_t rows) {
    const Cut panels = CutEvenly(CeilDiv(args->n, kLanes), kMaxVectors);
    const float *w = static_cast<const float*>(args->packed), *residual = args->epilogue.residual;
    if (residual != nullptr) residual += first * args->epilogue.residual_stride;
    size_t channel = 0;
    for (size_t panel = 0; panel < panels.parts; ++panel) {
      const size_t vectors = PartSize(panels, panel);
      const Place at = {args, pieces, w, channel, args->n - channel, args->a + first * args->a_stride,
                        args->y + first * args->y_stride + channel, residual != nullptr ? residual + channel : nullptr};
      RunPanel(at, vectors, rows);
      w += vectors * kLanes * args->k;
      channel += vectors * kLanes;
    }
  }

  static void Run(const GemmF32Args* args) {
    const size_t fitting = kBlockBytes / ((args->k + args->n) * sizeof(float) + 1);
    const Cut blocks = CutEvenly(args->m, fitting > kMinBlockRows ? fitting : kMinBlockRows);
    size_t first = 0;
    for (size_t block = 0; block < blocks.parts; ++block) {
      RunBlock(args, {1, args->k, 0}, first, PartSize(blocks, block));
      first += PartSize(blocks, block);
    }
  }

  // Windows overlap, so that a row of them takes less room than its outputs, and needs no blocks.
  static void RunPieces(const GemmF32Args* args, size_t pieces, size_t piece_stride) {
    RunBlock(args, {pieces, args->k / pieces, piece_stride}, 0, args->m);
  }

  static constexpr GemmF32Kernel Kernel(const char* name) { return {name, PackedBytes, Pack, ScratchBytes, Run, RunPieces}; }
};

}  // namespace
}  // namespace sterna
