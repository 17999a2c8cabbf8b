// ConvF32: checks the attributes, packs the weights for the chosen kernel, and picks the driver.
#include <cmath>
#include <limits>

#include "engine/ops/conv_windows.h"
#include "engine/ops/depthwise.h"
#include "engine/ops/unary.h"

namespace sterna {
namespace {

enum Input : uint32_t { kX, kW, kBias, kSlope, kResidual };

// Where a convolution writes, and what it adds. Activations beyond a clamp or PRelu are applied to the finished block.
struct Target {
  float* y;
  size_t y_stride;
  EpilogueF32 epilogue;
  bool finish;  // `unary`, then the late residual, are applied after the kernel
  UnaryFunction unary;
  const float* late_residual;
  size_t late_residual_stride;

  EpilogueF32 At(int64_t pixel, int64_t channel) const {
    EpilogueF32 e = epilogue;
    if (e.bias != nullptr) e.bias += channel;
    if (e.slope != nullptr) e.slope += channel;
    if (e.residual != nullptr) e.residual += static_cast<size_t>(pixel) * e.residual_stride + static_cast<size_t>(channel);
    return e;
  }
  float* OutputAt(int64_t pixel, int64_t channel) const { return y + static_cast<size_t>(pixel) * y_stride + channel; }

  // Output pixels [pixel, pixel + count), the first at `row`.
  void Finish(float* row, int64_t pixel, int64_t count, int64_t channel, size_t width) const {
    const float* residual = late_residual == nullptr ? nullptr : late_residual + static_cast<size_t>(pixel) * late_residual_stride + channel;
    FinishRows(row, y_stride, residual, late_residual_stride, count, width);
  }
  void FinishRows(float* row, size_t stride, const float* residual, size_t residual_stride, int64_t count, size_t width) const {
    if (!finish) return;
    for (int64_t p = 0; p < count; ++p, row += stride) {
      unary.Apply(width, row, row);
      if (residual == nullptr) continue;
      for (size_t i = 0; i < width; ++i) row[i] += residual[i];
      residual += residual_stride;
    }
  }

  // What is added to an output pixel, sooner or later; null: nothing.
  const float* ResidualAt(int64_t pixel) const {
    if (late_residual != nullptr) return late_residual + static_cast<size_t>(pixel) * late_residual_stride;
    return epilogue.residual == nullptr ? nullptr : epilogue.residual + static_cast<size_t>(pixel) * epilogue.residual_stride;
  }
};

class GemmF32 : public PanelGemm<GemmF32Kernel> {
 public:
  using Element = float;

  GemmF32(const GemmF32Kernel* kernel, const ConvShape& s, const PanelPlan& plan, const Target& target)
      : PanelGemm(kernel, s, plan), target_(target) {}

  float* OutputAt(int64_t pixel) const { return target_.OutputAt(pixel, 0); }
  int64_t pixel_elements() const { return n_; }
  int64_t y_stride() const { return static_cast<int64_t>(target_.y_stride); }

  void Run(float* y, int64_t pixel, int64_t count, int64_t panel, const float* a, size_t a_stride, uint8_t* scratch) const {
    const GemmF32Args args = Args(y, pixel, count, panel, a, a_stride, scratch);
    kernel_->run(&args);
    target_.Finish(args.y, pixel, count, panel * plan_.width, args.n);
  }

  const float* ResidualAt(int64_t pixel) const { return target_.ResidualAt(pixel); }
  void RunApart(const RowsApart<float>& rows, int64_t count, int64_t panel, const float* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    GemmF32Args args = Args(rows.y, 0, count, panel, a, a_stride, scratch);
    args.y_stride = rows.stride;
    const float* residual = rows.residual == nullptr ? nullptr : rows.residual + channel;
    if (args.epilogue.residual != nullptr) args.epilogue.residual = residual, args.epilogue.residual_stride = rows.stride;
    kernel_->run(&args);
    target_.FinishRows(args.y, rows.stride, target_.late_residual == nullptr ? nullptr : residual, rows.stride, count, args.n);
  }

  bool takes_windows() const { return kernel_->run_pieces != nullptr; }
  void RunWindows(float* y, int64_t pixel, int64_t count, int64_t step, int64_t panel, const float* a, size_t a_stride, size_t rows, size_t row_stride) const {
    GemmF32Args args = Args(y, pixel, count, panel, a, a_stride, nullptr);
    args.y_stride *= static_cast<size_t>(step), args.epilogue.residual_stride *= static_cast<size_t>(step);
    kernel_->run_pieces(&args, rows, row_stride);
    const float* late = target_.late_residual == nullptr ? nullptr : target_.ResidualAt(pixel) + panel * plan_.width;
    target_.FinishRows(args.y, args.y_stride, late, target_.late_residual_stride * static_cast<size_t>(step), count, args.n);
  }

