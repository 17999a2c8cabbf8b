// bit_planes/avx512vnni: comparisons straight into masks.
#include <immintrin.h>

#include "kernel.h"
#include "planes_x86.h"

namespace {

struct Planes {
  explicit Planes(int32_t zp) : zero(_mm256_set1_epi8(static_cast<int8_t>(zp))) {}
  static __m256i Load(const uint8_t* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }
  uint32_t Below(const uint8_t* x) const { return _mm256_cmplt_epu8_mask(Load(x), zero); }
  uint32_t Other(const uint8_t* x) const { return _mm256_cmpneq_epu8_mask(Load(x), zero); }

  __m256i zero;
};

}  // namespace

extern "C" {
extern const sterna::BitPlaneKernels sterna_bit_planes_avx512vnni;
const sterna::BitPlaneKernels sterna_bit_planes_avx512vnni = {"bit_planes/avx512vnni", sterna::PlanesFromQ8<Planes>};
}
