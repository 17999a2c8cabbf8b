#pragma once
#include <cstddef>

namespace sterna {

// Float functions of one variable, over `n` contiguous elements; nothing is read or written beyond them. y may be x. What alpha and beta are:
// program.h, UnaryKind. The result for an element does not depend on n or on its place, bit for bit. Error bounds: functions.h.
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

}  // namespace sterna
