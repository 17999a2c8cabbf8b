#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// BinaryQ8Attrs (program.h) of an addition; a subtraction has a negative b_mul. y may be a or b itself.
struct AddQ8Args {
  size_t n;
  const uint8_t *a, *b;
  uint8_t* y;
  int32_t a_zp, b_zp, y_zp, y_lo, y_hi;
  float a_mul, b_mul;
};

// Largest errors of exp_f32 and sigmoid_f32, references included, in units in the last place of the exact result (of the smallest denormal
// number, where the result is denormal).
constexpr int kExpUlps = 2, kSigmoidUlps = 4;

// Kernels over `n` contiguous elements; nothing is read or written beyond them. y may be x, a or b itself.
// The result for an element does not depend on n or on its place, bit for bit.
struct ElementwiseKernels {
  const char* name;
  void (*lut_q8)(size_t n, const uint8_t* x, const uint8_t* table, uint8_t* y);  // table: indexed by the stored byte
  void (*add_q8)(const AddQ8Args* args);
  void (*quantize)(size_t n, const float* x, uint8_t* y, float scale, int32_t zp);
  void (*dequantize)(size_t n, const uint8_t* x, float* y, float scale, int32_t zp);
  void (*add_f32)(size_t n, const float* a, const float* b, float* y);
  void (*mul_f32)(size_t n, const float* a, const float* b, float* y);
  void (*clamp_f32)(size_t n, const float* x, float* y, float lo, float hi);
  void (*sigmoid_f32)(size_t n, const float* x, float* y);  // within kSigmoidUlps; NaN stays NaN
  void (*exp_f32)(size_t n, const float* x, float* y);  // within kExpUlps; NaN stays NaN
  // min(max(alpha * x + beta, 0), 1), and x times that; the product is rounded before the addition, NaN stays NaN.
  void (*hard_sigmoid_f32)(size_t n, const float* x, float* y, float alpha, float beta);
  void (*hard_swish_f32)(size_t n, const float* x, float* y, float alpha, float beta);
  // y = a[0] b[0] c[0] a[1] b[1] .., 3 n bytes: planes of colours to pixels.
  void (*interleave3_q8)(size_t n, const uint8_t* a, const uint8_t* b, const uint8_t* c, uint8_t* y);
  void (*interleave3_f32)(size_t n, const float* a, const float* b, const float* c, float* y);  // the same of floats, 3 n of them
};

}  // namespace sterna