  // `w` is null when the program brings the weights packed.
  Status Pack(const OpContext& context, const float* w) {
    bool exact;  // float kernels take any weights
    return PackPanels(context, kW, [&](int64_t panel, uint8_t* block) {
      kernel_->pack(Width(panel), k_, DenseF32(w + panel * plan_.width * static_cast<int64_t>(k_), k_), block);
      return true;
    }, &exact);
  }

 private:
  // `y`: where the first pixel's first channel goes.
  GemmF32Args Args(float* y, int64_t pixel, int64_t count, int64_t panel, const float* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    return {static_cast<size_t>(count), Width(panel), k_, a, a_stride, packed_[static_cast<size_t>(panel)], y + channel,
            target_.y_stride, target_.At(pixel, channel), scratch};
  }

  Target target_;
};

class DwF32 {
 public:
  using Element = float;
  static constexpr bool kTwoRows = true;

  DwF32(const DwConvF32Kernel* kernel, const float* w, const Target& target) : kernel_(kernel), w_(w), target_(target) {}

  float* OutputAt(int64_t pixel) const { return target_.OutputAt(pixel, 0); }
  int64_t y_stride() const { return static_cast<int64_t>(target_.y_stride); }

  void Run(float* y, const ConvShape& s, const float* const* rows, int64_t pixel, const float* zero_pixel, size_t x_stride, uint8_t*) const {
    const DwConvF32Args args = Args(y, s, rows, pixel, zero_pixel, x_stride);
    kernel_->run(&args);
    target_.Finish(y, pixel, s.ow, 0, args.channels);
  }
  void RunTwo(float* y, const ConvShape& s, const float* const* upper, const float* const* lower, int64_t pixel, int64_t width, const float* zero_pixel,
              size_t x_stride, uint8_t* scratch) const {
    float* below = y + static_cast<size_t>(width) * target_.y_stride;
    if (kernel_->run_two == nullptr) {
      Run(y, s, upper, pixel, zero_pixel, x_stride, scratch);
      return Run(below, s, lower, pixel + width, zero_pixel, x_stride, scratch);
    }
    const DwConvF32Args first = Args(y, s, upper, pixel, zero_pixel, x_stride), second = Args(below, s, lower, pixel + width, zero_pixel, x_stride);
    kernel_->run_two(&first, &second);
    target_.Finish(y, pixel, s.ow, 0, first.channels);
    target_.Finish(below, pixel + width, s.ow, 0, first.channels);
  }
  size_t ScratchBytes(const ConvShape&) const { return 0; }
  int64_t rows_at_once() const { return kernel_->run_two != nullptr ? 2 : 1; }
  const char* name() const { return kernel_->name; }

 private:
  DwConvF32Args Args(float* y, const ConvShape& s, const float* const* rows, int64_t pixel, const float* zero_pixel, size_t x_stride) const {
    DwConvF32Args args = DwArgs<DwConvF32Args>(s, rows, zero_pixel, x_stride);
    args.w = w_;
    args.y = y, args.y_stride = target_.y_stride;
    args.epilogue = target_.At(pixel, 0);
    return args;
  }

