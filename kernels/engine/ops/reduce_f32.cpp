// ReduceF32 and SoftmaxF32.
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

float Initial(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kMax: return -std::numeric_limits<float>::infinity();
    case ReduceKind::kMin: return std::numeric_limits<float>::infinity();
    case ReduceKind::kProduct: return 1.0f;
    default: return 0.0f;
  }
}

// A NaN makes the largest and the smallest NaN. Both conditions are evaluated, so that compilers make vectors of them: `||` would be a branch.
template <ReduceKind kind>
float Combine(float acc, float v) {
  if constexpr (kind == ReduceKind::kMax) return (static_cast<int>(v > acc) | static_cast<int>(v != v)) != 0 ? v : acc;
  if constexpr (kind == ReduceKind::kMin) return (static_cast<int>(v < acc) | static_cast<int>(v != v)) != 0 ? v : acc;
  if constexpr (kind == ReduceKind::kProduct) return acc * v;
  if constexpr (kind == ReduceKind::kSumSquare) return acc + v * v;
  return acc + v;
}

// The partial results of two halves.
template <ReduceKind kind>
float Merge(float a, float b) {
  return Combine<kind == ReduceKind::kSumSquare ? ReduceKind::kSum : kind>(a, b);
}

// Eight running results: vectorizes, and errs less than one.
template <ReduceKind kind>
float ReduceRow(float acc, const float* x, int64_t n) {
  constexpr int kLanes = 8;
  float lanes[kLanes];
  std::fill_n(lanes, kLanes, Initial(kind));
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int j = 0; j < kLanes; ++j) lanes[j] = Combine<kind>(lanes[j], x[i + j]);
  }
  for (; i < n; ++i) lanes[i % kLanes] = Combine<kind>(lanes[i % kLanes], x[i]);
  for (float lane : lanes) acc = Merge<kind>(acc, lane);
  return acc;
}

template <ReduceKind kind>
void AccumulateRow(float* acc, const float* x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) acc[i] = Combine<kind>(acc[i], x[i]);
}

// The inner loops of one kind. L2 sums squares, mean sums; the end differs.
struct Functions {
  float (*reduce)(float acc, const float* x, int64_t n);
  void (*accumulate)(float* acc, const float* x, int64_t n);
};
Functions FunctionsOf(ReduceKind kind) {
  switch (kind) {
    case ReduceKind::kMax: return {ReduceRow<ReduceKind::kMax>, AccumulateRow<ReduceKind::kMax>};
    case ReduceKind::kMin: return {ReduceRow<ReduceKind::kMin>, AccumulateRow<ReduceKind::kMin>};
    case ReduceKind::kProduct: return {ReduceRow<ReduceKind::kProduct>, AccumulateRow<ReduceKind::kProduct>};
    case ReduceKind::kL2:
    case ReduceKind::kSumSquare: return {ReduceRow<ReduceKind::kSumSquare>, AccumulateRow<ReduceKind::kSumSquare>};
    default: return {ReduceRow<ReduceKind::kSum>, AccumulateRow<ReduceKind::kSum>};
  }
}

