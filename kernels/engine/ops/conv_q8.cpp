// ConvQ8: checks the attributes, packs the weights for the chosen kernel, and picks the driver.
#include <cmath>

#include "engine/ops/codes_note.h"
#include "engine/ops/conv.h"
#include "engine/ops/conv_bits.h"
#include "engine/ops/depthwise.h"
#include "engine/ops/table.h"

namespace sterna {
namespace {

// Longest sum of products u8 * s8 that is exact in 32 bits, with room for the bias: 66000 * 255 * 127 < 2^31.
constexpr int64_t kMaxDepth = 66000;

enum Input : uint32_t { kX, kW, kBias, kScale, kScaleNeg, kTable, kResidual };

// Where a convolution writes, and what it adds.
struct Target {
  uint8_t* y;
  size_t y_stride;
  RequantQ8 requant;

  // The epilogue of output pixels from `pixel` on, channels from `channel` on.
  RequantQ8 At(int64_t pixel, int64_t channel) const {
    RequantQ8 r = requant;
    r.scale += channel;
    if (r.scale_neg != nullptr) r.scale_neg += channel;
    if (r.residual != nullptr) r.residual += static_cast<size_t>(pixel) * r.residual_stride + static_cast<size_t>(channel);
    return r;
  }
  uint8_t* OutputAt(int64_t pixel, int64_t channel) const { return y + static_cast<size_t>(pixel) * y_stride + channel; }
  const uint8_t* ResidualAt(int64_t pixel) const { return requant.residual == nullptr ? nullptr : requant.residual + static_cast<size_t>(pixel) * requant.residual_stride; }
};

// What the rows of A hold: values in [lo, hi], of which zp stands for zero.
struct Codes {
  int32_t zp, lo, hi;
};

bool PackWith(const GemmQ8Kernel& kernel, size_t n, size_t k, const int8_t* w, const int32_t* bias, const Codes& a, void* packed) {
  return kernel.pack(n, k, w, bias, a.zp, packed);
}
bool PackWith(const GemmNarrowKernel& kernel, size_t n, size_t k, const int8_t* w, const int32_t* bias, const Codes& a, void* packed) {
  return kernel.pack(n, k, w, bias, a.zp, a.lo, a.hi, packed);
}

// Kernel: GemmQ8Kernel, or GemmNarrowKernel for inputs of few codes.
template <typename Kernel>
class GemmQ8 : public PanelGemm<Kernel> {
  using Base = PanelGemm<Kernel>;
  using Base::k_, Base::kernel_, Base::packed_, Base::plan_, Base::Width;

 public:
  using Element = uint8_t;

  GemmQ8(const Kernel* kernel, const ConvShape& s, const PanelPlan& plan, const Target& target) : Base(kernel, s, plan), target_(target) {}

  uint8_t* OutputAt(int64_t pixel) const { return target_.OutputAt(pixel, 0); }
  int64_t y_stride() const { return static_cast<int64_t>(target_.y_stride); }

  void Run(uint8_t* y, int64_t pixel, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    Multiply(y + channel, target_.y_stride, count, panel, a, a_stride, target_.At(pixel, channel), scratch);
  }

  const uint8_t* ResidualAt(int64_t pixel) const { return target_.ResidualAt(pixel); }
  void RunApart(const RowsApart<uint8_t>& rows, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    RequantQ8 requant = target_.At(0, channel);
    if (rows.residual != nullptr) requant.residual = rows.residual + channel, requant.residual_stride = rows.stride;
    Multiply(rows.y + channel, rows.stride, count, panel, a, a_stride, requant, scratch);
  }

  // `w` is null when the program brings the weights packed. False in *exact when the kernel cannot be exact for these weights.
  Status Pack(const OpContext& context, const int8_t* w, const int32_t* bias, const Codes& codes, bool* exact) {
    return Base::PackPanels(context, kW, [&](int64_t panel, uint8_t* block) {
      const int64_t channel = panel * plan_.width;
      return PackWith(*kernel_, Width(panel), k_, w + channel * static_cast<int64_t>(k_), bias != nullptr ? bias + channel : nullptr, codes, block);
    }, exact);
  }

