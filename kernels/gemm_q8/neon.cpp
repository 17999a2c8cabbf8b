// gemm_q8/neon: quantized GEMM for ARMv8.0 (Cortex-A53, A72, A73), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 2 rows x 32 channels: 16 accumulators + 2 of A (16 k each) + 4 broadcasts + 2 of B + products. Two consecutive k of a channel
// are neighbours in B, and a pair of A is broadcast: smull and smlal sum two products in 16 bits, safe because |w| <= 127 (2 * 128 * 127
// = 32512), and sadalp adds neighbours into 32 bits. Per 4 k: 4 dup, 32 smull and smlal, 16 sadalp and 4 paired loads of B for 256
// products, with loads of A and loop control 0.225 instructions a MAC; counted 0.230 as GCC 12 compiles it (2 x 24: 0.243, 3 x 16: 0.243,
// 4 x 8: 0.275: the last panels). llvm-mca estimates 8.0 MAC a cycle on Cortex-A72, its multiplier's peak, and 2.8 on Cortex-A53. The
// alternative, k along the lanes of every accumulator, saves the broadcasts and pays for them with 12 addp in each tile of 16
// outputs: worse below K = 130, where MobileNets have most of their outputs.
#include <arm_neon.h>

#include "../arm/tile_neon.h"
#include "pack_arm.h"

namespace sterna {
namespace {

constexpr size_t kDepth = 2;
constexpr size_t kChannels = 32;           // of the widest panel
constexpr size_t kBlockBytes = 16 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// Rows of a tile of 8 * V channels.
constexpr int RowsOf(int V) { return V >= 3 ? 2 : V == 2 ? 3 : 4; }

// 8 * V channels of 4 consecutive k, whose A bytes are lanes 4 * I.. of a[].
template <int M, int V, int I>
inline __attribute__((always_inline)) void MultiplyGroup(int32x4_t (&acc)[M][2 * V], const int8x16_t (&a)[M], const int8_t* b) {
  int8x16_t a0[M], a1[M];
  for (int r = 0; r < M; ++r) {
    a0[r] = vreinterpretq_s8_s16(vdupq_laneq_s16(vreinterpretq_s16_s8(a[r]), 2 * I));
    a1[r] = vreinterpretq_s8_s16(vdupq_laneq_s16(vreinterpretq_s16_s8(a[r]), 2 * I + 1));
  }
  for (int v = 0; v < V; ++v) {
    int8x16_t b0, b1;
    LoadPairNeon(b + 32 * v, &b0, &b1);
    // Two rows at a time are four chains, which an in-order core needs to stay busy.
    for (int r = 0; r < M; r += 2) {
      const int chains = r + 1 < M ? 2 : 1;
      int16x8_t low[2], high[2];
      for (int i = 0; i < chains; ++i) low[i] = vmull_s8(vget_low_s8(b0), vget_low_s8(a0[r + i])), high[i] = vmull_high_s8(b0, a0[r + i]);
      for (int i = 0; i < chains; ++i) low[i] = vmlal_s8(low[i], vget_low_s8(b1), vget_low_s8(a1[r + i])), high[i] = vmlal_high_s8(high[i], b1, a1[r + i]);
      for (int i = 0; i < chains; ++i) {
        acc[r + i][2 * v] = vpadalq_s16(acc[r + i][2 * v], low[i]);
        acc[r + i][2 * v + 1] = vpadalq_s16(acc[r + i][2 * v + 1], high[i]);
      }
    }
  }
}

template <int M, int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[M][2 * V], const int8_t* a, size_t a_stride, const int8_t* b, size_t k) {
  constexpr size_t kGroup = 32 * V;  // bytes of B for 4 k
  int8x16_t rows[M];
  size_t p = 0;
  for (; p + 16 <= k; p += 16, b += 4 * kGroup) {
    for (int r = 0; r < M; ++r) rows[r] = LoadRowNeon(a + r * a_stride + p);
    MultiplyGroup<M, V, 0>(acc, rows, b);
    MultiplyGroup<M, V, 1>(acc, rows, b + kGroup);
    MultiplyGroup<M, V, 2>(acc, rows, b + 2 * kGroup);
    MultiplyGroup<M, V, 3>(acc, rows, b + 3 * kGroup);
  }
  for (; p < k; p += 4, b += kGroup) {
    for (int r = 0; r < M; ++r) rows[r] = LoadRowNeon(a + r * a_stride + p);
    MultiplyGroup<M, V, 0>(acc, rows, b);
  }
}

// One panel, at output channel `o`.
struct Panel {
  const int8_t* b;
  const int32_t* bias;
  const float* scale;
  size_t o, width;  // channels that exist
  FinishNeon finish;
};

// Rows [row, row + M) of one panel.
template <int M, int V>
inline __attribute__((always_inline)) void Tile(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row) {
  int32x4_t acc[M][2 * V];
  for (int r = 0; r < M; ++r) LoadBiasNeon(panel.bias, acc[r]);
  Multiply<M, V>(acc, reinterpret_cast<const int8_t*>(args->a) + row * args->a_stride, args->a_stride, panel.b, args->k);
  FinishRowsNeon<M>(requant, acc, {args->y + row * args->y_stride + panel.o, panel.scale, args->y_stride, row, panel.o, panel.width},
                 panel.finish);
}

template <int M, int V>
__attribute__((noinline)) size_t Tiles(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  for (; count > 0; --count, row += M) Tile<M, V>(args, requant, panel, row);
  return row;
}

// `count` tiles of `height` rows, 1..RowsOf(V); returns the row after them.
template <int V>
size_t TilesOf(size_t height, const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  constexpr int kMost = RowsOf(V);
  switch (height) {
    case 4: return Tiles<kMost, V>(args, requant, panel, row, count);
    case 3: return Tiles<(kMost < 3 ? kMost : 3), V>(args, requant, panel, row, count);
    case 2: return Tiles<2, V>(args, requant, panel, row, count);
    default: return Tiles<1, V>(args, requant, panel, row, count);
  }
}

// Tiles as equal in height as possible: 7 rows become 3, 2 and 2, not 3, 3 and 1.
template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  constexpr size_t kMost = RowsOf(V);
  const size_t rows = end - row, tiles = (rows + kMost - 1) / kMost, height = rows / tiles, taller = rows % tiles;
  row = TilesOf<V>(height + 1, args, requant, panel, row, taller);
  TilesOf<V>(height, args, requant, panel, row, tiles - taller);
}

