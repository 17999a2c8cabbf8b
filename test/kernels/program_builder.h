// Writes programs (sterna/program.h) by hand, for tests of the engine.
#pragma once
#include <cstring>
#include <initializer_list>
#include <vector>

#include "engine/memory.h"
#include "engine/program.h"

namespace sterna_test {

using sterna::DType;

class ProgramBuilder {
 public:
  explicit ProgramBuilder(DType activation) : activation_(activation) {}

  uint32_t Tensor(DType type, std::initializer_list<uint32_t> dims, uint32_t pixel_stride = 0) {
    sterna::TensorRecord r = Record(type, dims, sterna::Location::kArena);
    if (pixel_stride != 0) r.pixel_stride = pixel_stride;
    r.offset = arena_bytes_;
    uint64_t pixels = 1;
    for (size_t i = 0; i + 1 < dims.size(); ++i) pixels *= r.dims[i];
    arena_bytes_ += sterna::RoundUp(pixels * r.pixel_stride * sterna::SizeOf(type), 64);
    return Add(r);
  }
  // A map between two ops of a strip.
  uint32_t Strip(DType type, std::initializer_list<uint32_t> dims, uint32_t pixel_stride = 0) {
    sterna::TensorRecord r = Record(type, dims, sterna::Location::kStrip);
    if (pixel_stride != 0) r.pixel_stride = pixel_stride;
    return Add(r);
  }
  uint32_t Input(DType type, std::initializer_list<uint32_t> dims, uint32_t pixel_stride = 0) {
    inputs_.push_back(Tensor(type, dims, pixel_stride));
    return inputs_.back();
  }
  uint32_t Output(DType type, std::initializer_list<uint32_t> dims, uint32_t pixel_stride = 0) {
    outputs_.push_back(Tensor(type, dims, pixel_stride));
    return outputs_.back();
  }
  template <typename T>
  uint32_t Constant(DType type, std::initializer_list<uint32_t> dims, const std::vector<T>& data) {
    sterna::TensorRecord r = Record(type, dims, sterna::Location::kConst);
    r.offset = constants_.size();
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(data.data());
    constants_.insert(constants_.end(), bytes, bytes + data.size() * sizeof(T));
    constants_.resize(sterna::RoundUp(constants_.size(), 64));
    return Add(r);
  }

  template <typename Attrs>
  void Op(sterna::OpCode code, std::initializer_list<uint32_t> inputs, uint32_t output, const Attrs& attrs) {
    AddOp(code, inputs, output, &attrs, sizeof(attrs));
  }
  void Op(sterna::OpCode code, std::initializer_list<uint32_t> inputs, uint32_t output) { AddOp(code, inputs, output, nullptr, 0); }

  std::vector<uint8_t> Build() const {
    std::vector<uint8_t> bytes(64);
    Append(&bytes, tensors_.data(), tensors_.size() * sizeof(sterna::TensorRecord));
    Append(&bytes, ops_.data(), ops_.size());
    std::vector<uint32_t> ids = inputs_;
    ids.insert(ids.end(), outputs_.begin(), outputs_.end());
    Append(&bytes, ids.data(), ids.size() * 4);
    const uint64_t const_offset = bytes.size();
    bytes.insert(bytes.end(), constants_.begin(), constants_.end());
    sterna::ProgramHeader h{sterna::kProgramMagic, sterna::kProgramVersion, static_cast<uint32_t>(activation_), static_cast<uint32_t>(tensors_.size()), op_count_,
                            static_cast<uint32_t>(inputs_.size()), static_cast<uint32_t>(outputs_.size()), static_cast<uint32_t>(ops_.size()),
                            arena_bytes_, const_offset, constants_.size(), bytes.size()};
    std::memcpy(bytes.data(), &h, sizeof(h));
    return bytes;
  }

 private:
  static sterna::TensorRecord Record(DType type, std::initializer_list<uint32_t> dims, sterna::Location location) {
    sterna::TensorRecord r{};
    r.dtype = static_cast<uint8_t>(type);
    r.rank = static_cast<uint8_t>(dims.size());
    r.location = static_cast<uint8_t>(location);
    for (uint32_t& dim : r.dims) dim = 1;
    size_t axis = 0;
    for (uint32_t dim : dims) r.dims[axis++] = dim;
    r.pixel_stride = dims.size() == 0 ? 1 : r.dims[dims.size() - 1];
    return r;
  }
  uint32_t Add(const sterna::TensorRecord& r) {
    tensors_.push_back(r);
    return static_cast<uint32_t>(tensors_.size() - 1);
  }
  void AddOp(sterna::OpCode code, std::initializer_list<uint32_t> inputs, uint32_t output, const void* attrs, size_t attr_bytes) {
    const sterna::OpRecord record{static_cast<uint16_t>(code), static_cast<uint16_t>(inputs.size()), 1, static_cast<uint16_t>(attr_bytes)};
    const auto add = [&](const void* p, size_t n) { ops_.insert(ops_.end(), static_cast<const uint8_t*>(p), static_cast<const uint8_t*>(p) + n); };
    add(&record, sizeof(record));
    for (uint32_t id : inputs) add(&id, sizeof(id));
    add(&output, sizeof(output));
    if (attr_bytes > 0) add(attrs, attr_bytes);
    ++op_count_;
  }
  // Each section starts at a multiple of 64.
  static void Append(std::vector<uint8_t>* bytes, const void* data, size_t n) {
    const uint8_t* p = static_cast<const uint8_t*>(data);
    if (n > 0) bytes->insert(bytes->end(), p, p + n);
    bytes->resize(sterna::RoundUp(bytes->size(), 64));
  }

  DType activation_;
  uint32_t op_count_ = 0;
  uint64_t arena_bytes_ = 0;
  std::vector<sterna::TensorRecord> tensors_;
  std::vector<uint8_t> ops_, constants_;
  std::vector<uint32_t> inputs_, outputs_;
};

}  // namespace sterna_test
