// What gemm_w46/neon and gemm_u4u4/neon share: A as codes counted from the middle of their range, four rows interleaved, and a corrected bias.
//
//   sum (a - a_zp) * w = sum (a - middle) * w + (middle - a_zp) * sum w
//
// Scratch, for four rows: int8 [round_up(k, 16)][4 rows].
#pragma once
#include "families/gemm_q8/kernel.h"
#include "few_bits_neon.h"

namespace sterna {

constexpr size_t kStepCodes = 4;  // k of one pass

static inline size_t TileBytesCodes(size_t k) { return kRowsFew * RoundUpArm(k, 16); }
static inline size_t ScratchBytesCodes(size_t m, size_t, size_t k) { return ScratchBytesFew(TileBytesCodes(k), m); }

// The middle of the codes in [lo, hi], and how far they are from it at most.
struct CodesArm {
  int32_t middle, largest;
};

static inline CodesArm CodesOf(int32_t lo, int32_t hi) {
  const int32_t middle = (lo + hi + 1) >> 1;
  return {middle, hi - middle > middle - lo ? hi - middle : middle - lo};
}

// Header and bias; most: the largest product.
static inline void PackHeaderCodes(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, const CodesArm& codes, int32_t most, void* packed) {
  HeaderFew* header = static_cast<HeaderFew*>(packed);
  *header = {codes.middle, 32767 / most / static_cast<int32_t>(kStepCodes)};
  PackBiasArm(n, w, k, 1, k, bias, a_zp - codes.middle, header + 1, static_cast<uint64_t>(codes.largest));
}

struct CodesNeon {
  using Args = GemmQ8Args;
  static constexpr size_t kMost = kChannelsFew, kPassA = kRowsFew * kStepCodes;
  size_t passes, flush, tile_bytes;
  int8x16_t middle;

  explicit CodesNeon(const GemmQ8Args* args)
      : passes(RoundUpArm(args->k, kStepCodes) / kStepCodes),
        flush(static_cast<size_t>(static_cast<const HeaderFew*>(args->packed)->flush)),
        tile_bytes(TileBytesCodes(args->k)),
        middle(vdupq_n_s8(static_cast<int8_t>(static_cast<const HeaderFew*>(args->packed)->middle))) {}

  // Rows that do not exist are copies of row 0; bytes past the end of a row meet weights of 0.
  void PackTile(const GemmQ8Args* args, size_t row, size_t rows, uint8_t* to) const {
    const int8_t *const a = reinterpret_cast<const int8_t*>(args->a + row * args->a_stride), *at[kRowsFew];
    for (size_t i = 0; i < kRowsFew; ++i) at[i] = a + (i < rows ? i : 0) * args->a_stride;
    for (size_t p = 0; p < args->k; p += 16) {
      int8x16x4_t v;
      for (size_t i = 0; i < kRowsFew; ++i) v.val[i] = vsubq_s8(vld1q_s8(at[i] + p), middle);
      vst4q_s8(reinterpret_cast<int8_t*>(to) + kRowsFew * p, v);
    }
  }

  const uint8_t* RowOf(const uint8_t* tile, size_t i) const { return tile + i; }

  template <int V>
  void Start(const GemmQ8Args*, const PanelFew& panel, size_t, size_t, const uint8_t*, SumsFew& sums) const {
#pragma GCC unroll 8
    for (int i = 0; i < 2 * V; ++i) {
      const int32x4_t bias = vld1q_s32(panel.bias + 4 * i);
#pragma GCC unroll 4
      for (size_t r = 0; r < kRowsFew; ++r) vst1q_s32(sums[r] + 4 * i, bias);
    }
  }

  template <int M, int V>
  inline __attribute__((always_inline)) void Flush(int32_t* sums, const int16x8_t (&acc)[M][4]) const {
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r, sums += kChannelsFew) {
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) {
        const int32x4_t low = vld1q_s32(sums + 8 * v), high = vld1q_s32(sums + 8 * v + 4);
        vst1q_s32(sums + 8 * v, vaddw_s16(low, vget_low_s16(acc[r][v])));
        vst1q_s32(sums + 8 * v + 4, vaddw_high_s16(high, acc[r][v]));
      }
    }
  }

  template <int V>
  void Finish(const GemmQ8Args* args, const RequantNeon& requant, const PanelFew& panel, size_t row, size_t rows, const SumsFew& sums) const {
    FinishFew<V>(requant, sums, rows, TargetFew(args, panel, row), panel.finish);
  }
};

