// ConvQ8F32: convolutions of 8 bits whose sums leave as floats. Binary and ternary ones are on bits always, whatever their size: between float
// layers nothing else is as small.
#include "engine/ops/conv_bits.h"
#include "engine/ops/conv_gemm.h"

namespace sterna {
namespace {

constexpr int64_t kMaxDepthBits = 1 << 20;  // sums of signs stay exact as floats

enum Input : uint32_t { kScale = 2, kBias };

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
  if (x.dtype != context.activation() || y.dtype != DType::kF32 || w.dtype != DType::kS8) return Mismatch("a convolution from bytes to floats has the wrong types");
  const int32_t x_zp = context.Attrs<ConvQ8F32Attrs>().x_zp;
  if (x_zp < context.lowest() || x_zp > context.highest()) return Unsupported("a zero-point is outside the activation type");
  const Status status = CheckVector(context, kScale, DType::kF32, s.o);
  return status.ok() ? CheckVector(context, kBias, DType::kF32, s.o) : status;
}

// Of `channels` numbers and 64 more, all alike.
template <typename T>
Status Filled(const OpContext& context, int64_t channels, T value, const T** out) {
  uint8_t* block;
  const uint64_t count = RoundUp(static_cast<uint64_t>(channels), 64) + 64;
  const Status status = context.Allocate(count * sizeof(T), &block);
  if (!status.ok()) return status;
  std::fill_n(reinterpret_cast<T*>(block), count, value);
  *out = reinterpret_cast<const T*>(block);
  return status;
}

Status PrepareProducts(const OpContext& context, const ConvShape& s, int32_t x_zp, const WideQ8& floats, DriverPtr* driver) {
  if (s.k() > kMaxDepthQ8) return Unsupported("a convolution sums more products than fit 32 bits");
  ConvTarget target{};
  target.y = context.OutputData(), target.y_stride = static_cast<size_t>(context.Output().pixel_stride) * sizeof(float);
  target.wide = floats;
  target.requant.scale = floats.scale;  // nothing reads it; it moves along with the channels
  // A sum without a bias keeps the sign of its zero.
  Status status = floats.bias != nullptr ? Status::Ok() : Filled(context, s.o, -0.0f, &target.wide.bias);
  if (status.ok()) status = Filled(context, s.o, int32_t{0}, &target.wide.offset);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(kX, &x);
  return status.ok() ? PrepareGemmQ8(context, s, x_zp, nullptr, target, x, driver) : status;
}

Status PrepareBits(const OpContext& context, const ConvShape& s, int32_t x_zp, const BitFamily& family, const WideQ8& floats, DriverPtr* driver) {
  if (s.k() > kMaxDepthBits) return Unsupported("a ternary convolution sums more products than a float holds");
  BitLayer layer;
  const Status status = layer.Init(context, s, family, x_zp, nullptr);
  if (!status.ok()) return status;
  const Tensor& y = context.Output();
  const BitsF32 output(reinterpret_cast<float*>(context.OutputData()), static_cast<size_t>(y.pixel_stride), floats.scale, floats.bias);
  driver->reset(new BitConv<BitsF32>(std::move(layer), output));
  return status;
}

}  // namespace

Status PrepareConvQ8F32(const OpContext& context, DriverPtr* driver) {
  const ConvQ8F32Attrs& attrs = context.Attrs<ConvQ8F32Attrs>();
  ConvShape shape;
  Status status = CheckConv(*context.Input(kX), *context.Input(kW), context.Output(), attrs.geometry, &shape);
  if (status.ok()) status = CheckTensors(context, shape);
  if (!status.ok()) return status;
  WideQ8 floats{};
  status = CopyByChannel(context, kScale, shape.o, &floats.scale);
  if (status.ok()) status = CopyByChannel(context, kBias, shape.o, &floats.bias);
  if (!status.ok()) return status;
  BitFamily family;
  if (FindBitFamily(context, attrs.x_zp, &family)) return PrepareBits(context, shape, attrs.x_zp, family, floats, driver);
  return PrepareProducts(context, shape, attrs.x_zp, floats, driver);
}

}  // namespace sterna
