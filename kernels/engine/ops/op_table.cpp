// The table of ops: how many inputs each takes, the size of its attributes, and who prepares it.
#include <cmath>

#include "engine/op.h"

namespace sterna {
namespace {

constexpr OpTraits kOps[] = {
    {OpCode::kConvQ8, 4, 7, 2, sizeof(ConvQ8Attrs), PrepareConvQ8},
    {OpCode::kBinaryQ8, 2, 2, 2, sizeof(BinaryQ8Attrs), PrepareBinaryQ8},
    {OpCode::kLutQ8, 2, 2, 2, 0, PrepareLutQ8},
    {OpCode::kPoolQ8, 1, 1, 1, sizeof(PoolAttrs), PreparePoolQ8},
    {OpCode::kResizeQ8, 1, 1, 1, sizeof(ResizeAttrs), PrepareResizeQ8},
    {OpCode::kQuantize, 1, 1, 1, sizeof(QuantizeAttrs), PrepareQuantize},
    {OpCode::kDequantize, 1, 1, 1, sizeof(QuantizeAttrs), PrepareDequantize},
    {OpCode::kNormalizeU8, 3, 3, 3, 0, PrepareNormalizeU8},
    {OpCode::kConvF32, 2, 5, 2, sizeof(ConvF32Attrs), PrepareConvF32},
    {OpCode::kMatMulF32, 2, 3, 2, sizeof(MatMulAttrs), PrepareMatMulF32},
    {OpCode::kBinaryF32, 2, 2, 2, sizeof(BinaryF32Attrs), PrepareBinaryF32},
    {OpCode::kUnaryF32, 1, 1, 1, sizeof(UnaryAttrs), PrepareUnaryF32},
    {OpCode::kPoolF32, 1, 1, 1, sizeof(PoolAttrs), PreparePoolF32},
    {OpCode::kResizeF32, 1, 1, 1, sizeof(ResizeAttrs), PrepareResizeF32},
    {OpCode::kReduceF32, 1, 1, 1, sizeof(ReduceAttrs), PrepareReduceF32},
    {OpCode::kSoftmaxF32, 1, 1, 1, sizeof(SoftmaxAttrs), PrepareSoftmaxF32},
    {OpCode::kCopy, 1, 1, 1, sizeof(CopyAttrs), PrepareCopy},
    {OpCode::kTranspose, 1, 1, 1, sizeof(TransposeAttrs), PrepareTranspose},
    {OpCode::kPad, 1, 1, 1, sizeof(PadAttrs), PreparePad},
    {OpCode::kGather, 2, 2, 2, sizeof(GatherAttrs), PrepareGather},
};

const OpTraits* Find(OpCode code) {
  for (const OpTraits& traits : kOps) {
    if (traits.code == code) return &traits;
  }
  return nullptr;
}

}  // namespace

Status PrepareOp(const OpContext& context, const OpView& op, DriverPtr* driver) {
  const OpTraits* traits = Find(op.code);
  if (traits == nullptr) return Unsupported("unknown opcode");
  if (op.input_count < traits->min_inputs || op.input_count > traits->max_inputs) return Mismatch("an op has the wrong number of inputs");
  if (op.output_count != 1) return Mismatch("an op has the wrong number of outputs");
  if (op.attr_bytes != traits->attr_bytes) return Status::Error(StatusCode::kMalformedProgram, "an op's attributes have the wrong size");
  for (uint32_t i = 0; i < traits->required; ++i) {
    if (context.Input(i) == nullptr) return Mismatch("a required input is absent");
  }
  return traits->prepare(context, driver);
}

Status OpContext::InputData(uint32_t i, const uint8_t** data) const {
  const Tensor& t = *Input(i);
  if (t.location == Location::kArena) {
    *data = arena_ + t.offset;
    return Status::Ok();
  }
  uint8_t*& copy = (*retained_)[op_.inputs[i]];
  if (copy == nullptr) {
    const uint64_t bytes = static_cast<uint64_t>(t.extent()) * SizeOf(t.dtype);
    const Status status = memory_->Allocate(bytes, &copy);
    if (!status.ok()) return status;
    std::memcpy(copy, program_.constants + t.offset, static_cast<size_t>(bytes));
  }
  *data = copy;
  return Status::Ok();
}

}  // namespace sterna
