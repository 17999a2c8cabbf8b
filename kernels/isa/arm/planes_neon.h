// What gemm_bnn, gemm_tbn and gemm_tnn on NEON share: planes of A interleaved by row, planes of B in panels, and counts that become sums.
//
// A step is 16 depth bits, two bytes of a row, and a pass two steps, a word. Logic on a register of 8 channels x 2 bytes, cnt, and uadalp, which
// adds the counts of a channel's two bytes to a sum of 16 bits: at most 32 in a pass, so that 2047 passes fit. Then
//   sum = start + count of what is not zero - 2 * count of what is negative
// where start holds the bias, and the first of these counts if it depends on the row alone.
//
// Packed (few_bits_neon.h), for a panel: [step][8 channels][plane: sign, then mask if there is one][channel][2 bytes]
// Scratch, for four rows: [step][4 rows][plane][2 bytes]; then int32 count of the mask, for each row, where kCounts.
#pragma once
#include "families/gemm_bnn/kernel.h"
#include "few_bits_neon.h"

namespace sterna {

constexpr int32_t kFlushPlanes = 65535 / 32;

static inline size_t WordsOfTile(size_t words) { return RoundUpArm(words, 4); }  // what PackTile writes, in whole registers
static inline size_t TileBytesPlanes(size_t words, size_t planes) { return kRowsFew * 4 * planes * WordsOfTile(words) + kRowsFew * sizeof(int32_t); }

template <size_t kPlanes>
static inline size_t ScratchBytesPlanes(size_t m, size_t, size_t words) { return ScratchBytesFew(TileBytesPlanes(words, kPlanes), m); }

// The last pass loads weights of a next one.
template <size_t kPlanes>
static inline size_t PackedBytesPlanes(size_t n, size_t words) { return PanelsOffsetFew(n) + kPlanes * RoundUpArm(n, 8) * words * 4 + 64; }

// Two bytes: step `s` of channel `o`.
static inline uint16_t StepOfPlane(const uint32_t* plane, size_t n, size_t words, size_t o, size_t s) {
  return o < n ? static_cast<uint16_t>(plane[o * words + s / 2] >> s % 2 * 16) : uint16_t{0};
}

static inline void PackPanelsPlanes(size_t n, size_t words, size_t most, const uint32_t* sign, const uint32_t* mask, uint16_t* out) {
  for (size_t first = 0, end = 0; first < n; first = end) {
    end = first + PanelWidthArm(n, first, most);
    for (size_t s = 0; s < 2 * words; ++s) {
      for (size_t unit = first; unit < end; unit += 8) {
        for (size_t o = unit; o < unit + 8; ++o) *out++ = StepOfPlane(sign, n, words, o, s);
        for (size_t o = unit; mask != nullptr && o < unit + 8; ++o) *out++ = StepOfPlane(mask, n, words, o, s);
      }
    }
  }
}

// Header, bias, reach, panels. shift: added to the bias; depth: no sum of products is larger.
static inline void PackPlanesNeon(size_t n, size_t words, size_t depth, size_t most, const uint32_t* sign, const uint32_t* mask, const int32_t* bias,
                                  int32_t shift, void* packed) {
  HeaderFew* header = static_cast<HeaderFew*>(packed);
  *header = {0, kFlushPlanes};
  int32_t* out = reinterpret_cast<int32_t*>(header + 1);
  float* reach = reinterpret_cast<float*>(out + RoundUpArm(n, 16));
  for (size_t o = 0; o < RoundUpArm(n, 16); ++o) {
    const int32_t b = o < n && bias != nullptr ? bias[o] : 0;
    out[o] = static_cast<int32_t>(static_cast<uint32_t>(b) + static_cast<uint32_t>(shift));
    reach[o] = ReachArm(b, depth, 1);
  }
  PackPanelsPlanes(n, words, most, sign, mask, reinterpret_cast<uint16_t*>(static_cast<uint8_t*>(packed) + PanelsOffsetFew(n)));
}

// sums - 2 * count of 8 channels.
static inline __attribute__((always_inline)) void SubtractTwice(int32_t* sums, uint16x8_t count) {
  vst1q_s32(sums, vsubq_s32(vld1q_s32(sums), vreinterpretq_s32_u32(vshll_n_u16(vget_low_u16(count), 1))));
  vst1q_s32(sums + 4, vsubq_s32(vld1q_s32(sums + 4), vreinterpretq_s32_u32(vshll_high_n_u16(count, 1))));
}

// kPlanes: of A. kCounts: sums begin with the count of the row's mask.
template <size_t kPlanes, bool kCounts>
struct PlanesNeon {
  using Args = GemmBitsArgs;
  static constexpr size_t kPassA = kRowsFew * 4 * kPlanes;
  size_t passes, flush, tile_bytes;

  explicit PlanesNeon(const GemmBitsArgs* args) : passes(args->words), flush(kFlushPlanes), tile_bytes(TileBytesPlanes(args->words, kPlanes)) {}