// `kept` walks y (operands: x, y) down to the last axis; `reduced` walks what one element of y sums up. When the last axis is
// kept, a unit is a row of y that is accumulated as a vector; otherwise it is one element.
class ReduceF32 final : public OpDriver {
 public:
  ReduceF32(const OpContext& context, ReduceKind kind, const uint8_t* x)
      : kind_(kind), f_(FunctionsOf(kind)), x_(reinterpret_cast<const float*>(x)), y_(reinterpret_cast<float*>(context.OutputData())) {
    const Tensor &in = *context.Input(0), &out = context.Output();
    int64_t xs[kMaxRank], ys[kMaxRank];
    StridesOf(in, xs);
    StridesOf(out, ys);
    const int last = in.rank - 1;
    vector_ = in.rank > 0 && in.dims[last] > 1 && out.dims[last] == in.dims[last];
    row_ = vector_ ? in.dims[last] : 1;
    for (int axis = 0; axis < in.rank; ++axis) {
      if (out.dims[axis] != in.dims[axis]) reduced_.AddAxis(in.dims[axis], {xs[axis]});
      else if (!(vector_ && axis == last)) AddKept(in.dims[axis], xs[axis], ys[axis]);
    }
    count_ = static_cast<float>(in.elements / out.elements);
    units_ = out.elements / row_;
    cost_ = in.elements / 2;
    kernel_ = "reduce_f32";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t rest = unit, x = 0, y = 0;
      for (int axis = kept_rank_ - 1; axis >= 0; --axis) {
        const int64_t index = rest % kept_[axis].dim;
        rest /= kept_[axis].dim;
        x += index * kept_[axis].x_stride, y += index * kept_[axis].y_stride;
      }
      if (vector_) ReduceToVector(x_ + x, y_ + y);
      else y_[y] = Finish(ReduceToScalar(x_ + x));
    }
  }

 private:
  struct Axis {
    int64_t dim, x_stride, y_stride;
  };
  void AddKept(int64_t dim, int64_t x_stride, int64_t y_stride) { kept_[kept_rank_++] = {dim, x_stride, y_stride}; }

  float ReduceToScalar(const float* x) const {
    float acc = Initial(kind_);
    const int64_t step = reduced_.inner_stride(0);
    reduced_.ForEach(0, reduced_.units(), [&](const int64_t(&at)[1], int64_t n) {
      if (step == 1) acc = f_.reduce(acc, x + at[0], n);
      else for (int64_t i = 0; i < n; ++i) acc = f_.reduce(acc, x + at[0] + i * step, 1);
    });
    return acc;
  }
  void ReduceToVector(const float* x, float* y) const {
    std::fill_n(y, row_, Initial(kind_));
    const int64_t step = reduced_.inner_stride(0);
    reduced_.ForEach(0, reduced_.units(), [&](const int64_t(&at)[1], int64_t n) {
      for (int64_t i = 0; i < n; ++i) f_.accumulate(y, x + at[0] + i * step, row_);
    });
    for (int64_t i = 0; i < row_; ++i) y[i] = Finish(y[i]);
  }
  float Finish(float acc) const {
    if (kind_ == ReduceKind::kMean) return acc / count_;
    return kind_ == ReduceKind::kL2 ? std::sqrt(acc) : acc;
  }

  ReduceKind kind_;
  Functions f_;
  const float* x_;
  float* y_;
  bool vector_;
  int64_t row_;
  float count_;
  int kept_rank_ = 0;
  Axis kept_[kMaxRank];
  LoopNest<1> reduced_;
};

