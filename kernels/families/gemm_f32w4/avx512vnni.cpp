// gemm_f32w4/avx512vnni: the product by 4-bit weights of gemm_x86.h on zmm registers.
//
// Registers (1 row x 64 channels): 4 sums of a group, 4 of all groups, 4 vectors of words, the table of the 16 weights, 1 broadcast, 1 weight. A shift,
// a lookup (vpermps takes the four bits it needs) and an fma a vector of weights.
// Measured (Zen 5, w4_bench, one row, groups of 64) against gemm_f32/avx512vnni: 2.6x at 1024 x 1024, 5.7..7.4x at 2048, 7x and more at 4096 (out of cache,
// noisy); four rows 1.4x, 3.1x, 3.2..8x.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "gemm_x86.h"

namespace sterna {
namespace {

struct W4Vec512 : Vec512 {
  using Words = __m512i;
  static inline uint8_t CodeOf(int8_t w) { return static_cast<uint8_t>(w + 8); }
  static inline Reg Activation(float a) { return Set(a); }
  static inline Words LoadWords(const void* p) { return _mm512_loadu_si512(p); }
  static inline Reg WeightAt(Words w, size_t p) {
    const Reg weights = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(w, static_cast<unsigned>(4 * p)), weights);
  }
  static inline Reg LoadHalves(const void* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p))); }
};

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmF32W4Kernel sterna_gemm_f32w4_avx512vnni;
const sterna::GemmF32W4Kernel sterna_gemm_f32w4_avx512vnni = {"gemm_f32w4/avx512vnni", sterna::GemmF32W4<sterna::W4Vec512>::PackedBytes,
                                                              sterna::GemmF32W4<sterna::W4Vec512>::Pack, sterna::GemmF32W4<sterna::W4Vec512>::Run};
}