size_t PackedBytes(size_t n, size_t k) { return PackedBytesArm(n, k); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackBiasArm(n, k, w, bias, a_zp, static_cast<int32_t*>(packed));
  PackPanelsArm(n, k, kDepth, kChannels, w, static_cast<int8_t*>(packed) + PanelsOffsetArm(n));
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmQ8Args* args) {
  const RequantNeon requant = MakeRequantNeon(args->requant);
  const int8_t* panels = static_cast<const int8_t*>(args->packed) + PanelsOffsetArm(args->n);
  const size_t block = RoundUpArm(kBlockBytes / args->k + 1, 12), depth = RoundUpArm(args->k, 4);
  for (size_t row = 0; row < args->m; row += block) {
    const size_t end = row + block < args->m ? row + block : args->m;
    for (size_t o = 0, width = 0; o < args->n; o += width) {
      width = PanelWidthArm(args->n, o, kChannels);
      const size_t exist = args->n - o < width ? args->n - o : width;
      const Panel panel{panels + o * depth, static_cast<const int32_t*>(args->packed) + o, args->requant.scale + o, o, exist, FinishOf(args->requant, exist, width)};
      switch (width) {
        case 8: Rows<1>(args, requant, panel, row, end); break;
        case 16: Rows<2>(args, requant, panel, row, end); break;
        case 24: Rows<3>(args, requant, panel, row, end); break;
        default: Rows<4>(args, requant, panel, row, end); break;
      }
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neon;
const sterna::GemmQ8Kernel sterna_gemm_q8_neon = {"gemm_q8/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
