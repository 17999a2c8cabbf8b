#include "engine/program.h"

#include <algorithm>
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
  if (r.location > static_cast<uint8_t>(Location::kStrip)) return Malformed("a tensor has an unknown location");
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
  if (t->location == Location::kStrip) return t->offset == 0 ? Status::Ok() : Malformed("a map of a strip has an offset");
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
    const Location location = program.tensors[op->outputs[i]].location;
    if (location != Location::kArena && location != Location::kStrip) status = Malformed("an op writes to a constant", index);
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
    if (program->tensors[id].location != Location::kArena) return Malformed("an input of the program is not in the arena");
  }
  for (uint32_t id : program->outputs) {
    if (program->tensors[id].location == Location::kPacked) return Malformed("an output of the program is packed weights");
    if (program->tensors[id].location == Location::kStrip) return Malformed("an output of the program is a map of a strip");
  }
  return Status::Ok();
}

bool InStrip(const Program& program, uint32_t id) { return id != kAbsent && program.tensors[id].location == Location::kStrip; }

bool WritesStrip(const Program& program, const OpView& op) {
  return std::any_of(op.outputs, op.outputs + op.output_count, [&](uint32_t id) { return InStrip(program, id); });
}

// A map of a strip passes from the one op that writes it to the next one, as its first input.
Status CheckStripMaps(const Program& program, size_t op, std::vector<bool>* written) {
  const OpView& o = program.ops[op];
  const int32_t index = static_cast<int32_t>(op);
  const OpView* before = op == 0 ? nullptr : &program.ops[op - 1];
  const bool goes_on = before != nullptr && WritesStrip(program, *before);
  if (goes_on && (o.input_count == 0 || before->output_count != 1 || o.inputs[0] != before->outputs[0])) return Malformed("the next op does not read a map of a strip", index);
  for (uint32_t i = goes_on ? 1 : 0; i < o.input_count; ++i) {
    if (InStrip(program, o.inputs[i])) return Malformed("an op reads a map of a strip that the op before has not written for it", index);
  }
  const bool writes = WritesStrip(program, o);
  const bool first = writes && !goes_on && o.code == OpCode::kTranspose;
  if ((goes_on || writes) && !first && o.code != OpCode::kConvQ8 && o.code != OpCode::kConvF32) return Malformed("an op of this kind cannot be in a strip", index);
  if (!writes) return Status::Ok();
  if (op + 1 == program.ops.size()) return Malformed("the last op writes a map of a strip", index);
  if ((*written)[o.outputs[0]]) return Malformed("two ops write a map of a strip", index);
  (*written)[o.outputs[0]] = true;
  return Status::Ok();
}

// The output of a strip is written while the inputs of all its ops are still read.
Status CheckStripAliasing(const Program& program, const StripOps& strip) {
  const Tensor& y = program.tensors[program.ops[strip.first + strip.count - 1].outputs[0]];
  for (uint32_t op = strip.first; op < strip.first + strip.count; ++op) {
    const OpView& o = program.ops[op];
    for (uint32_t i = 0; i < o.input_count; ++i) {
      if (o.inputs[i] == kAbsent || program.tensors[o.inputs[i]].location != Location::kArena) continue;
      if (Overlap(program.tensors[o.inputs[i]], y)) return Malformed("the output of a strip overlaps an input of one of its ops", static_cast<int32_t>(op));
    }
  }
  return Status::Ok();
}

Status ReadStrips(Program* program) {
  std::vector<bool> written(program->tensors.size(), false);
  uint32_t count = 1;
  for (size_t op = 0; op < program->ops.size(); ++op) {
    Status status = CheckStripMaps(*program, op, &written);
    if (status.ok() && WritesStrip(*program, program->ops[op])) {
      if (++count > kMaxStripOps) status = Malformed("a strip has too many ops", static_cast<int32_t>(op));
    } else if (status.ok() && count > 1) {
      if (program->ops[op].output_count != 1) return Malformed("the last op of a strip has not one output", static_cast<int32_t>(op));
      program->strips.push_back({static_cast<uint32_t>(op) + 1 - count, count});
      status = CheckStripAliasing(*program, program->strips.back());
      count = 1;
    }
    if (!status.ok()) return status;
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

bool Overlap(const Tensor& a, const Tensor& b) {
  const uint64_t a_size = SizeOf(a.dtype), b_size = SizeOf(b.dtype);
  const uint64_t a_end = a.offset + static_cast<uint64_t>(a.extent()) * a_size, b_end = b.offset + static_cast<uint64_t>(b.extent()) * b_size;
  if (a.offset >= b_end || b.offset >= a_end) return false;
  const uint64_t stride = static_cast<uint64_t>(a.pixel_stride) * a_size;
  if (stride != static_cast<uint64_t>(b.pixel_stride) * b_size) return true;
  // Where b's channels start within a's pixel: the pixels themselves may start anywhere.
  const uint64_t behind = b.offset >= a.offset ? (b.offset - a.offset) % stride : (stride - (a.offset - b.offset) % stride) % stride;
  const uint64_t a_pixel = static_cast<uint64_t>(a.channels()) * a_size, b_pixel = static_cast<uint64_t>(b.channels()) * b_size;
  return behind < a_pixel || behind + b_pixel > stride;
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
  if (status.ok()) status = ReadInterface(layout, program);
  return status.ok() ? ReadStrips(program) : status;
}

}  // namespace sterna
