// unary_f32/ref: the executable specification, by the C library's functions.
#include <math.h>

#include "kernel.h"

namespace sterna {
namespace {

using Scalar = float (*)(float x, float alpha, float beta);

template <Scalar f>
void Each(size_t n, const float* x, float* y, float alpha, float beta) {
  for (size_t i = 0; i < n; ++i) y[i] = f(x[i], alpha, beta);
}

float Floor(float x, float, float) { return floorf(x); }
float Ceil(float x, float, float) { return ceilf(x); }
float Round(float x, float, float) { return nearbyintf(x); }
float Tanh(float x, float, float) { return tanhf(x); }
float ScaledTanh(float x, float alpha, float beta) { return alpha * tanhf(beta * x); }
float Elu(float x, float alpha, float) { return x < 0.0f ? alpha * expm1f(x) : x; }
float Selu(float x, float alpha, float gamma) { return gamma * (x < 0.0f ? alpha * expm1f(x) : x); }
float Celu(float x, float alpha, float) { return x < 0.0f ? alpha * expm1f(x / alpha) : x; }
float Erf(float x, float, float) { return erff(x); }
// 1 + erf(x) would cancel for negative x. The product of -infinity and 0 is NaN.
float Gelu(float x, float, float) { return x < -15.0f ? -0.0f : 0.5f * x * erfcf(x * -0.70710678f); }
float GeluTanh(float x, float, float) { return x / (1.0f + expf(-1.59576912f * (x + 0.044715f * x * x * x))); }
float Softplus(float x, float, float) { return (x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x))); }
float Mish(float x, float, float) { return x * tanhf(Softplus(x, 0.0f, 0.0f)); }
float Log(float x, float, float) { return logf(x); }
float Sin(float x, float, float) { return sinf(x); }
float Cos(float x, float, float) { return cosf(x); }

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::UnaryF32Kernels sterna_unary_f32_ref;
const sterna::UnaryF32Kernels sterna_unary_f32_ref = {
    "unary_f32/ref",           sterna::Each<sterna::Floor>, sterna::Each<sterna::Ceil>, sterna::Each<sterna::Round>,
    sterna::Each<sterna::Tanh>, sterna::Each<sterna::ScaledTanh>, sterna::Each<sterna::Elu>, sterna::Each<sterna::Selu>,
    sterna::Each<sterna::Celu>, sterna::Each<sterna::Erf>,   sterna::Each<sterna::Gelu>, sterna::Each<sterna::GeluTanh>,
    sterna::Each<sterna::Softplus>, sterna::Each<sterna::Mish>, sterna::Each<sterna::Log>, sterna::Each<sterna::Sin>,
    sterna::Each<sterna::Cos>};
}
