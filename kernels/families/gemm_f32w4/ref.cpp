// gemm_f32w4/ref: the executable specification of the product by 4-bit weights, and the fallback on every CPU.
//
//   y[i][o] = bias[o] + sum_g scale[o][g] * sum_(k in group g) a[i][k] * w[o][k]        within ErrorBoundF32(k)
//
// Packed layout: uint16 scale[n][k / group], then rows of k / 2 bytes of codes w + 8, the lower half first.
#include "half.h"
#include "kernel.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t n, size_t k, size_t group) { return n * (k / group * sizeof(uint16_t) + k / 2); }

void Pack(size_t n, size_t k, size_t group, const int8_t* w, const uint16_t* scale, void* packed) {
  uint16_t* scales = static_cast<uint16_t*>(packed);
  for (size_t i = 0; i < n * (k / group); ++i) *scales++ = scale[i];
  uint8_t* codes = reinterpret_cast<uint8_t*>(scales);
  for (size_t i = 0; i < n * k; i += 2) *codes++ = static_cast<uint8_t>((w[i] + 8) | (w[i + 1] + 8) << 4);
}

float Sum(const float* a, size_t k, size_t group, const uint16_t* scales, const uint8_t* codes) {
  float sum = 0.0f;
  for (size_t first = 0; first < k; first += group) {
    float part = 0.0f;
    for (size_t p = first; p < first + group; ++p) part += a[p] * static_cast<float>((codes[p / 2] >> p % 2 * 4 & 15) - 8);
    sum += HalfToFloat(*scales++) * part;
  }
  return sum;
}

void Run(const GemmF32W4Args* args) {
  const size_t groups = args->k / args->group;
  const uint16_t* scales = static_cast<const uint16_t*>(args->packed);
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(scales + args->n * groups);
  for (size_t i = 0; i < args->m; ++i) {
    for (size_t o = 0; o < args->n; ++o) {
      const float sum = Sum(args->a + i * args->a_stride, args->k, args->group, scales + o * groups, codes + o * (args->k / 2));
      args->y[i * args->y_stride + o] = sum + (args->bias != nullptr ? args->bias[o] : 0.0f);
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmF32W4Kernel sterna_gemm_f32w4_ref;
const sterna::GemmF32W4Kernel sterna_gemm_f32w4_ref = {"gemm_f32w4/ref", sterna::PackedBytes, sterna::Pack, sterna::Run};
}
