// Threshold: floats to three codes, or two where no number lies between the thresholds.
#include <cmath>

#include "engine/op.h"

namespace sterna {
namespace {

// Units: pixels.
class Threshold final : public OpDriver {
 public:
  Threshold(const OpContext& context, const uint8_t* x, const float* lower, const float* upper)
      : channels_(context.Output().channels()), x_stride_(context.Input(0)->pixel_stride), y_stride_(context.Output().pixel_stride),
        lowest_(static_cast<uint8_t>(context.Attrs<ThresholdAttrs>().zp - 1)), x_(reinterpret_cast<const float*>(x)), lower_(lower), upper_(upper), y_(context.OutputData()) {
    units_ = context.Output().pixels();
    granularity_ = 64;
    cost_ = context.Output().elements;
    kernel_ = "threshold";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const float* x = x_ + pixel * x_stride_;
      uint8_t* y = y_ + pixel * y_stride_;
      for (int64_t c = 0; c < channels_; ++c) y[c] = static_cast<uint8_t>(lowest_ + (x[c] >= lower_[c] ? 1 : 0) + (x[c] >= upper_[c] ? 1 : 0));
    }
  }

 private:
  int64_t channels_, x_stride_, y_stride_;
  uint8_t lowest_;
  const float *x_, *lower_, *upper_;
  uint8_t* y_;
};

// A number for each channel of input `i`, which has one or all.
Status Spread(const OpContext& context, uint32_t i, const float** out) {
  const Tensor& t = *context.Input(i);
  const int64_t channels = context.Output().channels();
  const float* from = reinterpret_cast<const float*>(context.Constant(i));
  if (from == nullptr) return Unsupported("a threshold must be constant");
  if (t.dtype != DType::kF32 || (t.elements != channels && t.elements != 1) || !t.dense()) return Mismatch("a threshold is not one number, or one for each channel");
  uint8_t* block;
  const Status status = context.Allocate(static_cast<uint64_t>(channels) * sizeof(float), &block);
  if (!status.ok()) return status;
  float* numbers = reinterpret_cast<float*>(block);
  for (int64_t c = 0; c < channels; ++c) numbers[c] = from[t.elements == 1 ? 0 : c];
  *out = numbers;
  return status;
}

}  // namespace

Status PrepareThreshold(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != context.activation() || !SameShape(x, y)) return Mismatch("a threshold needs floats and codes of one shape");
  const int32_t zp = context.Attrs<ThresholdAttrs>().zp;
  if (zp <= context.lowest() || zp >= context.highest()) return Unsupported("a threshold's codes are outside the activation type");
  const float *lower = nullptr, *upper = nullptr;
  Status status = Spread(context, 1, &lower);
  if (status.ok()) status = Spread(context, 2, &upper);
  for (int64_t c = 0; status.ok() && c < y.channels(); ++c) {
    if (!(lower[c] <= upper[c])) status = Unsupported("a lower threshold is above its upper one, or one of them is no number");
  }
  const uint8_t* data = nullptr;
  if (status.ok()) status = context.InputData(0, &data);
  if (status.ok()) driver->reset(new Threshold(context, data, lower, upper));
  return status;
}

}  // namespace sterna
