// NormalizeF32: layer normalization over the last axis.
#include <cmath>

#include "engine/ops/drivers.h"

namespace sterna {
namespace {

// Units: rows, i.e. pixels.
class NormalizeF32 final : public PixelDriver {
 public:
  NormalizeF32(const OpContext& context, const float* x, const float* scale, const float* bias)
      : normalize_(context.kernels().rows_f32->normalize), own_x_(x), own_y_(reinterpret_cast<float*>(context.OutputData())), x_(x), y_(own_y_), scale_(scale), bias_(bias),
        epsilon_(context.Attrs<NormalizeAttrs>().epsilon) {
    const Tensor &in = *context.Input(0), &out = context.Output();
    channels_ = static_cast<size_t>(in.channels());
    x_stride_ = in.pixel_stride, y_stride_ = out.pixel_stride;
    units_ = in.pixels();
    cost_ = in.elements;
    kernel_ = context.kernels().rows_f32->name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t row = begin; row < end; ++row) normalize_(channels_, x_ + row * x_stride_, scale_, bias_, epsilon_, y_ + row * y_stride_);
  }
  bool takes_outside() const override { return true; }
  void ReadFrom(const uint8_t* x) override { x_ = x != nullptr ? reinterpret_cast<const float*>(x) : own_x_; }
  void WriteTo(uint8_t* y) override { y_ = y != nullptr ? reinterpret_cast<float*>(y) : own_y_; }

 private:
  void (*normalize_)(size_t, const float*, const float*, const float*, float, float*);
  const float* own_x_;
  float* own_y_;
  const float* x_;  // of the next run
  float* y_;
  const float *scale_, *bias_;
  float epsilon_;
  size_t channels_;
  int64_t x_stride_, y_stride_;
};

// An operand of one number a channel; null when it is absent.
Status PerChannel(const OpContext& context, uint32_t i, const float** data) {
  *data = nullptr;
  const Tensor* t = context.Input(i);
  if (t == nullptr) return Status::Ok();
  if (t->dtype != DType::kF32 || t->elements != context.Output().channels() || !t->dense()) return Mismatch("a normalization needs one number a channel");
  const uint8_t* bytes;
  const Status status = context.InputData(i, &bytes);
  if (status.ok()) *data = reinterpret_cast<const float*>(bytes);
  return status;
}

}  // namespace

Status PrepareNormalizeF32(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || !SameShape(x, y)) return Mismatch("a normalization needs floats of one shape");
  if (!std::isfinite(context.Attrs<NormalizeAttrs>().epsilon)) return Unsupported("the epsilon of a normalization is not finite");
  const float *scale = nullptr, *bias = nullptr;
  const uint8_t* data = nullptr;
  Status status = PerChannel(context, 1, &scale);
  if (status.ok()) status = PerChannel(context, 2, &bias);
  if (status.ok()) status = context.InputData(0, &data);
  if (status.ok()) driver->reset(new NormalizeF32(context, reinterpret_cast<const float*>(data), scale, bias));
  return status;
}

}  // namespace sterna