  // Takes the counts off the sums, twice.
  template <int M, int V>
  inline __attribute__((always_inline)) void Flush(int32_t* sums, const int16x8_t (&acc)[M][4]) const {
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) SubtractTwice(sums + r * kChannelsFew + 8 * v, vreinterpretq_u16_s16(acc[r][v]));
    }
  }

  size_t CountsOffset() const { return tile_bytes - kRowsFew * sizeof(int32_t); }

  // Rows that do not exist are copies of row 0.
  void PackTile(const GemmBitsArgs* args, size_t row, size_t rows, uint8_t* to) const {
    size_t at[kRowsFew];
    for (size_t i = 0; i < kRowsFew; ++i) at[i] = (row + (i < rows ? i : 0)) * args->a_stride;
    for (size_t p = 0; p < args->words; p += 4) {
      if constexpr (kPlanes == 1) {
        uint16x8x4_t v;
        for (size_t i = 0; i < kRowsFew; ++i) v.val[i] = vreinterpretq_u16_u32(vld1q_u32(args->sign + at[i] + p));
        vst4q_u16(reinterpret_cast<uint16_t*>(to + p * kPassA), v);
      } else {
        uint32x4x4_t low, high;
        for (size_t i = 0; i < kRowsFew; ++i) {
          const uint16x8_t sign = vreinterpretq_u16_u32(vld1q_u32(args->sign + at[i] + p)), mask = vreinterpretq_u16_u32(vld1q_u32(args->mask + at[i] + p));
          low.val[i] = vreinterpretq_u32_u16(vzip1q_u16(sign, mask)), high.val[i] = vreinterpretq_u32_u16(vzip2q_u16(sign, mask));
        }
        vst4q_u32(reinterpret_cast<uint32_t*>(to + p * kPassA), low);
        vst4q_u32(reinterpret_cast<uint32_t*>(to + p * kPassA + 64), high);
      }
    }
    int32_t* counts = reinterpret_cast<int32_t*>(to + CountsOffset());
    for (size_t i = 0; kCounts && i < kRowsFew; ++i) counts[i] = CountOf(args->mask + at[i], args->words);
  }

  static int32_t CountOf(const uint32_t* words, size_t count) {
    uint32x4_t sum = vdupq_n_u32(0);
    size_t p = 0;
    for (; p + 4 <= count; p += 4) sum = vpadalq_u16(sum, vpaddlq_u8(vcntq_u8(vreinterpretq_u8_u32(vld1q_u32(words + p)))));
    int32_t total = static_cast<int32_t>(vaddvq_u32(sum));
    for (; p < count; ++p) total += vaddv_u8(vcnt_u8(vcreate_u8(words[p])));
    return total;
  }

  const uint8_t* RowOf(const uint8_t* tile, size_t i) const { return tile + 2 * kPlanes * i; }

  template <int V>
  void Start(const GemmBitsArgs* args, const PanelFew& panel, size_t row, size_t rows, const uint8_t* tile, SumsFew& sums) const {
    const int32_t* counts = reinterpret_cast<const int32_t*>(tile + CountsOffset());
    for (size_t i = 0; i < kRowsFew; ++i) {
      const int32_t* row_bias = args->row_bias != nullptr && i < rows ? args->row_bias[row + i] : nullptr;
      const int32x4_t count = vdupq_n_s32(kCounts ? counts[i] : 0);
#pragma GCC unroll 8
      for (int v = 0; v < 2 * V; ++v) {
        const int32x4_t bias = vld1q_s32(panel.bias + 4 * v);
        vst1q_s32(sums[i] + 4 * v, kCounts ? vaddq_s32(bias, count) : bias);
      }
      if (row_bias == nullptr) continue;
      for (int v = 0; v < 2 * V; ++v) vst1q_s32(sums[i] + 4 * v, vaddq_s32(vld1q_s32(sums[i] + 4 * v), vld1q_s32(row_bias + panel.o + 4 * v)));
    }
  }

  template <int V>
  void Finish(const GemmBitsArgs* args, const RequantNeon& requant, const PanelFew& panel, size_t row, size_t rows, const SumsFew& sums) const {
    if (args->sums == nullptr) return FinishFew<V>(requant, sums, rows, TargetFew(args, panel, row), panel.finish);
    for (size_t i = 0; i < rows; ++i) {
      for (size_t o = 0; o < panel.width; ++o) args->sums[(row + i) * args->sums_stride + panel.o + o] = sums[i][o];
    }
  }
};

template <typename Format>
static inline void RunPlanes(const GemmBitsArgs* args) {
  RunFew<Format>(args, args->sums == nullptr && args->row_bias == nullptr);
}

