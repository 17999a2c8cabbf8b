// gemm_q8/neoni8mm: quantized GEMM for ARMv8.6 with 8-bit matrix multiplication (Cortex-A510, A710, X2, Neoverse V1), bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// smmla multiplies 2 rows x 8 k of A with 8 k x 2 channels of B into a 2 x 2 block: 32 products, twice those of sdot. Tile 6 rows x 16
// channels: 24 blocks + 3 registers of A + 4 of B = 31. Per 8 k: 24 smmla, 6 loads of half a register of A, 2 ld1 of four registers of B
// and 2 of loop control for 768 products = 0.0443 instructions a MAC, of which 0.0313 are smmla. A last odd row is multiplied twice.
// Blocks are zipped to rows for the epilogue: one instruction for 4 outputs.
//
// Packed: as in pack_arm.h, then the bias as blocks want it, int32 [round_up(n, 16) / 2][2 rows][2 channels].
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/tile_neon.h"
#include "pack_arm.h"
#include "run_arm.h"

namespace sterna {
namespace {

constexpr size_t kStep = 8;                // k that an smmla sums
constexpr size_t kRows = 6, kChannels = 16;  // of a tile
constexpr size_t kBlockBytes = 32 * 1024;  // rows of A that stay in half an L1 while every panel passes by

// 8 k of two rows; moves both pointers on.
inline __attribute__((always_inline)) int8x16_t LoadPair(const int8_t*& first, const int8_t*& second) {
  int8x16_t v;
  __asm__("ldr %d0, [%1], #8\n\tld1 {%0.d}[1], [%2], #8"
          : "=w"(v), "+r"(first), "+r"(second)
          : "m"(*reinterpret_cast<const int8_t(*)[8]>(first)), "m"(*reinterpret_cast<const int8_t(*)[8]>(second)));
  return v;
}

// P pairs of rows and 2 * V channels; acc[p][v]: channels 2 * v and 2 * v + 1 of the first row, then of the second. rows: 2 * P pointers.
template <int P, int V>
inline __attribute__((always_inline)) void Multiply(int32x4_t (&acc)[P][V], const int8_t* (&rows)[2 * P], const int8_t* b, size_t k) {
  for (const int8_t* const end = rows[0] + k; rows[0] < end;) {
    int8x16_t a[P];
#pragma GCC unroll 3
    for (int p = 0; p < P; ++p) a[p] = LoadPair(rows[2 * p], rows[2 * p + 1]);
#pragma GCC unroll 2
    for (int v = 0; v < V; v += 4) {
      const int8x16x4_t columns = LoadFourNeon(b);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 3
        for (int p = 0; p < P; ++p) acc[p][v + i] = vmmlaq_s32(acc[p][v + i], a[p], columns.val[i]);
      }
    }
  }
}

inline int32x4_t ZipLow(int32x4_t x, int32x4_t y) { return vreinterpretq_s32_s64(vzip1q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y))); }
inline int32x4_t ZipHigh(int32x4_t x, int32x4_t y) { return vreinterpretq_s32_s64(vzip2q_s64(vreinterpretq_s64_s32(x), vreinterpretq_s64_s32(y))); }

// M rows (1, or an even number) of 2 * V channels.
template <int M, int V>
inline __attribute__((always_inline)) void Tile(const RequantNeon& requant, const Panel& panel, const int8_t* a, size_t a_stride, size_t k,
                                                const TargetNeon& to) {
  constexpr int kPairs = (M + 1) / 2;
  const int8_t* rows[2 * kPairs];
  const int32_t* bias = panel.bias;
  int32x4_t blocks[kPairs][V], acc[M][V / 2];
  for (int r = 0; r < 2 * kPairs; ++r) rows[r] = a + (r < M ? r : 0) * a_stride;
  for (int p = 0; p < kPairs; ++p) LoadBiasNeon(bias, blocks[p]);
  Multiply(blocks, rows, panel.b, k);
#pragma GCC unroll 24
  for (int i = 0; i < M * V / 2; ++i) {
    const int r = i / (V / 2), v = i % (V / 2);
    const int32x4_t x = blocks[r / 2][2 * v], y = blocks[r / 2][2 * v + 1];
    acc[r][v] = r % 2 == 0 ? ZipLow(x, y) : ZipHigh(x, y);
  }
  FinishRowsNeon<M>(requant, acc, to, panel.finish);
}

// `count` tiles of M rows of one panel, from `row` on; returns the row after them.
template <int M, int V>
__attribute__((noinline)) size_t Tiles(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t count) {
  const size_t a_stride = args->a_stride, k = args->k;
  const int8_t* a = reinterpret_cast<const int8_t*>(args->a) + row * a_stride;
  TargetNeon to{args->y + row * args->y_stride + panel.o, panel.scale, args->y_stride, row, panel.o, panel.width};
  for (const size_t end = row + count * M; to.row < end; to.row += M, to.y += M * to.y_stride, a += M * a_stride) {
    Tile<M, V>(requant, panel, a, a_stride, k, to);
  }
  return to.row;
}

template <int V>
void Rows(const GemmQ8Args* args, const RequantNeon& requant, const Panel& panel, size_t row, size_t end) {
  row = Tiles<6, V>(args, requant, panel, row, (end - row) / 6);
  row = Tiles<4, V>(args, requant, panel, row, (end - row) / 4);
  row = Tiles<2, V>(args, requant, panel, row, (end - row) / 2);
  Tiles<1, V>(args, requant, panel, row, end - row);
}

// Where the bias of blocks is.
size_t BlocksOffset(size_t n, size_t k) { return RoundUpArm(PackedBytesArm(n, k, kStep), 64); }

size_t PackedBytes(size_t n, size_t k) { return BlocksOffset(n, k) + 2 * BiasBytesArm(n); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  PackBiasArm(n, w, k, 1, k, bias, a_zp, packed);
  PackPanelsArm(n, k, {kChannels, kStep, kStep, kStep}, w, static_cast<int8_t*>(packed) + PanelsOffsetArm(n));
  const int32_t* row = static_cast<const int32_t*>(packed);
  int32_t* blocks = reinterpret_cast<int32_t*>(static_cast<int8_t*>(packed) + BlocksOffset(n, k));
  for (size_t i = 0; i < 2 * RoundUpArm(n, 16); ++i) blocks[i] = row[i / 4 * 2 + i % 2];
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmQ8Args* args) {
  const int32_t* bias = reinterpret_cast<const int32_t*>(static_cast<const int8_t*>(args->packed) + BlocksOffset(args->n, args->k));
  const size_t block = RoundUpArm(kBlockBytes / args->k + 1, kRows), depth = RoundUpArm(args->k, kStep);
  RunBlocksArm(args, {block, depth, kChannels, bias, 2}, [args](const RequantNeon& requant, const Panel& panel, size_t width, size_t row, size_t end) {
    width == 8 ? Rows<4>(args, requant, panel, row, end) : Rows<8>(args, requant, panel, row, end);
  });
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_neoni8mm;
const sterna::GemmQ8Kernel sterna_gemm_q8_neoni8mm = {"gemm_q8/neoni8mm", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
