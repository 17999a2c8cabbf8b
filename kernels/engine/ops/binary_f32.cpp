// BinaryF32: arithmetic of two float tensors with numpy broadcasting, and a unary function of the result.
#include <cmath>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"
#include "engine/ops/unary.h"

namespace sterna {
namespace {

// The operands advance by their steps: a and b by 0 or 1 mostly, y by 1.
struct Steps {
  int64_t a, b, y;
};
using Segment = void (*)(int64_t n, const float* a, const float* b, float* y, const Steps& steps);

float Add(float a, float b) { return a + b; }
float Sub(float a, float b) { return a - b; }
float Mul(float a, float b) { return a * b; }
float Div(float a, float b) { return a / b; }
// NaN when either is, as in numpy.
float Min(float a, float b) { return a < b || a != a ? a : b; }
float Max(float a, float b) { return a > b || a != a ? a : b; }
float Pow(float a, float b) { return b == 2.0f ? a * a : std::pow(a, b); }
float Mod(float a, float b) { return std::fmod(a, b); }
float PRelu(float a, float b) { return a < 0.0f ? a * b : a; }

template <float (*f)(float, float)>
void Each(int64_t n, const float* a, const float* b, float* y, const Steps& s) {
  // Constant steps let the compiler vectorize the common cases.
  if (s.a == 1 && s.b == 1 && s.y == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], b[i]);
  } else if (s.a == 1 && s.b == 0 && s.y == 1) {
    const float constant = *b;
    for (int64_t i = 0; i < n; ++i) y[i] = f(a[i], constant);
  } else if (s.a == 0 && s.b == 1 && s.y == 1) {
    const float constant = *a;
    for (int64_t i = 0; i < n; ++i) y[i] = f(constant, b[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * s.y] = f(a[i * s.a], b[i * s.b]);
  }
}

struct Row {
  BinaryKind kind;
  Segment run;
};
constexpr Row kFunctions[] = {
    {BinaryKind::kAdd, Each<Add>}, {BinaryKind::kSub, Each<Sub>}, {BinaryKind::kMul, Each<Mul>}, {BinaryKind::kDiv, Each<Div>},
    {BinaryKind::kMin, Each<Min>}, {BinaryKind::kMax, Each<Max>}, {BinaryKind::kPow, Each<Pow>}, {BinaryKind::kPRelu, Each<PRelu>},
    {BinaryKind::kMod, Each<Mod>},
};

Segment Find(int32_t kind) {
  for (const Row& row : kFunctions) {
    if (row.kind == static_cast<BinaryKind>(kind)) return row.run;
  }
  return nullptr;
}

// A last axis below this is not worth a call for each of its lines.
constexpr int64_t kShortAxis = 8;

class BinaryF32 final : public OpDriver {
 public:
  // `walk`: null where the operands are not walked along pixels.
  BinaryF32(const LoopNest<3>& nest, const PixelWalk<3>* walk, Segment run, const UnaryFunction& unary, const uint8_t* a, const uint8_t* b, uint8_t* y,
            const Tensor& output)
      : nest_(nest), walk_(walk != nullptr ? *walk : PixelWalk<3>(output)), walks_(walk != nullptr), run_(run), unary_(unary), a_(reinterpret_cast<const float*>(a)), b_(reinterpret_cast<const float*>(b)),
        y_(reinterpret_cast<float*>(y)) {
    // A unary function needs contiguous results: where the last axis is short, it is applied to all of y in the end, as one unit.
    const bool split = unary_.body == nullptr || nest_.inner() >= kShortAxis || !output.dense();
    whole_ = split ? 0 : output.elements;
    if (unary_.body == nullptr || whole_ > 0) nest_.PreferLongInner();
    units_ = whole_ > 0 ? 1 : nest_.units();
    cost_ = nest_.units() * nest_.inner() / nest_.segments() / 2;
    kernel_ = "binary_f32";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    if (whole_ == 0) return Segments(begin, end, unary_.body != nullptr);
    Segments(0, nest_.units(), false);
    unary_.Apply(static_cast<size_t>(whole_), y_, y_);
  }
  bool takes_spans() const override { return walks_; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    const Steps steps{walk_.inner_stride(0), walk_.inner_stride(1), 1};
    walk_.ForEach(spans, [&](const int64_t(&at)[3], int64_t n) {
      float* y = y_ + at[2];
      run_(n, a_ + at[0], b_ + at[1], y, steps);
      if (unary_.body != nullptr) unary_.Apply(static_cast<size_t>(n), y, y);
    });
  }

 private:
  void Segments(int64_t begin, int64_t end, bool with_unary) {
    const Steps steps{nest_.inner_stride(0), nest_.inner_stride(1), nest_.inner_stride(2)};
    nest_.ForEach(begin, end, [&](const int64_t(&at)[3], int64_t n) {
      float* y = y_ + at[2];
      run_(n, a_ + at[0], b_ + at[1], y, steps);
      if (with_unary) unary_.Apply(static_cast<size_t>(n), y, y);
    });
  }

  LoopNest<3> nest_;
  PixelWalk<3> walk_;
  bool walks_;
  Segment run_;
  UnaryFunction unary_;  // none when its body is null
  const float *a_, *b_;
  float* y_;
  int64_t whole_;  // elements of y when y is computed as one unit
};

}  // namespace

Status PrepareBinaryF32(const OpContext& context, DriverPtr* driver) {
  const BinaryF32Attrs& attrs = context.Attrs<BinaryF32Attrs>();
  const Tensor &a = *context.Input(0), &b = *context.Input(1), &y = context.Output();
  if (a.dtype != DType::kF32 || b.dtype != DType::kF32 || y.dtype != DType::kF32) return Mismatch("a float binary op has the wrong types");
  const Segment run = Find(attrs.kind);
  if (run == nullptr) return Unsupported("unknown binary function");
  LoopNest<3> nest;
  if (!BinaryNest(a, b, y, &nest)) return Mismatch("the shapes of a binary op do not broadcast");
  UnaryFunction unary;
  Status status = Status::Ok();
  if (attrs.unary != static_cast<int32_t>(UnaryKind::kIdentity)) status = MakeUnary(context.kernels(), attrs.unary, attrs.alpha, attrs.beta, &unary);
  const uint8_t *a_data = nullptr, *b_data = nullptr;
  if (status.ok()) status = context.InputData(0, &a_data);
  if (status.ok()) status = context.InputData(1, &b_data);
  PixelWalk<3> walk(y);
  const bool walks = walk.Add(0, a) && walk.Add(1, b);
  if (status.ok()) driver->reset(new BinaryF32(nest, walks ? &walk : nullptr, run, unary, a_data, b_data, context.OutputData(), y));
  return status;
}

}  // namespace sterna
