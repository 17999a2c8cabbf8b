// vector/ref: the executable specification of the element-wise kernels. sigmoid and exp are the C library's.
#include <math.h>

#include "kernel.h"
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

template <typename T>
void Max(size_t n, const uint8_t* a, uint8_t* y) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<T>(a[i]) > static_cast<T>(y[i]) ? a[i] : y[i];
}

template <typename T>
void Sum(size_t n, const uint8_t* a, int32_t* acc) {
  for (size_t i = 0; i < n; ++i) acc[i] += static_cast<T>(a[i]);
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

template <float (*fold)(float x, float so_far)>
void Pool(const PoolF32Args* a, float start) {
  for (size_t o = 0; o < a->outputs; ++o) {
    for (size_t c = 0; c < a->channels; ++c) {
      float y = start;
      for (size_t i = 0; i < a->rows; ++i) {
        for (size_t j = 0; j < a->columns; ++j) y = fold(a->x[o * a->x_step + i * a->row_stride + j * a->column_stride + c], y);
      }
      a->y[o * a->y_step + c] = y;
    }
  }
}

// NaN, once met, stays.
float Greater(float x, float y) { return x > y || x != x ? x : y; }
float Plus(float x, float y) { return y + x; }

void Interleave3(size_t n, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y) {
  for (size_t i = 0; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}

void MaxPoolF32(const PoolF32Args* args) { Pool<Greater>(args, -__builtin_inff()); }
void SumPoolF32(const PoolF32Args* args) { Pool<Plus>(args, 0.0f); }

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::VectorKernels sterna_vector_ref_u8, sterna_vector_ref_s8;
const sterna::VectorKernels sterna_vector_ref_u8 = {
    "vector/ref",         sterna::Lut,          sterna::Add<uint8_t>, sterna::Quantize<uint8_t>, sterna::Dequantize<uint8_t>,
    sterna::Max<uint8_t>, sterna::Sum<uint8_t>, sterna::AddF32,       sterna::MulF32,            sterna::ClampF32,
    sterna::SigmoidF32,   sterna::ExpF32,       sterna::HardSigmoidF32, sterna::HardSwishF32,    sterna::MaxPoolF32,
    sterna::SumPoolF32,   sterna::Interleave3};
const sterna::VectorKernels sterna_vector_ref_s8 = {
    "vector/ref",        sterna::Lut,         sterna::Add<int8_t>, sterna::Quantize<int8_t>, sterna::Dequantize<int8_t>,
    sterna::Max<int8_t>, sterna::Sum<int8_t>, sterna::AddF32,      sterna::MulF32,           sterna::ClampF32,
    sterna::SigmoidF32,  sterna::ExpF32,      sterna::HardSigmoidF32, sterna::HardSwishF32,  sterna::MaxPoolF32,
    sterna::SumPoolF32,   sterna::Interleave3};
}
