// UnaryF32, and the functions that other ops apply to their results.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"
#include "engine/ops/unary.h"

namespace sterna {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Calls f(x) for each element.
template <float (*f)(float x, float alpha, float beta)>
void Each(const UnaryFunction& u, size_t n, const float* x, float* y) {
  for (size_t i = 0; i < n; ++i) y[i] = f(x[i], u.alpha, u.beta);
}

void Identity(const UnaryFunction&, size_t n, const float* x, float* y) {
  if (x != y) std::memmove(y, x, n * sizeof(float));
}
void Relu(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->clamp_f32(n, x, y, 0.0f, kInfinity); }
void Clip(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->clamp_f32(n, x, y, u.alpha, u.beta); }
void Sigmoid(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->sigmoid_f32(n, x, y); }
void Exp(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->exp_f32(n, x, y); }
void HardSigmoid(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->hard_sigmoid_f32(n, x, y, u.alpha, u.beta); }
void HardSwish(const UnaryFunction& u, size_t n, const float* x, float* y) { u.elementwise->hard_swish_f32(n, x, y, 1.0f / 6.0f, 0.5f); }

// x * sigmoid(x), in pieces that fit L1.
void Silu(const UnaryFunction& u, size_t n, const float* x, float* y) {
  float s[256];
  for (size_t i = 0; i < n; i += 256) {
    const size_t count = n - i < 256 ? n - i : 256;
    u.elementwise->sigmoid_f32(count, x + i, s);
    u.elementwise->mul_f32(count, x + i, s, y + i);
  }
}

// A kernel of the family unary_f32.
template <UnaryF32Kernels::Body UnaryF32Kernels::*kernel>
void Kernel(const UnaryFunction& u, size_t n, const float* x, float* y) {
  (u.unary->*kernel)(n, x, y, u.alpha, u.beta);
}

// The same, with the reference for the elements that are too large for the kernel.
template <UnaryF32Kernels::Body UnaryF32Kernels::*kernel>
void Bounded(const UnaryFunction& u, size_t n, const float* x, float* y) {
  constexpr size_t kBlock = 256;
  for (size_t i = 0; i < n; i += kBlock) {
    const size_t count = std::min(n - i, kBlock);
    bool beyond = false;
    for (size_t j = i; j < i + count; ++j) beyond |= std::fabs(x[j]) > kTrigonometricLimit;
    float large[kBlock];
    if (beyond) std::memcpy(large, x + i, count * sizeof(float));
    (u.unary->*kernel)(count, x + i, y + i, u.alpha, u.beta);
    for (size_t j = 0; beyond && j < count; ++j) {
      if (std::fabs(large[j]) > kTrigonometricLimit) (sterna_unary_f32_ref.*kernel)(1, large + j, y + i + j, u.alpha, u.beta);
    }
  }
}

float Sqrt(float x, float, float) { return std::sqrt(x); }
float Abs(float x, float, float) { return std::fabs(x); }
float Neg(float x, float, float) { return -x; }
float LeakyRelu(float x, float alpha, float) { return x < 0.0f ? alpha * x : x; }
float Reciprocal(float x, float, float) { return 1.0f / x; }
float Sign(float x, float, float) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x == 0.0f ? 0.0f : x; }
float ThresholdedRelu(float x, float alpha, float) { return x <= alpha ? 0.0f : x; }
float Softsign(float x, float, float) { return x / (1.0f + std::fabs(x)); }
float Shrink(float x, float bias, float lambda) { return x < -lambda ? x + bias : x <= lambda ? 0.0f : x - bias; }
float Tan(float x, float, float) { return std::tan(x); }
float Asin(float x, float, float) { return std::asin(x); }
float Acos(float x, float, float) { return std::acos(x); }
float Atan(float x, float, float) { return std::atan(x); }
float Sinh(float x, float, float) { return std::sinh(x); }
float Cosh(float x, float, float) { return std::cosh(x); }
float Asinh(float x, float, float) { return std::asinh(x); }
float Acosh(float x, float, float) { return std::acosh(x); }
float Atanh(float x, float, float) { return std::atanh(x); }
float Affine(float x, float alpha, float beta) { return alpha * x + beta; }

void CeluOf(const UnaryFunction& u, size_t n, const float* x, float* y) {
  const UnaryF32Kernels& kernels = u.alpha > 0.0f ? *u.unary : sterna_unary_f32_ref;
  kernels.celu(n, x, y, u.alpha, u.beta);
}

