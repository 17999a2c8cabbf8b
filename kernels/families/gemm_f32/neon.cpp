// gemm_f32/neon: float GEMM for every 64-bit Arm core.
//
//   y[i][o] = epilogue(sum_k a[i][k] * w[o][k])     one chain of fused multiply-adds in order of k, within ErrorBoundF32(k)
//
// Tile 5 rows x 16 channels: 20 accumulators + 5 of A (4 k each) + 4 of B = 29 registers. fmla by element multiplies one k of one row
// with 4 channels. Per 4 k: 80 fmla, 5 loads of A, 4 ld1 of four registers of B and 3 of loop control for 320 products = 0.2875
// instructions a MAC, of which 0.25 are fmla. The last k % 4 broadcast A one element at a time: what lies past a row of A may be NaN.
//
// Packed layout: panels of 16 channels, then at most one of 8 or 4, each float [k][channels]; channels past n are zero.
#include <arm_neon.h>

#include "kernel.h"
#include "pack_panel.h"
#include "isa/arm/epilogue_f32_neon.h"

namespace sterna {
namespace {

constexpr size_t kPanel = 16;
constexpr size_t kRows = 5;
constexpr size_t kBlockBytes = 32 * 1024;  // rows of A that stay in L1 or close to it while every panel passes by

// Channels of the panel that starts at channel `first`, padding included.
size_t PanelWidth(size_t n, size_t first) {
  const size_t left = n - first;
  return left <= 4 ? 4 : left <= 8 ? 8 : kPanel;
}

// Channels of all panels, padding included.
size_t PaddedChannels(size_t n) {
  const size_t rest = n % kPanel;
  return n - rest + (rest == 0 ? 0 : PanelWidth(n, n - rest));
}

size_t PackedBytes(size_t n, size_t k) { return PaddedChannels(n) * k * sizeof(float); }

void Pack(size_t n, size_t k, const StridedF32& w, void* packed) {
  float* out = static_cast<float*>(packed);
  for (size_t first = 0; first < n; first += kPanel) out = PackPanelF32(n, k, w, first, PanelWidth(n, first), out);
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

// V vectors of a row of the panel in one instruction, which moves `b` on: for vld1q_f32_x4 GCC emits an addition.
template <int V>
inline __attribute__((always_inline)) auto LoadRow(const float*& b) {
  if constexpr (V == 4) {
    float32x4x4_t v;
    __asm__("ld1 {%S0.4s - %V0.4s}, [%1], #64" : "=w"(v), "+r"(b) : "m"(*reinterpret_cast<const float(*)[16]>(b)));
    return v;
  } else if constexpr (V == 2) {
    float32x4x2_t v;
    __asm__("ld1 {%S0.4s - %T0.4s}, [%1], #32" : "=w"(v), "+r"(b) : "m"(*reinterpret_cast<const float(*)[8]>(b)));
    return v;
  } else {
    struct {
      float32x4_t val[1];
    } v = {{vld1q_f32(b)}};
    b += 4;
    return v;
  }
}

// Adds the next row of the panel, multiplied with lane I of each row of A.
template <int M, int V, int I>
inline __attribute__((always_inline)) void MultiplyLane(float32x4_t (&acc)[M][V], const float32x4_t (&a)[M], const float*& b) {
  const auto row = LoadRow<V>(b);
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < M; ++r) acc[r][v] = vfmaq_laneq_f32(acc[r][v], row.val[v], a[r], I);
  }
}

template <int M, int V>
inline __attribute__((always_inline)) void Multiply(float32x4_t (&acc)[M][V], const float* a, size_t a_stride, const float* b, size_t k) {
  float32x4_t rows[M];
  const float *const whole = a + k / 4 * 4, *const end = a + k;
  for (; a != whole; a += 4) {
    for (int r = 0; r < M; ++r) {
      rows[r] = vld1q_f32(a + r * a_stride);
      __asm__("" : "+w"(rows[r]));  // else GCC loads every lane on its own
    }
    MultiplyLane<M, V, 0>(acc, rows, b);
    MultiplyLane<M, V, 1>(acc, rows, b);
    MultiplyLane<M, V, 2>(acc, rows, b);
    MultiplyLane<M, V, 3>(acc, rows, b);
  }
  for (; a != end; ++a) {
    for (int r = 0; r < M; ++r) rows[r] = vld1q_dup_f32(a + r * a_stride);
    MultiplyLane<M, V, 0>(acc, rows, b);
  }
}

// One panel, at output channel `o`.
struct Panel {
  const float* b;
  size_t o, width;  // channels that exist
};

// The epilogue with all options, from memory.
template <int V>
__attribute__((noinline)) void FinishTile(const GemmF32Args* args, const Panel& panel, size_t row, size_t rows, const float32x4_t (*acc)[V]) {
  for (size_t v = 0; v < V && 4 * v < panel.width; ++v) {
    const EpilogueF32Neon epilogue = MakeEpilogueF32Neon(args->epilogue, panel.o + 4 * v, panel.width - 4 * v);
    float* y = args->y + row * args->y_stride + panel.o + 4 * v;
    for (size_t r = 0; r < rows; ++r) FinishFullF32Neon(epilogue, acc[r][v], row + r, y + r * args->y_stride);
  }
}

// Rows [row, row + M) of one panel. The common epilogue (bias, clamp) stays in registers.
template <int M, int V>
inline __attribute__((always_inline)) void Tile(const GemmF32Args* args, const Panel& panel, size_t row) {
  float32x4_t acc[M][V];
  for (int r = 0; r < M; ++r) {
    for (int v = 0; v < V; ++v) acc[r][v] = vdupq_n_f32(0.0f);
  }
  Multiply<M, V>(acc, args->a + row * args->a_stride, args->a_stride, panel.b, args->k);
  const EpilogueF32& e = args->epilogue;
  if (e.slope != nullptr || e.residual != nullptr || panel.width < 4 * V) {
    float32x4_t copy[M][V];
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) copy[r][v] = acc[r][v];
    }
    return FinishTile<V>(args, panel, row, M, copy);
  }
  const float32x4_t lo = vdupq_n_f32(e.lo), hi = vdupq_n_f32(e.hi);
  float32x4_t bias[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) bias[v] = e.bias != nullptr ? vld1q_f32(e.bias + panel.o + 4 * v) : vdupq_n_f32(0.0f);
  float* y = args->y + row * args->y_stride + panel.o;
  const size_t y_stride = args->y_stride;
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r, y += y_stride) {
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) vst1q_f32(y + 4 * v, vminq_f32(vmaxq_f32(vaddq_f32(acc[r][v], bias[v]), lo), hi));
  }
}

