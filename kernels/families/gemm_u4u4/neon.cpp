// gemm_u4u4/neon: the GEMM of 4-bit codes for ARMv8.0, with weights two to a byte, bit-equal to ref.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])
//
// The tile of gemm_w46/neon. Weights keep their sign and codes of A are counted from their middle, so that a product is at most 64 and 511 of them
// fit 16 bits, and no correction depends on the row. A byte holds k in its upper half and k + 2 in its lower: sshr makes one, shl and sshr the other.
// Per 4 k: 64 smlal and smlal2, 12 shifts, 4 ld4r, 1 ld1 and 7 of loop control for 512 products = 0.172 instructions a MAC; half the bytes of
// B are what it has over gemm_w46.
//
// Packed (few_bits_neon.h), for 8 channels and 4 k: 16 bytes, [k 0, 1][8 channels], each with k + 2 in its lower half.
#include <arm_neon.h>

#include "families/gemm_w46/kernel.h"
#include "isa/arm/codes_neon.h"

namespace sterna {
namespace {

// Packed weights of the pass are in v12..; b is where those of the next one are.
#define STERNA_SHIFT(shift, to, from) shift " " to ".16b, " from ".16b, #4\n\t"
#define STERNA_UNPACK_1 STERNA_SHIFT("shl", "v8", "v12") STERNA_SHIFT("sshr", "v12", "v12") STERNA_SHIFT("sshr", "v8", "v8")
#define STERNA_UNPACK_2                                                                                \
  STERNA_SHIFT("shl", "v8", "v12") STERNA_SHIFT("shl", "v9", "v13") STERNA_SHIFT("sshr", "v12", "v12") \
  STERNA_SHIFT("sshr", "v13", "v13") STERNA_SHIFT("sshr", "v8", "v8") STERNA_SHIFT("sshr", "v9", "v9")
#define STERNA_UNPACK_3 STERNA_UNPACK_2 STERNA_SHIFT("shl", "v10", "v14") STERNA_SHIFT("sshr", "v14", "v14") STERNA_SHIFT("sshr", "v10", "v10")
#define STERNA_UNPACK_4                                                                                   \
  STERNA_SHIFT("shl", "v8", "v12") STERNA_SHIFT("shl", "v9", "v13") STERNA_SHIFT("shl", "v10", "v14")     \
  STERNA_SHIFT("shl", "v11", "v15") STERNA_SHIFT("sshr", "v12", "v12") STERNA_SHIFT("sshr", "v13", "v13") \
  STERNA_SHIFT("sshr", "v14", "v14") STERNA_SHIFT("sshr", "v15", "v15") STERNA_SHIFT("sshr", "v8", "v8")  \
  STERNA_SHIFT("sshr", "v9", "v9") STERNA_SHIFT("sshr", "v10", "v10") STERNA_SHIFT("sshr", "v11", "v11")
#define STERNA_FIRST(v) STERNA_FIRST_A STERNA_LOAD(STERNA_V12_##v, "%[b]") "add %[b], %[b], #16 * " #v "\n\t"
#define STERNA_PASS(v)                                                                       \
  STERNA_UNPACK_##v STERNA_FROM_V12(v, STERNA_EVEN, )                                        \
  STERNA_FROM_V12(v, STERNA_ODD, STERNA_LOAD_EVEN("x9"))                                     \
  STERNA_FROM_V8(v, STERNA_EVEN, STERNA_LOAD_ODD("x10")) STERNA_LOAD(STERNA_V12_##v, "%[b]") \
  STERNA_FROM_V8(v, STERNA_ODD, STERNA_LOAD_EVEN("%[a]"))                                    \
  STERNA_LOAD_ODD("x11") STERNA_NEXT_A                                                       \
  "add %[b], %[b], #16 * " #v "\n\t"

struct U4U4 : CodesNeon {
  static constexpr size_t kPassB = 4 * kStepCodes;
  using CodesNeon::CodesNeon;

  STERNA_FOUR_ROWS(STERNA_FIRST, STERNA_PASS)
  template <int V>
  inline __attribute__((always_inline)) void OneRow(int16x8_t (&acc)[4], const uint8_t* a, const uint8_t* b, size_t passes) const {
    for (const int8_t *row = reinterpret_cast<const int8_t*>(a), *const end = row + passes * kPassA; row != end; row += kPassA) {
      for (int v = 0; v < V; ++v, b += 16) {
        const int8x16_t w = vld1q_s8(reinterpret_cast<const int8_t*>(b));
        acc[v] = MultiplyPairCodes(acc[v], vshrq_n_s8(w, 4), row);
        acc[v] = MultiplyPairCodes(acc[v], vshrq_n_s8(vshlq_n_s8(w, 4), 4), row + 2 * kRowsFew);
      }
    }
  }
};

// The last pass loads weights of a next one.
size_t PackedBytes(size_t n, size_t k) { return PanelsOffsetFew(n) + RoundUpArm(n, 8) / 2 * RoundUpArm(k, kStepCodes) + 64; }

// k `p` and `p` + 2 of channel `o` in a byte; 0 for what does not exist.
uint8_t PairOf(size_t n, size_t k, const int8_t* w, size_t o, size_t p) {
  const uint8_t upper = o < n && p < k ? static_cast<uint8_t>(w[o * k + p]) : 0, lower = o < n && p + 2 < k ? static_cast<uint8_t>(w[o * k + p + 2]) : 0;
  return static_cast<uint8_t>(upper << 4 | (lower & 15));
}

void PackPanels(size_t n, size_t k, const int8_t* w, uint8_t* out) {
  for (size_t first = 0, end = 0; first < n; first = end) {
    end = first + PanelWidthArm(n, first, kChannelsFew);
    for (size_t p = 0; p < k; p += kStepCodes) {
      for (size_t unit = first; unit < end; unit += 8) {
        for (size_t i = 0; i < 16; ++i) *out++ = PairOf(n, k, w, unit + i % 8, p + i / 8);
      }
    }
  }
}

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
  if (a_hi - a_lo > 15) return false;
  for (size_t i = 0; i < n * k; ++i) {
    if (w[i] < -8 || w[i] > 7) return false;
  }
  PackHeaderCodes(n, k, w, bias, a_zp, CodesOf(a_lo, a_hi), 8 * 8, packed);
  PackPanels(n, k, w, static_cast<uint8_t*>(packed) + PanelsOffsetFew(n));
  return true;
}

void Run(const GemmQ8Args* args) { RunFew<U4U4>(args, true); }

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmNarrowKernel sterna_gemm_u4u4_neon;
const sterna::GemmNarrowKernel sterna_gemm_u4u4_neon = {"gemm_u4u4/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytesCodes, sterna::Run};
}