struct Row {
  UnaryKind kind;
  UnaryFunction::Body body;
};
constexpr Row kFunctions[] = {
    {UnaryKind::kIdentity, Identity},     {UnaryKind::kRelu, Relu},
    {UnaryKind::kClip, Clip},             {UnaryKind::kSigmoid, Sigmoid},
    {UnaryKind::kTanh, Kernel<&UnaryF32Kernels::tanh>},       {UnaryKind::kExp, Exp},
    {UnaryKind::kLog, Kernel<&UnaryF32Kernels::log>},         {UnaryKind::kSqrt, Each<Sqrt>},
    {UnaryKind::kAbs, Each<Abs>},         {UnaryKind::kNeg, Each<Neg>},
    {UnaryKind::kLeakyRelu, Each<LeakyRelu>}, {UnaryKind::kElu, Kernel<&UnaryF32Kernels::elu>},
    {UnaryKind::kHardSigmoid, HardSigmoid}, {UnaryKind::kHardSwish, HardSwish},
    {UnaryKind::kGelu, Kernel<&UnaryF32Kernels::gelu>},       {UnaryKind::kErf, Kernel<&UnaryF32Kernels::erf>},
    {UnaryKind::kSoftplus, Kernel<&UnaryF32Kernels::softplus>}, {UnaryKind::kMish, Kernel<&UnaryF32Kernels::mish>},
    {UnaryKind::kReciprocal, Each<Reciprocal>}, {UnaryKind::kFloor, Kernel<&UnaryF32Kernels::floor>},
    {UnaryKind::kCeil, Kernel<&UnaryF32Kernels::ceil>},       {UnaryKind::kRound, Kernel<&UnaryF32Kernels::round>},
    {UnaryKind::kSin, Bounded<&UnaryF32Kernels::sin>},         {UnaryKind::kCos, Bounded<&UnaryF32Kernels::cos>},
    {UnaryKind::kSilu, Silu},             {UnaryKind::kSign, Each<Sign>},
    {UnaryKind::kSelu, Kernel<&UnaryF32Kernels::selu>},       {UnaryKind::kCelu, CeluOf},
    {UnaryKind::kThresholdedRelu, Each<ThresholdedRelu>}, {UnaryKind::kSoftsign, Each<Softsign>},
    {UnaryKind::kShrink, Each<Shrink>},   {UnaryKind::kTan, Each<Tan>},
    {UnaryKind::kAsin, Each<Asin>},       {UnaryKind::kAcos, Each<Acos>},
    {UnaryKind::kAtan, Each<Atan>},       {UnaryKind::kSinh, Each<Sinh>},
    {UnaryKind::kCosh, Each<Cosh>},       {UnaryKind::kAsinh, Each<Asinh>},
    {UnaryKind::kAcosh, Each<Acosh>},     {UnaryKind::kAtanh, Each<Atanh>},
    {UnaryKind::kGeluTanh, Kernel<&UnaryF32Kernels::gelu_tanh>}, {UnaryKind::kAffine, Each<Affine>},
    {UnaryKind::kScaledTanh, Kernel<&UnaryF32Kernels::scaled_tanh>},
};

class UnaryF32 final : public OpDriver {
 public:
  UnaryF32(const LoopNest<2>& nest, const PixelWalk<2>& walk, const UnaryFunction& f, const float* x, float* y, int64_t elements)
      : nest_(nest), walk_(walk), f_(f), own_x_(x), own_y_(y), x_(x), y_(y) {
    units_ = nest_.units();
    cost_ = elements * 2;
    kernel_ = "unary_f32";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) { f_.Apply(static_cast<size_t>(n), x_ + at[0], y_ + at[1]); });
  }
  bool takes_outside() const override { return true; }
  void ReadFrom(const uint8_t* x) override { x_ = x != nullptr ? reinterpret_cast<const float*>(x) : own_x_; }
  void WriteTo(uint8_t* y) override { y_ = y != nullptr ? reinterpret_cast<float*>(y) : own_y_; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    walk_.ForEach(spans, [&](const int64_t(&at)[2], int64_t n) { f_.Apply(static_cast<size_t>(n), x_ + at[0], y_ + at[1]); });
  }

 private:
  LoopNest<2> nest_;
  PixelWalk<2> walk_;
  UnaryFunction f_;
  const float* own_x_;
  float* own_y_;
  const float* x_;  // of the next run
  float* y_;
};

}  // namespace

Status MakeUnary(const KernelSet& kernels, int32_t kind, float alpha, float beta, UnaryFunction* unary) {
  for (const Row& row : kFunctions) {
    if (row.kind != static_cast<UnaryKind>(kind)) continue;
    *unary = {row.body, alpha, beta, kernels.elementwise, kernels.unary_f32};
    return Status::Ok();
  }
  return Unsupported("unknown unary function");
}

Status PrepareUnaryF32(const OpContext& context, DriverPtr* driver) {
  const UnaryAttrs& attrs = context.Attrs<UnaryAttrs>();
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || !SameShape(x, y)) return Mismatch("a unary op needs floats of one shape");
  UnaryFunction f;
  Status status = MakeUnary(context.kernels(), attrs.kind, attrs.alpha, attrs.beta, &f);
  const uint8_t* data = nullptr;
  if (status.ok()) status = context.InputData(0, &data);
  if (!status.ok()) return status;
  const LoopNest<2> nest = UnaryNest(x, y);
  driver->reset(new UnaryF32(nest, UnaryWalk(x, y), f, reinterpret_cast<const float*>(data), reinterpret_cast<float*>(context.OutputData()), y.elements));
  return status;
}

}  // namespace sterna
