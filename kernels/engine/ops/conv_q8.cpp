// ConvQ8: checks the attributes, packs the weights for the chosen kernel, and picks the driver.
#include <cmath>

#include "engine/ops/codes_note.h"
#include "engine/ops/conv_gemm.h"
#include "engine/ops/conv_bits.h"
#include "engine/ops/depthwise.h"
#include "engine/ops/table.h"

namespace sterna {
namespace {

enum Input : uint32_t { kBias = 2, kScale, kScaleNeg, kTable, kResidual };

class BitsQ8 {
 public:
  explicit BitsQ8(const ConvTarget& target) : target_(target) {}

  size_t ScratchBytes(int64_t, int64_t) const { return 0; }
  void Multiply(const GemmBitsKernel& kernel, GemmBitsArgs& args, int64_t pixel, int64_t channel, uint8_t*) const {
    args.y = target_.OutputAt(pixel, channel), args.y_stride = target_.y_stride;
    args.requant = target_.At(pixel, channel);
    kernel.run(&args);
  }

 private:
  ConvTarget target_;
};

class DwQ8 {
 public:
  using Element = uint8_t;
  static constexpr bool kTwoRows = true;

  DwQ8(const DwConvQ8Kernel* kernel, const uint8_t* packed, const ConvTarget& target) : kernel_(kernel), packed_(packed), target_(target) {}

  uint8_t* OutputAt(int64_t pixel) const { return target_.OutputAt(pixel, 0); }
  int64_t y_stride() const { return static_cast<int64_t>(target_.y_stride); }

  void Run(uint8_t* y, const ConvShape& s, const uint8_t* const* rows, int64_t pixel, const uint8_t* zero_pixel, size_t x_stride, uint8_t* scratch) const {
    const DwConvQ8Args args = Args(y, s, rows, pixel, zero_pixel, x_stride, scratch);
    kernel_->run(&args);
  }
  void RunTwo(uint8_t* y, const ConvShape& s, const uint8_t* const* upper, const uint8_t* const* lower, int64_t pixel, int64_t width, const uint8_t* zero_pixel,
              size_t x_stride, uint8_t* scratch) const {
    const DwConvQ8Args first = Args(y, s, upper, pixel, zero_pixel, x_stride, scratch);
    const DwConvQ8Args second = Args(y + static_cast<size_t>(width) * target_.y_stride, s, lower, pixel + width, zero_pixel, x_stride, scratch);
    if (kernel_->run_two != nullptr) return kernel_->run_two(&first, &second);
    kernel_->run(&first);
    kernel_->run(&second);
  }
  size_t ScratchBytes(const ConvShape& s) const {
    return kernel_->scratch_bytes(static_cast<size_t>(s.c), static_cast<size_t>(s.kh), static_cast<size_t>(s.kw), static_cast<size_t>(s.w),
                                  static_cast<size_t>(s.ow));
  }
  int64_t rows_at_once() const { return kernel_->run_two != nullptr ? 2 : 1; }
  const char* name() const { return kernel_->name; }

 private:
  DwConvQ8Args Args(uint8_t* y, const ConvShape& s, const uint8_t* const* rows, int64_t pixel, const uint8_t* zero_pixel, size_t x_stride, uint8_t* scratch) const {
    DwConvQ8Args args = DwArgs<DwConvQ8Args>(s, rows, zero_pixel, x_stride);
    args.packed = packed_;
    args.y = y, args.y_stride = target_.y_stride;
    args.requant = target_.At(pixel, 0);
    args.scratch = scratch;
    return args;
  }

