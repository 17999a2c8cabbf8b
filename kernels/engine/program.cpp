#include "engine/program.h"

#include <cstring>

#include "engine/memory.h"

namespace sterna {
namespace {

Status Malformed(const char* message, int32_t op = -1) { return Status::Error(StatusCode::kMalformedProgram, message, op); }

// The sections of a file, all within `size`.
struct Layout {
  ProgramHeader header;
  const TensorRecord* tensors;
  const uint8_t* ops;
  const uint32_t* ids;
};

Status CheckHeader(const ProgramHeader& h, size_t size, uint64_t memory_limit) {
  if (h.magic != kProgramMagic) return Malformed("not a program: wrong magic number");
  if (h.version != kProgramVersion) return Status::Error(StatusCode::kUnsupportedVersion, "the program has another format version");
  if (h.total_bytes != size) return Malformed("the program's stated size is not its size");
  const bool activation_ok = h.activation == static_cast<uint32_t>(DType::kU8) || h.activation == static_cast<uint32_t>(DType::kS8);
  if (!activation_ok) return Malformed("the activation type is neither u8 nor s8");
  if (h.tensor_count > kMaxTensors || h.input_count > kMaxTensors || h.output_count > kMaxTensors || h.op_count > kMaxOps) {
    return Status::Error(StatusCode::kLimitExceeded, "too many tensors or ops");
  }
  if (h.arena_bytes > memory_limit) return Status::Error(StatusCode::kLimitExceeded, "the arena is larger than the memory limit");
  return Status::Ok();
}

Status LayOut(const uint8_t* bytes, size_t size, uint64_t memory_limit, Layout* layout) {
  if (size < sizeof(ProgramHeader)) return Malformed("the program is shorter than its header");
  ProgramHeader& h = layout->header;
  std::memcpy(&h, bytes, sizeof(h));
  const Status status = CheckHeader(h, size, memory_limit);
  if (!status.ok()) return status;
  // No overflow: every term is bounded by the limits above or by 2^32.
  const uint64_t tensors = RoundUp(sizeof(ProgramHeader), 64);
  const uint64_t ops = RoundUp(tensors + uint64_t{h.tensor_count} * sizeof(TensorRecord), 64);
  const uint64_t ids = RoundUp(ops + h.ops_bytes, 64);
  const uint64_t ids_end = ids + (uint64_t{h.input_count} + h.output_count) * sizeof(uint32_t);
  if (ids_end > size) return Malformed("the program is truncated");
  if (h.const_offset < ids_end || h.const_offset > size || h.const_offset % 64 != 0) return Malformed("the constants' offset is out of range");
  if (h.const_bytes > size - h.const_offset) return Malformed("the constants are truncated");
  layout->tensors = reinterpret_cast<const TensorRecord*>(bytes + tensors);
  layout->ops = bytes + ops;
  layout->ids = reinterpret_cast<const uint32_t*>(bytes + ids);
  return Status::Ok();
}

// Packed weights are what their record says, not what the tensor's shape says.
Status CheckPacked(const Tensor& t, const ProgramHeader& h, const uint8_t* constants) {
  if (!t.dense()) return Malformed("packed weights are not dense");
  if (t.offset % kAlignment != 0) return Malformed("packed weights are not aligned");
  if (t.offset > h.const_bytes || h.const_bytes - t.offset < sizeof(PackedRecord) + kSlack) return Malformed("a record of packed weights reaches beyond the constants");
  PackedRecord record;
  std::memcpy(&record, constants + t.offset, sizeof(record));
  if (std::memchr(record.kernel, 0, sizeof(record.kernel)) == nullptr) return Malformed("the kernel of packed weights has no end");
  if (record.bytes > h.const_bytes - t.offset - sizeof(record) - kSlack) return Malformed("packed weights reach beyond the constants");
  return Status::Ok();
}

Status ReadTensor(const TensorRecord& r, const ProgramHeader& h, const uint8_t* constants, Tensor* t) {
  if (r.dtype > static_cast<uint8_t>(DType::kS32)) return Malformed("a tensor has an unknown element type");
  if (r.location > static_cast<uint8_t>(Location::kPacked)) return Malformed("a tensor has an unknown location");
  if (r.rank > kMaxRank) return Malformed("a tensor's rank is beyond the maximum");
  t->dtype = static_cast<DType>(r.dtype);
  t->location = static_cast<Location>(r.location);
  t->rank = r.rank;
  uint64_t elements = 1;
  for (int i = 0; i < kMaxRank; ++i) {
    if (r.dims[i] == 0 || (i >= r.rank && r.dims[i] != 1)) return Malformed("a tensor has a dimension of 0, or one beyond its rank");
    if (r.dims[i] > kMaxElements / elements) return Status::Error(StatusCode::kLimitExceeded, "a tensor has too many elements");
    elements *= r.dims[i];
    t->dims[i] = r.dims[i];
  }
  t->elements = static_cast<int64_t>(elements);
  t->pixel_stride = r.pixel_stride;
  if (t->pixel_stride < t->channels()) return Malformed("a tensor's pixel stride is smaller than its last axis");
  // pixels <= 2^34 and pixel_stride < 2^32: the product fits 2^66, so it is bounded before it is taken.
  if (t->pixels() > static_cast<int64_t>(kMaxElements) / t->pixel_stride + 1) return Status::Error(StatusCode::kLimitExceeded, "a tensor is too large");
  t->offset = r.offset;
  if (t->location == Location::kPacked) return CheckPacked(*t, h, constants);
  const uint64_t space = t->location == Location::kConst ? h.const_bytes : h.arena_bytes;
  const uint64_t bytes = static_cast<uint64_t>(t->extent()) * SizeOf(t->dtype);
  if (t->offset % SizeOf(t->dtype) != 0) return Malformed("a tensor is not aligned to its element size");
  if (t->offset > space || bytes > space - t->offset) return Malformed("a tensor reaches beyond the arena or the constants");
  return Status::Ok();
}

Status CheckIds(const uint32_t* ids, uint32_t count, uint32_t tensor_count, bool absent_ok, int32_t op) {
  for (uint32_t i = 0; i < count; ++i) {
    if (ids[i] == kAbsent && absent_ok) continue;
    if (ids[i] >= tensor_count) return Malformed("a tensor id is out of range", op);
  }
  return Status::Ok();
}

// Reads one op at `*p` and moves `*p` past it.
Status ReadOp(const uint8_t** p, const uint8_t* end, const Program& program, int32_t index, OpView* op) {
  const size_t left = static_cast<size_t>(end - *p);
  OpRecord record;
  if (left < sizeof(record)) return Malformed("the ops are truncated", index);
  std::memcpy(&record, *p, sizeof(record));
  const uint32_t ids = uint32_t{record.input_count} + record.output_count;
  if (record.attr_bytes % 4 != 0) return Malformed("the size of an op's attributes is not a multiple of 4", index);
  if (left - sizeof(record) < uint64_t{ids} * 4 + record.attr_bytes) return Malformed("the ops are truncated", index);
  op->code = static_cast<OpCode>(record.opcode);
  op->input_count = record.input_count;
  op->output_count = record.output_count;
  op->attr_bytes = record.attr_bytes;
  op->inputs = reinterpret_cast<const uint32_t*>(*p + sizeof(record));
  op->outputs = op->inputs + record.input_count;
  op->attrs = reinterpret_cast<const uint8_t*>(op->inputs + ids);
  *p = op->attrs + record.attr_bytes;

  const uint32_t count = static_cast<uint32_t>(program.tensors.size());
  Status status = CheckIds(op->inputs, op->input_count, count, true, index);
  if (status.ok()) status = CheckIds(op->outputs, op->output_count, count, false, index);
  for (uint32_t i = 0; status.ok() && i < op->output_count; ++i) {
    if (program.tensors[op->outputs[i]].location != Location::kArena) status = Malformed("an op writes to a constant", index);
  }
  return status;
}

Status ReadOps(const Layout& layout, Program* program) {
  const uint8_t* p = layout.ops;
  const uint8_t* end = p + layout.header.ops_bytes;
  // A record takes 8 bytes: a count beyond that is a lie, and must not make us allocate.
  if (layout.header.op_count > layout.header.ops_bytes / sizeof(OpRecord)) return Malformed("more ops than fit into their section");
  program->ops.resize(layout.header.op_count);
  for (uint32_t i = 0; i < layout.header.op_count; ++i) {
    const Status status = ReadOp(&p, end, *program, static_cast<int32_t>(i), &program->ops[i]);
    if (!status.ok()) return status;
  }
  return p == end ? Status::Ok() : Malformed("bytes are left over after the last op");
}

Status ReadInterface(const Layout& layout, Program* program) {
  const uint32_t inputs = layout.header.input_count, outputs = layout.header.output_count;
  const Status status = CheckIds(layout.ids, inputs + outputs, layout.header.tensor_count, false, -1);
  if (!status.ok()) return status;
  program->inputs.assign(layout.ids, layout.ids + inputs);
  program->outputs.assign(layout.ids + inputs, layout.ids + inputs + outputs);
  for (uint32_t id : program->inputs) {
    if (program->tensors[id].location != Location::kArena) return Malformed("an input of the program is a constant");
  }
  for (uint32_t id : program->outputs) {
    if (program->tensors[id].location == Location::kPacked) return Malformed("an output of the program is packed weights");
  }
  return Status::Ok();
}

}  // namespace

bool SameShape(const Tensor& a, const Tensor& b) {
  return a.rank == b.rank && std::memcmp(a.dims, b.dims, sizeof(a.dims)) == 0;
}

void StridesOf(const Tensor& t, int64_t strides[kMaxRank]) {
  for (int i = 0; i < kMaxRank; ++i) strides[i] = 1;
  if (t.rank >= 2) strides[t.rank - 2] = t.pixel_stride;
  for (int i = t.rank - 3; i >= 0; --i) strides[i] = strides[i + 1] * t.dims[i + 1];
}

Status ParseProgram(const uint8_t* bytes, size_t size, uint64_t memory_limit, Program* program) {
  Layout layout;
  Status status = LayOut(bytes, size, memory_limit, &layout);
  if (!status.ok()) return status;
  program->activation = static_cast<DType>(layout.header.activation);
  program->arena_bytes = layout.header.arena_bytes;
  program->constants = bytes + layout.header.const_offset;
  program->tensors.resize(layout.header.tensor_count);
  for (uint32_t i = 0; i < layout.header.tensor_count; ++i) {
    status = ReadTensor(layout.tensors[i], layout.header, program->constants, &program->tensors[i]);
    if (!status.ok()) return status;
  }
  status = ReadOps(layout, program);
  return status.ok() ? ReadInterface(layout, program) : status;
}

}  // namespace sterna
