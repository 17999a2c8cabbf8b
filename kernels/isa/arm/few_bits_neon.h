// What the NEON kernels of fewer than eight bits share: a tile of 4 rows x 8, 16, 24 or 32 channels, whose sums of 16 bits fill half the
// registers, and all that is around its loop. Rows of A come from scratch, packed so that one ld4r broadcasts what four rows need at once;
// sums of 32 bits wait in memory, and go through 16 bits `flush` passes of the loop at a time.
//
// Packed weights, for n output channels: HeaderFew; int32 bias[round_up(n, 16)] and float reach[round_up(n, 16)] (bias_neon.h); then panels,
// each `passes` times what its 8 * V channels need in one pass.
//
// A kernel is a Format, made from its arguments:
//   Args, kMost, kPassA, kPassB    GemmQ8Args or GemmBitsArgs; widest panel; bytes of one pass: of four rows of A, of 8 channels of B
//   passes, tile_bytes             of the loop; of four packed rows, a multiple of 16
//   PackTile(args, row, rows, to)  packs 1..4 rows of A
//   RowOf(tile, i)                 where row i of a tile begins
//   Start<V>(args, panel, row, rows, tile, sums)        what sums begin with
//   FourRows<V>(acc, a, b, passes), OneRow<V>(acc, a, b, passes)    products, in sums of 16 bits
//   Flush<M, V>(sums, acc)                              adds these to the sums of M rows
//   Finish<V>(args, requant, panel, row, rows, sums)    stores
#pragma once
#include "families/gemm_q8/pack_arm.h"
#include "tile_neon.h"