template <int M, int V>
__attribute__((noinline)) size_t Tiles(const GemmF32Args* args, const Panel& panel, size_t row, size_t count) {
  for (; count > 0; --count, row += M) Tile<M, V>(args, panel, row);
  return row;
}

// `count` tiles of `height` rows, 1..kRows; returns the row after them.
template <int V>
size_t TilesOf(size_t height, const GemmF32Args* args, const Panel& panel, size_t row, size_t count) {
  switch (height) {
    case 5: return Tiles<5, V>(args, panel, row, count);
    case 4: return Tiles<4, V>(args, panel, row, count);
    case 3: return Tiles<3, V>(args, panel, row, count);
    case 2: return Tiles<2, V>(args, panel, row, count);
    default: return Tiles<1, V>(args, panel, row, count);
  }
}

// Tiles as equal in height as possible: 11 rows become 4, 4 and 3, not 5, 5 and 1.
template <int V>
void Rows(const GemmF32Args* args, const Panel& panel, size_t row, size_t end) {
  const size_t rows = end - row, tiles = (rows + kRows - 1) / kRows, height = rows / tiles, taller = rows % tiles;
  row = TilesOf<V>(height + 1, args, panel, row, taller);
  TilesOf<V>(height, args, panel, row, tiles - taller);
}

void Run(const GemmF32Args* args) {
  const float* panels = static_cast<const float*>(args->packed);
  const size_t block = (kBlockBytes / (args->k * sizeof(float)) / kRows + 1) * kRows;
  for (size_t row = 0; row < args->m; row += block) {
    const size_t end = row + block < args->m ? row + block : args->m;
    for (size_t o = 0; o < args->n; o += kPanel) {
      const size_t left = args->n - o;
      const Panel panel{panels + o * args->k, o, left < kPanel ? left : kPanel};
      switch (PanelWidth(args->n, o)) {
        case 4: Rows<1>(args, panel, row, end); break;
        case 8: Rows<2>(args, panel, row, end); break;
        default: Rows<4>(args, panel, row, end); break;
      }
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_neon;
const sterna::GemmF32Kernel sterna_gemm_f32_neon = {"gemm_f32/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
