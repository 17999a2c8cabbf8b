// Quantize, Dequantize, NormalizeU8: between 8 bits and float.
#include <cmath>

#include "engine/op.h"
#include "engine/ops/drivers.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// Quantizes or dequantizes; From and To are float and uint8_t, or the other way round.
template <typename From, typename To>
class Requantize final : public OpDriver {
 public:
  using Kernel = void (*)(size_t n, const From* x, To* y, float scale, int32_t zp);

  Requantize(const OpContext& context, Kernel kernel, const uint8_t* x)
      : nest_(UnaryNest(*context.Input(0), context.Output())), walk_(UnaryWalk(*context.Input(0), context.Output())), run_(kernel), attrs_(context.Attrs<QuantizeAttrs>()),
        x_(reinterpret_cast<const From*>(x)), y_(reinterpret_cast<To*>(context.OutputData())) {
    units_ = nest_.units();
    cost_ = context.Output().elements;
    kernel_ = context.kernels().elementwise->name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) { run_(static_cast<size_t>(n), x_ + at[0], y_ + at[1], attrs_.scale, attrs_.zp); });
  }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    walk_.ForEach(spans, [&](const int64_t(&at)[2], int64_t n) { run_(static_cast<size_t>(n), x_ + at[0], y_ + at[1], attrs_.scale, attrs_.zp); });
  }

 private:
  LoopNest<2> nest_;
  PixelWalk<2> walk_;
  Kernel run_;
  QuantizeAttrs attrs_;
  const From* x_;
  To* y_;
};

// Quantizes a dense image of few channels into padded pixels: one kernel call for a block of pixels, then they are spread out.
// Units: pixels.
class QuantizePixels final : public PixelDriver {
 public:
  static constexpr int64_t kBlock = 1024;
  static constexpr int64_t kMaxChannels = 16;

  QuantizePixels(const OpContext& context, const uint8_t* x)
      : quantize_(context.kernels().elementwise->quantize), attrs_(context.Attrs<QuantizeAttrs>()), channels_(context.Output().channels()),
        stride_(context.Output().pixel_stride), x_(reinterpret_cast<const float*>(x)), y_(context.OutputData()) {
    units_ = context.Output().pixels();
    granularity_ = kBlock;
    cost_ = context.Output().elements;
    scratch_bytes_ = static_cast<size_t>(kBlock * channels_);
    kernel_ = context.kernels().elementwise->name;
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    for (int64_t pixel = begin; pixel < end; pixel += kBlock) {
      const int64_t count = std::min(kBlock, end - pixel);
      quantize_(static_cast<size_t>(count * channels_), x_ + pixel * channels_, scratch, attrs_.scale, attrs_.zp);
      uint8_t* y = y_ + pixel * stride_;
      const uint8_t* from = scratch;
      for (int64_t i = 0; i < count; ++i, y += stride_, from += channels_) {
        for (int64_t c = 0; c < channels_; ++c) y[c] = from[c];
      }
    }
  }

 private:
  void (*quantize_)(size_t, const float*, uint8_t*, float, int32_t);
  QuantizeAttrs attrs_;
  int64_t channels_, stride_;
  const float* x_;
  uint8_t* y_;
};

Status CheckQuantize(const OpContext& context, DType x_type, DType y_type) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const QuantizeAttrs& attrs = context.Attrs<QuantizeAttrs>();
  if (x.dtype != x_type || y.dtype != y_type || !SameShape(x, y)) return Mismatch("quantize and dequantize need an 8-bit and a float tensor of one shape");
  if (!std::isfinite(attrs.scale) || attrs.scale <= 0.0f) return Unsupported("a quantization scale is not a positive number");
  const bool in_range = attrs.zp >= context.lowest() && attrs.zp <= context.highest();
  return in_range ? Status::Ok() : Unsupported("a zero-point is outside the activation type");
}

struct Normalization {
  const float *mul, *add;
  float operator()(int64_t c, uint8_t x) const { return static_cast<float>(x) * mul[c] + add[c]; }
};

}  // namespace

Status PrepareQuantize(const OpContext& context, DriverPtr* driver) {
  Status status = CheckQuantize(context, DType::kF32, context.activation());
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (!status.ok()) return status;
  const Tensor& y = context.Output();
  const bool spread = context.Input(0)->dense() && !y.dense() && y.channels() <= QuantizePixels::kMaxChannels;
  if (spread) driver->reset(new QuantizePixels(context, x));
  else driver->reset(new Requantize<float, uint8_t>(context, context.kernels().elementwise->quantize, x));
  return status;
}

Status PrepareDequantize(const OpContext& context, DriverPtr* driver) {
  Status status = CheckQuantize(context, context.activation(), DType::kF32);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (status.ok()) driver->reset(new Requantize<uint8_t, float>(context, context.kernels().elementwise->dequantize, x));
  return status;
}

Status PrepareNormalizeU8(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kU8 || y.dtype != DType::kF32 || !SameShape(x, y)) return Mismatch("normalization needs u8 pixels and floats of one shape");
  for (uint32_t i : {1u, 2u}) {
    const Tensor& t = *context.Input(i);
    if (t.dtype != DType::kF32 || t.elements != y.channels() || !t.dense()) return Mismatch("normalization needs a factor and a term for each channel");
  }
  const uint8_t *data = nullptr, *mul = nullptr, *add = nullptr;
  Status status = context.InputData(0, &data);
  if (status.ok()) status = context.InputData(1, &mul);
  if (status.ok()) status = context.InputData(2, &add);
  const Normalization normalization{reinterpret_cast<const float*>(mul), reinterpret_cast<const float*>(add)};
  if (status.ok()) driver->reset(new ChannelMap<uint8_t, float, Normalization>(context, data, normalization, 64, "normalize_u8"));
  return status;
}

}  // namespace sterna