 private:
  void Multiply(uint8_t* y, size_t y_stride, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, const RequantQ8& requant, uint8_t* scratch) const {
    const GemmQ8Args args{static_cast<size_t>(count), Width(panel), k_, a, a_stride, packed_[static_cast<size_t>(panel)], y, y_stride, requant, scratch};
    kernel_->run(&args);
  }

  Target target_;
};

class BitsQ8 {
 public:
  explicit BitsQ8(const Target& target) : target_(target) {}

  size_t ScratchBytes(int64_t, int64_t) const { return 0; }
  void Multiply(const GemmBitsKernel& kernel, GemmBitsArgs& args, int64_t pixel, int64_t channel, uint8_t*) const {
    args.y = target_.OutputAt(pixel, channel), args.y_stride = target_.y_stride;
    args.requant = target_.At(pixel, channel);
    kernel.run(&args);
  }

 private:
  Target target_;
};

class DwQ8 {
 public:
  using Element = uint8_t;
  static constexpr bool kTwoRows = true;

  DwQ8(const DwConvQ8Kernel* kernel, const uint8_t* packed, const Target& target) : kernel_(kernel), packed_(packed), target_(target) {}

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
  Target target_;
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
  if (s.k() > kMaxDepth) return Unsupported("a convolution sums more products than fit 32 bits");
  if (context.Input(kScale) == nullptr) return Mismatch("a quantized convolution needs its scale");
  Status status = CheckVector(context, kBias, DType::kS32, s.o);
  if (status.ok()) status = CheckVector(context, kScale, DType::kF32, s.o);
  if (status.ok()) status = CheckVector(context, kScaleNeg, DType::kF32, s.o);
  if (status.ok()) status = CheckVector(context, kTable, context.activation(), 256);
  const Tensor* residual = context.Input(kResidual);
  if (!status.ok() || residual == nullptr) return status;
  return residual->dtype == context.activation() && SameShape(*residual, y) ? Status::Ok() : Mismatch("a residual does not have its convolution's type and shape");
}

// A copy that is readable 64 entries past the last channel, whatever channel a kernel starts from.
Status CopyScale(const OpContext& context, uint32_t input, int64_t channels, const float** out) {
  const float* from = reinterpret_cast<const float*>(context.Constant(input));
  *out = nullptr;
  if (from == nullptr) return Status::Ok();
  for (int64_t i = 0; i < channels; ++i) {
    if (!std::isfinite(from[i])) return Unsupported("a scale is not finite");
  }
  uint8_t* block;
  const Status status = context.Allocate(RoundUp(static_cast<uint64_t>(channels), 64) * 4 + 64 * 4, &block);
  if (!status.ok()) return status;
  std::memcpy(block, from, static_cast<size_t>(channels) * 4);
  *out = reinterpret_cast<const float*>(block);
  return status;
}

Status MakeTarget(const OpContext& context, const ConvQ8Attrs& a, int64_t channels, Target* target) {
  RequantQ8& r = target->requant;
  r = {};
  Status status = CopyScale(context, kScale, channels, &r.scale);
  if (status.ok()) status = CopyScale(context, kScaleNeg, channels, &r.scale_neg);
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

// The kernels to try, best first: the one that packed the weights, else those that can. Only ref takes a weight of -128
// (include/sterna/epilogue.h).
template <typename Kernel>
std::vector<const Kernel*> Candidates(const OpContext& context, const Kernel* KernelSet::*member) {
  const Tensor& w = *context.Input(kW);
  const Kernel *best = context.kernels().*member, *ref = RefKernels(context.activation()).*member;
  if (context.Packed(kW) != nullptr) return {std::strcmp(context.Packed(kW)->kernel, ref->name) == 0 ? ref : best};
  const bool full_range = std::memchr(context.Constant(kW), 0x80, static_cast<size_t>(w.elements)) != nullptr;
  return full_range ? std::vector<const Kernel*>{ref} : std::vector<const Kernel*>{best, ref};
}

Status PrepareDepthwise(const OpContext& context, const ConvShape& s, const Target& target, const uint8_t* x, DriverPtr* driver) {
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

// The values that reach the product: those of the input, and what stands for zero around it.
Codes CodesOf(const OpContext& context, const ConvShape& s) {
  const int32_t zp = context.Attrs<ConvQ8Attrs>().x_zp;
  const ByteSet& values = context.Values(kX);
  const Codes inside{zp, values.Lowest(context.activation()), values.Highest(context.activation())};
  const bool padded = s.g.pad_top > 0 || s.g.pad_left > 0 || s.g.pad_bottom > 0 || s.g.pad_right > 0;
  return padded ? Codes{zp, std::min(inside.lo, zp), std::max(inside.hi, zp)} : inside;
}

// The kernels of few codes to try, best first: gemm_w46 takes whatever gemm_u4u4 does, and is as fast or faster (DECISIONS.md).
std::vector<const GemmNarrowKernel*> NarrowCandidates(const OpContext& context, const Codes& codes) {
  struct Family {
    const char* name;
    const GemmNarrowKernel* KernelSet::*member;
  };
  constexpr Family kFamilies[] = {{"gemm_w46", &KernelSet::gemm_w46}, {"gemm_u4u4", &KernelSet::gemm_u4u4}};
  constexpr int32_t kMostCodes = 128;  // of a level pair of 4.6 bits, rounded up: spares layers of 8 bits the attempt
  std::vector<const GemmNarrowKernel*> kernels;
  if (codes.hi - codes.lo >= kMostCodes) return kernels;
  const PackedRecord* packed = context.Packed(kW);
  for (const Family& family : kFamilies) {
    const GemmNarrowKernel* kernel = context.kernels().*family.member;
    const bool own = kernel != RefKernels(context.activation()).*family.member;
    if (packed != nullptr ? std::strcmp(packed->kernel, kernel->name) == 0 : own && context.kernels().Wins(family.name)) kernels.push_back(kernel);
  }
  return kernels;
}

// Makes a driver for the first kernel that is exact for the weights; where none is, *driver stays empty.
template <typename Kernel>
Status TryGemms(const OpContext& context, const std::vector<const Kernel*>& kernels, const ConvShape& s, const Codes& codes, const Target& target, const uint8_t* x,
                DriverPtr* driver) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  const int32_t* bias = reinterpret_cast<const int32_t*>(context.Constant(kBias));
  for (const Kernel* kernel : kernels) {
    GemmQ8<Kernel> gemm(kernel, s, PlanPanels(s, context), target);
    bool exact;
    const Status status = gemm.Pack(context, w, bias, codes, &exact);
    if (!status.ok()) return status;
    if (!exact) continue;
    *driver = MakeConvDriver(s, *context.Input(kX), x, static_cast<uint8_t>(codes.zp), std::move(gemm));
    return status;
  }
  return Status::Ok();
}

Status PrepareGemm(const OpContext& context, const ConvShape& s, const Target& target, const uint8_t* x, DriverPtr* driver) {
  const Codes codes = CodesOf(context, s);
  Status status = TryGemms(context, NarrowCandidates(context, codes), s, codes, target, x, driver);
  if (status.ok() && *driver == nullptr) status = TryGemms(context, Candidates(context, &KernelSet::gemm_q8), s, codes, target, x, driver);
  return status.ok() && *driver == nullptr ? Unsupported("no kernel is exact for these weights") : status;
}

// Whether a layer runs on bits: its codes allow it, and this CPU gains by it; or its weights come packed that way. Not in a strip: its drivers
// know no rows elsewhere, and the planner leaves layers of such weights out of strips.
bool ChooseBits(const OpContext& context, const ConvShape& s, BitFamily* family) {
  if (context.in_strip() || !FindBitFamily(context, context.Attrs<ConvQ8Attrs>().x_zp, family)) return false;
  return context.Packed(kW) != nullptr || (WideEnoughForBits(s) && context.kernels().Wins(family->name));
}

Status PrepareBits(const OpContext& context, const ConvShape& s, const BitFamily& family, const Target& target, DriverPtr* driver) {
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
  Target target;
  if (status.ok()) status = MakeTarget(context, attrs, shape.o, &target);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(kX, &x);
  if (!status.ok()) return status;
  const bool depthwise = shape.depthwise() && shape.kh <= kMaxDepthwiseRows;
  BitFamily family;
  if (depthwise) status = PrepareDepthwise(context, shape, target, x, driver);
  else if (ChooseBits(context, shape, &family)) status = PrepareBits(context, shape, family, target, driver);
  else status = PrepareGemm(context, shape, target, x, driver);
  if (status.ok()) (*driver)->set_note(NoteOfCodes(context, shape, attrs.x_zp, (*driver)->kernel()));
  return status;
}

}  // namespace sterna
