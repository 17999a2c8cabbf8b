// elementwise/neon: the element-wise kernels for every 64-bit Arm core. Integer results are bit-equal to ref.
//
// Each kernel is a body for 16 bytes or 4 floats. Tails go through a buffer of that size and the same body: nothing beyond the n
// elements is read or written, and an element's result does not depend on where it lies.
//
// exp: x = n ln 2 + r with |r| <= ln 2 / 2, e^r by its Taylor polynomial of degree 7 (relative error 1e-8), times 2^n in two steps so
// that results down to the smallest denormal come out. sigmoid: 1 / (1 + e^-|x|), or 1 minus that. The bounds of both are in kernel.h.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/map_neon.h"
#include "isa/arm/requant_neon.h"

namespace sterna {
namespace {

// step(x, y) for each 16 bytes of n elements; what is left at the end is padded with zeros.
template <typename T, typename Step>
inline __attribute__((always_inline)) void ForVectors(size_t n, const T* x, T* y, Step step) {
  constexpr size_t kLanes = 16 / sizeof(T);
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) step(x + i, y + i);
  if (i == n) return;
  T tail[kLanes] = {};
  __builtin_memcpy(tail, x + i, (n - i) * sizeof(T));
  step(tail, tail);
  __builtin_memcpy(y + i, tail, (n - i) * sizeof(T));
}

// y = body(x) for bytes.
template <typename Body>
inline __attribute__((always_inline)) void ForBytes(size_t n, const uint8_t* x, uint8_t* y, Body body) {
  ForVectors(n, x, y, [&](const uint8_t* from, uint8_t* to) __attribute__((always_inline)) { StoreBytes(to, body(LoadBytes(from))); });
}

// y = body(x) for floats.
template <typename Body>
inline __attribute__((always_inline)) void ForFloats(size_t n, const float* x, float* y, Body body) {
  ForVectors(n, x, y, [&](const float* from, float* to) __attribute__((always_inline)) { vst1q_f32(to, body(vld1q_f32(from))); });
}

// y = body(a, b) for floats.
template <typename Body>
inline __attribute__((always_inline)) void ForPairsOfFloats(size_t n, const float* a, const float* b, float* y, Body body) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(y + i, body(vld1q_f32(a + i), vld1q_f32(b + i)));
  for (; i < n; ++i) y[i] = vgetq_lane_f32(body(vdupq_n_f32(a[i]), vdupq_n_f32(b[i])), 0);
}

void Lut(size_t n, const uint8_t* x, const uint8_t* table, uint8_t* y) {
  ForBytes(n, x, y, [table](int8x16_t v) { return LookupNeon(table, v); });
}

void Add(const AddQ8Args* args) {
  const AddQ8Args& s = *args;
  const WeighNeon wa = MakeWeighNeon(s.a_zp, s.a_mul), wb = MakeWeighNeon(s.b_zp, s.b_mul);
  const NarrowNeon out = MakeNarrowNeon(s.y_lo, s.y_hi, s.y_zp);
  ForPairsOfBytes(s.n, s.a, s.b, s.y, [&](int8x16_t va, int8x16_t vb) { return AddBytesNeon(wa, wb, out, va, vb); });
}

void Quantize(size_t n, const float* x, uint8_t* y, float scale, int32_t zp) {
  const NarrowNeon out = MakeNarrowNeon(-128, 127, zp);
  const float32x4_t divisor = vdupq_n_f32(scale), lowest = vdupq_n_f32(static_cast<float>(-128 - zp));
  // fmaxnm: NaN becomes the lowest value, as in ref; fcvtns alone would make it 0.
  const auto body = [&](const float* from) {
    float32x4_t v[4];
    for (int i = 0; i < 4; ++i) v[i] = vmaxnmq_f32(vdivq_f32(vld1q_f32(from + 4 * i), divisor), lowest);
    return NarrowToS8(out, v);
  };
  size_t i = 0;
  for (; i + 16 <= n; i += 16) StoreBytes(y + i, body(x + i));
  if (i == n) return;
  float tail[16] = {};
  uint8_t bytes[16];
  __builtin_memcpy(tail, x + i, (n - i) * sizeof(float));
  StoreBytes(bytes, body(tail));
  __builtin_memcpy(y + i, bytes, n - i);
}

void Dequantize(size_t n, const uint8_t* x, float* y, float scale, int32_t zp) {
  const WeighNeon weigh = MakeWeighNeon(zp, scale);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    float32x4_t v[4];
    WeighBytes(weigh, LoadBytes(x + i), v);
    for (int q = 0; q < 4; ++q) vst1q_f32(y + i + 4 * q, v[q]);
  }
  if (i == n) return;
  uint8_t bytes[16] = {};
  float tail[16];
  float32x4_t v[4];
  __builtin_memcpy(bytes, x + i, n - i);
  WeighBytes(weigh, LoadBytes(bytes), v);
  for (int q = 0; q < 4; ++q) vst1q_f32(tail + 4 * q, v[q]);
  __builtin_memcpy(y + i, tail, (n - i) * sizeof(float));
}

