// bit_planes/neon: sign and mask planes of stored activations for ARMv8.0, bit-equal to ref.
//
// A comparison keeps of each byte the weight of its bit, 1..128; three pairwise additions make a word of 32 of them. 8 instructions for a
// word of each plane. The last, incomplete word is made of a copy that is filled up with the zero-point, which is 0 in both planes.
#include <arm_neon.h>

#include "kernel.h"

namespace sterna {
namespace {

// The bits of 32 bytes of weights.
inline uint32_t WordOf(uint8x16_t low, uint8x16_t high) {
  uint8x16_t sum = vpaddq_u8(low, high);
  sum = vpaddq_u8(sum, sum);
  return vgetq_lane_u32(vreinterpretq_u32_u8(vpaddq_u8(sum, sum)), 0);
}

void FromQ8(size_t n, const uint8_t* x, int32_t zp, uint32_t* sign, uint32_t* mask) {
  const uint8x16_t weights = vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201));
  const int8x16_t zero = vdupq_n_s8(static_cast<int8_t>(zp));
  const auto word = [&](const int8_t* at, size_t i) {
    const int8x16_t low = vld1q_s8(at), high = vld1q_s8(at + 16);
    sign[i] = WordOf(vandq_u8(vcltq_s8(low, zero), weights), vandq_u8(vcltq_s8(high, zero), weights));
    if (mask != nullptr) mask[i] = WordOf(vbicq_u8(weights, vceqq_s8(low, zero)), vbicq_u8(weights, vceqq_s8(high, zero)));
  };
  const int8_t* bytes = reinterpret_cast<const int8_t*>(x);
  const size_t whole = n / 32;
  for (size_t i = 0; i < whole; ++i) word(bytes + 32 * i, i);
  if (n % 32 == 0) return;
  int8_t last[32];
  for (size_t i = 0; i < 32; ++i) last[i] = i < n % 32 ? bytes[32 * whole + i] : static_cast<int8_t>(zp);
  word(last, whole);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::BitPlaneKernels sterna_bit_planes_neon;
const sterna::BitPlaneKernels sterna_bit_planes_neon = {"bit_planes/neon", sterna::FromQ8};
}
