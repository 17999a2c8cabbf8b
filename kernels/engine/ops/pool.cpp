// PoolQ8 and PoolF32: maximum and average, over feature maps [N,H,W,C].
#include <cmath>

#include "engine/ops/drivers.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

struct PoolShape {
  int64_t n, h, w, c, oh, ow;
  PoolAttrs a;

  bool average() const { return a.kind == static_cast<int32_t>(PoolKind::kAverage); }
};

// The taps of one output position along one axis that lie in the image: input indices first, first + dilation, ... (count of them),
// and how many lie in the image or its padding (ONNX counts those when count_include_pad is set).
struct Taps {
  int64_t first, count, padded;
};
Taps TapsOf(int64_t out, int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad_before, int64_t pad_after) {
  const int64_t start = out * stride - pad_before;
  if (start >= 0 && start + (kernel - 1) * dilation < size) return {start, kernel, kernel};
  const int64_t skipped = start < 0 ? (-start + dilation - 1) / dilation : 0;
  const int64_t below = start >= size ? 0 : (size - 1 - start) / dilation + 1;
  const int64_t below_padded = start >= size + pad_after ? 0 : (size + pad_after - 1 - start) / dilation + 1;
  const int64_t last = std::min(kernel, below);
  return {start + skipped * dilation, std::max<int64_t>(last - skipped, 0), std::min(kernel, below_padded)};
}

bool SideOk(int32_t v, int32_t lo) { return v >= lo && v <= (1 << 16); }

// Any output size that the padded image can hold, so that floor and ceil mode both pass.
bool SizeOk(int64_t out, int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  const int64_t room = size + pads - dilation * (kernel - 1) - 1;
  return room >= 0 ? out <= (room + stride - 1) / stride + 1 : out <= 1;
}

Status CheckPool(const OpContext& context, DType type, PoolShape* shape) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const PoolAttrs& a = context.Attrs<PoolAttrs>();
  if (x.dtype != type || y.dtype != type || x.rank != 4 || y.rank != 4) return Mismatch("pooling needs feature maps of one type and rank 4");
  if (a.kind < 0 || a.kind > static_cast<int32_t>(PoolKind::kAverage)) return Unsupported("unknown kind of pooling");
  for (int32_t v : {a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w}) {
    if (!SideOk(v, 1)) return Unsupported("a kernel, stride or dilation of pooling is out of range");
  }
  for (int32_t v : {a.pad_top, a.pad_left, a.pad_bottom, a.pad_right}) {
    if (!SideOk(v, 0)) return Unsupported("a pad of pooling is out of range");
  }
  *shape = {x.dims[0], x.dims[1], x.dims[2], x.dims[3], y.dims[1], y.dims[2], a};
  if (y.dims[0] != x.dims[0] || y.dims[3] != x.dims[3]) return Mismatch("pooling keeps batch and channels");
  const bool fits = SizeOk(shape->oh, shape->h, a.kernel_h, a.stride_h, a.dilation_h, int64_t{a.pad_top} + a.pad_bottom) &&
                    SizeOk(shape->ow, shape->w, a.kernel_w, a.stride_w, a.dilation_w, int64_t{a.pad_left} + a.pad_right);
  return fits ? Status::Ok() : Mismatch("pooling's output size does not follow from its input");
}

// Walks the windows of output rows; `Body` is called for each output pixel with its window. Units: output rows.
class PoolDriver : public RowDriver {
 protected:
  struct Window {
    int64_t n, y, x;   // output position
    Taps rows, columns;
    int64_t divisor() const { return include_pad ? rows.padded * columns.padded : rows.count * columns.count; }
    bool include_pad;
  };

  explicit PoolDriver(const PoolShape& shape) : s_(shape) {
    units_ = s_.n * s_.oh;
    const int64_t taps = int64_t{std::min<int64_t>(s_.a.kernel_h, s_.h)} * std::min<int64_t>(s_.a.kernel_w, s_.w);
    cost_ = units_ * s_.ow * s_.c * taps / 16;
  }

  int64_t width() const final { return s_.ow; }

  template <typename Body>
  void ForEachColumn(int64_t row, int64_t begin, int64_t end, Body body) const {
    const PoolAttrs& a = s_.a;
    const Taps rows = TapsOf(row % s_.oh, s_.h, a.kernel_h, a.stride_h, a.dilation_h, a.pad_top, a.pad_bottom);
    for (int64_t x = begin; x < end; ++x) {
      const Taps columns = TapsOf(x, s_.w, a.kernel_w, a.stride_w, a.dilation_w, a.pad_left, a.pad_right);
      body(Window{row / s_.oh, row % s_.oh, x, rows, columns, a.count_include_pad != 0});
    }
  }