  const DwConvF32Kernel* kernel_;
  const float* w_;
  Target target_;
};

Status CheckTensors(const OpContext& context, const ConvShape& s) {
  const Tensor &x = *context.Input(kX), &w = *context.Input(kW), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || w.dtype != DType::kF32) return Mismatch("a float convolution has the wrong types");
  Status status = CheckVector(context, kBias, DType::kF32, s.o);
  if (status.ok()) status = CheckVector(context, kSlope, DType::kF32, s.o);
  const Tensor* residual = context.Input(kResidual);
  if (!status.ok() || residual == nullptr) return status;
  return residual->dtype == DType::kF32 && SameShape(*residual, y) ? Status::Ok() : Mismatch("a residual does not have its convolution's type and shape");
}

// The activation as the kernels' epilogue, or as a function to apply afterwards.
Status MakeActivation(const OpContext& context, const ConvF32Attrs& a, int64_t channels, Target* target) {
  EpilogueF32& e = target->epilogue;
  const UnaryKind kind = static_cast<UnaryKind>(a.unary);
  e.lo = -std::numeric_limits<float>::infinity();
  e.hi = std::numeric_limits<float>::infinity();
  target->finish = false;
  if (e.slope != nullptr || kind == UnaryKind::kIdentity) return Status::Ok();
  if (kind == UnaryKind::kRelu || kind == UnaryKind::kClip) {
    e.lo = kind == UnaryKind::kRelu ? 0.0f : a.alpha;
    if (kind == UnaryKind::kClip) e.hi = a.beta;
    return Status::Ok();
  }
  if (kind == UnaryKind::kLeakyRelu) {
    uint8_t* slope;
    const Status status = context.Allocate(static_cast<uint64_t>(channels) * 4 + 64 * 4, &slope);
    if (!status.ok()) return status;
    std::fill_n(reinterpret_cast<float*>(slope), channels, a.alpha);
    e.slope = reinterpret_cast<const float*>(slope);
    return status;
  }
  target->finish = true;
  if (!a.residual_first) {
    target->late_residual = e.residual;
    target->late_residual_stride = e.residual_stride;
    e.residual = nullptr;
  }
  return MakeUnary(context.kernels(), a.unary, a.alpha, a.beta, &target->unary);
}

Status CopyVector(const OpContext& context, uint32_t input, const float** out) {
  const uint8_t* data = nullptr;
  const Status status = context.Input(input) != nullptr ? context.InputData(input, &data) : Status::Ok();
  *out = reinterpret_cast<const float*>(data);
  return status;
}

Status MakeTarget(const OpContext& context, const ConvF32Attrs& a, int64_t channels, Target* target) {
  *target = {};
  EpilogueF32& e = target->epilogue;
  Status status = CopyVector(context, kBias, &e.bias);
  if (status.ok()) status = CopyVector(context, kSlope, &e.slope);
  if (status.ok()) status = CopyVector(context, kResidual, &e.residual);
  if (!status.ok()) return status;
  if (e.residual != nullptr) e.residual_stride = static_cast<size_t>(context.Input(kResidual)->pixel_stride);
  e.residual_first = a.residual_first != 0;
  target->y = reinterpret_cast<float*>(context.OutputData());
  target->y_stride = static_cast<size_t>(context.Output().pixel_stride);
  return MakeActivation(context, a, channels, target);
}

Status PrepareDepthwise(const OpContext& context, const ConvShape& s, const Target& target, const uint8_t* x, DriverPtr* driver) {
  uint8_t* w;
  Status status = context.Allocate(static_cast<uint64_t>(s.c * s.k()) * 4, &w);
  const float* zero_row = nullptr;
  if (status.ok()) status = MakeZeroRow(context, s, *context.Input(kX), 0.0f, &zero_row);
  if (!status.ok()) return status;
  TransposeDepthwise(s, reinterpret_cast<const float*>(context.Constant(kW)), reinterpret_cast<float*>(w));
  const DwF32 dw(context.kernels().dwconv_f32, reinterpret_cast<const float*>(w), target);
  driver->reset(new DepthwiseConv<DwF32>(s, *context.Input(kX), x, zero_row, dw));
  return status;
}

}  // namespace

Status PrepareConvF32(const OpContext& context, DriverPtr* driver) {
  const ConvF32Attrs& attrs = context.Attrs<ConvF32Attrs>();
  ConvShape shape;
  Status status = CheckConv(*context.Input(kX), *context.Input(kW), context.Output(), attrs.geometry, &shape);
  if (status.ok()) status = CheckTensors(context, shape);
  Target target;
  if (status.ok()) status = MakeTarget(context, attrs, shape.o, &target);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(kX, &x);
  if (!status.ok()) return status;
  if (shape.depthwise() && shape.kh <= kMaxDepthwiseRows) {
    if (context.Packed(kW) != nullptr) return Unsupported("a depthwise convolution of floats takes plain weights");
    return PrepareDepthwise(context, shape, target, x, driver);
  }
  GemmF32 gemm(context.kernels().gemm_f32, shape, PlanPanels(shape, context), target);
  status = gemm.Pack(context, reinterpret_cast<const float*>(context.Constant(kW)));
  if (!status.ok()) return status;
  if (gemm.takes_windows() && WindowConv<GemmF32>::Fits(shape)) driver->reset(new WindowConv<GemmF32>(shape, *context.Input(kX), x, std::move(gemm)));
  else *driver = MakeConvDriver(shape, *context.Input(kX), x, 0.0f, std::move(gemm));
  return status;
}

}  // namespace sterna
