// ReduceS32, ArgReduce, TopK, CumSum: what works on the lines along one axis. x and y differ in the length of that axis at most.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/failure.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// A line is worth a unit of its own; short ones come many at a time through the nest's segments.
template <typename Driver>
Status Make(const OpContext& context, int axis, DriverPtr* driver) {
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (status.ok()) driver->reset(new Driver(context, Lines(*context.Input(0), context.Output(), axis), data));
  return status;
}

// The length of the axis in y; 0 keeps that of x.
Status CheckAxis(const OpContext& context, int32_t axis, int64_t length) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (axis < 0 || axis >= x.rank) return Unsupported("the axis of an op is out of range");
  if (x.rank != y.rank) return Mismatch("the output of an op along an axis has another rank");
  if (x.dims[axis] > std::numeric_limits<int32_t>::max()) return Unsupported("an axis is longer than indices reach");
  for (int i = 0; i < x.rank; ++i) {
    if (y.dims[i] != (i == axis && length != 0 ? length : x.dims[i])) return Mismatch("the output of an op along an axis does not follow from its input");
  }
  return Status::Ok();
}

bool IsNumber(DType type) { return type == DType::kF32 || type == DType::kS32; }

// Numbers in an order that is total: NaN above all, and -0 equal to 0.
int32_t Key(int32_t v) { return v; }
int32_t Key(float v) {
  if (std::isnan(v)) return std::numeric_limits<int32_t>::max();
  if (v == 0.0f) return 0;
  int32_t bits;
  std::memcpy(&bits, &v, sizeof(bits));
  return bits < 0 ? std::numeric_limits<int32_t>::min() - bits : bits;
}

class ReduceS32 final : public OpDriver {
 public:
  ReduceS32(const OpContext& context, const Lines& lines, const uint8_t* x)
      : lines_(lines), attrs_(context.Attrs<ReduceS32Attrs>()), x_(reinterpret_cast<const int32_t*>(x)), y_(reinterpret_cast<int32_t*>(context.OutputData())) {
    units_ = lines_.nest.units();
    cost_ = context.Input(0)->elements;
    kernel_ = "reduce_s32";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    lines_.ForEach(begin, end, [&](int64_t x, int64_t y) {
      bool good = true;
      int32_t acc = x_[x];
      for (int64_t i = 1; i < lines_.n; ++i) good &= Combine(x_[x + i * lines_.x_step], &acc);
      y_[y] = acc;
      if (!good && attrs_.checked != 0) failure_.Set();
    });
  }
  bool Succeeded() override { return !failure_.Take(); }
  const char* problem() const override { return kOutOf32Bits; }

 private:
  bool Combine(int32_t v, int32_t* acc) const {
    switch (static_cast<IntegerKind>(attrs_.kind)) {
      case IntegerKind::kAdd: return !__builtin_add_overflow(*acc, v, acc);
      case IntegerKind::kMul: return !__builtin_mul_overflow(*acc, v, acc);
      case IntegerKind::kMin: return *acc = std::min(*acc, v), true;
      default: return *acc = std::max(*acc, v), true;
    }
  }

  Lines lines_;
  ReduceS32Attrs attrs_;
  const int32_t* x_;
  int32_t* y_;
  Failure failure_;
};

template <typename T>
class ArgReduce final : public OpDriver {
 public:
  ArgReduce(const OpContext& context, const Lines& lines, const uint8_t* x)
      : lines_(lines), attrs_(context.Attrs<ArgReduceAttrs>()), x_(reinterpret_cast<const T*>(x)), y_(reinterpret_cast<int32_t*>(context.OutputData())) {
    units_ = lines_.nest.units();
    cost_ = context.Input(0)->elements;
    kernel_ = "arg_reduce";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const bool smallest = attrs_.smallest != 0, last = attrs_.last != 0;
    lines_.ForEach(begin, end, [&](int64_t x, int64_t y) {
      int64_t best = 0;
      int32_t best_key = Key(x_[x]);
      for (int64_t i = 1; i < lines_.n; ++i) {
        const int32_t key = Key(x_[x + i * lines_.x_step]);
        const bool better = smallest ? key < best_key : key > best_key;
        if (better || (last && key == best_key)) best = i, best_key = key;
      }
      y_[y] = static_cast<int32_t>(best);
    });
  }

 private:
  Lines lines_;
  ArgReduceAttrs attrs_;
  const T* x_;
  int32_t* y_;
};

// The indices of the first k elements in order, the best first. Scratch: all indices of a line, and their keys.
template <typename T>
class TopK final : public OpDriver {
 public:
  TopK(const OpContext& context, const Lines& lines, const uint8_t* x)
      : lines_(lines), smallest_(context.Attrs<TopKAttrs>().smallest != 0), k_(context.Output().dims[context.Attrs<TopKAttrs>().axis]),
        x_(reinterpret_cast<const T*>(x)), y_(reinterpret_cast<int32_t*>(context.OutputData())) {
    units_ = lines_.nest.units();
    cost_ = context.Input(0)->elements * 8;
    scratch_bytes_ = static_cast<size_t>(lines_.n) * 2 * sizeof(int32_t);
    kernel_ = "top_k";
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    int32_t *indices = reinterpret_cast<int32_t*>(scratch), *keys = indices + lines_.n;
    lines_.ForEach(begin, end, [&](int64_t x, int64_t y) {
      for (int64_t i = 0; i < lines_.n; ++i) {
        const int32_t key = Key(x_[x + i * lines_.x_step]);
        indices[i] = static_cast<int32_t>(i);
        keys[i] = smallest_ ? ~key : key;  // ~ turns the order around
      }
      std::partial_sort(indices, indices + k_, indices + lines_.n, [keys](int32_t a, int32_t b) { return keys[a] != keys[b] ? keys[a] > keys[b] : a < b; });
      for (int64_t i = 0; i < k_; ++i) y_[y + i * lines_.y_step] = indices[i];
    });
  }

