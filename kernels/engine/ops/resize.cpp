// ResizeQ8 and ResizeF32: nearest and (bi)linear, over feature maps [N,H,W,C]; ONNX Resize, opset 13.
#include <cmath>

#include "engine/ops/drivers.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

// One output position along one axis: y = x[low] + (x[high] - x[low]) * fraction. Nearest: low == high, fraction 0.
struct Source {
  int32_t low, high;
  float fraction;
};

// coordinate_transformation_mode; the order of ResizeAttrs.
float SourceCoordinate(int64_t out, int64_t in_size, int64_t out_size, float scale, ResizeCoordinates mode) {
  const float o = static_cast<float>(out);
  switch (mode) {
    case ResizeCoordinates::kAsymmetric: return o / scale;
    case ResizeCoordinates::kAlignCorners: return out_size > 1 ? o * static_cast<float>(in_size - 1) / static_cast<float>(out_size - 1) : 0.0f;
    case ResizeCoordinates::kPytorchHalfPixel: return out_size > 1 ? (o + 0.5f) / scale - 0.5f : 0.0f;
    default: return (o + 0.5f) / scale - 0.5f;
  }
}

// nearest_mode; the order of ResizeAttrs.
float RoundNearest(float v, NearestMode mode) {
  switch (mode) {
    // A little short of a half, as single precision makes it, is a half (onnxruntime).
    case NearestMode::kRoundPreferCeil: return static_cast<float>(std::floor(static_cast<double>(v) + 1e-6 + 0.5));
    case NearestMode::kFloor: return std::floor(v);
    case NearestMode::kCeil: return std::ceil(v);
    default: return std::ceil(v - 0.5f);
  }
}

int32_t ClampIndex(float v, int64_t size) {
  const float last = static_cast<float>(size - 1);
  return static_cast<int32_t>(v > 0.0f ? (v < last ? v : last) : 0.0f);  // NaN becomes 0
}

Source SourceOf(const ResizeAttrs& a, int64_t out, int64_t in_size, int64_t out_size, float scale) {
  const float v = SourceCoordinate(out, in_size, out_size, scale, static_cast<ResizeCoordinates>(a.coordinates));
  if (a.mode == static_cast<int32_t>(ResizeMode::kNearest)) {
    const int32_t index = ClampIndex(RoundNearest(v, static_cast<NearestMode>(a.nearest)), in_size);
    return {index, index, 0.0f};
  }
  const float last = static_cast<float>(in_size - 1);
  const float clamped = v > 0.0f ? (v < last ? v : last) : 0.0f;
  const int32_t low = ClampIndex(std::floor(clamped), in_size);
  return {low, ClampIndex(static_cast<float>(low) + 1.0f, in_size), clamped - static_cast<float>(low)};
}

constexpr int64_t kMaxSide = 1 << 20;  // coordinates stay exact in float, and the tables small

struct ResizeShape {
  int64_t n, h, w, c, oh, ow;
};

Status CheckResize(const OpContext& context, DType type, ResizeShape* s) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const ResizeAttrs& a = context.Attrs<ResizeAttrs>();
  if (x.dtype != type || y.dtype != type || x.rank != 4 || y.rank != 4) return Mismatch("resizing needs feature maps of one type and rank 4");
  if (x.dims[0] != y.dims[0] || x.dims[3] != y.dims[3]) return Mismatch("resizing keeps batch and channels");
  if (a.mode < 0 || a.mode > 1 || a.coordinates < 0 || a.coordinates > 3 || a.nearest < 0 || a.nearest > 3) return Unsupported("unknown mode of resizing");
  if (!std::isfinite(a.scale_h) || !std::isfinite(a.scale_w) || a.scale_h <= 0.0f || a.scale_w <= 0.0f) return Unsupported("a scale of resizing is not a positive number");
  for (int64_t side : {x.dims[1], x.dims[2], y.dims[1], y.dims[2]}) {
    if (side > kMaxSide) return Unsupported("an image side is too long to resize");
  }
  *s = {x.dims[0], x.dims[1], x.dims[2], x.dims[3], y.dims[1], y.dims[2]};
  return context.Reserve(static_cast<uint64_t>(s->oh + s->ow) * sizeof(Source));
}

inline float Finish(float v, float) { return v; }
// The interpolated byte lies between its neighbours, so it cannot leave the type.
template <typename T>
T Finish(float v, T) { return static_cast<T>(RoundHalfEven(v)); }