namespace sterna {

constexpr size_t kRowsFew = 4, kChannelsFew = 32;
constexpr size_t kBlockBytesFew = 16 * 1024;  // packed rows of A that stay in half an L1 while every panel passes by

struct alignas(64) HeaderFew {
  int32_t middle;  // of the codes of A
  int32_t flush;   // passes
};

using SumsFew = int32_t[kRowsFew][kChannelsFew];

// Parts of a packed buffer.
struct PackedFew {
  const HeaderFew* header;
  const int32_t* bias;
  const float* reach;
  const uint8_t* panels;
};

static inline size_t PanelsOffsetFew(size_t n) { return sizeof(HeaderFew) + 2 * BiasBytesArm(n); }

static inline PackedFew PartsFew(const void* packed, size_t n) {
  const uint8_t* bytes = static_cast<const uint8_t*>(packed);
  const int32_t* bias = reinterpret_cast<const int32_t*>(bytes + sizeof(HeaderFew));
  return {static_cast<const HeaderFew*>(packed), bias, reinterpret_cast<const float*>(bias) + BiasBytesArm(n) / sizeof(float), bytes + PanelsOffsetFew(n)};
}

using PanelFew = PanelNeon<uint8_t>;

// Rows of a block; a multiple of four.
static inline size_t BlockRowsFew(size_t tile_bytes, size_t m) {
  const size_t most = RoundUpArm(kBlockBytesFew * kRowsFew / tile_bytes + 1, kRowsFew), all = RoundUpArm(m, kRowsFew);
  return all < most ? all : most;
}

// The last pass loads 32 bytes of a next one.
static inline size_t ScratchBytesFew(size_t tile_bytes, size_t m) { return BlockRowsFew(tile_bytes, m) / kRowsFew * tile_bytes + 32; }

// The loop of a tile of four rows, in assembly, since GCC moves and spills what is in all registers: sums of 16 bits of row r and of 8 channels
// u are register 16 + 4 * r + u. `first` loads for pass 0, and leaves in `a` the start of the next pass; `pass` moves it by kPassA, and loads
// for a pass that may not exist. x9..x13 and v0..v15 are free.
#define STERNA_FEW_LOOP(acc, a, b, passes, first, pass)                                                                                             \
  register int16x8_t c0 __asm__("v16"), c1 __asm__("v17"), c2 __asm__("v18"), c3 __asm__("v19"), c4 __asm__("v20"), c5 __asm__("v21"),              \
      c6 __asm__("v22"), c7 __asm__("v23"), c8 __asm__("v24"), c9 __asm__("v25"), c10 __asm__("v26"), c11 __asm__("v27"), c12 __asm__("v28"),       \
      c13 __asm__("v29"), c14 __asm__("v30"), c15 __asm__("v31");                                                                                   \
  const uint8_t* const end = a + passes * kPassA + kPassA;                                                                                          \
  __asm__("movi v16.4s, #0\n\tmovi v17.4s, #0\n\tmovi v18.4s, #0\n\tmovi v19.4s, #0\n\tmovi v20.4s, #0\n\tmovi v21.4s, #0\n\t"                      \
          "movi v22.4s, #0\n\tmovi v23.4s, #0\n\tmovi v24.4s, #0\n\tmovi v25.4s, #0\n\tmovi v26.4s, #0\n\tmovi v27.4s, #0\n\t"                      \
          "movi v28.4s, #0\n\tmovi v29.4s, #0\n\tmovi v30.4s, #0\n\tmovi v31.4s, #0\n\t" first                                                      \
          "1:\n\t" pass                                                                                                                             \
          "cmp %[a], %[end]\n\t"                                                                                                                    \
          "b.lo 1b"                                                                                                                                 \
          : [a] "+&r"(a), [b] "+&r"(b), "=w"(c0), "=w"(c1), "=w"(c2), "=w"(c3), "=w"(c4), "=w"(c5), "=w"(c6), "=w"(c7), "=w"(c8), "=w"(c9),         \
            "=w"(c10), "=w"(c11), "=w"(c12), "=w"(c13), "=w"(c14), "=w"(c15)                                                                        \
          : [end] "r"(end)                                                                                                                          \
          : "x9", "x10", "x11", "x12", "x13", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", \
            "cc", "memory");                                                                                                                        \
  acc[0][0] = c0, acc[0][1] = c1, acc[0][2] = c2, acc[0][3] = c3, acc[1][0] = c4, acc[1][1] = c5, acc[1][2] = c6, acc[1][3] = c7;                   \
  acc[2][0] = c8, acc[2][1] = c9, acc[2][2] = c10, acc[2][3] = c11, acc[3][0] = c12, acc[3][1] = c13, acc[3][2] = c14, acc[3][3] = c15

// A format's FourRows, by its loop for V = 1..4; first(v) and pass(v) are macros of a number.
#define STERNA_FOUR_ROWS(first, pass)                                                                                                    \
  template <int V>                                                                                                                       \
  inline __attribute__((always_inline)) void FourRows(int16x8_t (&acc)[4][4], const uint8_t* a, const uint8_t* b, size_t passes) const { \
    if constexpr (V == 1) { STERNA_FEW_LOOP(acc, a, b, passes, first(1), pass(1)); }                                                     \
    if constexpr (V == 2) { STERNA_FEW_LOOP(acc, a, b, passes, first(2), pass(2)); }                                                     \
    if constexpr (V == 3) { STERNA_FEW_LOOP(acc, a, b, passes, first(3), pass(3)); }                                                     \
    if constexpr (V == 4) { STERNA_FEW_LOOP(acc, a, b, passes, first(4), pass(4)); }                                                     \
  }

// Where a panel's channels of row `row` go. Args: GemmQ8Args or GemmBitsArgs.
template <typename Args>
static inline TargetNeon TargetFew(const Args* args, const PanelFew& panel, size_t row) {
  return {args->y + row * args->y_stride + panel.o, panel.scale, args->y_stride, row, panel.o, panel.width};
}

// The requantized sums of `rows` rows.
template <int V>
static inline __attribute__((always_inline)) void FinishFew(const RequantNeon& requant, const SumsFew& sums, size_t rows, TargetNeon to, FinishNeon finish) {
  for (const int32_t* sum = sums[0]; sum != sums[0] + rows * kChannelsFew; sum += kChannelsFew, ++to.row, to.y += to.y_stride) {
    int32x4_t acc[1][2 * V];
#pragma GCC unroll 8
    for (int i = 0; i < 2 * V; ++i) acc[0][i] = vld1q_s32(sum + 4 * i);
    FinishRowsNeon<1>(requant, acc, to, finish);
  }
}

// Adds up the products of M = 4 rows, or of one.
template <int M, int V, typename Format>
static inline __attribute__((always_inline)) void AddProducts(const Format& format, int32_t* sums, const uint8_t* a, const uint8_t* b, size_t passes) {
  int16x8_t acc[M][4] = {};
  if constexpr (M == 4) format.template FourRows<V>(acc, a, b, passes);
  else format.template OneRow<V>(acc[0], a, b, passes);
  format.template Flush<M, V>(sums, acc);
}

// The tiles of a panel and a block of packed rows, [row, end).
template <typename Format, int V>
static __attribute__((noinline)) void TilesFew(const Format& format, const typename Format::Args* args, const RequantNeon& requant, const PanelFew& panel,
                                               size_t row, size_t end) {
  const size_t passes = format.passes, flush = format.flush;
  const uint8_t *tile = static_cast<const uint8_t*>(args->scratch), *const b = panel.b;
  alignas(64) SumsFew sums;
  for (; row < end; row += kRowsFew, tile += format.tile_bytes) {
    const size_t rows = end - row < kRowsFew ? end - row : kRowsFew;
    format.template Start<V>(args, panel, row, rows, tile, sums);
    for (size_t first = 0; first < passes; first += flush) {
      const size_t count = passes - first < flush ? passes - first : flush;
      const uint8_t* now = b + first * V * Format::kPassB;
      if (rows > 2) {  // three rows are as much work as four, and less than thrice one
        AddProducts<4, V>(format, sums[0], format.RowOf(tile, 0) + first * Format::kPassA, now, count);
      } else {
        for (size_t i = 0; i < rows; ++i) AddProducts<1, V>(format, sums[i], format.RowOf(tile, i) + first * Format::kPassA, now, count);
      }
    }
    format.template Finish<V>(args, requant, panel, row, rows, sums);
  }
}

template <typename Format>
static void PanelsFew(const Format& format, const typename Format::Args* args, const RequantNeon& requant, const PackedFew& packed, size_t row, size_t end,
                      bool bounded) {
  for (size_t o = 0, width = 0; o < args->n; o += width) {
    width = PanelWidthArm(args->n, o, Format::kMost);
    const size_t exist = args->n - o < width ? args->n - o : width;
    const FinishNeon finish = FinishOf(args->requant, o, exist, width, bounded ? packed.reach + o : nullptr);
    const PanelFew panel{packed.panels + o / 8 * format.passes * Format::kPassB, packed.bias + o, args->requant.scale + o, o, exist, finish};
    switch (width / 8) {
      case 1: TilesFew<Format, 1>(format, args, requant, panel, row, end); break;
      case 2: TilesFew<Format, 2>(format, args, requant, panel, row, end); break;
      case 3: if constexpr (Format::kMost > 16) TilesFew<Format, 3>(format, args, requant, panel, row, end); break;
      default: if constexpr (Format::kMost > 16) TilesFew<Format, 4>(format, args, requant, panel, row, end); break;
    }
  }
}

// bounded: sums are within `reach` of their channels.
template <typename Format>
static void RunFew(const typename Format::Args* args, bool bounded) {
  const Format format(args);
  const PackedFew packed = PartsFew(args->packed, args->n);
  const RequantNeon requant = MakeRequantNeon(args->requant);
  const size_t block = BlockRowsFew(format.tile_bytes, args->m);
  for (size_t row = 0, end = 0; row < args->m; row = end) {
    end = args->m - row < block ? args->m : row + block;
    uint8_t* to = static_cast<uint8_t*>(args->scratch);
    for (size_t i = row; i < end; i += kRowsFew, to += format.tile_bytes) format.PackTile(args, i, end - i < kRowsFew ? end - i : kRowsFew, to);
    PanelsFew(format, args, requant, packed, row, end, bounded);
  }
}

}  // namespace sterna
