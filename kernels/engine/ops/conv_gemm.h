// Convolutions of 8 bits as products of rows of bytes: what those whose results are bytes (ConvQ8) and floats (ConvQ8F32) share.
#pragma once
#include "engine/ops/conv.h"

namespace sterna {

// Longest sum of products u8 * s8 that is exact in 32 bits, with room for the bias: 66000 * 255 * 127 < 2^31.
constexpr int64_t kMaxDepthQ8 = 66000;

// Of x and the weights, in both ops.
enum ConvQ8Input : uint32_t { kX, kW };

// Where a convolution writes, and what it adds.
struct ConvTarget {
  uint8_t* y;
  size_t y_stride;  // bytes
  RequantQ8 requant;
  WideQ8 wide = {};  // with an offset: results are floats

  size_t element_bytes() const { return wide.offset != nullptr ? sizeof(float) : 1; }
  // The epilogue of output pixels from `pixel` on, channels from `channel` on.
  RequantQ8 At(int64_t pixel, int64_t channel) const {
    RequantQ8 r = requant;
    r.scale += channel;
    if (r.scale_neg != nullptr) r.scale_neg += channel;
    if (r.residual != nullptr) r.residual += static_cast<size_t>(pixel) * r.residual_stride + static_cast<size_t>(channel);
    return r;
  }
  WideQ8 WideAt(int64_t channel) const {
    if (wide.offset == nullptr) return wide;
    return {wide.offset + channel, wide.scale + channel, wide.bias + channel};
  }
  uint8_t* OutputAt(int64_t pixel, int64_t channel) const { return y + static_cast<size_t>(pixel) * y_stride + static_cast<size_t>(channel) * element_bytes(); }
  const uint8_t* ResidualAt(int64_t pixel) const { return requant.residual == nullptr ? nullptr : requant.residual + static_cast<size_t>(pixel) * requant.residual_stride; }
};

// A copy of floats by channel that is readable 64 entries past the last one, whatever channel a kernel starts from; null where the input is absent.
Status CopyByChannel(const OpContext& context, uint32_t input, int64_t channels, const float** out);

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

// A driver that gathers rows of bytes and multiplies them. `bias` by output channel, or null; whatever is not depthwise or on bits.
// Errors: kUnsupported, no kernel is exact for the weights.
Status PrepareGemmQ8(const OpContext& context, const ConvShape& s, int32_t x_zp, const int32_t* bias, const ConvTarget& target, const uint8_t* x, DriverPtr* driver);

}  // namespace sterna
