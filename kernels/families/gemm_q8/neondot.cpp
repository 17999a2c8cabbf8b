// gemm_q8/neondot: quantized GEMM for ARMv8.2 with dot product (Cortex-A55, A76, A78), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 5 rows x 16 channels: 20 accumulators + 5 of A (16 k each) + 4 of B = 29 registers. sdot by element multiplies 4 k of one row
// with 4 k of 4 channels. Per 16 k: 80 sdot, 5 loads of A, 4 ld1 of four registers of B and 3 of loop control for 1280 products =
// 0.0719 instructions a MAC, of which 0.0625 are sdot. 6 x 16 leaves two registers for B, so it needs 8 loads in pairs (0.0729), and
// GCC 12 adds moves; 8 x 8 and 4 x 16 load more.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/tile_neon.h"
#include "pack_arm.h"
#include "run_arm.h"

namespace sterna {
namespace {

constexpr size_t kStep = 4;  // k that an sdot sums
constexpr size_t kRows = 5, kChannels = 16;  // of a tile
constexpr size_t kBlockBytes = 32 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// 4 k of 4 * V channels.
template <int V>
inline __attribute__((always_inline)) auto LoadGroup(const int8_t*& b) {
  if constexpr (V == 4) {
    return LoadFourNeon(b);
  } else {
    return LoadTwoNeon(b);
  }
}

// Columns [0, 4 * V) of 4 consecutive k, whose A bytes are lanes 4 * I.. of a[].
template <int M, int V, int I>
inline __attribute__((always_inline)) void MultiplyGroup(int32x4_t (&acc)[M][V], const int8x16_t (&a)[M], const int8_t*& b) {
  const auto columns = LoadGroup<V>(b);
  for (int v = 0; v < V; ++v) {
    for (int r = 0; r < M; ++r) acc[r][v] = vdotq_laneq_s32(acc[r][v], columns.val[v], a[r], I);
  }
}

template <int M>
inline __attribute__((always_inline)) void LoadRows(int8x16_t (&rows)[M], const int8_t* a, size_t a_stride) {
  for (int r = 0; r < M; ++r) rows[r] = LoadRowNeon(a + r * a_stride);
}

template <int M, int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[M][V], const int8_t* a, size_t a_stride, const int8_t* b, size_t k) {
  const int8_t *const whole = a + k / 16 * 16, *const end = a + k;
  int8x16_t rows[M];
  for (; a != whole; a += 16) {
    LoadRows(rows, a, a_stride);
    MultiplyGroup<M, V, 0>(acc, rows, b);
    MultiplyGroup<M, V, 1>(acc, rows, b);
    MultiplyGroup<M, V, 2>(acc, rows, b);
    MultiplyGroup<M, V, 3>(acc, rows, b);
  }
  for (; a < end; a += 4) {
    LoadRows(rows, a, a_stride);
    MultiplyGroup<M, V, 0>(acc, rows, b);
  }
}

// `count` tiles of M rows of one panel, from `row` on; returns the row after them.
template <int M, int V>
__attribute__((noinline)) size_t Tiles(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  const size_t a_stride = args->a_stride, k = args->k;
  const int8_t *a = reinterpret_cast<const int8_t*>(args->a) + row * a_stride, *const b = panel.b;
  const int32_t* bias = panel.bias;
  TargetNeon to{args->y + row * args->y_stride + panel.o, panel.scale, args->y_stride, row, panel.o, panel.width};
  for (const size_t end = row + count * M; to.row < end; to.row += M, to.y += M * to.y_stride, a += M * a_stride) {
    int32x4_t acc[M][V];
    for (int r = 0; r < M; ++r) LoadBiasNeon(bias, acc[r]);
    Multiply<M, V>(acc, a, a_stride, b, k);
    FinishRowsNeon<M>(requant, acc, to, panel.finish);
  }
  return to.row;
}

// `count` tiles of `height` rows, 1..kRows; returns the row after them.
template <int V>
size_t TilesOf(size_t height, const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  switch (height) {
    case 5: return Tiles<5, V>(args, requant, panel, row, count);
    case 4: return Tiles<4, V>(args, requant, panel, row, count);
    case 3: return Tiles<3, V>(args, requant, panel, row, count);
    case 2: return Tiles<2, V>(args, requant, panel, row, count);
    default: return Tiles<1, V>(args, requant, panel, row, count);
  }
}

// Tiles as equal in height as possible: 11 rows become 4, 4 and 3, not 5, 5 and 1.
template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  const size_t rows = end - row, tiles = (rows + kRows - 1) / kRows, height = rows / tiles, taller = rows % tiles;
  row = TilesOf<V>(height + 1, args, requant, panel, row, taller);
  TilesOf<V>(height, args, requant, panel, row, tiles - taller);
}

size_t PackedBytes(size_t n, size_t k) { return PackedBytesArm(n, k, kStep); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackBiasArm(n, w, k, 1, k, bias, a_zp, packed);
  PackPanelsArm(n, k, {kChannels, kStep, kStep, kStep}, w, static_cast<int8_t*>(packed) + PanelsOffsetArm(n));
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmQ8Args* args) {
  const size_t block = RoundUpArm(kBlockBytes / args->k + 1, kRows), depth = RoundUpArm(args->k, kStep);
  RunBlocksArm(args, {block, depth, kChannels, static_cast<const int32_t*>(args->packed)},
               [args](const RequantNeon& requant, const Panel& panel, size_t width, size_t row, size_t end) {
                 width == 8 ? Rows<2>(args, requant, panel, row, end) : Rows<4>(args, requant, panel, row, end);
               });
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neondot;
const sterna::GemmQ8Kernel sterna_gemm_q8_neondot = {"gemm_q8/neondot", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
