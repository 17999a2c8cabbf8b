// gemm_q8/neon: quantized GEMM for ARMv8.0 (Cortex-A53, A72, A73), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 4 rows x 16 channels: 16 accumulators + 4 of A + 4 of B + broadcasts and products = 32 registers. Two consecutive k of a
// channel are neighbours in B, and a pair of A is broadcast: smull and smlal sum two products in 16 bits, safe because |w| <= 127
// (2 * 128 * 127 = 32512), and sadalp adds neighbours into 32 bits. Per row and 4 k: 2 dup, 4 smull, 4 smlal, 4 sadalp for 64
// products = 0.219 instructions a MAC; loads of B are shared by 4 rows. The alternative, k along the lanes of every accumulator,
// saves the broadcasts and pays 12 addp a tile instead of none: worse below K = 90, where MobileNets have most of their outputs.
#include <arm_neon.h>

#include "../arm/requant_neon.h"
#include "pack_arm.h"

namespace sterna {
namespace {

constexpr size_t kDepth = 2;
constexpr int kRows = 4;
constexpr size_t kBlockBytes = 16 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// Columns [0, 8 * V) of 4 consecutive k, whose A bytes are lanes 4 * I.. of a[].
template <int M, int V, int I>
inline __attribute__((always_inline)) void MultiplyGroup(int32x4_t (&acc)[M][4], const int8x16_t (&a)[M], const int8_t* b) {
  int8x16_t b0[V], b1[V];
  for (int v = 0; v < V; ++v) b0[v] = vld1q_s8(b + 16 * v), b1[v] = vld1q_s8(b + 16 * (V + v));
  for (int r = 0; r < M; ++r) {
    const int8x16_t a0 = vreinterpretq_s8_s16(vdupq_laneq_s16(vreinterpretq_s16_s8(a[r]), 2 * I));
    const int8x16_t a1 = vreinterpretq_s8_s16(vdupq_laneq_s16(vreinterpretq_s16_s8(a[r]), 2 * I + 1));
    for (int v = 0; v < V; ++v) {
      const int16x8_t low = vmlal_s8(vmull_s8(vget_low_s8(b0[v]), vget_low_s8(a0)), vget_low_s8(b1[v]), vget_low_s8(a1));
      acc[r][2 * v] = vpadalq_s16(acc[r][2 * v], low);
      const int16x8_t high = vmlal_high_s8(vmull_high_s8(b0[v], a0), b1[v], a1);
      acc[r][2 * v + 1] = vpadalq_s16(acc[r][2 * v + 1], high);
    }
  }
}

template <int M, int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[M][4], const int8_t* a, size_t a_stride, const int8_t* b, size_t k) {
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

// One panel, at output channel `o`, and the registers' form of its epilogue.
struct Panel {
  const int8_t* b;
  const int32_t* bias;
  size_t o, width;  // channels that exist
};

// Rows [row, row + M) of one panel.
template <int M, int V>
void Tile(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row) {
  int32x4_t acc[M][4];
  for (int i = 0; i < 4; ++i) {
    const int32x4_t bias = vld1q_s32(panel.bias + 4 * i);
    for (int r = 0; r < M; ++r) acc[r][i] = bias;
  }
  Multiply<M, V>(acc, reinterpret_cast<const int8_t*>(args->a) + row * args->a_stride, args->a_stride, panel.b, args->k);
  uint8_t* y = args->y + row * args->y_stride + panel.o;
  for (int r = 0; r < M; ++r, y += args->y_stride) {
    StoreBytesNeon(y, RequantizeNeon(requant, acc[r], row + static_cast<size_t>(r), panel.o), panel.width);
  }
}

template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  for (; row + kRows <= end; row += kRows) Tile<kRows, V>(args, requant, panel, row);
  switch (end - row) {
    case 3: return Tile<3, V>(args, requant, panel, row);
    case 2: return Tile<2, V>(args, requant, panel, row);
    case 1: return Tile<1, V>(args, requant, panel, row);
    default: return;
  }
}

size_t PackedBytes(size_t n, size_t k) { return PackedBytesArm(n, k); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackBiasArm(n, k, w, bias, a_zp, static_cast<int32_t*>(packed));
  PackPanelsArm(n, k, kDepth, w, static_cast<int8_t*>(packed) + PanelsOffsetArm(n));
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmQ8Args* args) {
  const RequantNeon requant = MakeRequantNeon(args->requant);
  const int8_t* panels = static_cast<const int8_t*>(args->packed) + PanelsOffsetArm(args->n);
  const size_t block = RoundUpArm(kBlockBytes / args->k + 1, kRows), depth = RoundUpArm(args->k, 4);
  for (size_t row = 0; row < args->m; row += block) {
    const size_t end = row + block < args->m ? row + block : args->m;
    for (size_t o = 0; o < args->n; o += kPanelArm) {
      const size_t left = args->n - o;
      const Panel panel{panels + o * depth, static_cast<const int32_t*>(args->packed) + o, o, left < kPanelArm ? left : kPanelArm};
      left <= 8 ? Rows<1>(args, requant, panel, row, end) : Rows<2>(args, requant, panel, row, end);
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neon;
const sterna::GemmQ8Kernel sterna_gemm_q8_neon = {"gemm_q8/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
