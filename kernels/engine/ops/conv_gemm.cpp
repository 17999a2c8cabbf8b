#include "engine/ops/conv_gemm.h"

#include <cmath>

namespace sterna {
namespace {

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
  using Base::k_, Base::kernel_, Base::n_, Base::packed_, Base::plan_, Base::Width;

 public:
  using Element = uint8_t;

  GemmQ8(const Kernel* kernel, const ConvShape& s, const PanelPlan& plan, const ConvTarget& target) : Base(kernel, s, plan), target_(target) {}

  uint8_t* OutputAt(int64_t pixel) const { return target_.OutputAt(pixel, 0); }
  int64_t pixel_elements() const { return n_ * static_cast<int64_t>(target_.element_bytes()); }
  int64_t y_stride() const { return static_cast<int64_t>(target_.y_stride); }

  void Run(uint8_t* y, int64_t pixel, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    Multiply(y + Bytes(channel), target_.y_stride, count, panel, a, a_stride, target_.At(pixel, channel), scratch);
  }

  const uint8_t* ResidualAt(int64_t pixel) const { return target_.ResidualAt(pixel); }
  void RunApart(const RowsApart<uint8_t>& rows, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, uint8_t* scratch) const {
    const int64_t channel = panel * plan_.width;
    RequantQ8 requant = target_.At(0, channel);
    if (rows.residual != nullptr) requant.residual = rows.residual + channel, requant.residual_stride = rows.stride;
    Multiply(rows.y + Bytes(channel), rows.stride, count, panel, a, a_stride, requant, scratch);
  }

  // `w` is null when the program brings the weights packed. False in *exact when the kernel cannot be exact for these weights.
  Status Pack(const OpContext& context, const int8_t* w, const int32_t* bias, const Codes& codes, bool* exact) {
    return Base::PackPanels(context, kW, [&](int64_t panel, uint8_t* block) {
      const int64_t channel = panel * plan_.width;
      return PackWith(*kernel_, Width(panel), k_, w + channel * static_cast<int64_t>(k_), bias != nullptr ? bias + channel : nullptr, codes, block);
    }, exact);
  }

 private:
  size_t Bytes(int64_t channels) const { return static_cast<size_t>(channels) * target_.element_bytes(); }
  void Multiply(uint8_t* y, size_t y_stride, int64_t count, int64_t panel, const uint8_t* a, size_t a_stride, const RequantQ8& requant, uint8_t* scratch) const {
    const GemmQ8Args args{static_cast<size_t>(count), Width(panel), k_, a, a_stride, packed_[static_cast<size_t>(panel)], y, y_stride, requant, scratch, target_.WideAt(panel * plan_.width)};
    kernel_->run(&args);
  }

  ConvTarget target_;
};

// The values that reach the product: those of the input, and what stands for zero around it.
Codes CodesOf(const OpContext& context, const ConvShape& s, int32_t zp) {
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
Status TryGemms(const OpContext& context, const std::vector<const Kernel*>& kernels, const ConvShape& s, const Codes& codes, const int32_t* bias,
                const ConvTarget& target, const uint8_t* x, DriverPtr* driver) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
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

}  // namespace

Status CopyByChannel(const OpContext& context, uint32_t input, int64_t channels, const float** out) {
  const float* from = reinterpret_cast<const float*>(context.Constant(input));
  *out = nullptr;
  if (from == nullptr) return Status::Ok();
  for (int64_t i = 0; i < channels; ++i) {
    if (!std::isfinite(from[i])) return Unsupported("a scale or bias is not finite");
  }
  uint8_t* block;
  const Status status = context.Allocate(RoundUp(static_cast<uint64_t>(channels), 64) * 4 + 64 * 4, &block);
  if (!status.ok()) return status;
  std::memcpy(block, from, static_cast<size_t>(channels) * 4);
  *out = reinterpret_cast<const float*>(block);
  return status;
}

Status PrepareGemmQ8(const OpContext& context, const ConvShape& s, int32_t x_zp, const int32_t* bias, const ConvTarget& target, const uint8_t* x, DriverPtr* driver) {
  const Codes codes = CodesOf(context, s, x_zp);
  Status status = Status::Ok();
  // Kernels of few codes have no results of 32 bits.
  if (target.wide.offset == nullptr) status = TryGemms(context, NarrowCandidates(context, codes), s, codes, bias, target, x, driver);
  if (status.ok() && *driver == nullptr) status = TryGemms(context, Candidates(context, &KernelSet::gemm_q8), s, codes, bias, target, x, driver);
  return status.ok() && *driver == nullptr ? Unsupported("no kernel is exact for these weights") : status;
}

}  // namespace sterna