  const DwConvQ8Kernel* kernel_;
  const uint8_t* packed_;
  ConvTarget target_;
};

Status CheckAttrs(const OpContext& context, const ConvQ8Attrs& a, bool residual) {
  const int32_t lo = context.lowest(), hi = context.highest();
  const auto in = [&](int32_t v) { return v >= lo && v <= hi; };
  if (!in(a.x_zp) || !in(a.mid_zp) || !in(a.mid_lo) || !in(a.mid_hi) || a.mid_lo > a.mid_hi) {
    return Unsupported("a zero-point or clamp is outside the activation type");
  }
  if (!residual) return Status::Ok();
  if (!in(a.res_zp) || !in(a.y_zp) || !in(a.y_lo) || !in(a.y_hi) || a.y_lo > a.y_hi) return Unsupported("a zero-point or clamp is outside the activation type");
  return std::isfinite(a.mid_mul) && std::isfinite(a.res_mul) ? Status::Ok() : Unsupported("a scale is not finite");
}

Status CheckTensors(const OpContext& context, const ConvShape& s) {
  const Tensor &x = *context.Input(kX), &w = *context.Input(kW), &y = context.Output();
  if (x.dtype != context.activation() || y.dtype != context.activation() || w.dtype != DType::kS8) return Mismatch("a quantized convolution has the wrong types");
  if (s.k() > kMaxDepthQ8) return Unsupported("a convolution sums more products than fit 32 bits");
  if (context.Input(kScale) == nullptr) return Mismatch("a quantized convolution needs its scale");
  Status status = CheckVector(context, kBias, DType::kS32, s.o);
  if (status.ok()) status = CheckVector(context, kScale, DType::kF32, s.o);
  if (status.ok()) status = CheckVector(context, kScaleNeg, DType::kF32, s.o);
  if (status.ok()) status = CheckVector(context, kTable, context.activation(), 256);
  const Tensor* residual = context.Input(kResidual);
  if (!status.ok() || residual == nullptr) return status;
  return residual->dtype == context.activation() && SameShape(*residual, y) ? Status::Ok() : Mismatch("a residual does not have its convolution's type and shape");
}

Status MakeTarget(const OpContext& context, const ConvQ8Attrs& a, int64_t channels, ConvTarget* target) {
  RequantQ8& r = target->requant;
  r = {};
  Status status = CopyByChannel(context, kScale, channels, &r.scale);
  if (status.ok()) status = CopyByChannel(context, kScaleNeg, channels, &r.scale_neg);
  if (status.ok() && context.Input(kTable) != nullptr) {
    uint8_t* table;
    status = context.Allocate(256, &table);
    if (!status.ok()) return status;
    CopyTable(context.activation(), context.Constant(kTable), 256, table);
    r.table = table;
  }
  if (status.ok() && context.Input(kResidual) != nullptr) {
    r.residual_stride = static_cast<size_t>(context.Input(kResidual)->pixel_stride);
    status = context.InputData(kResidual, &r.residual);
  }
  r.mid_zp = a.mid_zp, r.mid_lo = a.mid_lo, r.mid_hi = a.mid_hi;
  if (r.residual != nullptr) {  // without a residual, nothing has checked these attributes
    r.res_zp = a.res_zp, r.y_zp = a.y_zp, r.y_lo = a.y_lo, r.y_hi = a.y_hi;
    r.mid_mul = a.mid_mul, r.res_mul = a.res_mul;
  }
  target->y = context.OutputData();
  target->y_stride = static_cast<size_t>(context.Output().pixel_stride);
  return status;
}

Status PrepareDepthwise(const OpContext& context, const ConvShape& s, const ConvTarget& target, const uint8_t* x, DriverPtr* driver) {
  const int32_t x_zp = context.Attrs<ConvQ8Attrs>().x_zp;
  const int32_t* bias = reinterpret_cast<const int32_t*>(context.Constant(kBias));
  const size_t c = static_cast<size_t>(s.c), kh = static_cast<size_t>(s.kh), kw = static_cast<size_t>(s.kw);
  const uint8_t* zero_row = nullptr;
  Status status = MakeZeroRow(context, s, *context.Input(kX), static_cast<uint8_t>(x_zp), &zero_row);
  for (const DwConvQ8Kernel* kernel : Candidates(context, &KernelSet::dwconv_q8)) {
    const uint8_t* packed = nullptr;
    const PackedForm form{kernel->name, s.c, RoundUp(kernel->packed_bytes(c, kh, kw), 64)};
    if (status.ok()) status = context.PackedWeights(kW, form, [&](uint8_t* block) {
      std::vector<int8_t> w(static_cast<size_t>(s.c * s.k()));
      TransposeDepthwise(s, reinterpret_cast<const int8_t*>(context.Constant(kW)), w.data());
      return kernel->pack(c, kh, kw, w.data(), bias, x_zp, block);
    }, &packed);
    if (!status.ok()) return status;
    if (packed == nullptr) continue;
    driver->reset(new DepthwiseConv<DwQ8>(s, *context.Input(kX), x, zero_row, DwQ8(kernel, packed, target)));
    return status;
  }
  return Unsupported("no kernel is exact for these weights");
}

// Whether a layer runs on bits: its codes allow it, and this CPU gains by it; or its weights come packed that way. Not in a strip: its drivers
// know no rows elsewhere, and the planner leaves layers of such weights out of strips.
bool ChooseBits(const OpContext& context, const ConvShape& s, BitFamily* family) {
  if (context.in_strip() || !FindBitFamily(context, context.Attrs<ConvQ8Attrs>().x_zp, family)) return false;
  return context.Packed(kW) != nullptr || (WideEnoughForBits(s) && context.kernels().Wins(family->name));
}

Status PrepareBits(const OpContext& context, const ConvShape& s, const BitFamily& family, const ConvTarget& target, DriverPtr* driver) {
  BitLayer layer;
  const int32_t* bias = reinterpret_cast<const int32_t*>(context.Constant(kBias));
  const Status status = layer.Init(context, s, family, context.Attrs<ConvQ8Attrs>().x_zp, bias);
  if (status.ok()) driver->reset(new BitConv<BitsQ8>(std::move(layer), BitsQ8(target)));
  return status;
}

}  // namespace

Status PrepareConvQ8(const OpContext& context, DriverPtr* driver) {
  const ConvQ8Attrs& attrs = context.Attrs<ConvQ8Attrs>();
  ConvShape shape;
  Status status = CheckConv(*context.Input(kX), *context.Input(kW), context.Output(), attrs.geometry, &shape);
  if (status.ok()) status = CheckAttrs(context, attrs, context.Input(kResidual) != nullptr);
  if (status.ok()) status = CheckTensors(context, shape);
  ConvTarget target = {};
  if (status.ok()) status = MakeTarget(context, attrs, shape.o, &target);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(kX, &x);
  if (!status.ok()) return status;
  const bool depthwise = shape.depthwise() && shape.kh <= kMaxDepthwiseRows;
  BitFamily family;
  if (depthwise) status = PrepareDepthwise(context, shape, target, x, driver);
  else if (ChooseBits(context, shape, &family)) status = PrepareBits(context, shape, family, target, driver);
  else status = PrepareGemmQ8(context, shape, attrs.x_zp, reinterpret_cast<const int32_t*>(context.Constant(kBias)), target, x, driver);
  if (status.ok()) (*driver)->set_note(NoteOfCodes(context, shape, attrs.x_zp, (*driver)->kernel()));
  return status;
}

}  // namespace sterna