// One k of four rows and 8 channels: an even one, whose weights are the low half of a register and whose A is in v0..v3, or an odd one.
#define STERNA_MLAL(mlal, type, w, a0, a1, a2, a3, c0, c1, c2, c3) \
  mlal " " c0 ".8h, " w "." type ", " a0 "." type "\n\t"           \
  mlal " " c1 ".8h, " w "." type ", " a1 "." type "\n\t"           \
  mlal " " c2 ".8h, " w "." type ", " a2 "." type "\n\t"           \
  mlal " " c3 ".8h, " w "." type ", " a3 "." type "\n\t"
#define STERNA_EVEN(w, c0, c1, c2, c3) STERNA_MLAL("smlal", "8b", w, "v0", "v1", "v2", "v3", c0, c1, c2, c3)
#define STERNA_ODD(w, c0, c1, c2, c3) STERNA_MLAL("smlal2", "16b", w, "v4", "v5", "v6", "v7", c0, c1, c2, c3)

// One k of 8 * V channels, with loads half way.
#define STERNA_UNIT_0(k, w) k(w, "v16", "v20", "v24", "v28")
#define STERNA_UNIT_1(k, w) k(w, "v17", "v21", "v25", "v29")
#define STERNA_UNIT_2(k, w) k(w, "v18", "v22", "v26", "v30")
#define STERNA_UNIT_3(k, w) k(w, "v19", "v23", "v27", "v31")
#define STERNA_K_1(k, w0, w1, w2, w3, loads) STERNA_UNIT_0(k, w0) loads
#define STERNA_K_2(k, w0, w1, w2, w3, loads) STERNA_UNIT_0(k, w0) loads STERNA_UNIT_1(k, w1)
#define STERNA_K_3(k, w0, w1, w2, w3, loads) STERNA_UNIT_0(k, w0) STERNA_UNIT_1(k, w1) loads STERNA_UNIT_2(k, w2)
#define STERNA_K_4(k, w0, w1, w2, w3, loads) STERNA_UNIT_0(k, w0) STERNA_UNIT_1(k, w1) loads STERNA_UNIT_2(k, w2) STERNA_UNIT_3(k, w3)
#define STERNA_FROM_V8(v, k, loads) STERNA_K_##v(k, "v8", "v9", "v10", "v11", loads)
#define STERNA_FROM_V12(v, k, loads) STERNA_K_##v(k, "v12", "v13", "v14", "v15", loads)

// V registers of weights.
#define STERNA_V8_1 "v8.16b"
#define STERNA_V8_2 "v8.16b, v9.16b"
#define STERNA_V8_3 "v8.16b - v10.16b"
#define STERNA_V8_4 "v8.16b - v11.16b"
#define STERNA_V12_1 "v12.16b"
#define STERNA_V12_2 "v12.16b, v13.16b"
#define STERNA_V12_3 "v12.16b - v14.16b"
#define STERNA_V12_4 "v12.16b - v15.16b"
#define STERNA_LOAD(registers, pointer) "ld1 {" registers "}, [" pointer "]\n\t"

// A of even and of odd k. An in-order core wants no pointer moved between multiplications (tools/mca.sh), so each load has its own.
#define STERNA_LOAD_EVEN(pointer) "ld4r {v0.16b - v3.16b}, [" pointer "]\n\t"
#define STERNA_LOAD_ODD(pointer) "ld4r {v4.16b - v7.16b}, [" pointer "]\n\t"
#define STERNA_FIRST_A      \
  STERNA_LOAD_EVEN("%[a]")  \
  "add x10, %[a], #4\n\t"   \
  STERNA_LOAD_ODD("x10")    \
  "add x9, %[a], #8\n\t"    \
  "add x10, %[a], #12\n\t"  \
  "add %[a], %[a], #16\n\t" \
  "add x11, %[a], #4\n\t"
#define STERNA_NEXT_A       \
  "add x9, x9, #16\n\t"     \
  "add x10, x10, #16\n\t"   \
  "add %[a], %[a], #16\n\t" \
  "add x11, x11, #16\n\t"

// Two k of one row and 8 channels.
static inline __attribute__((always_inline)) int16x8_t MultiplyPairCodes(int16x8_t acc, int8x16_t w, const int8_t* a) {
  return vmlal_high_s8(vmlal_s8(acc, vget_low_s8(w), vld1_dup_s8(a)), w, vld1q_dup_s8(a + kRowsFew));
}

}  // namespace sterna
