#include "engine/value_sets.h"

#include <algorithm>

#include "engine/op.h"

namespace sterna {
namespace {

// An op and the sets of its inputs.
class Follower {
 public:
  Follower(const Program& program, const OpView& op, const std::vector<ByteSet>& sets) : program_(program), op_(op), sets_(sets) {}

  ByteSet Output() const {
    switch (op_.code) {
      case OpCode::kConvQ8: return OfConv();
      case OpCode::kLutQ8: return OfTable(1);
      case OpCode::kBinaryQ8: return OfRange<BinaryQ8Attrs>([](const BinaryQ8Attrs& a) { return Range{a.y_lo, a.y_hi}; });
      case OpCode::kPoolQ8: return OfPool();
      case OpCode::kResizeQ8: return Hull(OfInput(0));
      case OpCode::kThreshold: return OfThreshold();
      case OpCode::kCopy:
      case OpCode::kTranspose:
      case OpCode::kGather: return OfInput(0);
      default: return ByteSet::All();
    }
  }

 private:
  struct Range {
    int32_t lo, hi;
  };

  bool Present(uint32_t i) const { return i < op_.input_count && op_.inputs[i] != kAbsent; }
  ByteSet OfInput(uint32_t i) const { return Present(i) ? sets_[op_.inputs[i]] : ByteSet::All(); }

  template <typename Attrs>
  const Attrs* AttrsOf() const { return op_.attr_bytes == sizeof(Attrs) ? reinterpret_cast<const Attrs*>(op_.attrs) : nullptr; }

  // Bounds outside the activation type are an error that the op's driver reports.
  ByteSet Within(Range range) const {
    const int32_t lowest = program_.activation == DType::kU8 ? 0 : -128, highest = lowest + 255;
    if (range.lo < lowest || range.hi > highest || range.lo > range.hi) return ByteSet::All();
    ByteSet set;
    set.AddRange(range.lo, range.hi);
    return set;
  }

  template <typename Attrs, typename RangeOf>
  ByteSet OfRange(RangeOf range) const {
    const Attrs* attrs = AttrsOf<Attrs>();
    return attrs != nullptr ? Within(range(*attrs)) : ByteSet::All();
  }

  // Constant tables of 256 entries, one or one for each channel: entries are in order of value, whichever they are.
  ByteSet OfTable(uint32_t i) const {
    if (!Present(i)) return ByteSet::All();
    const Tensor& table = program_.tensors[op_.inputs[i]];
    if (table.location != Location::kConst || !table.is_q8() || !table.dense()) return ByteSet::All();
    ByteSet set;
    const uint8_t* entries = program_.constants + table.offset;
    for (int64_t e = 0; e < table.elements; ++e) set.Add(entries[e]);
    return set;
  }

  ByteSet OfConv() const {
    constexpr uint32_t kTable = 5, kResidual = 6;
    if (Present(kResidual)) return OfRange<ConvQ8Attrs>([](const ConvQ8Attrs& a) { return Range{a.y_lo, a.y_hi}; });
    if (Present(kTable)) return OfTable(kTable);
    return OfRange<ConvQ8Attrs>([](const ConvQ8Attrs& a) { return Range{a.mid_lo, a.mid_hi}; });
  }

  ByteSet OfPool() const {
    const PoolAttrs* attrs = AttrsOf<PoolAttrs>();
    if (attrs == nullptr) return ByteSet::All();
    return attrs->kind == static_cast<int32_t>(PoolKind::kMax) ? OfInput(0) : Within({attrs->y_lo, attrs->y_hi});
  }

  // Numbers of a constant, or null.
  const float* Floats(uint32_t i, int64_t* count) const {
    if (!Present(i)) return nullptr;
    const Tensor& t = program_.tensors[op_.inputs[i]];
    *count = t.elements;
    return t.location == Location::kConst && t.dtype == DType::kF32 && t.dense() ? reinterpret_cast<const float*>(program_.constants + t.offset) : nullptr;
  }

  // Two values where no number lies between the thresholds, else three.
  ByteSet OfThreshold() const {
    const ThresholdAttrs* attrs = AttrsOf<ThresholdAttrs>();
    int64_t lowers = 0, uppers = 0;
    const float *lower = Floats(1, &lowers), *upper = Floats(2, &uppers);
    if (attrs == nullptr || lower == nullptr || upper == nullptr || (lowers != uppers && lowers != 1 && uppers != 1)) return ByteSet::All();
    bool between = false;
    for (int64_t i = 0; i < std::max(lowers, uppers); ++i) between = between || !(lower[lowers == 1 ? 0 : i] == upper[uppers == 1 ? 0 : i]);
    const int64_t zp = attrs->zp, lowest = program_.activation == DType::kU8 ? 0 : -128;
    if (zp <= lowest || zp >= lowest + 255) return ByteSet::All();
    ByteSet set;
    set.AddRange(attrs->zp - 1, attrs->zp - 1);
    set.AddRange(attrs->zp + 1, attrs->zp + 1);
    if (between) set.AddRange(attrs->zp, attrs->zp);
    return set;
  }

  // What lies between the values of a set: where an op computes means.
  ByteSet Hull(const ByteSet& set) const { return set.empty() ? set : Within({set.Lowest(program_.activation), set.Highest(program_.activation)}); }

  const Program& program_;
  const OpView& op_;
  const std::vector<ByteSet>& sets_;
};

}  // namespace

int32_t ByteSet::Lowest(DType type) const {
  int32_t value = type == DType::kU8 ? 0 : -128;
  while (!Has(value)) ++value;
  return value;
}

int32_t ByteSet::Highest(DType type) const {
  int32_t value = type == DType::kU8 ? 255 : 127;
  while (!Has(value)) --value;
  return value;
}

std::vector<ByteSet> FollowValues(const Program& program) {
  std::vector<ByteSet> sets(program.tensors.size());
  for (uint32_t id : program.inputs) sets[id] = ByteSet::All();
  for (const OpView& op : program.ops) {
    for (uint32_t i = 0; i < op.input_count; ++i) {
      if (op.inputs[i] != kAbsent && sets[op.inputs[i]].empty()) sets[op.inputs[i]] = ByteSet::All();  // nothing has written it
    }
    const ByteSet values = Follower(program, op, sets).Output();
    for (uint32_t i = 0; i < op.output_count; ++i) sets[op.outputs[i]].Add(values);
  }
  return sets;
}

}  // namespace sterna
