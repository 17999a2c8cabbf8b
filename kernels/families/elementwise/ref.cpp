// elementwise/ref: the executable specification of the element-wise kernels. sigmoid and exp are the C library's.
#include <math.h>

#include "kernel.h"
#include "families/typed_reference.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

template <typename T>
constexpr int32_t kLowest = T(-1) < T(0) ? -128 : 0;
template <typename T>
constexpr int32_t kHighest = T(-1) < T(0) ? 127 : 255;

void Lut(size_t n, const uint8_t* x, const uint8_t* table, uint8_t* y) {
  for (size_t i = 0; i < n; ++i) y[i] = table[x[i]];
}

template <typename T>
void Add(const AddQ8Args* args) {
  const AddQ8Args s = *args;
  for (size_t i = 0; i < s.n; ++i) {
    const float av = static_cast<float>(static_cast<T>(s.a[i]) - s.a_zp) * s.a_mul;
    const float bv = static_cast<float>(static_cast<T>(s.b[i]) - s.b_zp) * s.b_mul;
    s.y[i] = static_cast<uint8_t>(RoundClamped(av + bv, s.y_lo, s.y_hi, s.y_zp));
  }
}

template <typename T>
void Quantize(size_t n, const float* x, uint8_t* y, float scale, int32_t zp) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<uint8_t>(RoundClamped(x[i] / scale, kLowest<T>, kHighest<T>, zp));
}

template <typename T>
void Dequantize(size_t n, const uint8_t* x, float* y, float scale, int32_t zp) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(static_cast<T>(x[i]) - zp) * scale;
}

void AddF32(size_t n, const float* a, const float* b, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = a[i] + b[i];
}

void MulF32(size_t n, const float* a, const float* b, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = a[i] * b[i];
}

void ClampF32(size_t n, const float* x, float* y, float lo, float hi) {
  for (size_t i = 0; i < n; ++i) y[i] = ClampKeepingNaN(x[i], lo, hi);
}

// 1 / (1 + exp(-x)), written so that exp never overflows.
void SigmoidF32(size_t n, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) {
    const float e = expf(-__builtin_fabsf(x[i]));
    y[i] = (x[i] < 0.0f ? e : 1.0f) / (1.0f + e);
  }
}

void ExpF32(size_t n, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = expf(x[i]);
}

float HardGate(float x, float alpha, float beta) {
  const float s = alpha * x + beta;
  return s < 0.0f ? 0.0f : s > 1.0f ? 1.0f : s;
}

void HardSigmoidF32(size_t n, const float* x, float* y, float alpha, float beta) {
  for (size_t i = 0; i < n; ++i) y[i] = HardGate(x[i], alpha, beta);
}

void HardSwishF32(size_t n, const float* x, float* y, float alpha, float beta) {
  for (size_t i = 0; i < n; ++i) y[i] = x[i] * HardGate(x[i], alpha, beta);
}

template <typename E>
void Interleave3(size_t n, const E* a, const E* b, const E* c, E* y) {
  for (size_t i = 0; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}

}  // namespace

STERNA_TYPED_REFERENCE(ElementwiseKernels, elementwise, Lut, Add<T>, Quantize<T>, Dequantize<T>, AddF32, MulF32, ClampF32, SigmoidF32,
                       ExpF32, HardSigmoidF32, HardSwishF32, Interleave3<uint8_t>, Interleave3<float>)

}  // namespace sterna
