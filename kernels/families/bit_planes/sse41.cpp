// bit_planes/sse41: x >= zp where the larger of both is x.
#include <smmintrin.h>

#include "kernel.h"
#include "planes_x86.h"

namespace {

struct Planes {
  explicit Planes(int32_t zp) : zero(_mm_set1_epi8(static_cast<int8_t>(zp))) {}
  static __m128i Load(const uint8_t* x) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(x)); }
  static uint32_t NotEqual(__m128i a, __m128i b) { return static_cast<uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(a, b))) ^ 0xffffu; }
  uint32_t HalfBelow(const uint8_t* x) const { return NotEqual(_mm_max_epu8(Load(x), zero), Load(x)); }
  uint32_t Below(const uint8_t* x) const { return HalfBelow(x) | HalfBelow(x + 16) << 16; }
  uint32_t Other(const uint8_t* x) const { return NotEqual(Load(x), zero) | NotEqual(Load(x + 16), zero) << 16; }

  __m128i zero;
};

}  // namespace

extern "C" {
extern const sterna::BitPlaneKernels sterna_bit_planes_sse41;
const sterna::BitPlaneKernels sterna_bit_planes_sse41 = {"bit_planes/sse41", sterna::PlanesFromQ8<Planes>};
}
