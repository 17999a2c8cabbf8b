// RangeF32, RangeScale, QuantizeBy: 8 bits whose scale and zero-point follow from the data of a run (ONNX's DynamicQuantizeLinear).
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/ops/drivers.h"
#include "engine/ops/loop_nest.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

// Units: parts of x, as equal numbers of pixels.
class RangeF32 final : public OpDriver {
 public:
  RangeF32(const OpContext& context, const uint8_t* x)
      : rows_(context.kernels().rows_f32), pixels_(context.Input(0)->pixels()), channels_(context.Input(0)->channels()), stride_(context.Input(0)->pixel_stride),
        dense_(context.Input(0)->dense()), x_(reinterpret_cast<const float*>(x)), y_(reinterpret_cast<float*>(context.OutputData())) {
    units_ = context.Output().dims[0];
    cost_ = context.Input(0)->elements / 4;
    kernel_ = rows_->name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t part = begin; part < end; ++part) {
      const int64_t first = part * pixels_ / units_, last = (part + 1) * pixels_ / units_;
      float low = 0.0f, high = 0.0f;
      if (dense_) {
        rows_->extend_range(static_cast<size_t>((last - first) * channels_), x_ + first * channels_, &low, &high);
      } else {
        for (int64_t pixel = first; pixel < last; ++pixel) rows_->extend_range(static_cast<size_t>(channels_), x_ + pixel * stride_, &low, &high);
      }
      y_[2 * part] = low, y_[2 * part + 1] = high;
    }
  }

 private:
  const RowsF32Kernels* rows_;
  int64_t pixels_, channels_, stride_;
  bool dense_;
  const float* x_;
  float* y_;
};

// One unit: the scale or the zero-point.
class RangeScale final : public OpDriver {
 public:
  RangeScale(const OpContext& context, const uint8_t* range)
      : parts_(context.Input(0)->dims[0]), lowest_(context.lowest()), scale_(context.Output().dtype == DType::kF32), range_(reinterpret_cast<const float*>(range)), y_(context.OutputData()) {
    kernel_ = "range_scale";
  }
  void Run(int64_t, int64_t, uint8_t*) override {
    float low = 0.0f, high = 0.0f;
    for (int64_t part = 0; part < parts_; ++part) {
      const float *at = range_ + 2 * part;
      if (at[0] < low || at[0] != at[0]) low = at[0];
      if (at[1] > high || at[1] != at[1]) high = at[1];
    }
    // Zeros alone have no range.
    const float range = high - low, scale = range == 0.0f ? 1.0f : ClampKeepingNaN(range / 255.0f, std::numeric_limits<float>::min(), std::numeric_limits<float>::infinity());
    if (scale_) std::memcpy(y_, &scale, sizeof scale);
    else *y_ = static_cast<uint8_t>(RoundHalfEven(ClampFloat(-low / scale, 0.0f, 255.0f)) + lowest_);
  }

 private:
  int64_t parts_;
  int32_t lowest_;
  bool scale_;
  const float* range_;
  uint8_t* y_;
};

class QuantizeBy final : public OpDriver {
 public:
  QuantizeBy(const OpContext& context, const uint8_t* x)
      : nest_(UnaryNest(*context.Input(0), context.Output())), walk_(UnaryWalk(*context.Input(0), context.Output())), quantize_(context.kernels().elementwise->quantize),
        signed_(context.activation() == DType::kS8), x_(reinterpret_cast<const float*>(x)), y_(context.OutputData()) {
    units_ = nest_.units();
    cost_ = context.Output().elements;
    kernel_ = context.kernels().elementwise->name;
  }
  Status Init(const OpContext& context) {
    const Status status = context.InputData(1, &scale_);
    return status.ok() ? context.InputData(2, &zero_) : status;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) { Quantize(at, n); });
  }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    walk_.ForEach(spans, [&](const int64_t(&at)[2], int64_t n) { Quantize(at, n); });
  }

 private:
  void Quantize(const int64_t (&at)[2], int64_t n) const {
    float scale;
    std::memcpy(&scale, scale_, sizeof scale);
    quantize_(static_cast<size_t>(n), x_ + at[0], y_ + at[1], scale, signed_ ? static_cast<int8_t>(*zero_) : *zero_);
  }

  LoopNest<2> nest_;
  PixelWalk<2> walk_;
  void (*quantize_)(size_t n, const float* x, uint8_t* y, float scale, int32_t zp);
  bool signed_;
  const float* x_;
  const uint8_t *scale_ = nullptr, *zero_ = nullptr;
  uint8_t* y_;
};

bool IsRange(const Tensor& t) { return t.dtype == DType::kF32 && t.rank == 2 && t.dims[1] == 2 && t.dense(); }

}  // namespace

Status PrepareRangeF32(const OpContext& context, DriverPtr* driver) {
  if (context.Input(0)->dtype != DType::kF32 || !IsRange(context.Output())) return Mismatch("a range needs floats, and two of them for each part");
  const uint8_t* x;
  const Status status = context.InputData(0, &x);
  if (status.ok()) driver->reset(new RangeF32(context, x));
  return status;
}

Status PrepareRangeScale(const OpContext& context, DriverPtr* driver) {
  const Tensor& y = context.Output();
  if (!IsRange(*context.Input(0)) || y.elements != 1 || (y.dtype != DType::kF32 && y.dtype != context.activation())) return Mismatch("a scale or a zero-point needs a range");
  const uint8_t* range;
  const Status status = context.InputData(0, &range);
  if (status.ok()) driver->reset(new RangeScale(context, range));
  return status;
}

Status PrepareQuantizeBy(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &scale = *context.Input(1), &zero = *context.Input(2), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != context.activation() || !SameShape(x, y)) return Mismatch("a quantization by data needs floats and 8 bits of one shape");
  if (scale.dtype != DType::kF32 || scale.elements != 1 || zero.dtype != context.activation() || zero.elements != 1) return Mismatch("a quantization by data needs one scale and one zero-point");
  const uint8_t* data;
  Status status = context.InputData(0, &data);
  if (!status.ok()) return status;
  auto made = std::make_unique<QuantizeBy>(context, data);
  status = made->Init(context);
  if (status.ok()) *driver = std::move(made);
  return status;
}

}  // namespace sterna
