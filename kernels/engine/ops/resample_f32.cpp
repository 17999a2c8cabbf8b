// ResampleF32: every index along one axis becomes a weighted sum of a few, by tables of constants: cubic and antialiased resizing,
// cropping, and any axis that ResizeF32 does not take.
#include "engine/ops/drivers.h"

namespace sterna {
namespace {

enum Input : uint32_t { kX, kIndices, kWeights };

constexpr int64_t kMaxTaps = 1 << 16;  // for one output index

// x is [outer, size, pixels, channels], and y [outer, out, pixels, channels]; only pixels may lie apart.
struct Shape {
  int64_t outer, size, out, taps, pixels, channels;
  int64_t x_stride, y_stride;  // of pixels
  bool last;                   // the axis is the last one: channels is 1, x_stride and y_stride are those of `outer`
};

// Units: output indices of the axis over all outer ones.
class ResampleF32 final : public OpDriver {
 public:
  ResampleF32(const OpContext& context, const Shape& s) : s_(s), y_(reinterpret_cast<float*>(context.OutputData())) {
    units_ = s.outer * s.out;
    cost_ = units_ * s.pixels * s.channels * s.taps / 4;
    kernel_ = "resample_f32";
  }
  Status Init(const OpContext& context) {
    const uint8_t *x = nullptr, *indices = nullptr, *weights = nullptr;
    Status status = context.InputData(kX, &x);
    if (status.ok()) status = context.InputData(kIndices, &indices);
    if (status.ok()) status = context.InputData(kWeights, &weights);
    x_ = reinterpret_cast<const float*>(x);
    indices_ = reinterpret_cast<const int32_t*>(indices);
    weights_ = reinterpret_cast<const float*>(weights);
    return status;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t outer = unit / s_.out, index = unit % s_.out;
      if (s_.last) {
        Sum(index, x_ + outer * s_.x_stride, 1, 1, y_ + outer * s_.y_stride + index);
        continue;
      }
      for (int64_t p = 0; p < s_.pixels; ++p) {
        const float* x = x_ + (outer * s_.size * s_.pixels + p) * s_.x_stride;
        Sum(index, x, s_.pixels * s_.x_stride, s_.channels, y_ + ((outer * s_.out + index) * s_.pixels + p) * s_.y_stride);
      }
    }
  }

 private:
  // y[c] = sum of weights * x[index][c], the indices `step` floats apart.
  void Sum(int64_t index, const float* x, int64_t step, int64_t channels, float* y) const {
    const int32_t* at = indices_ + index * s_.taps;
    const float* w = weights_ + index * s_.taps;
    for (int64_t c = 0; c < channels; ++c) y[c] = w[0] * x[at[0] * step + c];
    for (int64_t t = 1; t < s_.taps; ++t) {
      const float* from = x + at[t] * step;
      for (int64_t c = 0; c < channels; ++c) y[c] += w[t] * from[c];
    }
  }

  Shape s_;
  const float *x_ = nullptr, *weights_ = nullptr;
  const int32_t* indices_ = nullptr;
  float* y_;
};

Status CheckTables(const OpContext& context, const Shape& s) {
  const Tensor &indices = *context.Input(kIndices), &weights = *context.Input(kWeights);
  if (indices.location != Location::kConst || weights.location != Location::kConst) return Unsupported("the tables of resampling must be constant");
  if (indices.dtype != DType::kS32 || weights.dtype != DType::kF32 || !indices.dense() || !weights.dense()) return Mismatch("the tables of resampling have the wrong types");
  if (indices.rank != 2 || !SameShape(indices, weights) || indices.dims[0] != s.out) return Mismatch("the tables of resampling do not fit its output");
  if (s.taps > kMaxTaps) return Unsupported("resampling sums up too many elements");
  const int32_t* at = reinterpret_cast<const int32_t*>(context.Constant(kIndices));
  for (int64_t i = 0; i < indices.elements; ++i) {
    if (at[i] < 0 || at[i] >= s.size) return Mismatch("an index of resampling is out of range");
  }
  return Status::Ok();
}

Status CheckResample(const OpContext& context, Shape* s) {
  const Tensor &x = *context.Input(kX), &y = context.Output();
  const int32_t axis = context.Attrs<ResampleAttrs>().axis;
  if (x.dtype != DType::kF32 || y.dtype != DType::kF32 || x.rank != y.rank) return Mismatch("resampling needs floats of one rank");
  if (axis < 0 || axis >= x.rank) return Unsupported("the axis of resampling is out of range");
  *s = {1, x.dims[axis], y.dims[axis], context.Input(kIndices)->dims[1], 1, 1, x.pixel_stride, y.pixel_stride, axis == x.rank - 1};
  for (int i = 0; i < x.rank; ++i) {
    if (i == axis) continue;
    if (x.dims[i] != y.dims[i]) return Mismatch("resampling keeps all axes but its own");
    if (i < axis) s->outer *= x.dims[i];
    else if (i < x.rank - 1) s->pixels *= x.dims[i];
    else s->channels = x.dims[i];
  }
  if (!s->last && x.dense() && y.dense()) {
    s->channels *= s->pixels, s->pixels = 1;
    s->x_stride = s->y_stride = s->channels;
  }
  return CheckTables(context, *s);
}

}  // namespace

Status PrepareResampleF32(const OpContext& context, DriverPtr* driver) {
  return PrepareChecked<ResampleF32>(context, CheckResample, driver);
}

}  // namespace sterna
