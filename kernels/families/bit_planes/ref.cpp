// bit_planes/ref: sign and mask planes of stored activations, 32 to a word; bits past the last one are 0.
#include "kernel.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

template <typename T>
void FromQ8(size_t n, const uint8_t* x, int32_t zp, uint32_t* sign, uint32_t* mask) {
  for (size_t first = 0; first < n; first += 32) {
    uint32_t negative = 0, nonzero = 0;
    for (size_t i = first; i < n && i < first + 32; ++i) {
      const int32_t value = static_cast<T>(x[i]);
      negative |= uint32_t{value < zp} << (i - first);
      nonzero |= uint32_t{value != zp} << (i - first);
    }
    sign[first / 32] = negative;
    if (mask != nullptr) mask[first / 32] = nonzero;
  }
}

}  // namespace

STERNA_TYPED_REFERENCE(BitPlaneKernels, bit_planes, FromQ8<T>)

}  // namespace sterna
