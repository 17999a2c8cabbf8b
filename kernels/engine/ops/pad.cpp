// Pad (constant, reflect, edge) and Gather: y[.., i, ..] = x[.., map(i), ..], for elements of 1 or 4 bytes.
#include <atomic>
#include <cmath>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

constexpr int64_t kMaxAxis = 1 << 24;  // indices of longer ones, and of all that is padded to them, might not fit 32 bits
constexpr int32_t kFill = -1;  // an index of y that comes from no index of x

// Units: lines of y along its last axis.
template <typename T>
class MappedCopy final : public OpDriver {
 public:
  // maps[axis][i]: the index of x for index i of y, or kFill.
  MappedCopy(const Tensor& x, const Tensor& y, std::vector<std::vector<int32_t>> maps, T fill, const uint8_t* x_data, uint8_t* y_data)
      : rank_(y.rank), maps_(std::move(maps)), fill_(fill), x_(reinterpret_cast<const T*>(x_data)), y_(reinterpret_cast<T*>(y_data)) {
    StridesOf(x, xs_);
    StridesOf(y, ys_);
    std::copy(y.dims, y.dims + kMaxRank, dims_);
    line_ = y.channels();
    units_ = y.pixels();
    granularity_ = 16;
    cost_ = y.elements / 2;
    kernel_ = "pad";
    // The part of a line that is one contiguous piece of x.
    const std::vector<int32_t>& last = maps_.back();
    while (begin_ < line_ && last[static_cast<size_t>(begin_)] == kFill) ++begin_;
    end_ = begin_;
    while (end_ < line_ && last[static_cast<size_t>(end_)] == last[static_cast<size_t>(begin_)] + (end_ - begin_)) ++end_;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t rest = unit, x = 0, y = 0;
      bool fill = false;
      for (int axis = rank_ - 2; axis >= 0; --axis) {
        const int64_t index = rest % dims_[axis];
        rest /= dims_[axis];
        const int32_t from = maps_[static_cast<size_t>(axis)][static_cast<size_t>(index)];
        fill = fill || from == kFill;
        x += from * xs_[axis], y += index * ys_[axis];
      }
      if (fill) std::fill_n(y_ + y, line_, fill_);
      else Line(x_ + x, y_ + y);
    }
  }

 private:
  void Line(const T* x, T* y) const {
    const std::vector<int32_t>& map = maps_.back();
    if (end_ > begin_) std::memcpy(y + begin_, x + map[static_cast<size_t>(begin_)], static_cast<size_t>(end_ - begin_) * sizeof(T));
    const auto mapped = [&](int64_t i) { return map[static_cast<size_t>(i)] == kFill ? fill_ : x[map[static_cast<size_t>(i)]]; };
    for (int64_t i = 0; i < begin_; ++i) y[i] = mapped(i);
    for (int64_t i = end_; i < line_; ++i) y[i] = mapped(i);
  }

  int rank_;
  std::vector<std::vector<int32_t>> maps_;
  T fill_;
  const T* x_;
  T* y_;
  int64_t xs_[kMaxRank], ys_[kMaxRank], dims_[kMaxRank];
  int64_t line_, begin_ = 0, end_ = 0;
};

// Source index along one axis, or kFill.
int32_t PadIndex(int64_t i, int64_t size, PadMode mode) {
  if (i >= 0 && i < size) return static_cast<int32_t>(i);
  if (mode == PadMode::kConstant) return kFill;
  if (mode == PadMode::kEdge || size == 1) return static_cast<int32_t>(i < 0 ? 0 : size - 1);
  const int64_t period = 2 * (size - 1);  // reflect: the border itself is not repeated
  const int64_t at = (i % period + period) % period;
  return static_cast<int32_t>(at < size ? at : period - at);
}

uint8_t FillByte(DType type, float value) {
  const float lo = type == DType::kS8 ? -128.0f : 0.0f;
  const float clamped = value > lo ? (value < lo + 255.0f ? value : lo + 255.0f) : lo;
  return static_cast<uint8_t>(static_cast<int32_t>(std::nearbyint(clamped)));
}

// The fill of a 4-byte tensor, as the float whose bits it has.
float FillWord(DType type, float value) {
  if (type == DType::kF32) return value;
  const float clamped = value > -2147483520.0f ? (value < 2147483520.0f ? value : 2147483520.0f) : -2147483520.0f;
  const int32_t integer = static_cast<int32_t>(clamped);
  float bits;
  std::memcpy(&bits, &integer, sizeof(bits));
  return bits;
}

