// gemm_tnn/neon: the ternary GEMM for ARMv8.0, bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(nz) - 2 popcount(nz & (sign_a ^ sign_w))),  nz = mask_a & mask_w
//
// Tile 4 rows x 16 channels: 8 accumulators of nz and 8 of what is negative + 4 registers of A (two rows) + 4 of B + 8 temporaries = 32. Per word:
// 32 and, 16 eor, 32 cnt, 32 uadalp, 4 ld4r, 2 ld1 and 8 of loop control for 2048 products = 0.0615 instructions a MAC. The alternative, 4 x 32
// with one accumulator of nz - 2 * negative by mls, would save the loads and cost two cycles of the one multiplier of a Cortex-A72.
#include <arm_neon.h>

#include "families/gemm_bnn/kernel.h"
#include "isa/arm/planes_neon.h"

namespace sterna {
namespace {

// The two registers of a unit: n and c become nz and its count, x and d what is negative and its count. bs, bm: planes of B.
#define STERNA_UNIT_1(n, x, bs, bm, c, d, s, m) "and " n ".16b, " bm ".16b, " m ".16b\n\teor " x ".16b, " bs ".16b, " s ".16b\n\t"
#define STERNA_UNIT_2(n, x, bs, bm, c, d, s, m) "and " x ".16b, " x ".16b, " n ".16b\n\tcnt " n ".16b, " n ".16b\n\t"
#define STERNA_UNIT_3(n, x, bs, bm, c, d, s, m) "cnt " x ".16b, " x ".16b\n\tuadalp " c ".8h, " n ".16b\n\t"
#define STERNA_UNIT_4(n, x, bs, bm, c, d, s, m) "uadalp " d ".8h, " x ".16b\n\t"
#define STERNA_UNITS_1(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t0, t1, "v4", "v5", c0, c1, s, m)
#define STERNA_UNITS_2(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) \
  STERNA_UNITS_1(op, s, m, t0, t1, t2, t3, c0, c1, c2, c3) op(t2, t3, "v6", "v7", c2, c3, s, m)
#define STERNA_PASS(v, registers, step) \
  STERNA_TERNARY_PASS(STERNA_UNITS_##v, STERNA_UNIT_1, STERNA_UNIT_2, STERNA_UNIT_3, STERNA_UNIT_4, registers, step)

// Sums of 8 channels: + count of nz - 2 * count of what is negative.
inline __attribute__((always_inline)) void FlushUnit(int32_t* sums, int16x8_t nonzero, int16x8_t negative) {
  const uint16x8_t count = vreinterpretq_u16_s16(nonzero);
  vst1q_s32(sums, vreinterpretq_s32_u32(vaddw_u16(vreinterpretq_u32_s32(vld1q_s32(sums)), vget_low_u16(count))));
  vst1q_s32(sums + 4, vreinterpretq_s32_u32(vaddw_high_u16(vreinterpretq_u32_s32(vld1q_s32(sums + 4)), count)));
  SubtractTwice(sums, vreinterpretq_u16_s16(negative));
}

struct Tnn : PlanesNeon<2, false> {
  static constexpr size_t kMost = 16, kPassB = 64;
  using PlanesNeon::PlanesNeon;

  template <int V>
  inline __attribute__((always_inline)) void FourRows(int16x8_t (&acc)[4][4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    if constexpr (V == 1) { STERNA_FEW_LOOP(acc, a, b, passes, STERNA_TERNARY_FIRST(STERNA_B_2, "32"), STERNA_PASS(1, STERNA_B_2, "64")); }
    if constexpr (V == 2) { STERNA_FEW_LOOP(acc, a, b, passes, STERNA_TERNARY_FIRST(STERNA_B_4, "64"), STERNA_PASS(2, STERNA_B_4, "128")); }
  }
  template <int V>
  inline __attribute__((always_inline)) void OneRow(int16x8_t (&acc)[4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    for (const uint8_t* const end = a + passes * kPassA; a != end; a += kPassA / 2) {
      const uint8x16_t sign = BroadcastStep(a), mask = BroadcastStep(a + 2);
      for (int v = 0; v < V; ++v, b += 32) {
        const uint8x16_t nonzero = vandq_u8(mask, vld1q_u8(b + 16));
        acc[2 * v] = CountInto(acc[2 * v], nonzero);
        acc[2 * v + 1] = CountInto(acc[2 * v + 1], vandq_u8(nonzero, veorq_u8(sign, vld1q_u8(b))));
      }
    }
  }
  template <int M, int V>
  inline __attribute__((always_inline)) void Flush(int32_t* sums, const int16x8_t (&acc)[M][4]) const {
#pragma GCC unroll 4
    for (int r = 0; r < M; ++r) {
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) FlushUnit(sums + r * kChannelsFew + 8 * v, acc[r][2 * v], acc[r][2 * v + 1]);
    }
  }
};

void Pack(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t* mask, const int32_t* bias, void* packed) {
  PackPlanesNeon(n, words, depth, Tnn::kMost, sign, mask, bias, 0, packed);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tnn_neon;
const sterna::GemmBitsKernel sterna_gemm_tnn_neon = {"gemm_tnn/neon", sterna::PackedBytesPlanes<2>, sterna::Pack, sterna::ScratchBytesPlanes<2>,
                                                            sterna::RunPlanes<sterna::Tnn>};
}