  // tap(element offset / stride of the input pixel) for each tap in the image.
  template <typename Tap>
  void ForEachTap(const Window& w, Tap tap) const {
    for (int64_t i = 0; i < w.rows.count; ++i) {
      const int64_t row = (w.n * s_.h + w.rows.first + i * s_.a.dilation_h) * s_.w + w.columns.first;
      for (int64_t j = 0; j < w.columns.count; ++j) tap(row + j * s_.a.dilation_w);
    }
  }
  int64_t OutputPixel(const Window& w) const { return (w.n * s_.oh + w.y) * s_.ow + w.x; }

  PoolShape s_;
};

class PoolQ8 final : public PoolDriver {
 public:
  PoolQ8(const OpContext& context, const PoolShape& shape, const uint8_t* x)
      : PoolDriver(shape), kernels_(context.kernels().pool), lowest_(static_cast<uint8_t>(context.lowest())),
        x_stride_(context.Input(0)->pixel_stride), y_stride_(context.Output().pixel_stride), x_(x), y_(context.OutputData()) {
    scratch_bytes_ = s_.average() ? static_cast<size_t>(s_.c) * sizeof(int32_t) : static_cast<size_t>(s_.w * x_stride_);
    kernel_ = kernels_->name;
  }
 private:
  void Columns(int64_t row, int64_t begin, int64_t end, uint8_t* scratch) override {
    if (!s_.average()) return Maxima(row, begin, end, scratch);
    int32_t* acc = reinterpret_cast<int32_t*>(scratch);
    ForEachColumn(row, begin, end, [&](const Window& w) { Average(w, acc); });
  }
  // First the maxima of each input column, which the windows of several outputs share, then those of each window.
  void Maxima(int64_t row, int64_t begin, int64_t end, uint8_t* columns) {
    const PoolAttrs& a = s_.a;
    const Taps rows = TapsOf(row % s_.oh, s_.h, a.kernel_h, a.stride_h, a.dilation_h, a.pad_top, a.pad_bottom);
    const int64_t left = std::clamp<int64_t>(begin * a.stride_w - a.pad_left, 0, s_.w);
    const int64_t right = std::clamp<int64_t>((end - 1) * a.stride_w - a.pad_left + int64_t{a.kernel_w - 1} * a.dilation_w + 1, left, s_.w);
    const size_t bytes = left == right ? 0 : static_cast<size_t>((right - left - 1) * x_stride_ + s_.c);
    uint8_t* const at = columns + left * x_stride_;
    for (int64_t i = 0; i < rows.count; ++i) {
      const uint8_t* x = x_ + ((row / s_.oh * s_.h + rows.first + i * a.dilation_h) * s_.w + left) * x_stride_;
      if (i == 0) std::memcpy(at, x, bytes);
      else kernels_->max_q8(bytes, x, at);
    }
    ForEachColumn(row, begin, end, [&](const Window& w) { Max(w, columns); });
  }
  void Max(const Window& w, const uint8_t* columns) {
    uint8_t* y = y_ + OutputPixel(w) * y_stride_;
    const size_t c = static_cast<size_t>(s_.c);
    if (w.rows.count == 0 || w.columns.count == 0) return static_cast<void>(std::memset(y, lowest_, c));
    std::memcpy(y, columns + w.columns.first * x_stride_, c);
    for (int64_t i = 1; i < w.columns.count; ++i) kernels_->max_q8(c, columns + (w.columns.first + i * s_.a.dilation_w) * x_stride_, y);
  }

  void Average(const Window& w, int32_t* acc) {
    const size_t c = static_cast<size_t>(s_.c);
    std::memset(acc, 0, c * sizeof(int32_t));
    ForEachTap(w, [&](int64_t pixel) { kernels_->sum_q8(c, x_ + pixel * x_stride_, acc); });
    // Padding counts as real zeros, which is x_zp in every byte: it adds nothing to sum(x - x_zp).
    const int32_t zero = static_cast<int32_t>(w.rows.count * w.columns.count) * s_.a.x_zp;
    const float divisor = static_cast<float>(std::max<int64_t>(w.divisor(), 1));
    uint8_t* y = y_ + OutputPixel(w) * y_stride_;
    for (size_t i = 0; i < c; ++i) {
      const float v = static_cast<float>(acc[i] - zero) * s_.a.mul / divisor;
      y[i] = static_cast<uint8_t>(RoundClamped(v, s_.a.y_lo, s_.a.y_hi, s_.a.y_zp));
    }
  }

