// MatMulQ8F32: 8-bit activations whose scale and zero-point a run computes, times constant weights, as floats: gemm_q8 with float results.
#include "engine/ops/drivers.h"
#include "engine/ops/integer_weights.h"

namespace sterna {
namespace {

enum Input : uint32_t { kA, kB, kAScale, kAZero, kBZero, kScale, kBias };

struct Shape {
  int64_t rows, n, k;
};

// Units: rows of y.
class MatMulQ8F32 final : public PixelDriver {
 public:
  MatMulQ8F32(const OpContext& context, const Shape& s)
      : s_(s), activation_(context.activation()), a_stride_(static_cast<size_t>(context.Input(kA)->pixel_stride)),
        y_stride_(static_cast<size_t>(context.Output().pixel_stride) * sizeof(float)), y_(context.OutputData()) {
    units_ = s.rows;
    granularity_ = 8;
    cost_ = s.rows * s.n * s.k / 16;
  }
  Status Init(const OpContext& context) {
    Status status = weights_.Init(context, kB, kBZero);
    if (status.ok()) status = context.InputData(kA, &a_);
    if (status.ok()) status = context.InputData(kAScale, &a_scale_);
    if (status.ok()) status = context.InputData(kAZero, &a_zero_);
    if (status.ok()) status = CopyColumns(context, kScale, 0.0f, &scale_);
    // A sum without a bias keeps the sign of its zero.
    if (status.ok()) status = CopyColumns(context, kBias, -0.0f, &bias_);
    kernel_ = weights_.kernel();
    scratch_bytes_ = weights_.Padded() * sizeof(float) + weights_.ScratchBytes(s_.rows);
    return status;
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    float* scale = reinterpret_cast<float*>(scratch);
    float a_scale;
    std::memcpy(&a_scale, a_scale_, sizeof a_scale);
    for (size_t n = 0; n < weights_.Padded(); ++n) scale[n] = a_scale * scale_[n];
    const int32_t a_zero = activation_ == DType::kU8 ? *a_zero_ : static_cast<int8_t>(*a_zero_);
    const size_t first = static_cast<size_t>(begin);
    weights_.Multiply({a_ + first * a_stride_, a_stride_, end - begin, a_zero, scale, bias_, y_ + first * y_stride_, y_stride_}, scratch + weights_.Padded() * sizeof(float));
  }

 private:
  // One number for each column, from one or all of them; `absent` where the input is.
  Status CopyColumns(const OpContext& context, uint32_t input, float absent, const float** columns) const {
    uint8_t* block;
    const Status status = context.Allocate(weights_.Padded() * sizeof(float), &block);
    if (!status.ok()) return status;
    float* to = reinterpret_cast<float*>(block);
    const float* from = reinterpret_cast<const float*>(context.Constant(input));
    const bool one = from != nullptr && context.Input(input)->elements == 1;
    for (int64_t n = 0; n < s_.n; ++n) to[n] = from == nullptr ? absent : from[one ? 0 : n];
    *columns = to;
    return status;
  }

  Shape s_;
  DType activation_;
  IntegerWeights weights_;
  size_t a_stride_, y_stride_;
  const uint8_t *a_ = nullptr, *a_scale_ = nullptr, *a_zero_ = nullptr;
  const float *scale_ = nullptr, *bias_ = nullptr;
  uint8_t* y_;
};

// A constant of one element, or one for each column.
bool IsColumns(const OpContext& context, uint32_t input, DType type, int64_t n, bool one) {
  const Tensor* t = context.Input(input);
  if (t == nullptr) return true;
  return context.Constant(input) != nullptr && t->dtype == type && t->dense() && (t->elements == n || (one && t->elements == 1));
}

Status CheckMatMulQ8F32(const OpContext& context, Shape* s) {
  const Tensor &a = *context.Input(kA), &b = *context.Input(kB), &y = context.Output();
  if (a.dtype != context.activation() || b.dtype != context.activation() || y.dtype != DType::kF32) return Mismatch("a scaled product has the wrong types");
  if (b.rank != 2 || a.rank < 1 || y.rank < 1 || context.Constant(kB) == nullptr) return Mismatch("a scaled product needs a constant matrix");
  *s = {a.pixels(), b.dims[1], b.dims[0]};
  if (a.channels() != s->k || y.channels() != s->n || y.pixels() != s->rows) return Mismatch("the matrices of a scaled product do not fit together");
  const Tensor &scale = *context.Input(kAScale), &zero = *context.Input(kAZero);
  if (scale.dtype != DType::kF32 || scale.elements != 1 || zero.dtype != context.activation() || zero.elements != 1) return Mismatch("a scaled product needs one scale and one zero-point");
  const bool fits = IsColumns(context, kBZero, context.activation(), s->n, true) && IsColumns(context, kScale, DType::kF32, s->n, true) && IsColumns(context, kBias, DType::kF32, s->n, false);
  return fits ? Status::Ok() : Mismatch("the zero-points, scales or bias of a scaled product are not constants of its columns");
}

}  // namespace

Status PrepareMatMulQ8F32(const OpContext& context, DriverPtr* driver) {
  return PrepareChecked<MatMulQ8F32>(context, CheckMatMulQ8F32, driver);
}

}  // namespace sterna
