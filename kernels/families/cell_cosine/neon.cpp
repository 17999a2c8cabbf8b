// cell_cosine/neon: cell_cosine_vec.h on the 8 numbers of a NEON register, for every 64-bit Arm core.
#include <arm_neon.h>

#include "cell_cosine_vec.h"

namespace sterna {
namespace {

struct WordsNeon {
  using Reg = int16x8_t;
  using Sum = int32x4_t;
  using Shift = int16x8_t;
  static constexpr size_t kLanes = 8;
  static inline Reg Load(const int16_t* p) { return vld1q_s16(p); }
  static inline void Store(int16_t* p, Reg v) { vst1q_s16(p, v); }
  static inline Reg Widen(const uint8_t* p) { return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p))); }
  static inline Reg Set(int16_t v) { return vdupq_n_s16(v); }
  static inline Sum Zero() { return vdupq_n_s32(0); }
  static inline Reg Add(Reg a, Reg b) { return vaddq_s16(a, b); }
  static inline Reg Sub(Reg a, Reg b) { return vsubq_s16(a, b); }
  static inline Reg Xor(Reg a, Reg b) { return veorq_s16(a, b); }
  static inline Shift Count(int bits) { return vdupq_n_s16(static_cast<int16_t>(-bits)); }
  static inline Reg ShiftRight(Reg a, Shift bits) { return vshlq_s16(a, bits); }
  static inline Reg ShiftLeft(Reg a) { return vshlq_n_s16(a, kBackgroundBits); }
  static inline Sum MulPairs(Sum sum, Reg a, Reg b) { return vmlal_high_s16(vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b)), a, b); }
  static inline int32_t Total(Sum s) { return vaddvq_s32(s); }
};

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::CellCosineKernel sterna_cell_cosine_neon;
const sterna::CellCosineKernel sterna_cell_cosine_neon = {"cell_cosine/neon", sterna::CellCosine<sterna::WordsNeon>::Sums, sterna::CellCosine<sterna::WordsNeon>::Blend};
}