void AddF32(size_t n, const float* a, const float* b, float* y) {
  ForPairsOfFloats(n, a, b, y, [](float32x4_t va, float32x4_t vb) { return vaddq_f32(va, vb); });
}

void MulF32(size_t n, const float* a, const float* b, float* y) {
  ForPairsOfFloats(n, a, b, y, [](float32x4_t va, float32x4_t vb) { return vmulq_f32(va, vb); });
}

void ClampF32(size_t n, const float* x, float* y, float lo, float hi) {
  const float32x4_t low = vdupq_n_f32(lo), high = vdupq_n_f32(hi);
  ForFloats(n, x, y, [&](float32x4_t v) { return vminq_f32(vmaxq_f32(v, low), high); });  // a NaN stays NaN
}

float32x4_t Exp(float32x4_t x) {
  // Beyond these bounds the result is infinite, or rounds to 0.
  x = vminq_f32(vmaxq_f32(x, vdupq_n_f32(-104.0f)), vdupq_n_f32(89.0f));
  const int32x4_t n = vcvtnq_s32_f32(vmulq_n_f32(x, 1.44269504f));
  const float32x4_t whole = vcvtq_f32_s32(n);
  // ln 2 in two parts: the product with the first is exact.
  float32x4_t r = vfmsq_f32(x, whole, vdupq_n_f32(0.693359375f));
  r = vfmsq_f32(r, whole, vdupq_n_f32(-2.12194440e-4f));
  const float inverse_factorials[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  float32x4_t y = vdupq_n_f32(1.0f / 5040);
  for (float c : inverse_factorials) y = vfmaq_f32(vdupq_n_f32(c), y, r);
  const int32x4_t half = vshrq_n_s32(n, 1), bias = vdupq_n_s32(127);
  const float32x4_t first = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23));
  const float32x4_t second = vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vsubq_s32(n, half), bias), 23));
  return vmulq_f32(vmulq_f32(y, first), second);
}

void SigmoidF32(size_t n, const float* x, float* y) {
  const float32x4_t one = vdupq_n_f32(1.0f);
  ForFloats(n, x, y, [&](float32x4_t v) {
    const float32x4_t e = Exp(vnegq_f32(vabsq_f32(v)));
    return vdivq_f32(vbslq_f32(vcltzq_f32(v), e, one), vaddq_f32(one, e));
  });
}

void ExpF32(size_t n, const float* x, float* y) { ForFloats(n, x, y, Exp); }

// fmin and fmax, unlike fminnm and fmaxnm, keep NaN.
inline float32x4_t HardGate(float32x4_t x, float32x4_t alpha, float32x4_t beta) {
  return vminq_f32(vmaxq_f32(vaddq_f32(vmulq_f32(x, alpha), beta), vdupq_n_f32(0.0f)), vdupq_n_f32(1.0f));
}

void HardSigmoidF32(size_t n, const float* x, float* y, float alpha, float beta) {
  const float32x4_t slope = vdupq_n_f32(alpha), offset = vdupq_n_f32(beta);
  ForFloats(n, x, y, [&](float32x4_t v) { return HardGate(v, slope, offset); });
}

void HardSwishF32(size_t n, const float* x, float* y, float alpha, float beta) {
  const float32x4_t slope = vdupq_n_f32(alpha), offset = vdupq_n_f32(beta);
  ForFloats(n, x, y, [&](float32x4_t v) { return vmulq_f32(v, HardGate(v, slope, offset)); });
}

void Interleave3(size_t n, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) vst3q_u8(y + 3 * i, (uint8x16x3_t{{vld1q_u8(a + i), vld1q_u8(b + i), vld1q_u8(c + i)}}));
  for (; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}

void Interleave3F32(size_t n, const float* a, const float* b, const float* c, float* y) {
  size_t i = 0;
  for (; i + 4 <= n; i += 4) vst3q_f32(y + 3 * i, (float32x4x3_t{{vld1q_f32(a + i), vld1q_f32(b + i), vld1q_f32(c + i)}}));
  for (; i < n; ++i) y[3 * i] = a[i], y[3 * i + 1] = b[i], y[3 * i + 2] = c[i];
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::ElementwiseKernels sterna_elementwise_neon;
const sterna::ElementwiseKernels sterna_elementwise_neon = {
    "elementwise/neon", sterna::Lut, sterna::Add, sterna::Quantize, sterna::Dequantize, sterna::AddF32, sterna::MulF32, sterna::ClampF32,
    sterna::SigmoidF32, sterna::ExpF32, sterna::HardSigmoidF32, sterna::HardSwishF32, sterna::Interleave3, sterna::Interleave3F32};
}