 private:
  Lines lines_;
  bool smallest_;
  int64_t k_;
  const T* x_;
  int32_t* y_;
};

bool AddTo(float v, float* sum) { return *sum += v, true; }
bool AddTo(int32_t v, int32_t* sum) { return !__builtin_add_overflow(*sum, v, sum); }

template <typename T>
class CumSum final : public OpDriver {
 public:
  CumSum(const OpContext& context, const Lines& lines, const uint8_t* x)
      : lines_(lines), attrs_(context.Attrs<CumSumAttrs>()), x_(reinterpret_cast<const T*>(x)), y_(reinterpret_cast<T*>(context.OutputData())) {
    units_ = lines_.nest.units();
    cost_ = context.Input(0)->elements * 2;
    kernel_ = "cum_sum";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    lines_.ForEach(begin, end, [&](int64_t x, int64_t y) {
      T sum = 0;
      bool good = true;
      for (int64_t i = 0; i < lines_.n; ++i) {
        const int64_t at = attrs_.reverse != 0 ? lines_.n - 1 - i : i;
        const bool skipped = attrs_.exclusive != 0 && i + 1 == lines_.n;  // the last one is in no sum
        if (attrs_.exclusive != 0) y_[y + at * lines_.y_step] = sum;
        if (!skipped) good &= AddTo(x_[x + at * lines_.x_step], &sum);
        if (attrs_.exclusive == 0) y_[y + at * lines_.y_step] = sum;
      }
      if (!good && attrs_.checked != 0) failure_.Set();
    });
  }
  bool Succeeded() override { return !failure_.Take(); }
  const char* problem() const override { return kOutOf32Bits; }

 private:
  Lines lines_;
  CumSumAttrs attrs_;
  const T* x_;
  T* y_;
  Failure failure_;
};

}  // namespace

Status PrepareReduceS32(const OpContext& context, DriverPtr* driver) {
  const ReduceS32Attrs& attrs = context.Attrs<ReduceS32Attrs>();
  const IntegerKind kind = static_cast<IntegerKind>(attrs.kind);
  if (kind != IntegerKind::kAdd && kind != IntegerKind::kMul && kind != IntegerKind::kMin && kind != IntegerKind::kMax) return Unsupported("unknown kind of reduction");
  if (context.Input(0)->dtype != DType::kS32 || context.Output().dtype != DType::kS32) return Mismatch("a whole-number reduction has the wrong types");
  const Status status = CheckAxis(context, attrs.axis, 1);
  return status.ok() ? Make<ReduceS32>(context, attrs.axis, driver) : status;
}

Status PrepareArgReduce(const OpContext& context, DriverPtr* driver) {
  const int32_t axis = context.Attrs<ArgReduceAttrs>().axis;
  const DType type = context.Input(0)->dtype;
  if (!IsNumber(type) || context.Output().dtype != DType::kS32) return Mismatch("the search for an extreme has the wrong types");
  const Status status = CheckAxis(context, axis, 1);
  if (!status.ok()) return status;
  return type == DType::kF32 ? Make<ArgReduce<float>>(context, axis, driver) : Make<ArgReduce<int32_t>>(context, axis, driver);
}

Status PrepareTopK(const OpContext& context, DriverPtr* driver) {
  const int32_t axis = context.Attrs<TopKAttrs>().axis;
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (!IsNumber(x.dtype) || y.dtype != DType::kS32) return Mismatch("a choice of the best has the wrong types");
  if (axis < 0 || axis >= x.rank || axis >= y.rank) return Unsupported("the axis of an op is out of range");
  if (y.dims[axis] > x.dims[axis]) return Mismatch("more of the best than there are");
  const Status status = CheckAxis(context, axis, y.dims[axis]);
  if (!status.ok()) return status;
  return x.dtype == DType::kF32 ? Make<TopK<float>>(context, axis, driver) : Make<TopK<int32_t>>(context, axis, driver);
}

Status PrepareCumSum(const OpContext& context, DriverPtr* driver) {
  const int32_t axis = context.Attrs<CumSumAttrs>().axis;
  const DType type = context.Input(0)->dtype;
  if (!IsNumber(type) || context.Output().dtype != type) return Mismatch("a running sum has the wrong types");
  const Status status = CheckAxis(context, axis, 0);
  if (!status.ok()) return status;
  return type == DType::kF32 ? Make<CumSum<float>>(context, axis, driver) : Make<CumSum<int32_t>>(context, axis, driver);
}

}  // namespace sterna
