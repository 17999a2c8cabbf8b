// ConvQ8F32: binary and ternary convolutions whose sums leave as floats. On bits always: whoever writes this op means it.
#include "engine/ops/conv_bits.h"

namespace sterna {
namespace {

constexpr int64_t kMaxDepth = 1 << 20;  // sums stay exact as floats

enum Input : uint32_t { kX, kW, kScale, kBias };

class BitsF32 {
 public:
  BitsF32(float* y, size_t y_stride, const float* scale, const float* bias) : y_(y), y_stride_(y_stride), scale_(scale), bias_(bias) {}

  size_t ScratchBytes(int64_t block, int64_t channels) const { return RoundUp(static_cast<uint64_t>(block * channels) * sizeof(int32_t), 64); }
  void Multiply(const GemmBitsKernel& kernel, GemmBitsArgs& args, int64_t pixel, int64_t channel, uint8_t* scratch) const {
    args.sums = reinterpret_cast<int32_t*>(scratch), args.sums_stride = args.n;
    kernel.run(&args);
    for (size_t i = 0; i < args.m; ++i) {
      const int32_t* sums = args.sums + i * args.n;
      float* y = y_ + (static_cast<size_t>(pixel) + i) * y_stride_ + channel;
      for (size_t o = 0; o < args.n; ++o) y[o] = static_cast<float>(sums[o]) * scale_[static_cast<size_t>(channel) + o];
      if (bias_ == nullptr) continue;
      for (size_t o = 0; o < args.n; ++o) y[o] += bias_[static_cast<size_t>(channel) + o];
    }
  }

 private:
  float* y_;
  size_t y_stride_;
  const float *scale_, *bias_;
};

Status CheckTensors(const OpContext& context, const ConvShape& s) {
  const Tensor &x = *context.Input(kX), &w = *context.Input(kW), &y = context.Output();
  if (x.dtype != context.activation() || y.dtype != DType::kF32 || w.dtype != DType::kS8) return Mismatch("a ternary convolution has the wrong types");
  if (s.k() > kMaxDepth) return Unsupported("a ternary convolution sums more products than a float holds");
  const int32_t x_zp = context.Attrs<ConvQ8F32Attrs>().x_zp;
  if (x_zp < context.lowest() || x_zp > context.highest()) return Unsupported("a zero-point is outside the activation type");
  const Status status = CheckVector(context, kScale, DType::kF32, s.o);
  return status.ok() ? CheckVector(context, kBias, DType::kF32, s.o) : status;
}

// The floats of an input, or null when it is absent.
Status FloatsOf(const OpContext& context, uint32_t input, const float** floats) {
  *floats = nullptr;
  if (context.Input(input) == nullptr) return Status::Ok();
  const uint8_t* data;
  const Status status = context.InputData(input, &data);
  *floats = reinterpret_cast<const float*>(data);
  return status;
}

}  // namespace

Status PrepareConvQ8F32(const OpContext& context, DriverPtr* driver) {
  const ConvQ8F32Attrs& attrs = context.Attrs<ConvQ8F32Attrs>();
  ConvShape shape;
  Status status = CheckConv(*context.Input(kX), *context.Input(kW), context.Output(), attrs.geometry, &shape);
  if (status.ok()) status = CheckTensors(context, shape);
  if (!status.ok()) return status;
  BitFamily family;
  if (!FindBitFamily(context, attrs.x_zp, &family)) return Unsupported("a ternary convolution's input or weights can be something other than -1, 0 and 1");
  const float *scale, *bias;
  status = FloatsOf(context, kScale, &scale);
  if (status.ok()) status = FloatsOf(context, kBias, &bias);
  BitLayer layer;
  if (status.ok()) status = layer.Init(context, shape, family, attrs.x_zp, nullptr);
  if (!status.ok()) return status;
  const Tensor& y = context.Output();
  driver->reset(new BitConv<BitsF32>(std::move(layer), BitsF32(reinterpret_cast<float*>(context.OutputData()), static_cast<size_t>(y.pixel_stride), scale, bias)));
  return status;
}

}  // namespace sterna
