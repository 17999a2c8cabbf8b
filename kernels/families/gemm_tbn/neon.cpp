// gemm_tbn/neon: the ternary-binary GEMM for ARMv8.0, bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + popcount(mask[i]) - 2 popcount(mask[i] & (sign[i] ^ w[o])))
//
// The tile of gemm_bnn/neon, but that the 4 registers of A hold sign and mask of two rows, then of the other two. The sign of A is 0 where its mask
// is, so that mask & (sign ^ w) = (mask & w) ^ sign. The count of the mask depends on the row alone, and is taken when the row is packed. Per
// word: 32 and, 32 eor, 32 cnt, 32 uadalp, 4 ld4r, 2 ld1 and 8 of loop control for 4096 products = 0.0347 instructions a MAC.
#include <arm_neon.h>

#include "families/gemm_bnn/kernel.h"
#include "isa/arm/planes_neon.h"

namespace sterna {
namespace {

#define STERNA_FIRST(v) STERNA_TERNARY_FIRST(STERNA_B_##v, "16 * " #v)
#define STERNA_PASS(v) STERNA_TERNARY_PASS(STERNA_ROW_##v, STERNA_AND_MASK, STERNA_FLIP_SIGN, STERNA_CNT, STERNA_COUNT, STERNA_B_##v, "32 * " #v)

struct Tbn : PlanesNeon<2, true> {
  static constexpr size_t kMost = kChannelsFew, kPassB = 32;
  using PlanesNeon::PlanesNeon;

  STERNA_FOUR_ROWS(STERNA_FIRST, STERNA_PASS)
  template <int V>
  inline __attribute__((always_inline)) void OneRow(int16x8_t (&acc)[4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    for (const uint8_t* const end = a + passes * kPassA; a != end; a += kPassA / 2) {
      const uint8x16_t sign = BroadcastStep(a), mask = BroadcastStep(a + 2);
      for (int v = 0; v < V; ++v, b += 16) acc[v] = CountInto(acc[v], veorq_u8(sign, vandq_u8(mask, vld1q_u8(b))));
    }
  }
};

void Pack(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t*, const int32_t* bias, void* packed) {
  PackPlanesNeon(n, words, depth, Tbn::kMost, sign, nullptr, bias, 0, packed);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_tbn_neon;
const sterna::GemmBitsKernel sterna_gemm_tbn_neon = {"gemm_tbn/neon", sterna::PackedBytesPlanes<1>, sterna::Pack, sterna::ScratchBytesPlanes<2>,
                                                            sterna::RunPlanes<sterna::Tbn>};
}