// One index a unit position: lines [inner] at y[o][i] come from x[o][indices[i]]. Units: output positions (o, i).
class Gather final : public OpDriver {
 public:
  Gather(const OpContext& context, int axis, const uint8_t* x, const uint8_t* indices)
      : indices_(reinterpret_cast<const int32_t*>(indices)), x_(x), y_(context.OutputData()) {
    const Tensor &in = *context.Input(0), &out = context.Output();
    const int64_t size = static_cast<int64_t>(SizeOf(in.dtype));
    axis_size_ = in.dims[axis];
    count_ = context.Input(1)->elements;
    inner_bytes_ = size;
    for (int i = axis + 1; i < in.rank; ++i) inner_bytes_ *= in.dims[i];
    units_ = out.elements * size / inner_bytes_;
    granularity_ = 16;
    cost_ = out.elements * size / 8;
    kernel_ = "gather";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t index = indices_[unit % count_];
      if (index < 0) index += axis_size_;  // ONNX: counted from the end
      if (index < 0 || index >= axis_size_) {
        out_of_range_.store(true, std::memory_order_relaxed);
        index = 0;
      }
      const int64_t from = unit / count_ * axis_size_ + index;
      std::memcpy(y_ + unit * inner_bytes_, x_ + from * inner_bytes_, static_cast<size_t>(inner_bytes_));
    }
  }
  bool Succeeded() override { return !out_of_range_.exchange(false, std::memory_order_relaxed); }

 private:
  const int32_t* indices_;
  const uint8_t* x_;
  uint8_t* y_;
  int64_t axis_size_, count_, inner_bytes_;
  std::atomic<bool> out_of_range_{false};
};

}  // namespace

Status PreparePad(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const PadAttrs& a = context.Attrs<PadAttrs>();
  if (x.dtype != y.dtype || x.rank != y.rank || x.rank == 0) return Mismatch("padding needs tensors of one type and rank");
  if (a.mode < 0 || a.mode > static_cast<int32_t>(PadMode::kEdge)) return Unsupported("unknown mode of padding");
  std::vector<std::vector<int32_t>> maps(static_cast<size_t>(y.rank));
  for (int axis = 0; axis < y.rank; ++axis) {
    if (y.dims[axis] > kMaxAxis || x.dims[axis] > kMaxAxis) return Unsupported("an axis is too long to pad");
    const Status reserved = context.Reserve(static_cast<uint64_t>(y.dims[axis]) * sizeof(int32_t));
    if (!reserved.ok()) return reserved;
    maps[static_cast<size_t>(axis)].reserve(static_cast<size_t>(y.dims[axis]));
    for (int64_t i = 0; i < y.dims[axis]; ++i) maps[static_cast<size_t>(axis)].push_back(PadIndex(i - a.before[axis], x.dims[axis], static_cast<PadMode>(a.mode)));
  }
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (!status.ok()) return status;
  if (SizeOf(x.dtype) == 1) driver->reset(new MappedCopy<uint8_t>(x, y, std::move(maps), FillByte(x.dtype, a.value), data, context.OutputData()));
  else driver->reset(new MappedCopy<float>(x, y, std::move(maps), FillWord(x.dtype, a.value), data, context.OutputData()));
  return status;
}

Status PrepareGather(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &indices = *context.Input(1), &y = context.Output();
  const int32_t axis = context.Attrs<GatherAttrs>().axis;
  if (x.dtype != y.dtype || indices.dtype != DType::kS32) return Mismatch("a gather has the wrong types");
  if (axis < 0 || axis >= x.rank) return Unsupported("the axis of a gather is out of range");
  if (!x.dense() || !indices.dense() || !y.dense()) return Unsupported("a gather needs dense tensors");
  if (y.rank != x.rank - 1 + indices.rank) return Mismatch("a gather's output does not follow from its inputs");
  for (int i = 0; i < y.rank; ++i) {
    const int64_t expected = i < axis ? x.dims[i] : i < axis + indices.rank ? indices.dims[i - axis] : x.dims[i - indices.rank + 1];
    if (y.dims[i] != expected) return Mismatch("a gather's output does not follow from its inputs");
  }
  const uint8_t *data = nullptr, *index_data = nullptr;
  Status status = context.InputData(0, &data);
  if (status.ok()) status = context.InputData(1, &index_data);
  if (status.ok()) driver->reset(new Gather(context, axis, data, index_data));
  return status;
}

}  // namespace sterna
