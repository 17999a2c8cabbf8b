// gemm_w46/neon: the GEMM of few codes for ARMv8.0, bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// Tile 4 rows x 32 channels: 16 accumulators of 16 bits + 8 registers of A (two k) + 8 of B (this and the next two k) = 32. A value of A is
// broadcast by ld4r, together with those of three other rows; smlal and smlal2 add its products with 8 channels to sums of 16 bits, which go to
// sums of 32 bits, in memory, every `flush` products (at least 258). Per 4 k: 64 smlal and smlal2, 4 ld4r, 2 ld1 and 8 of loop control for 512
// products = 0.152 instructions a MAC, of which 0.125 multiply; gemm_q8/neon spends 0.1875 on multiplications and the additions of pairs.
// One pipe multiplies on Cortex-A72 and A76, and there these are no faster than int8, whose additions go to the other one.
//
// Packed (few_bits_neon.h), for 8 channels and 4 k: [k 0, 1][8 channels], then, after those of the panel's other channels, [k 2, 3][8 channels].
// Preconditions: largest code, counted from the middle, times largest weight at most 127, which pack() ensures as ref does.
#include <arm_neon.h>

#include "kernel.h"
#include "largest_weight.h"
#include "isa/arm/codes_neon.h"

namespace sterna {
namespace {

constexpr int32_t kMaxProduct = 127;  // as in ref
constexpr PanelLayoutArm kLayout{kChannelsFew, kStepCodes, 2, 1};

// Weights of the first two k are in v8.., of the other two in v12..; b and x12 are where those of the next pass are.
#define STERNA_FIRST(v)                             \
  STERNA_FIRST_A STERNA_LOAD(STERNA_V8_##v, "%[b]") \
  "add x12, %[b], #16 * " #v "\n\t"                 \
  "add %[b], x12, #16 * " #v "\n\t"
#define STERNA_PASS(v)                                                                       \
  STERNA_FROM_V8(v, STERNA_EVEN, STERNA_LOAD(STERNA_V12_##v, "x12"))                         \
  STERNA_FROM_V8(v, STERNA_ODD, STERNA_LOAD_EVEN("x9"))                                      \
  STERNA_FROM_V12(v, STERNA_EVEN, STERNA_LOAD_ODD("x10")) STERNA_LOAD(STERNA_V8_##v, "%[b]") \
  STERNA_FROM_V12(v, STERNA_ODD, STERNA_LOAD_EVEN("%[a]"))                                   \
  STERNA_LOAD_ODD("x11") STERNA_NEXT_A                                                       \
  "add x12, x12, #32 * " #v "\n\t"                                                           \
  "add %[b], %[b], #32 * " #v "\n\t"

struct W46 : CodesNeon {
  static constexpr size_t kPassB = 8 * kStepCodes;
  using CodesNeon::CodesNeon;

  STERNA_FOUR_ROWS(STERNA_FIRST, STERNA_PASS)
  template <int V>
  inline __attribute__((always_inline)) void OneRow(int16x8_t (&acc)[4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    for (const int8_t *row = reinterpret_cast<const int8_t*>(a), *const end = row + passes * kPassA; row != end; row += kPassA / 2) {
      for (int v = 0; v < V; ++v, b += 16) acc[v] = MultiplyPairCodes(acc[v], vld1q_s8(reinterpret_cast<const int8_t*>(b)), row);
    }
  }
};

// The last pass loads weights of a next one.
size_t PackedBytes(size_t n, size_t k) { return PanelsOffsetFew(n) + RoundUpArm(n, 8) * RoundUpArm(k, kStepCodes) + 64; }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
  const CodesArm codes = CodesOf(a_lo, a_hi);
  const int32_t most = LargestWeight(w, n * k) * (codes.largest > 0 ? codes.largest : 1);
  if (most > kMaxProduct) return false;
  PackHeaderCodes(n, k, w, bias, a_zp, codes, most, packed);
  PackPanelsArm(n, k, kLayout, w, static_cast<int8_t*>(packed) + PanelsOffsetFew(n));
  return true;
}

void Run(const GemmQ8Args* args) { RunFew<W46>(args, true); }

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_w46_neon;
const sterna::GemmNarrowKernel sterna_gemm_w46_neon = {"gemm_w46/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytesCodes, sterna::Run};
}
