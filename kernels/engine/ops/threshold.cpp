// Threshold: floats to three codes, or two where no number lies between the thresholds.
#include <cmath>

#include "engine/ops/drivers.h"

namespace sterna {
namespace {

struct CodeOf {
  uint8_t lowest;
  const float *lower, *upper;
  uint8_t operator()(int64_t c, float x) const { return static_cast<uint8_t>(lowest + (x >= lower[c] ? 1 : 0) + (x >= upper[c] ? 1 : 0)); }
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
  const CodeOf code{static_cast<uint8_t>(zp - 1), lower, upper};
  if (status.ok()) driver->reset(new ChannelMap<float, uint8_t, CodeOf>(context, data, code, 64, "threshold"));
  return status;
}

}  // namespace sterna
