#include "engine/pack_program.h"

#include <algorithm>
#include <map>

namespace sterna {
namespace {

// Appends `n` bytes at the next multiple of 64; returns where.
uint64_t Append(std::vector<uint8_t>* to, const void* bytes, size_t n) {
  const uint64_t at = RoundUp(to->size(), kAlignment);
  to->resize(static_cast<size_t>(at));
  const uint8_t* from = static_cast<const uint8_t*>(bytes);
  to->insert(to->end(), from, from + n);
  return at;
}

// Rewrites one program. Everything has been checked by loading it.
class Packer {
 public:
  Packer(const uint8_t* bytes, const Program& program, const std::vector<PackedStore::Entry>& entries) : program_(program), entries_(entries) {
    std::memcpy(&header_, bytes, sizeof(header_));
    const uint64_t tensors = RoundUp(sizeof(ProgramHeader), 64), ops = RoundUp(tensors + uint64_t{header_.tensor_count} * sizeof(TensorRecord), 64);
    const TensorRecord* records = reinterpret_cast<const TensorRecord*>(bytes + tensors);
    tensors_.assign(records, records + header_.tensor_count);
    ops_.assign(bytes + ops, bytes + ops + header_.ops_bytes);
    ops_base_ = bytes + ops;
  }

  std::vector<uint8_t> Write() {
    for (const PackedStore::Entry& entry : entries_) Replace(entry);
    MovePlainConstants();
    for (const PackedStore::Entry& entry : entries_) AppendPacked(entry);
    constants_.resize(RoundUp(constants_.size(), 64) + kSlack);
    return Assemble();
  }

 private:
  uint8_t* InputOf(const PackedStore::Entry& entry) {
    return ops_.data() + (reinterpret_cast<const uint8_t*>(program_.ops[entry.op].inputs + entry.input) - ops_base_);
  }

  // Lets the op read a tensor of its own, whose weights are packed; one that is packed already stays.
  void Replace(const PackedStore::Entry& entry) {
    const uint32_t plain = program_.ops[entry.op].inputs[entry.input];
    TensorRecord record = tensors_[plain];
    if (record.location == static_cast<uint8_t>(Location::kPacked)) return replaced_.push_back(plain);
    record.location = static_cast<uint8_t>(Location::kPacked);
    record.pixel_stride = record.rank == 0 ? 1 : record.dims[record.rank - 1];
    const uint32_t id = static_cast<uint32_t>(tensors_.size());
    std::memcpy(InputOf(entry), &id, sizeof(id));
    replaced_.push_back(id);
    tensors_.push_back(record);
  }

  // Which of the first tensors are read still, by an op or as outputs.
  std::vector<bool> Used() const {
    std::vector<bool> used(program_.tensors.size(), false);
    for (const OpView& op : program_.ops) {
      const uint8_t* ids = ops_.data() + (reinterpret_cast<const uint8_t*>(op.inputs) - ops_base_);
      for (uint32_t i = 0; i < op.input_count; ++i) {
        uint32_t id;
        std::memcpy(&id, ids + i * sizeof(id), sizeof(id));
        if (id < used.size()) used[id] = true;
      }
    }
    for (uint32_t id : program_.outputs) used[id] = true;
    return used;
  }

  // Keeps the constants that are read still, and the place of those that overlap relative to each other.
  void MovePlainConstants() {
    const std::vector<bool> used = Used();
    std::map<uint64_t, uint64_t> ranges;  // begin -> end, merged where they touch
    for (size_t i = 0; i < used.size(); ++i) {
      const Tensor& t = program_.tensors[i];
      if (!used[i] || t.location != Location::kConst) continue;
      uint64_t begin = t.offset / kAlignment * kAlignment, end = t.offset + static_cast<uint64_t>(t.extent()) * SizeOf(t.dtype);
      auto next = ranges.upper_bound(begin);
      if (next != ranges.begin() && std::prev(next)->second > begin) --next, begin = next->first;
      while (next != ranges.end() && next->first < end) end = std::max(end, next->second), next = ranges.erase(next);
      ranges[begin] = end;
    }
    std::map<uint64_t, uint64_t> moved;  // begin -> where it is now
    for (const auto& [begin, end] : ranges) moved[begin] = Append(&constants_, program_.constants + begin, static_cast<size_t>(end - begin));
    for (size_t i = 0; i < used.size(); ++i) {
      const Tensor& t = program_.tensors[i];
      if (t.location == Location::kArena || t.location == Location::kStrip || (t.location == Location::kPacked && used[i])) continue;
      if (!used[i]) {
        tensors_[i] = Forgotten();
        continue;
      }
      const auto range = std::prev(moved.upper_bound(t.offset));
      tensors_[i].offset = range->second + (t.offset - range->first);
    }
  }

  // Stands in for a tensor that nobody reads any more: one byte of the constants.
  static TensorRecord Forgotten() {
    TensorRecord record{};
    record.dtype = static_cast<uint8_t>(DType::kU8);
    record.location = static_cast<uint8_t>(Location::kConst);
    for (uint32_t& dim : record.dims) dim = 1;
    record.pixel_stride = 1;
    return record;
  }

  void AppendPacked(const PackedStore::Entry& entry) {
    PackedRecord record{};
    std::strncpy(record.kernel, entry.form.kernel, sizeof(record.kernel) - 1);
    record.panel_width = static_cast<uint32_t>(entry.form.panel_width);
    record.bytes = entry.form.bytes;
    tensors_[replaced_[appended_++]].offset = Append(&constants_, &record, sizeof(record));
    constants_.insert(constants_.end(), entry.data, entry.data + entry.form.bytes);
  }

  std::vector<uint8_t> Assemble() {
    std::vector<uint8_t> bytes(sizeof(ProgramHeader));
    Append(&bytes, tensors_.data(), tensors_.size() * sizeof(TensorRecord));
    Append(&bytes, ops_.data(), ops_.size());
    std::vector<uint32_t> ids = program_.inputs;
    ids.insert(ids.end(), program_.outputs.begin(), program_.outputs.end());
    Append(&bytes, ids.data(), ids.size() * sizeof(uint32_t));
    header_.const_offset = Append(&bytes, constants_.data(), constants_.size());
    header_.tensor_count = static_cast<uint32_t>(tensors_.size());
    header_.const_bytes = constants_.size();
    header_.total_bytes = bytes.size();
    std::memcpy(bytes.data(), &header_, sizeof(header_));
    return bytes;
  }

  const Program& program_;
  const std::vector<PackedStore::Entry>& entries_;
  const uint8_t* ops_base_;
  ProgramHeader header_;
  std::vector<TensorRecord> tensors_;
  std::vector<uint8_t> ops_, constants_;
  std::vector<uint32_t> replaced_;  // tensors of the entries, in their order
  size_t appended_ = 0;
};

}  // namespace

Status PackProgram(const uint8_t* bytes, size_t size, const LoadOptions& options, std::vector<uint8_t>* packed) {
  std::vector<uint64_t> aligned((size + 7) / 8);
  if (size > 0) std::memcpy(aligned.data(), bytes, size);
  const uint8_t* copy = reinterpret_cast<const uint8_t*>(aligned.data());
  std::unique_ptr<Engine> engine;
  Status status = Engine::Load(copy, size, options, &engine);
  Program program;
  if (status.ok()) status = ParseProgram(copy, size, options.memory_limit, &program);
  if (status.ok()) *packed = Packer(copy, program, engine->packed()).Write();
  return status;
}

}  // namespace sterna