// An operation on V registers of a row, op(temporary, weights, counts, sign, mask): B is in v4..v7, temporaries of even rows are v8..v11, of odd
// ones v12..v15.
#define STERNA_ROW_1(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t0, "v4", c0, s, m)
#define STERNA_ROW_2(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) STERNA_ROW_1(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t1, "v5", c1, s, m)
#define STERNA_ROW_3(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) STERNA_ROW_2(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t2, "v6", c2, s, m)
#define STERNA_ROW_4(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) STERNA_ROW_3(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t3, "v7", c3, s, m)
#define STERNA_ROW0(row, op, s, m) row(op, s, m, "v8", "v9", "v10", "v11", "v16", "v17", "v18", "v19")
#define STERNA_ROW1(row, op, s, m) row(op, s, m, "v12", "v13", "v14", "v15", "v20", "v21", "v22", "v23")
#define STERNA_ROW2(row, op, s, m) row(op, s, m, "v8", "v9", "v10", "v11", "v24", "v25", "v26", "v27")
#define STERNA_ROW3(row, op, s, m) row(op, s, m, "v12", "v13", "v14", "v15", "v28", "v29", "v30", "v31")

#define STERNA_AND_MASK(t, b, c, s, m) "and " t ".16b, " b ".16b, " m ".16b\n\t"
#define STERNA_XOR_SIGN(t, b, c, s, m) "eor " t ".16b, " b ".16b, " s ".16b\n\t"
#define STERNA_FLIP_SIGN(t, b, c, s, m) "eor " t ".16b, " t ".16b, " s ".16b\n\t"
#define STERNA_CNT(t, b, c, s, m) "cnt " t ".16b, " t ".16b\n\t"
#define STERNA_COUNT(t, b, c, s, m) "uadalp " c ".8h, " t ".16b\n\t"

// A step on four rows whose A is sign and mask of two rows: four operations on each, those of two rows in turns, so that none waits for the one
// before it. other: loads the other two rows; next: what the next step needs, once this one has read it.
#define STERNA_TERNARY(row, op1, op2, op3, op4, other, next)                                                  \
  STERNA_ROW0(row, op1, "v0", "v1") STERNA_ROW1(row, op1, "v2", "v3") STERNA_ROW0(row, op2, "v0", "v1")       \
  STERNA_ROW1(row, op2, "v2", "v3") other STERNA_ROW0(row, op3, "v0", "v1") STERNA_ROW1(row, op3, "v2", "v3") \
  STERNA_ROW0(row, op4, "v0", "v1") STERNA_ROW2(row, op1, "v0", "v1") STERNA_ROW1(row, op4, "v2", "v3")       \
  STERNA_ROW3(row, op1, "v2", "v3") STERNA_ROW2(row, op2, "v0", "v1") STERNA_ROW3(row, op2, "v2", "v3") next  \
  STERNA_ROW2(row, op3, "v0", "v1") STERNA_ROW3(row, op3, "v2", "v3") STERNA_ROW2(row, op4, "v0", "v1") STERNA_ROW3(row, op4, "v2", "v3")

#define STERNA_B_1 "v4.16b"
#define STERNA_B_2 "v4.16b, v5.16b"
#define STERNA_B_3 "v4.16b - v6.16b"
#define STERNA_B_4 "v4.16b - v7.16b"
#define STERNA_LOAD_A(pointer) "ld4r {v0.8h - v3.8h}, [" pointer "]\n\t"
#define STERNA_LOAD_B(registers, pointer) "ld1 {" registers "}, [" pointer "]\n\t"

// Loads and pointers of a ternary pass; half, step: bytes of B in a step and in a pass. An in-order core wants no pointer moved between operations.
#define STERNA_TERNARY_FIRST(registers, half)            \
  STERNA_LOAD_A("%[a]") STERNA_LOAD_B(registers, "%[b]") \
  "add x9, %[a], #8\n\t"                                 \
  "add x10, %[a], #16\n\t"                               \
  "add x11, %[a], #24\n\t"                               \
  "add %[a], %[a], #32\n\t"                              \
  "add x12, %[b], #" half "\n\t"                         \
  "add %[b], x12, #" half "\n\t"
#define STERNA_TERNARY_PASS(row, op1, op2, op3, op4, registers, step)                                                   \
  STERNA_TERNARY(row, op1, op2, op3, op4, STERNA_LOAD_A("x9"), STERNA_LOAD_A("x10") STERNA_LOAD_B(registers, "x12"))    \
  STERNA_TERNARY(row, op1, op2, op3, op4, STERNA_LOAD_A("x11"), STERNA_LOAD_A("%[a]") STERNA_LOAD_B(registers, "%[b]")) \
  "add x9, x9, #32\n\t"                                                                                                 \
  "add x10, x10, #32\n\t"                                                                                               \
  "add x11, x11, #32\n\t"                                                                                               \
  "add %[a], %[a], #32\n\t"                                                                                             \
  "add x12, x12, #" step "\n\t"                                                                                         \
  "add %[b], %[b], #" step "\n\t"

// Adds the counts of 8 pairs of bytes.
static inline __attribute__((always_inline)) int16x8_t CountInto(int16x8_t acc, uint8x16_t bits) {
  return vreinterpretq_s16_u16(vpadalq_u8(vreinterpretq_u16_s16(acc), vcntq_u8(bits)));
}

// Two bytes of one row, eight times.
static inline __attribute__((always_inline)) uint8x16_t BroadcastStep(const uint8_t* a) {
  return vreinterpretq_u8_u16(vld1q_dup_u16(reinterpret_cast<const uint16_t*>(a)));
}

}  // namespace sterna
