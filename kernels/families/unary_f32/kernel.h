#pragma once
#include <cstddef>

namespace sterna {

// Float functions of one variable, over `n` contiguous elements; nothing is read or written beyond them. y may be x. What alpha and beta are:
// program.h, UnaryKind. The result for an element does not depend on n or on its place, bit for bit. Error bounds: below.
struct UnaryF32Kernels {
  using Body = void (*)(size_t n, const float* x, float* y, float alpha, float beta);

  const char* name;
  Body floor, ceil, round;            // round: ties to even
  Body tanh, scaled_tanh;             // alpha tanh(beta x)
  Body elu, selu, celu;               // celu: alpha > 0
  Body erf, gelu, gelu_tanh;
  Body softplus, mish;
  Body log;
  Body sin, cos;                      // |x| <= kTrigonometricLimit, or NaN
};

// Beyond it, the vector kernels' reduction by multiples of pi is not exact.
constexpr float kTrigonometricLimit = 1e5f;

// Bounds of the error against the exact result, over the whole range of x.
constexpr int kUnaryUlps = 4;              // tanh, erf, elu, selu, celu, log, softplus, sin, cos; scaled_tanh has one more, for beta * x
constexpr int kMishUlps = 6;
constexpr double kGeluOfOperand = 2e-7;    // gelu, gelu_tanh, times |x|: for very negative x the result is a small part of x
constexpr double kUnaryDenormal = 3e-45;   // denormal results err by up to this much more
constexpr double kMishDenormal = 3e-43;

}  // namespace sterna
