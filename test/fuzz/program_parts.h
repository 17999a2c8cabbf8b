// A program (sterna/program.h) taken apart and put together again, so that a mutation of one part leaves every count, offset and size
// right: random bytes seldom get past the header.
#pragma once
#include <algorithm>
#include <cstring>
#include <vector>

#include "engine/memory.h"
#include "sterna/program.h"

namespace sterna_test {

struct OpParts {
  uint16_t opcode, input_count;
  std::vector<uint32_t> ids;  // inputs, then outputs
  std::vector<uint8_t> attrs;
};

struct ProgramParts {
  uint32_t activation = 0;
  uint64_t arena_bytes = 0;
  std::vector<sterna::TensorRecord> tensors;
  std::vector<OpParts> ops;
  std::vector<uint32_t> inputs, outputs;
  std::vector<uint8_t> constants;
};

// Copies `count` records of T from `at`, if they lie within the bytes.
template <typename T>
bool Take(const std::vector<uint8_t>& bytes, uint64_t at, uint64_t count, std::vector<T>* out) {
  if (at > bytes.size() || count > (bytes.size() - at) / sizeof(T)) return false;
  out->resize(static_cast<size_t>(count));
  if (count > 0) std::memcpy(out->data(), bytes.data() + at, static_cast<size_t>(count) * sizeof(T));
  return true;
}

inline bool TakeApartOps(const std::vector<uint8_t>& bytes, uint64_t at, uint32_t count, ProgramParts* parts) {
  for (uint32_t i = 0; i < count; ++i) {
    std::vector<sterna::OpRecord> record;
    if (!Take(bytes, at, 1, &record)) return false;
    OpParts op{record[0].opcode, record[0].input_count, {}, {}};
    at += sizeof(sterna::OpRecord);
    const uint64_t ids = uint64_t{record[0].input_count} + record[0].output_count;
    if (!Take(bytes, at, ids, &op.ids) || !Take(bytes, at + ids * 4, record[0].attr_bytes, &op.attrs)) return false;
    at += ids * 4 + record[0].attr_bytes;
    parts->ops.push_back(std::move(op));
  }
  return true;
}

// False when the bytes are too far from a program to be taken apart.
inline bool TakeApart(const std::vector<uint8_t>& bytes, ProgramParts* parts) {
  std::vector<sterna::ProgramHeader> header;
  if (!Take(bytes, 0, 1, &header)) return false;
  const sterna::ProgramHeader& h = header[0];
  parts->activation = h.activation;
  parts->arena_bytes = h.arena_bytes;
  const uint64_t tensors = sterna::RoundUp(sizeof(h), 64), ops = sterna::RoundUp(tensors + uint64_t{h.tensor_count} * sizeof(sterna::TensorRecord), 64);
  const uint64_t ids = sterna::RoundUp(ops + h.ops_bytes, 64);
  return Take(bytes, tensors, h.tensor_count, &parts->tensors) && TakeApartOps(bytes, ops, h.op_count, parts) &&
         Take(bytes, ids, h.input_count, &parts->inputs) && Take(bytes, ids + uint64_t{h.input_count} * 4, h.output_count, &parts->outputs) &&
         Take(bytes, h.const_offset, h.const_bytes, &parts->constants);
}

// Appends `count` records and fills up to the next multiple of 64, where the next section starts.
template <typename T>
void AppendSection(std::vector<uint8_t>* bytes, const T* records, size_t count) {
  const uint8_t* p = reinterpret_cast<const uint8_t*>(records);
  if (count > 0) bytes->insert(bytes->end(), p, p + count * sizeof(T));
  bytes->resize(sterna::RoundUp(bytes->size(), 64));
}

inline std::vector<uint8_t> PutTogether(const ProgramParts& parts) {
  std::vector<uint8_t> ops;
  for (const OpParts& op : parts.ops) {
    const sterna::OpRecord record{op.opcode, op.input_count, static_cast<uint16_t>(op.ids.size() - op.input_count), static_cast<uint16_t>(op.attrs.size())};
    const auto add = [&](const void* p, size_t n) { ops.insert(ops.end(), static_cast<const uint8_t*>(p), static_cast<const uint8_t*>(p) + n); };
    add(&record, sizeof(record));
    add(op.ids.data(), op.ids.size() * 4);
    add(op.attrs.data(), op.attrs.size());
  }
  std::vector<uint32_t> ids = parts.inputs;
  ids.insert(ids.end(), parts.outputs.begin(), parts.outputs.end());
  std::vector<uint8_t> bytes(sizeof(sterna::ProgramHeader));
  AppendSection(&bytes, parts.tensors.data(), parts.tensors.size());
  AppendSection(&bytes, ops.data(), ops.size());
  AppendSection(&bytes, ids.data(), ids.size());
  const uint64_t const_offset = bytes.size();
  bytes.insert(bytes.end(), parts.constants.begin(), parts.constants.end());
  const sterna::ProgramHeader h{sterna::kProgramMagic, sterna::kProgramVersion, parts.activation, static_cast<uint32_t>(parts.tensors.size()),
                                static_cast<uint32_t>(parts.ops.size()), static_cast<uint32_t>(parts.inputs.size()), static_cast<uint32_t>(parts.outputs.size()),
                                static_cast<uint32_t>(ops.size()), parts.arena_bytes, const_offset, parts.constants.size(), bytes.size()};
  std::memcpy(bytes.data(), &h, sizeof(h));
  return bytes;
}

}  // namespace sterna_test
