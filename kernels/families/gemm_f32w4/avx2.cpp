// gemm_f32w4/avx2: the product by 4-bit weights of gemm_x86.h on ymm registers.
//
// Registers (1 row x 32 channels): 4 sums of a group, 4 vectors of words, 1 broadcast, 1 weight; the sums of all groups wait in 4 more. A shift, a
// mask, a conversion and an fma a vector of weights.
// Measured (Zen 5, w4_bench, one row, groups of 64) against gemm_f32/avx2: 1.8x at 1024 x 1024, 3.0..4.2x at 2048, 6..9x at 4096; four rows 0.8x, 1.4x, 2.7x.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "gemm_x86.h"

namespace sterna {
namespace {

struct W4Vec256 : Vec256 {
  using Words = __m256i;
  static inline uint8_t CodeOf(int8_t w) { return static_cast<uint8_t>(w & 15); }
  static inline Words LoadWords(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
  // 2^28 times weight `p` of each word, which is the top of the word: a mask is cheaper than a shift down. The activation makes up for it, exactly
  // but where it is below 2^-98.
  static inline Reg WeightAt(Words w, size_t p) {
    const __m256i top = _mm256_and_si256(_mm256_slli_epi32(w, static_cast<int>(28 - 4 * p)), _mm256_set1_epi32(static_cast<int>(0xf0000000u)));
    return _mm256_cvtepi32_ps(top);
  }
  static inline Reg Activation(float a) { return Set(a * 0x1p-28f); }
  // As HalfToFloat (half.h).
  static inline Reg LoadHalves(const void* p) {
    const __m256i halves = _mm256_cvtepu16_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    const __m256i sign = _mm256_slli_epi32(_mm256_srli_epi32(halves, 15), 31);
    const __m256i magnitude = _mm256_slli_epi32(_mm256_and_si256(halves, _mm256_set1_epi32(0x7fff)), 13);
    return _mm256_or_ps(Mul(_mm256_castsi256_ps(magnitude), Set(0x1p112f)), _mm256_castsi256_ps(sign));
  }
};

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmF32W4Kernel sterna_gemm_f32w4_avx2;
const sterna::GemmF32W4Kernel sterna_gemm_f32w4_avx2 = {"gemm_f32w4/avx2", sterna::GemmF32W4<sterna::W4Vec256>::PackedBytes,
                                                        sterna::GemmF32W4<sterna::W4Vec256>::Pack, sterna::GemmF32W4<sterna::W4Vec256>::Run};
}