  const PoolKernels* kernels_;
  uint8_t lowest_;
  int64_t x_stride_, y_stride_;
  const uint8_t* x_;
  uint8_t* y_;
};

class PoolF32 final : public PoolDriver {
 public:
  PoolF32(const OpContext& context, const PoolShape& shape, const uint8_t* x)
      : PoolDriver(shape), kernels_(context.kernels().pool), x_stride_(context.Input(0)->pixel_stride), y_stride_(context.Output().pixel_stride),
        x_(reinterpret_cast<const float*>(x)), y_(reinterpret_cast<float*>(context.OutputData())) {
    const PoolAttrs& a = s_.a;
    const int64_t last_start = s_.w - 1 - int64_t{a.kernel_w - 1} * a.dilation_w + a.pad_left;
    inner_end_ = last_start < 0 ? 0 : std::min<int64_t>(last_start / a.stride_w + 1, s_.ow);
    kernel_ = "pool_f32";
  }
 private:
  void Columns(int64_t row, int64_t begin, int64_t end, uint8_t*) override {
    const PoolAttrs& a = s_.a;
    const Taps rows = TapsOf(row % s_.oh, s_.h, a.kernel_h, a.stride_h, a.dilation_h, a.pad_top, a.pad_bottom);
    for (int64_t x = begin, count; x < end; x += count) {
      const Taps columns = TapsOf(x, s_.w, a.kernel_w, a.stride_w, a.dilation_w, a.pad_left, a.pad_right);
      count = columns.count == a.kernel_w ? std::max<int64_t>(std::min(inner_end_, end) - x, 1) : 1;
      Pool(Window{row / s_.oh, row % s_.oh, x, rows, columns, a.count_include_pad != 0}, count);
    }
  }

  // `count` outputs next to each other, with windows like the first one's.
  void Pool(const Window& w, int64_t count) {
    const int64_t c = s_.c, first = ((w.n * s_.h + w.rows.first) * s_.w + w.columns.first) * x_stride_;
    float* y = y_ + OutputPixel(w) * y_stride_;
    const PoolF32Args args{static_cast<size_t>(c), static_cast<size_t>(w.rows.count), static_cast<size_t>(w.columns.count), x_ + first,
                           static_cast<size_t>(s_.a.dilation_h * s_.w * x_stride_), static_cast<size_t>(s_.a.dilation_w * x_stride_),
                           static_cast<size_t>(count), static_cast<size_t>(s_.a.stride_w * x_stride_), static_cast<size_t>(y_stride_), y};
    if (!s_.average()) return kernels_->max_pool_f32(&args);
    kernels_->sum_pool_f32(&args);
    const float divisor = static_cast<float>(std::max<int64_t>(w.divisor(), 1));
    for (int64_t o = 0; o < count; ++o, y += y_stride_) {
      for (int64_t i = 0; i < c; ++i) y[i] /= divisor;
    }
  }

  const PoolKernels* kernels_;
  int64_t inner_end_;  // the first output column, from 0 on, whose window leaves the image to the right
  int64_t x_stride_, y_stride_;
  const float* x_;
  float* y_;
};

Status CheckQ8(const OpContext& context, const PoolShape& s) {
  const PoolAttrs& a = s.a;
  for (int32_t v : {a.x_zp, a.y_zp, a.y_lo, a.y_hi}) {
    if (v < context.lowest() || v > context.highest()) return Unsupported("a zero-point or clamp is outside the activation type");
  }
  if (a.y_lo > a.y_hi || !std::isfinite(a.mul)) return Unsupported("a clamp is empty or a scale is not finite");
  if (!s.average() && (a.x_zp != a.y_zp || a.mul != 1.0f)) return Unsupported("maximum pooling keeps scale and zero-point");
  // 255 * taps must fit 32 bits.
  if (s.average() && std::min<int64_t>(a.kernel_h, s.h) * std::min<int64_t>(a.kernel_w, s.w) > (1 << 22)) return Unsupported("a pooling window is too large");
  return Status::Ok();
}

}  // namespace

Status PreparePoolQ8(const OpContext& context, DriverPtr* driver) {
  PoolShape shape;
  Status status = CheckPool(context, context.activation(), &shape);
  if (status.ok()) status = CheckQ8(context, shape);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (status.ok()) driver->reset(new PoolQ8(context, shape, x));
  return status;
}

Status PreparePoolF32(const OpContext& context, DriverPtr* driver) {
  PoolShape shape;
  Status status = CheckPool(context, DType::kF32, &shape);
  const uint8_t* x = nullptr;
  if (status.ok()) status = context.InputData(0, &x);
  if (status.ok()) driver->reset(new PoolF32(context, shape, x));
  return status;
}

}  // namespace sterna
