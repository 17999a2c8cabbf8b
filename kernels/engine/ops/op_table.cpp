// The table of ops: how many inputs each takes, the size of its attributes, whether it may work in place, and who prepares it.
#include <cmath>

#include "engine/op.h"

namespace sterna {
namespace {

constexpr OpTraits kOps[] = {
    {OpCode::kConvQ8, 4, 7, 2, sizeof(ConvQ8Attrs), false, PrepareConvQ8},
    {OpCode::kBinaryQ8, 2, 2, 2, sizeof(BinaryQ8Attrs), true, PrepareBinaryQ8},
    {OpCode::kLutQ8, 2, 2, 2, 0, true, PrepareLutQ8},
    {OpCode::kPoolQ8, 1, 1, 1, sizeof(PoolAttrs), false, PreparePoolQ8},
    {OpCode::kResizeQ8, 1, 1, 1, sizeof(ResizeAttrs), false, PrepareResizeQ8},
    {OpCode::kQuantize, 1, 1, 1, sizeof(QuantizeAttrs), false, PrepareQuantize},
    {OpCode::kDequantize, 1, 1, 1, sizeof(QuantizeAttrs), false, PrepareDequantize},
    {OpCode::kNormalizeU8, 3, 3, 3, 0, false, PrepareNormalizeU8},
    {OpCode::kThreshold, 3, 3, 3, sizeof(ThresholdAttrs), false, PrepareThreshold},
    {OpCode::kConvQ8F32, 3, 4, 3, sizeof(ConvQ8F32Attrs), false, PrepareConvQ8F32},
    {OpCode::kMatMulW4, 3, 4, 3, sizeof(MatMulW4Attrs), false, PrepareMatMulW4},
    {OpCode::kConvF32, 2, 5, 2, sizeof(ConvF32Attrs), false, PrepareConvF32},
    {OpCode::kMatMulF32, 2, 3, 2, sizeof(MatMulAttrs), false, PrepareMatMulF32},
    {OpCode::kBinaryF32, 2, 2, 2, sizeof(BinaryF32Attrs), true, PrepareBinaryF32},
    {OpCode::kUnaryF32, 1, 1, 1, sizeof(UnaryAttrs), true, PrepareUnaryF32},
    {OpCode::kPoolF32, 1, 1, 1, sizeof(PoolAttrs), false, PreparePoolF32},
    {OpCode::kResizeF32, 1, 1, 1, sizeof(ResizeAttrs), false, PrepareResizeF32},
    {OpCode::kReduceF32, 1, 1, 1, sizeof(ReduceAttrs), false, PrepareReduceF32},
    {OpCode::kSoftmaxF32, 1, 1, 1, sizeof(SoftmaxAttrs), false, PrepareSoftmaxF32},
    {OpCode::kNormalizeF32, 1, 3, 1, sizeof(NormalizeAttrs), false, PrepareNormalizeF32},
    {OpCode::kAttentionF32, 3, 4, 3, sizeof(AttentionAttrs), false, PrepareAttentionF32},
    {OpCode::kCopy, 1, 1, 1, sizeof(CopyAttrs), false, PrepareCopy},
    {OpCode::kTranspose, 1, 1, 1, sizeof(TransposeAttrs), false, PrepareTranspose},
    {OpCode::kPad, 1, 1, 1, sizeof(PadAttrs), false, PreparePad},
    {OpCode::kGather, 2, 2, 2, sizeof(GatherAttrs), false, PrepareGather},
    {OpCode::kCast, 1, 1, 1, sizeof(CastAttrs), false, PrepareCast},
    {OpCode::kCompare, 2, 2, 2, sizeof(CompareAttrs), false, PrepareCompare},
    {OpCode::kLogic, 2, 2, 2, sizeof(LogicAttrs), false, PrepareLogic},
    {OpCode::kSelect, 3, 3, 3, 0, false, PrepareSelect},
    {OpCode::kBinaryS32, 2, 2, 2, sizeof(BinaryS32Attrs), false, PrepareBinaryS32},
    {OpCode::kReduceS32, 1, 1, 1, sizeof(ReduceS32Attrs), false, PrepareReduceS32},
    {OpCode::kGatherElements, 2, 2, 2, sizeof(GatherAttrs), false, PrepareGatherElements},
    {OpCode::kGatherNd, 2, 2, 2, sizeof(GatherNdAttrs), false, PrepareGatherNd},
    {OpCode::kArgReduce, 1, 1, 1, sizeof(ArgReduceAttrs), false, PrepareArgReduce},
    {OpCode::kTopK, 1, 1, 1, sizeof(TopKAttrs), false, PrepareTopK},
    {OpCode::kNonMaxSuppression, 2, 2, 2, sizeof(NonMaxSuppressionAttrs), false, PrepareNonMaxSuppression},
    {OpCode::kCumSum, 1, 1, 1, sizeof(CumSumAttrs), false, PrepareCumSum},
    {OpCode::kRecurrentF32, 2, 7, 2, sizeof(RecurrentAttrs), false, PrepareRecurrentF32},
    {OpCode::kResampleF32, 3, 3, 3, sizeof(ResampleAttrs), false, PrepareResampleF32},
    {OpCode::kMatMulS32, 4, 4, 2, 0, false, PrepareMatMulS32},
    {OpCode::kRangeF32, 1, 1, 1, 0, false, PrepareRangeF32},
    {OpCode::kRangeScale, 1, 1, 1, 0, false, PrepareRangeScale},
    {OpCode::kQuantizeBy, 3, 3, 3, 0, false, PrepareQuantizeBy},
    {OpCode::kMatMulQ8F32, 6, 7, 6, 0, false, PrepareMatMulQ8F32},
};

const OpTraits* Find(OpCode code) {
  for (const OpTraits& traits : kOps) {
    if (traits.code == code) return &traits;
  }
  return nullptr;
}

bool SamePlace(const Tensor& a, const Tensor& b) {
  return a.offset == b.offset && a.dtype == b.dtype && a.pixel_stride == b.pixel_stride && SameShape(a, b);
}

bool TakesPacked(OpCode code, uint32_t input) { return input == 1 && (code == OpCode::kConvQ8 || code == OpCode::kConvQ8F32 || code == OpCode::kConvF32); }

// Whatever reads elements must not be given packed weights.
Status CheckPacked(const OpContext& context, OpCode code) {
  for (uint32_t i = 0; i < context.input_count(); ++i) {
    if (context.Packed(i) != nullptr && !TakesPacked(code, i)) return Status::Error(StatusCode::kMalformedProgram, "an op reads weights that are packed");
  }
  return Status::Ok();
}

// Every driver relies on reading its inputs unharmed.
Status CheckAliasing(const OpContext& context, bool in_place) {
  const Tensor& y = context.Output();
  if (y.location != Location::kArena) return Status::Ok();
  for (uint32_t i = 0; i < context.input_count(); ++i) {
    const Tensor* x = context.Input(i);
    if (x == nullptr || x->location != Location::kArena || !Overlap(*x, y)) continue;
    if (!in_place || !SamePlace(*x, y)) return Status::Error(StatusCode::kMalformedProgram, "the output of an op overlaps its input");
  }
  return Status::Ok();
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
  Status status = CheckPacked(context, op.code);
  if (status.ok()) status = CheckAliasing(context, traits->in_place);
  return status.ok() ? traits->prepare(context, driver) : status;
}

Status OpContext::InputData(uint32_t i, const uint8_t** data) const {
  const Tensor& t = *Input(i);
  if (t.location == Location::kArena || t.location == Location::kStrip) {
    *data = t.location == Location::kStrip ? nullptr : arena_ + t.offset;
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

Status OpContext::TakePacked(uint32_t i, const PackedForm& form, const uint8_t** block) const {
  const PackedRecord& record = *Packed(i);
  const bool same = std::strcmp(record.kernel, form.kernel) == 0 && record.panel_width == form.panel_width && record.bytes == form.bytes;
  if (!same) return Status::Error(StatusCode::kMalformedProgram, "weights are packed for another kernel or another number of threads");
  const uint8_t* data = reinterpret_cast<const uint8_t*>(&record + 1);
  Status status;
  if (packed_->in_place) {
    status = memory_->Reserve(form.bytes);
  } else {
    uint8_t* copy;
    status = memory_->Allocate(form.bytes, &copy);
    if (!status.ok()) return status;
    std::memcpy(copy, data, static_cast<size_t>(form.bytes));
    data = copy;
  }
  if (status.ok()) packed_->entries.push_back({packed_->op, i, form, data});
  *block = data;
  return status;
}

}  // namespace sterna