// Units: vectors along the axis.
class SoftmaxF32 final : public OpDriver {
 public:
  SoftmaxF32(const OpContext& context, int axis, SoftmaxMode mode, const uint8_t* x)
      : row_(context.kernels().rows_f32->softmax), exp_(context.kernels().elementwise->exp_f32), mode_(mode), own_x_(reinterpret_cast<const float*>(x)), own_y_(reinterpret_cast<float*>(context.OutputData())), x_(own_x_), y_(own_y_) {
    const Tensor &in = *context.Input(0), &out = context.Output();
    const Lines lines(in, out, axis);
    kept_ = lines.nest, n_ = lines.n, x_step_ = lines.x_step, y_step_ = lines.y_step;
    in_place_ = mode == SoftmaxMode::kSoft && x_step_ == 1 && y_step_ == 1 && n_ >= kRow;
    rows_ = std::max<int64_t>(kBlock / n_, 1);
    units_ = kept_.units();
    cost_ = in.elements * 2;
    scratch_bytes_ = in_place_ ? 0 : static_cast<size_t>(rows_ * n_) * 2 * sizeof(float);
    kernel_ = "softmax_f32";
    along_pixels_ = axis == in.rank - 1 && in.rank > 1;
    x_pixel_ = in.pixel_stride, y_pixel_ = out.pixel_stride;
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    float* shifted = reinterpret_cast<float*>(scratch);
    const int64_t x_step = kept_.inner_stride(0), y_step = kept_.inner_stride(1);
    kept_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t count) {
      for (int64_t i = 0; i < count; i += rows_) Block(x_ + at[0] + i * x_step, x_step, y_ + at[1] + i * y_step, y_step, std::min(rows_, count - i), shifted);
    });
  }
  // Neither the kernels nor the blocks touch anything but the elements.
  bool takes_outside() const override { return true; }
  void ReadFrom(const uint8_t* x) override { x_ = x != nullptr ? reinterpret_cast<const float*>(x) : own_x_; }
  void WriteTo(uint8_t* y) override { y_ = y != nullptr ? reinterpret_cast<float*>(y) : own_y_; }
  // Of vectors that are pixels.
  bool takes_spans() const override { return along_pixels_; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override {
    while (spans.left() > 0) {
      int64_t first;
      const int64_t count = spans.Take(rows_, &first);
      Block(x_ + first * x_pixel_, x_pixel_, y_ + first * y_pixel_, y_pixel_, count, reinterpret_cast<float*>(scratch));
    }
  }

 private:
  static constexpr int64_t kRow = 16;      // elements for which a call of the kernel for rows is worth it
  static constexpr int64_t kBlock = 1024;  // elements that go through exp at once: short vectors share a call

  // `rows` vectors, x_row and y_row apart.
  void Block(const float* x, int64_t x_row, float* y, int64_t y_row, int64_t rows, float* shifted) const {
    if (in_place_) {
      for (int64_t r = 0; r < rows; ++r) row_(static_cast<size_t>(n_), x + r * x_row, y + r * y_row);
      return;
    }
    float* exps = shifted + rows_ * n_;
    for (int64_t r = 0; r < rows; ++r) Shift(x + r * x_row, shifted + r * n_);
    if (mode_ == SoftmaxMode::kHard) {
      for (int64_t r = 0; r < rows; ++r) MarkFirst(shifted + r * n_, y + r * y_row);
      return;
    }
    exp_(static_cast<size_t>(rows * n_), shifted, exps);
    for (int64_t r = 0; r < rows; ++r) Normalize(shifted + r * n_, exps + r * n_, y + r * y_row);
  }
  // x - max(x): exp cannot overflow then.
  void Shift(const float* x, float* out) const {
    float highest = x[0];
    for (int64_t i = 1; i < n_; ++i) highest = x[i * x_step_] > highest ? x[i * x_step_] : highest;
    for (int64_t i = 0; i < n_; ++i) out[i] = x[i * x_step_] - highest;
  }
  void MarkFirst(const float* shifted, float* y) const {
    int64_t first = 0;
    while (first + 1 < n_ && shifted[first] < 0.0f) ++first;
    for (int64_t i = 0; i < n_; ++i) y[i * y_step_] = i == first ? 1.0f : 0.0f;
  }
  void Normalize(const float* shifted, const float* exps, float* y) const {
    const bool log = mode_ == SoftmaxMode::kLog;
    const float sum = ReduceRow<ReduceKind::kSum>(0.0f, exps, n_);
    const float log_sum = log ? std::log(sum) : 0.0f, factor = 1.0f / sum;
    for (int64_t i = 0; i < n_; ++i) y[i * y_step_] = log ? shifted[i] - log_sum : exps[i] * factor;
  }

  void (*row_)(size_t, const float*, float*);
  void (*exp_)(size_t, const float*, float*);
  SoftmaxMode mode_;
  const float* own_x_;
  float* own_y_;
  const float* x_;  // of the next run
  float* y_;
  int64_t n_, x_step_, y_step_;
  bool in_place_;  // rows are computed where they are
  bool along_pixels_;
  int64_t x_pixel_, y_pixel_;
  int64_t rows_;  // vectors in a block
  LoopNest<2> kept_;
};

}  // namespace

Status PrepareReduceF32(const OpContext& context, DriverPtr* driver) {
  const ReduceAttrs& attrs = context.Attrs<ReduceAttrs>();
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || x.rank != y.rank) return Mismatch("a reduction needs floats of one rank");
  if (attrs.kind < 0 || attrs.kind > static_cast<int32_t>(ReduceKind::kProduct)) return Unsupported("unknown kind of reduction");
  for (int axis = 0; axis < x.rank; ++axis) {
    const int64_t expected = (attrs.axes_mask >> axis) & 1 ? 1 : x.dims[axis];
    if (y.dims[axis] != expected) return Mismatch("a reduction's output does not follow from its axes");
  }
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (status.ok()) driver->reset(new ReduceF32(context, static_cast<ReduceKind>(attrs.kind), data));
  return status;
}

Status PrepareSoftmaxF32(const OpContext& context, DriverPtr* driver) {
  const SoftmaxAttrs& attrs = context.Attrs<SoftmaxAttrs>();
  const Tensor &x = *context.Input(0), &y = context.Output();
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || !SameShape(x, y)) return Mismatch("softmax needs floats of one shape");
  if (attrs.axis < 0 || attrs.axis >= x.rank) return Unsupported("the axis of softmax is out of range");
  if (attrs.mode < 0 || attrs.mode > static_cast<int32_t>(SoftmaxMode::kHard)) return Unsupported("unknown mode of softmax");
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (status.ok()) driver->reset(new SoftmaxF32(context, attrs.axis, static_cast<SoftmaxMode>(attrs.mode), data));
  return status;
}

}  // namespace sterna
