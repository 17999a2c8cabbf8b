// bit_planes/avx2: x >= zp where the larger of both is x.
#include <immintrin.h>

#include "kernel.h"
#include "planes_x86.h"

namespace {

struct Planes {
  explicit Planes(int32_t zp) : zero(_mm256_set1_epi8(static_cast<int8_t>(zp))) {}
  static __m256i Load(const uint8_t* x) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)); }
  static uint32_t NotEqual(__m256i a, __m256i b) { return ~static_cast<uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(a, b))); }
  uint32_t Below(const uint8_t* x) const { return NotEqual(_mm256_max_epu8(Load(x), zero), Load(x)); }
  uint32_t Other(const uint8_t* x) const { return NotEqual(Load(x), zero); }

  __m256i zero;
};

}  // namespace

extern "C" {
extern const sterna::BitPlaneKernels sterna_bit_planes_avx2;
const sterna::BitPlaneKernels sterna_bit_planes_avx2 = {"bit_planes/avx2", sterna::PlanesFromQ8<Planes>};
}
