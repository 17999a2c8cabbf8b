// gemm_q8/neondot: quantized GEMM for ARMv8.2 with dot product (Cortex-A55, A76, A78), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 5 rows x 16 channels: 20 accumulators + 5 of A (16 k each) + 2 of B = 27 registers. sdot by element multiplies 4 k of one
// row with 4 k of 4 channels. Per 16 k: 80 sdot, 5 loads of A, 8 paired loads of B and 4 of loop control for 1280 products =
// 0.076 instructions a MAC, of which 0.0625 are sdot. 8 x 8 and 4 x 16 need 0.078; 6 x 16 needs 0.074 in all 32 registers, and
// compilers then spill.
#include <arm_neon.h>

#include "../arm/requant_neon.h"
#include "pack_arm.h"

namespace sterna {
namespace {

constexpr size_t kDepth = 4;
constexpr size_t kRows = 5;
constexpr size_t kBlockBytes = 32 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// Columns [0, 4 * V) of 4 consecutive k, whose A bytes are lanes 4 * I.. of a[].
template <int M, int V, int I>
inline __attribute__((always_inline)) void MultiplyGroup(int32x4_t (&acc)[M][4], const int8x16_t (&a)[M], const int8_t* b) {
  for (int v = 0; v < V; v += 2) {
    int8x16_t b0, b1;
    LoadPairNeon(b + 16 * v, &b0, &b1);
    for (int r = 0; r < M; ++r) acc[r][v] = vdotq_laneq_s32(acc[r][v], b0, a[r], I);
    for (int r = 0; r < M; ++r) acc[r][v + 1] = vdotq_laneq_s32(acc[r][v + 1], b1, a[r], I);
  }
}

template <int M, int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[M][4], const int8_t* a, size_t a_stride, const int8_t* b, size_t k) {
  constexpr size_t kGroup = 16 * V;  // bytes of B for 4 k
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

// Tiles of equal height: 49 rows become 10 tiles of 5 and 4, and 11 become 4, 4 and 3, not 5, 5 and 1.
template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  for (size_t tiles = (end - row + kRows - 1) / kRows; tiles > 0; --tiles) {
    const size_t rows = (end - row + tiles - 1) / tiles;
    switch (rows) {
      case 5: Tile<5, V>(args, requant, panel, row); break;
      case 4: Tile<4, V>(args, requant, panel, row); break;
      case 3: Tile<3, V>(args, requant, panel, row); break;
      case 2: Tile<2, V>(args, requant, panel, row); break;
      default: Tile<1, V>(args, requant, panel, row); break;
    }
    row += rows;
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
      left <= 8 ? Rows<2>(args, requant, panel, row, end) : Rows<4>(args, requant, panel, row, end);
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neondot;
const sterna::GemmQ8Kernel sterna_gemm_q8_neondot = {"gemm_q8/neondot", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
