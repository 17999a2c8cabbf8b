#include "engine/ops/codes_note.h"

#include <algorithm>

#include "engine/ops/conv_bits.h"

namespace sterna {
namespace {

constexpr uint32_t kX = 0, kW = 1;
constexpr int32_t kMaxProduct = 127;  // of a level pair of 4.6 bits (gemm_w46/ref.cpp)

int32_t LargestWeight(const OpContext& context) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  const int64_t count = context.Input(kW)->elements;
  uint8_t largest = 0;  // bytes throughout: compilers have vectors for that
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t size = static_cast<uint8_t>(w[i] < 0 ? -w[i] : w[i]);
    largest = size > largest ? size : largest;
  }
  return largest;
}

// The family of fewer bits that could take the layer; null: none.
const char* FamilyOf(const OpContext& context, int32_t x_zp, int32_t largest_weight) {
  BitFamily family;
  if (FindBitFamily(context, x_zp, &family)) return family.name;
  const ByteSet& values = context.Values(kX);
  const int32_t reach = (values.Highest(context.activation()) - values.Lowest(context.activation()) + 1) / 2;
  return reach * largest_weight <= kMaxProduct ? "gemm_w46" : nullptr;
}

bool StartsWith(const char* text, const char* start) { return std::strncmp(text, start, std::strlen(start)) == 0; }

}  // namespace

std::string NoteOfCodes(const OpContext& context, const ConvShape& s, int32_t x_zp, const char* kernel) {
  if (context.Packed(kW) != nullptr) return "";
  const int32_t largest = LargestWeight(context);
  const std::string codes = std::to_string(context.Values(kX).count()) + " codes x " + std::to_string(2 * largest + 1) + " levels";
  const char* family = s.depthwise() ? nullptr : FamilyOf(context, x_zp, largest);
  if (family == nullptr || StartsWith(kernel, family) || StartsWith(kernel, "gemm_u4u4")) return codes;
  const KernelSet& kernels = context.kernels();
  if (!kernels.Wins(family)) return codes + "; on " + kernels.isa + " 8 bits are faster than " + family;
  return codes + "; too narrow a layer for " + family;
}

}  // namespace sterna
