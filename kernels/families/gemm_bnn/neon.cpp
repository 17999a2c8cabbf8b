// gemm_bnn/neon: the binary GEMM for ARMv8.0, bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + row_bias[i][o] + depth - 2 popcount(a[i] ^ w[o]))
//
// Tile 4 rows x 32 channels: 16 accumulators + 4 registers of A + 4 of B + 8 temporaries = 32. Channels along the lanes, two bytes of each, so that
// sums come in the epilogue's order; two bytes of a row, broadcast by ld4r with those of three others. Per word: 32 eor, 32 cnt, 32 uadalp, 2
// ld4r, 2 ld1 and 6 of loop control for 4096 products = 0.0259 instructions a MAC. uadalp adds and widens at once: a sum of bytes would need as
// many additions, and a widening every 31 of them.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/planes_neon.h"

namespace sterna {
namespace {

#define STERNA_STEP(v, loads)                                                                               \
  STERNA_ROW0(STERNA_ROW_##v, STERNA_XOR_SIGN, "v0", ) STERNA_ROW1(STERNA_ROW_##v, STERNA_XOR_SIGN, "v1", ) \
  STERNA_ROW0(STERNA_ROW_##v, STERNA_CNT, , ) STERNA_ROW1(STERNA_ROW_##v, STERNA_CNT, , )                   \
  STERNA_ROW0(STERNA_ROW_##v, STERNA_COUNT, , ) STERNA_ROW2(STERNA_ROW_##v, STERNA_XOR_SIGN, "v2", )        \
  STERNA_ROW1(STERNA_ROW_##v, STERNA_COUNT, , ) STERNA_ROW3(STERNA_ROW_##v, STERNA_XOR_SIGN, "v3", ) loads  \
  STERNA_ROW2(STERNA_ROW_##v, STERNA_CNT, , ) STERNA_ROW3(STERNA_ROW_##v, STERNA_CNT, , )                   \
  STERNA_ROW2(STERNA_ROW_##v, STERNA_COUNT, , ) STERNA_ROW3(STERNA_ROW_##v, STERNA_COUNT, , )
#define STERNA_FIRST(v)                                     \
  STERNA_LOAD_A("%[a]") STERNA_LOAD_B(STERNA_B_##v, "%[b]") \
  "add x9, %[a], #8\n\t"                                    \
  "add %[a], %[a], #16\n\t"                                 \
  "add x12, %[b], #16 * " #v "\n\t"                         \
  "add %[b], x12, #16 * " #v "\n\t"
#define STERNA_PASS(v)                                                      \
  STERNA_STEP(v, STERNA_LOAD_A("x9") STERNA_LOAD_B(STERNA_B_##v, "x12"))    \
  STERNA_STEP(v, STERNA_LOAD_A("%[a]") STERNA_LOAD_B(STERNA_B_##v, "%[b]")) \
  "add x9, x9, #16\n\t"                                                     \
  "add %[a], %[a], #16\n\t"                                                 \
  "add x12, x12, #32 * " #v "\n\t"                                          \
  "add %[b], %[b], #32 * " #v "\n\t"

struct Bnn : PlanesNeon<1, false> {
  static constexpr size_t kMost = kChannelsFew, kPassB = 32;
  using PlanesNeon::PlanesNeon;

  STERNA_FOUR_ROWS(STERNA_FIRST, STERNA_PASS)
  template <int V>
  inline __attribute__((always_inline)) void OneRow(int16x8_t (&acc)[4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    for (const uint8_t* const end = a + passes * kPassA; a != end; a += kPassA / 2) {
      const uint8x16_t sign = BroadcastStep(a);
      for (int v = 0; v < V; ++v, b += 16) acc[v] = CountInto(acc[v], veorq_u8(sign, vld1q_u8(b)));
    }
  }
};

void Pack(size_t n, size_t words, size_t depth, const uint32_t* sign, const uint32_t*, const int32_t* bias, void* packed) {
  PackPlanesNeon(n, words, depth, Bnn::kMost, sign, nullptr, bias, static_cast<int32_t>(depth), packed);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmBitsKernel sterna_gemm_bnn_neon;
const sterna::GemmBitsKernel sterna_gemm_bnn_neon = {"gemm_bnn/neon", sterna::PackedBytesPlanes<1>, sterna::Pack, sterna::ScratchBytesPlanes<1>,
                                                            sterna::RunPlanes<sterna::Bnn>};
}
