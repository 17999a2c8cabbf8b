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

constexpr size_t kPanelBytes = 24 * 1024;    // of weights of a panel, over which all rows of a block pass: more would not stay in L1
constexpr size_t kBlockBytes = 128 * 1024;   // of rows of A and y, which every panel passes over before the next block
constexpr size_t kLargeWeights = 192 * 1024;  // from which on they are asked for ahead: others are in L2
constexpr size_t kMinBlockRows = 64;         // a block reads all weights: it must be worth it
constexpr size_t kMinPartRows = 24;          // fewer rows read each weight too seldom to gain from parts
constexpr size_t kMinCopyColumns = 256;      // fewer columns read a copy of A too seldom
constexpr size_t kFloatsAhead = 1024;        // of weights that come from beyond L2: a page, at whose end the CPU itself stops looking ahead
constexpr size_t kLineFloats = 16;           // of a cache line

// When the depth is cut: bytes of a panel's weights in a part (in L1), of a part of a block's rows of A, and of the sums that wait (both in L2).
struct PartsPlan {
  size_t weights, rows, sums;
  size_t prefetches;  // lines on their way at once
};
// CPUs with AVX-512 have an L2 of 1 MB or more. Each copy of rows of A should serve many panels, so that sums may take most of it.
constexpr PartsPlan kPartsPlan = {18 * 1024, 192 * 1024, 192 * 1024, 32}, kWidePartsPlan = {24 * 1024, 96 * 1024, 512 * 1024, 48};

template <typename V>
struct GemmF32 {
  static constexpr size_t kLanes = V::kLanes, kMaxVectors = V::kGemmVectors;
  static constexpr PartsPlan kParts = kLanes == 16 ? kWidePartsPlan : kPartsPlan;
  static constexpr size_t kPanelRow = kMaxVectors * kLanes * sizeof(float);  // bytes of a widest panel's weights at one depth

  static size_t PackedBytes(size_t n, size_t k) { return RoundUp(n, kLanes) * k * sizeof(float); }
  // A block of rows and columns of y, whose sums wait there from one part of the depth to the next: floats lose nothing there. The weights are read once for
  // each block of rows. Cut evenly.
  struct Plan {
    Cut rows, columns, parts;  // columns: in panels
    bool copies;               // A, part by part: rows that are a power of two apart share a few sets of the caches
  };
  static Plan PlanOf(size_t m, size_t n, size_t k) {
    const size_t panels = CeilDiv(CeilDiv(n, kLanes), kMaxVectors);
    if (m < kMinPartRows || k * kPanelRow <= kPanelBytes) return {BlocksOf(m, (k + n) * sizeof(float), kBlockBytes), {1, panels, 0}, {1, k, 0}, false};
    const Cut parts = CutEvenly(k, kParts.weights / kPanelRow), rows = BlocksOf(m, PartSize(parts, 0) * sizeof(float), kParts.rows);
    const size_t width = kParts.sums / (PartSize(rows, 0) * kPanelRow);
    return {rows, CutEvenly(panels, width > 0 ? width : 1), parts, n >= kMinCopyColumns};
  }
  static size_t MostRows(size_t row_bytes, size_t block_bytes) {
    const size_t fitting = block_bytes / (row_bytes + 1);
    return fitting > kMinBlockRows ? fitting : kMinBlockRows;
  }
  static Cut BlocksOf(size_t m, size_t row_bytes, size_t block_bytes) { return CutEvenly(m, MostRows(row_bytes, block_bytes)); }
  static size_t CopyStride(const Plan& plan) { return RoundUp(PartSize(plan.parts, 0), kLanes); }
  static size_t ScratchBytes(size_t m, size_t n, size_t k) {
    const Plan plan = PlanOf(m, n, k);
    // Threads give fewer rows than m to a call: a block of these may be larger than the even blocks of m.
    const size_t most = MostRows(PartSize(plan.parts, 0) * sizeof(float), kParts.rows), rows = m < most ? m : most;
    return plan.copies ? rows * CopyStride(plan) * sizeof(float) : 0;
  }

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

  // A part of the depth, for a block of rows and panels.
  struct Part {
    Pieces pieces;
    const float* a;
    size_t a_stride;
    size_t first_row, rows;
    size_t first_panel, panels;
    size_t before;       // what lies before it of the depth: sums of that are in y
    bool last;
    const float* after;  // weights that come next
    bool fetches;
  };

  // Rows of one panel. `columns` of its channels exist.
  struct Place {
    const GemmF32Args* args;
    const Part* part;
    const float *w, *next;  // `next`: the weights that are wanted after these
    size_t channel, columns;
    const float* a;
    float* y;
    const float* residual;
  };