// Units: output rows. T: float, uint8_t or int8_t.
template <typename T>
class Resize final : public RowDriver {
 public:
  Resize(const OpContext& context, const ResizeShape& s, const uint8_t* x)
      : s_(s), copy_(context.Attrs<ResizeAttrs>().mode == static_cast<int32_t>(ResizeMode::kNearest)), x_stride_(context.Input(0)->pixel_stride), y_stride_(context.Output().pixel_stride),
        x_(reinterpret_cast<const T*>(x)), y_(reinterpret_cast<T*>(context.OutputData())) {
    const ResizeAttrs& a = context.Attrs<ResizeAttrs>();
    rows_.reserve(static_cast<size_t>(s_.oh)), columns_.reserve(static_cast<size_t>(s_.ow));
    for (int64_t i = 0; i < s_.oh; ++i) rows_.push_back(SourceOf(a, i, s_.h, s_.oh, a.scale_h));
    for (int64_t i = 0; i < s_.ow; ++i) columns_.push_back(SourceOf(a, i, s_.w, s_.ow, a.scale_w));
    units_ = s_.n * s_.oh;
    cost_ = units_ * s_.ow * s_.c / (copy_ ? 8 : 1);
    kernel_ = sizeof(T) == 4 ? "resize_f32" : "resize_q8";
  }
 private:
  int64_t width() const override { return s_.ow; }
  void Columns(int64_t row, int64_t begin, int64_t end, uint8_t*) override {
    const Source& source = rows_[static_cast<size_t>(row % s_.oh)];
    const T* top = x_ + (row / s_.oh * s_.h + source.low) * s_.w * x_stride_;
    const T* bottom = x_ + (row / s_.oh * s_.h + source.high) * s_.w * x_stride_;
    T* y = y_ + (row * s_.ow + begin) * y_stride_;
    for (int64_t x = begin; x < end; ++x, y += y_stride_) {
      const Source& column = columns_[static_cast<size_t>(x)];
      const int64_t left = column.low * x_stride_, right = column.high * x_stride_;
      if (copy_) std::memcpy(y, top + left, static_cast<size_t>(s_.c) * sizeof(T));
      else Blend(top + left, top + right, bottom + left, bottom + right, column.fraction, source.fraction, y);
    }
  }

  void Blend(const T* tl, const T* tr, const T* bl, const T* br, float fx, float fy, T* y) const {
    // In pieces that lie nowhere else, so that the compiler makes vectors of them.
    constexpr int64_t kPiece = 16;
    int64_t c = 0;
    for (; c + kPiece <= s_.c; c += kPiece) {
      T from[4][kPiece], to[kPiece];
      const T* corners[4] = {tl, tr, bl, br};
      for (int i = 0; i < 4; ++i) std::memcpy(from[i], corners[i] + c, sizeof from[i]);
      for (int64_t i = 0; i < kPiece; ++i) to[i] = Mix(from[0][i], from[1][i], from[2][i], from[3][i], fx, fy);
      std::memcpy(y + c, to, sizeof to);
    }
    for (; c < s_.c; ++c) y[c] = Mix(tl[c], tr[c], bl[c], br[c], fx, fy);
  }
  static T Mix(T tl, T tr, T bl, T br, float fx, float fy) {
    const float tlv = static_cast<float>(tl), blv = static_cast<float>(bl);
    const float top = tlv + (static_cast<float>(tr) - tlv) * fx;
    const float bottom = blv + (static_cast<float>(br) - blv) * fx;
    return Finish(top + (bottom - top) * fy, T{});
  }

  ResizeShape s_;
  bool copy_;
  int64_t x_stride_, y_stride_;
  const T* x_;
  T* y_;
  std::vector<Source> rows_, columns_;
};

}  // namespace

Status PrepareResizeQ8(const OpContext& context, DriverPtr* driver) {
  ResizeShape shape;
  Status status = CheckResize(context, context.activation(), &shape);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (!status.ok()) return status;
  if (context.activation() == DType::kU8) driver->reset(new Resize<uint8_t>(context, shape, x));
  else driver->reset(new Resize<int8_t>(context, shape, x));
  return status;
}

Status PrepareResizeF32(const OpContext& context, DriverPtr* driver) {
  ResizeShape shape;
  Status status = CheckResize(context, DType::kF32, &shape);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (status.ok()) driver->reset(new Resize<float>(context, shape, x));
  return status;
}

}  // namespace sterna
