#include "engine/outside.h"

namespace sterna {
namespace {

constexpr size_t kMostPorts = 64;         // of a program that is searched: each port looks at all ops
constexpr uint64_t kLeastBytes = 64 * 1024;  // what is smaller is copied in no time

class Search {
 public:
  Search(const Program& program, const std::vector<DriverPtr>& drivers) : program_(program), drivers_(drivers), writes_all_(program.tensors.size(), false) {
    for (const OpView& op : program.ops) {
      // A Copy may write a part of its output, the parts of a concatenation for example.
      for (uint32_t i = 0; i < op.output_count; ++i) writes_all_[op.outputs[i]] = op.code != OpCode::kCopy;
    }
  }

  OutsideOp ReaderOf(uint32_t id) const {
    const Tensor& port = program_.tensors[id];
    OutsideOp reader;
    if (!Fits(port)) return reader;
    std::vector<size_t> written(program_.tensors.size(), SIZE_MAX);  // the last op that wrote all of a tensor
    const auto written_since = [&](uint32_t t) { return reader.found() && written[t] != SIZE_MAX && written[t] >= reader.op; };
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      const OpView& op = program_.ops[i];
      for (uint32_t operand = 0; operand < op.input_count; ++operand) {
        const uint32_t x = op.inputs[operand];
        if (x == kAbsent || !Meets(x, port)) continue;
        if (x != id && written_since(x)) continue;
        if (x != id || reader.found() || operand != 0 || !drivers_[i]->takes_outside()) return {};
        reader.op = i;
      }
      // Something else is written there before the input is read.
      for (uint32_t y = 0; y < op.output_count; ++y) {
        if (!reader.found() && Meets(op.outputs[y], port)) return {};
        if (writes_all_[op.outputs[y]]) written[op.outputs[y]] = i;
      }
    }
    for (uint32_t output : program_.outputs) {
      if (Meets(output, port) && !written_since(output)) return {};
    }
    return reader;
  }

  OutsideOp WriterOf(size_t port_index) const {
    const uint32_t id = program_.outputs[port_index];
    const Tensor& port = program_.tensors[id];
    OutsideOp writer;
    if (!Fits(port)) return writer;
    for (size_t i = 0; i < program_.ops.size(); ++i) {
      const OpView& op = program_.ops[i];
      if (writer.found()) {
        for (uint32_t x = 0; x < op.input_count; ++x) if (op.inputs[x] != kAbsent && Meets(op.inputs[x], port)) return {};
      }
      for (uint32_t y = 0; y < op.output_count; ++y) {
        if (!Meets(op.outputs[y], port)) continue;
        const bool whole = op.outputs[y] == id && op.output_count == 1 && drivers_[i]->takes_outside();
        if (!whole && writer.found()) return {};
        writer.op = whole ? i : SIZE_MAX;
      }
    }
    for (size_t other = 0; other < program_.outputs.size(); ++other) {
      if (other != port_index && Meets(program_.outputs[other], port)) return {};
    }
    return writer;
  }

 private:
  static bool Fits(const Tensor& t) { return t.location == Location::kArena && t.dense() && t.bytes() >= kLeastBytes; }
  bool Meets(uint32_t id, const Tensor& port) const {
    const Tensor& t = program_.tensors[id];
    return t.location == Location::kArena && Overlap(t, port);
  }
  const Program& program_;
  const std::vector<DriverPtr>& drivers_;
  std::vector<bool> writes_all_;  // by tensor: an op writes every element of it
};

}  // namespace

OutsidePlan PlanOutside(const Program& program, const std::vector<DriverPtr>& drivers) {
  OutsidePlan plan{std::vector<OutsideOp>(program.inputs.size()), std::vector<OutsideOp>(program.outputs.size())};
  if (program.inputs.size() + program.outputs.size() > kMostPorts) return plan;
  const Search search(program, drivers);
  for (size_t i = 0; i < program.inputs.size(); ++i) plan.inputs[i] = search.ReaderOf(program.inputs[i]);
  for (size_t i = 0; i < program.outputs.size(); ++i) plan.outputs[i] = search.WriterOf(i);
  return plan;
}

}  // namespace sterna