  static typename V::Mask MaskOf(const Place& at, size_t v) {
    const size_t start = v * kLanes;
    return V::MakeMask(at.columns > start ? at.columns - start : 0);
  }

  // PRelu, residuals and panels that are not full: out of line, from accumulators in memory.
  static __attribute__((noinline)) void FinishTile(const Place& at, const typename V::Reg* acc, size_t rows, size_t vectors) {
    const EpilogueF32& e = at.args->epilogue;
    for (size_t v = 0; v < vectors; ++v) {
      const typename V::Mask mask = MaskOf(at, v);
      const size_t o = at.channel + v * kLanes;
      const typename V::Reg bias = e.bias != nullptr ? V::LoadPart(e.bias + o, mask) : NoBias(at);
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

  // Sums of the parts before, of a panel that is not full.
  static __attribute__((noinline)) void TakePartly(const Place& at, typename V::Reg* acc, size_t rows, size_t vectors) {
    for (size_t v = 0; v < vectors; ++v) {
      const typename V::Mask mask = MaskOf(at, v);
      for (size_t i = 0; i < rows; ++i) acc[i * vectors + v] = V::LoadPart(at.y + i * at.args->y_stride + v * kLanes, mask);
    }
  }

  // Of a sum that waits not even the sign of a zero changes.
  static inline typename V::Reg NoBias(const Place& at) { return V::Set(at.part->last ? 0.0f : -0.0f); }

  // A full panel. What stores might change, for all that the compiler knows, is loaded before them.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void ClampTile(const Place& at, const typename V::Reg (&acc)[kRows * kVectors]) {
    const EpilogueF32& e = at.args->epilogue;
    const typename V::Reg lo = V::Set(e.lo), hi = V::Set(e.hi), none = NoBias(at);
    const float* bias = e.bias != nullptr ? e.bias + at.channel : nullptr;
    const size_t stride = at.args->y_stride;
    float* y = at.y;
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v, y += kLanes) {
      const typename V::Reg b = bias != nullptr ? V::Load(bias + v * kLanes) : none;
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) V::Store(y + i * stride, V::Min(hi, V::Max(lo, V::Add(acc[i * kVectors + v], b))));
    }
  }

  template <int kRows, int kVectors>
  static __attribute__((noinline)) void Tile(const Place& at) {
    typename V::Reg acc[kRows * kVectors];
    const Part& part = *at.part;
    const bool full = at.columns >= kVectors * kLanes;
    if (part.before == 0) {
#pragma GCC unroll 24
      for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::Set(0.0f);
    } else if (full) {
      const size_t y_stride = at.args->y_stride;
#pragma GCC unroll 24
      for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::Load(at.y + i / kVectors * y_stride + i % kVectors * kLanes);
    } else {
      typename V::Reg kept[kRows * kVectors];
      TakePartly(at, kept, kRows, kVectors);
#pragma GCC unroll 24
      for (int i = 0; i < kRows * kVectors; ++i) acc[i] = kept[i];
    }
    const float* w = at.w;
    const size_t stride = part.a_stride, ahead = part.fetches ? kFloatsAhead : 0;
    for (size_t piece = 0; piece < part.pieces.count; ++piece) {
      const float* a = at.a + piece * part.pieces.stride;
      for (size_t p = part.pieces.length; p != 0; --p, ++a, w += kVectors * kLanes) {
        typename V::Reg weights[kVectors];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) weights[v] = V::Load(w + v * kLanes);
        if constexpr (kVectors * kLanes >= 3 * kLineFloats) {
#pragma GCC unroll 4
          for (size_t v = 0; v < kVectors * kLanes; v += kLineFloats) __builtin_prefetch(w + ahead + v, 0, 3);
        }
#pragma GCC unroll 12
        for (int i = 0; i < kRows; ++i) {
          const typename V::Reg x = V::Set(a[i * stride]);
#pragma GCC unroll 4
          for (int v = 0; v < kVectors; ++v) acc[i * kVectors + v] = V::Fma(x, weights[v], acc[i * kVectors + v]);
        }
      }
    }
    const EpilogueF32& e = at.args->epilogue;
    if (full && e.slope == nullptr && e.residual == nullptr) return ClampTile<kRows, kVectors>(at, acc);
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
    // Each tile asks for its share of the weights that come next, so that they arrive while it computes.
    size_t ahead = at.next == nullptr ? 0 : CeilDiv(at.part->pieces.length * kVectors * kLanes, tiles.parts * kLineFloats);
    if (ahead > kParts.prefetches) ahead = 0;
    for (size_t tile = 0; tile < tiles.parts; ++tile) {
      const size_t count = PartSize(tiles, tile);
      for (size_t line = 0; line < ahead; ++line) __builtin_prefetch(at.next + (tile * ahead + line) * kLineFloats, 0, 2);
      RunTile<kVectors>(at, count);
      at.a += count * at.part->a_stride;
      at.y += count * at.args->y_stride;
      if (at.residual != nullptr) at.residual += count * at.args->epilogue.residual_stride;
    }
  }

  // The sums of all parts but the last wait as they are.
  static GemmF32Args WithoutEpilogue(GemmF32Args args) {
    args.epilogue.bias = args.epilogue.slope = args.epilogue.residual = nullptr;
    args.epilogue.lo = -__builtin_inff(), args.epilogue.hi = __builtin_inff();
    return args;
  }

  static void RunPart(const GemmF32Args* args, const Part& part) {
    const Cut vectors = CutEvenly(CeilDiv(args->n, kLanes), kMaxVectors);
    const float* residual = args->epilogue.residual;
    if (residual != nullptr) residual += part.first_row * args->epilogue.residual_stride;
    size_t channel = FirstVector(vectors, part.first_panel) * kLanes;
    const float* w = static_cast<const float*>(args->packed) + channel * args->k;
    for (size_t panel = part.first_panel; panel < part.first_panel + part.panels; ++panel) {
      const size_t width = PartSize(vectors, panel) * kLanes;
      const float* here = w + part.before * width;
      w += width * args->k;
      const bool more = panel + 1 < part.first_panel + part.panels;
      const Place at = {args, &part, here, !part.fetches ? nullptr : more ? w + part.before * PartSize(vectors, panel + 1) * kLanes : part.after, channel, args->n - channel, part.a,
                        args->y + part.first_row * args->y_stride + channel, residual != nullptr ? residual + channel : nullptr};
      RunPanel(at, PartSize(vectors, panel), part.rows);
      channel += width;
    }
  }
  static size_t FirstVector(const Cut& cut, size_t part) { return part * cut.size + (part < cut.longer ? part : cut.longer); }

  static const float* CopyRows(const float* a, size_t stride, size_t rows, size_t depth, size_t to_stride, float* to) {
    for (size_t i = 0; i < rows; ++i) __builtin_memcpy(to + i * to_stride, a + i * stride, depth * sizeof(float));
    return to;
  }

  // A block of rows and panels, part by part.
  static void RunBlock(const GemmF32Args* args, const Plan& plan, Part part) {
    const GemmF32Args kept = WithoutEpilogue(*args);
    const Cut vectors = CutEvenly(CeilDiv(args->n, kLanes), kMaxVectors);
    const float* w = static_cast<const float*>(args->packed) + FirstVector(vectors, part.first_panel) * kLanes * args->k;
    for (size_t i = 0; i < plan.parts.parts; ++i) {
      const size_t depth = part.pieces.length = PartSize(plan.parts, i), stride = CopyStride(plan);
      const float* a = args->a + part.first_row * args->a_stride + part.before;
      part.last = i + 1 == plan.parts.parts;
      part.after = part.last ? nullptr : w + (part.before + depth) * PartSize(vectors, part.first_panel) * kLanes;
      part.a = plan.copies ? CopyRows(a, args->a_stride, part.rows, depth, stride, static_cast<float*>(args->scratch)) : a;
      part.a_stride = plan.copies ? stride : args->a_stride;
      RunPart(part.last ? args : &kept, part);
      part.before += depth;
    }
  }

  static void Run(const GemmF32Args* args) {
    const Plan plan = PlanOf(args->m, args->n, args->k);
    size_t row = 0;
    for (size_t i = 0; i < plan.rows.parts; ++i) {
      const size_t rows = PartSize(plan.rows, i);
      size_t panel = 0;
      for (size_t j = 0; j < plan.columns.parts; ++j) {
        const size_t panels = PartSize(plan.columns, j);
        RunBlock(args, plan, {{1, 0, 0}, nullptr, 0, row, rows, panel, panels, 0, false, nullptr, args->n * args->k * sizeof(float) > kLargeWeights});
        panel += panels;
      }
      row += rows;
    }
  }

  // Windows overlap, so that a row of them takes less room than its outputs, and needs no blocks.
  static void RunPieces(const GemmF32Args* args, size_t pieces, size_t piece_stride) {
    const size_t panels = CeilDiv(CeilDiv(args->n, kLanes), kMaxVectors);
    RunPart(args, {{pieces, args->k / pieces, piece_stride}, args->a, args->a_stride, 0, args->m, 0, panels, 0, true, nullptr, false});
  }

  static constexpr GemmF32Kernel Kernel(const char* name) { return {name, PackedBytes, Pack, ScratchBytes, Run, RunPieces}; }
};

}  // namespace
}  // namespace sterna
