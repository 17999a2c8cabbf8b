// What quantized and float convolutions share: geometry, im2col, and the drivers. A driver is a template over `Gemm`, which knows
// how to compute a block of output pixels from rows of A:
//
//   Gemm::Element                                                  uint8_t or float
//   void Run(y, pixel, count, panel, a, a_stride, scratch) const   output pixels [pixel, pixel + count), the first at y, channels of one panel
//   Element* OutputAt(pixel) const                                 where the output tensor has a pixel
//   int64_t pixel_elements() const                                 of an output pixel: its channels; four for each of them where bytes become floats
//   void RunApart(rows, count, panel, a, a_stride, scratch) const  as Run, to output pixels that are apart (RowsApart)
//   const Element* ResidualAt(pixel) const                         what is added to an output pixel; null: nothing
//   size_t ScratchBytes(pixels) const
//   int64_t panels() const
//
// A panel is a range of output channels with packed weights of its own: a group of a grouped convolution, or one thread's share of
// a fully connected layer.
#pragma once
#include <algorithm>
#include <cstring>

#include "engine/op.h"

namespace sterna {

struct ConvShape {
  int64_t n, h, w, c;       // input
  int64_t oh, ow, o;        // output
  int64_t kh, kw, cg;       // kernel; input channels of a group
  ConvGeometry g;

  int64_t k() const { return kh * kw * cg; }
  int64_t og() const { return o / g.group; }
  int64_t pixels() const { return n * oh * ow; }
  int64_t macs() const { return pixels() * o * k(); }
  bool depthwise() const { return g.group > 1 && g.group == c && g.group == o; }
  bool pointwise() const {
    return kh == 1 && kw == 1 && g.group == 1 && g.pad_top == 0 && g.pad_left == 0 && g.pad_bottom == 0 && g.pad_right == 0;
  }
  bool direct() const { return pointwise() && g.stride_h == 1 && g.stride_w == 1; }
};

// x [N,H,W,C], w [O,KH,KW,C/group] dense, y [N,OH,OW,O].
Status CheckConv(const Tensor& x, const Tensor& w, const Tensor& y, const ConvGeometry& geometry, ConvShape* shape);

// Whether `t`, if there is one, is a dense constant vector of this type and length.
Status CheckVector(const OpContext& context, uint32_t input, DType type, int64_t length);

constexpr int64_t kGemmRows = 8;  // tallest GEMM tile of any ISA: ranges of pixels are best multiples of it

// Copies n bytes in pieces of 16: may read and write up to 15 bytes more, which the next copy or the slack takes.
inline void CopySpan(uint8_t* to, const uint8_t* from, size_t n) {
  for (size_t i = 0; i < n; i += 16) std::memcpy(to + i, from + i, 16);
}

// Rows of A for a block of output pixels: the kernel_h x kernel_w x C/group values under each, in the order of the weights.
//
// Output pixels are taken in runs along an output row. Where all taps of a run's pixels lie inside the image's width, a row of taps is
// one copy when the pixels are dense, else one copy a tap; rows above and below the image are read from a row of padding.
template <typename T>
class Im2Col {
 public:
  Im2Col(const ConvShape& shape, const Tensor& x, const uint8_t* data, T fill)
      : s_(shape), x_(reinterpret_cast<const T*>(data)), stride_(x.pixel_stride) {
    contiguous_ = s_.kw == 1 || (s_.g.dilation_w == 1 && stride_ == s_.cg);
    // Output columns [inner_begin_, inner_end_) have all their taps inside the width.
    inner_begin_ = std::min<int64_t>((s_.g.pad_left + s_.g.stride_w - 1) / s_.g.stride_w, s_.ow);
    const int64_t last_start = s_.w - (s_.kw - 1) * s_.g.dilation_w - 1 + s_.g.pad_left;
    inner_end_ = last_start < 0 ? inner_begin_ : std::clamp<int64_t>(last_start / s_.g.stride_w + 1, inner_begin_, s_.ow);
    padding_.assign(static_cast<size_t>(s_.kw * s_.cg) + 48, fill);
  }

  int64_t x_stride() const { return stride_; }
  // Elements from one row to the next.
  size_t row_stride() const { return RoundUp(static_cast<uint64_t>(s_.k()), 16 / sizeof(T)); }
  size_t BlockBytes(int64_t pixels) const { return RoundUp(static_cast<uint64_t>(pixels) * row_stride() * sizeof(T), 64) + kSlack; }

  // Pixels of a block: the rows fit L1 while the weights do too; large weights are read once a block, so the block fills L2.
  int64_t BlockPixels() const {
    const int64_t row = static_cast<int64_t>(row_stride() * sizeof(T));
    const int64_t weights = s_.og() * s_.k() * static_cast<int64_t>(sizeof(T));
    const int64_t budget = weights <= 128 * 1024 ? 24 * 1024 : 256 * 1024;
    const int64_t most = std::max(budget / row / kGemmRows * kGemmRows, kGemmRows), blocks = (s_.pixels() + most - 1) / most;
    return (s_.pixels() + blocks - 1) / blocks;
  }

  // `channel`: the first input channel of the group. `x`: rows of the input; none: the whole of it.
  void Gather(int64_t pixel, int64_t count, int64_t channel, T* out, const MapRows& x = {nullptr, 0}) const {
    Source from{x.data == nullptr ? x_ : reinterpret_cast<const T*>(x.data), x.first, channel};
    while (count > 0) {
      const int64_t ox = pixel % s_.ow, oy = pixel / s_.ow % s_.oh;
      from.image = pixel / (s_.ow * s_.oh);
      const int64_t run = std::min(count, s_.ow - ox);
      GatherRun(from, oy, ox, ox + run, out);
      pixel += run, count -= run, out += static_cast<size_t>(run) * row_stride();
    }
  }

 private:
  // Rows of the input from the first one on, of one image.
  struct Source {
    const T* x;
    int64_t first, channel;
    int64_t image = 0;
  };

  // Output columns [begin, end) of one output row.
  void GatherRun(const Source& from, int64_t oy, int64_t begin, int64_t end, T* out) const {
    const int64_t inner_begin = std::clamp(inner_begin_, begin, end), inner_end = std::clamp(inner_end_, inner_begin, end);
    for (int64_t ox = begin; ox < inner_begin; ++ox, out += row_stride()) GatherClipped(from, oy, ox, out);
    out = GatherInner(from, oy, inner_begin, inner_end, out);
    for (int64_t ox = inner_end; ox < end; ++ox, out += row_stride()) GatherClipped(from, oy, ox, out);
  }

  // Input row `ky` under output row `oy`, or null above and below the image.
  const T* InputRow(const Source& from, int64_t oy, int64_t ky) const {
    const int64_t iy = oy * s_.g.stride_h - s_.g.pad_top + ky * s_.g.dilation_h;
    return iy < 0 || iy >= s_.h ? nullptr : from.x + (from.image * s_.h + iy - from.first) * s_.w * stride_ + from.channel;
  }

  void GatherClipped(const Source& from, int64_t oy, int64_t ox, T* to) const {
    for (int64_t ky = 0; ky < s_.kh; ++ky, to += s_.kw * s_.cg) {
      const T* row = InputRow(from, oy, ky);
      if (row == nullptr) Copy(to, padding_.data(), s_.kw * s_.cg);
      else CopyClipped(to, row, ox * s_.g.stride_w - s_.g.pad_left);
    }
  }

  // Pixels whose taps all lie inside the width; returns where the next pixel goes. A copy may run into what the next one
  // writes, so the order is pixel by pixel, and row of taps by row of taps.
  T* GatherInner(const Source& from, int64_t oy, int64_t begin, int64_t end, T* out) const {
    constexpr int64_t kMaxRows = 16;
    if (s_.kh > kMaxRows) {
      for (int64_t ox = begin; ox < end; ++ox, out += row_stride()) GatherClipped(from, oy, ox, out);
      return out;
    }
    TapRow rows[kMaxRows];
    for (int64_t ky = 0; ky < s_.kh; ++ky) {
      const T* row = InputRow(from, oy, ky);
      if (row == nullptr) rows[ky] = {padding_.data(), 0};
      else rows[ky] = {row + (begin * s_.g.stride_w - s_.g.pad_left) * stride_, s_.g.stride_w * stride_};
    }
    const size_t bytes = static_cast<size_t>(s_.kw * s_.cg) * sizeof(T);
    if (!contiguous_) CopyApart(rows, end - begin, out);
    else if (s_.kh == 3 && bytes <= 16) CopyThreeRows<1>(rows, end - begin, out);
    else if (s_.kh == 3 && bytes <= 48) CopyThreeRows<3>(rows, end - begin, out);
    else CopyRows(rows, end - begin, out);
    return out + static_cast<size_t>(end - begin) * row_stride();
  }

  // A row of taps of the first pixel, and the distance to that of the next.
  struct TapRow {
    const T* from;
    int64_t step;
  };

  void CopyRows(TapRow* rows, int64_t pixels, T* out) const {
    const int64_t kh = s_.kh, span = s_.kw * s_.cg;
    const size_t row = row_stride();
    for (int64_t i = 0; i < pixels; ++i, out += row) {
      for (int64_t ky = 0; ky < kh; ++ky, rows[ky - 1].from += rows[ky - 1].step) Copy(out + ky * span, rows[ky].from, span);
    }
  }

  // Taps that do not follow each other in memory: dilated, or part of the channels of a pixel.
  void CopyApart(TapRow* rows, int64_t pixels, T* out) const {
    const int64_t kh = s_.kh, kw = s_.kw, cg = s_.cg, dilated = s_.g.dilation_w * stride_;
    const size_t row = row_stride();
    for (int64_t i = 0; i < pixels; ++i, out += row) {
      T* to = out;
      for (int64_t ky = 0; ky < kh; ++ky, rows[ky - 1].from += rows[ky - 1].step) {
        const T* from = rows[ky].from;
        const int64_t apart = from == padding_.data() ? 0 : dilated;  // all of the padding is the same
        for (int64_t kx = 0; kx < kw; ++kx, from += apart, to += cg) Copy(to, from, cg);
      }
    }
  }

  // Three rows of at most kPieces * 16 bytes: the first layer of most networks, which would else spend its time here.
  template <int kPieces>
  void CopyThreeRows(const TapRow* rows, int64_t pixels, T* out) const {
    const TapRow r0 = rows[0], r1 = rows[1], r2 = rows[2];
    const int64_t span = s_.kw * s_.cg;
    const size_t row = row_stride();
    for (int64_t i = 0; i < pixels; ++i, out += row) {
      std::memcpy(out, r0.from + i * r0.step, kPieces * 16);
      std::memcpy(out + span, r1.from + i * r1.step, kPieces * 16);
      std::memcpy(out + 2 * span, r2.from + i * r2.step, kPieces * 16);
    }
  }

  // A row of taps that may stick out of the image to the left and to the right.
  void CopyClipped(T* to, const T* row, int64_t x0) const {
    const int64_t dilation = s_.g.dilation_w;
    const int64_t first = std::min(x0 >= 0 ? 0 : (-x0 + dilation - 1) / dilation, s_.kw);
    const int64_t last = std::max(x0 >= s_.w ? 0 : std::min((s_.w - 1 - x0) / dilation + 1, s_.kw), first);
    Copy(to, padding_.data(), first * s_.cg);
    CopyTaps(to + first * s_.cg, row + (x0 + first * dilation) * stride_, last - first);
    Copy(to + last * s_.cg, padding_.data(), (s_.kw - last) * s_.cg);
  }

  void CopyTaps(T* to, const T* from, int64_t taps) const {
    if (contiguous_) return Copy(to, from, taps * s_.cg);
    for (int64_t t = 0; t < taps; ++t) Copy(to + t * s_.cg, from + t * s_.g.dilation_w * stride_, s_.cg);
  }

  static void Copy(T* to, const T* from, int64_t elements) {
    CopySpan(reinterpret_cast<uint8_t*>(to), reinterpret_cast<const uint8_t*>(from), static_cast<size_t>(elements) * sizeof(T));
  }

  ConvShape s_;
  const T* x_;
  int64_t stride_;
  bool contiguous_;
  int64_t inner_begin_, inner_end_;
  std::vector<T> padding_;  // a row of taps, and 48 elements that a copy may read beyond
};

// Depthwise products share no loads.
inline int64_t ConvCost(const ConvShape& s) { return s.macs() / (s.depthwise() ? 8 : 32); }

// The channel ranges that get packed weights of their own: groups, or shares of a layer with few pixels.
struct PanelPlan {
  int64_t panels, width;  // every panel but the last has `width` channels
};
inline PanelPlan PlanPanels(const ConvShape& s, const OpContext& context) {
  if (s.g.group > 1) return {s.g.group, s.og()};
  const int threads = context.threads();
  const bool few_pixels = s.pixels() < kGemmRows * threads;
  if (!s.direct() || !few_pixels || threads == 1 || context.in_strip()) return {1, s.o};
  // 192 is a multiple of every ISA's panel width (16, 32, 48, 64).
  const int64_t width = static_cast<int64_t>(RoundUp(static_cast<uint64_t>((s.o + threads - 1) / threads), 192));
  return {(s.o + width - 1) / width, width};
}

// For maps of one image. Bytes of an element, and elements of a pixel of x and of y.
inline RowShape RowShapeOf(const ConvShape& s, size_t element, int64_t x_pixel, int64_t y_pixel, bool reads_elsewhere) {
  const auto row = [&](int64_t width, int64_t pixel) { return static_cast<size_t>(width * pixel) * element; };
  return {s.h, s.oh, row(s.w, x_pixel), row(s.ow, y_pixel), (s.kh - 1) * s.g.dilation_h + 1, s.g.stride_h, s.g.pad_top, reads_elsewhere};
}

// Row `row` of rows that are `bytes` long.
template <typename T>
T* RowOf(const MapRows& map, int64_t row, size_t bytes) {
  return reinterpret_cast<T*>(map.data + static_cast<size_t>(row - map.first) * bytes);
}

// What the Gemms of both types have in common: a kernel, and its packed weights panel by panel.
template <typename Kernel>
class PanelGemm {
 public:
  PanelGemm(const Kernel* kernel, const ConvShape& s, const PanelPlan& plan) : kernel_(kernel), n_(s.o), k_(static_cast<size_t>(s.k())), plan_(plan) {}

  size_t ScratchBytes(int64_t pixels) const {
    return RoundUp(kernel_->scratch_bytes(static_cast<size_t>(pixels), static_cast<size_t>(plan_.width), k_), 64);
  }
  int64_t panels() const { return plan_.panels; }
  const char* name() const { return kernel_->name; }

 protected:
  size_t Width(int64_t panel) const { return static_cast<size_t>(std::min(plan_.width, n_ - panel * plan_.width)); }
  size_t PanelBytes(int64_t panel) const { return RoundUp(kernel_->packed_bytes(Width(panel), k_), 64); }

  // Weights of `input`, panel by panel: as the program brings them, or as `pack(panel, block)` writes them. False in *exact when
  // the kernel cannot be exact for them.
  template <typename Pack>
  Status PackPanels(const OpContext& context, uint32_t input, Pack pack, bool* exact) {
    const PackedForm form{kernel_->name, plan_.width, static_cast<uint64_t>(plan_.panels - 1) * PanelBytes(0) + PanelBytes(plan_.panels - 1)};
    const uint8_t* at;
    const Status status = context.PackedWeights(input, form, [&](uint8_t* block) {
      bool fits = true;
      for (int64_t panel = 0; panel < plan_.panels && fits; block += PanelBytes(panel++)) fits = pack(panel, block);
      return fits;
    }, &at);
    *exact = status.ok() && at != nullptr;
    for (int64_t panel = 0; panel < plan_.panels && *exact; at += PanelBytes(panel++)) packed_.push_back(at);
    return status;
  }

  const Kernel* kernel_;
  int64_t n_;
  size_t k_;
  PanelPlan plan_;
  std::vector<const uint8_t*> packed_;
};

// A block of output pixels that are apart in the output: one after the other in scratch, and what is added to each of them likewise.
template <typename T>
struct RowsApart {
  T* y;
  const T* residual;  // null: nothing
  size_t stride;      // elements, of both
};

// Spans of a convolution's output pixels, for drivers of one Gemm. A tile of the GEMM takes pixels of several spans: their rows of A are
// gathered as for any convolution, and the results are copied to where they belong. A long span of a 1x1 convolution is multiplied in place.
template <typename Gemm>
class SpanConv {
 public:
  using T = typename Gemm::Element;

  // `pixel`: elements of an output pixel.
  SpanConv(const ConvShape& shape, Im2Col<T> im2col, int64_t pixel)
      : s_(shape), pixel_(pixel), im2col_(std::move(im2col)), block_(std::min<int64_t>(RoundUp(static_cast<uint64_t>(im2col_.BlockPixels()), kGemmRows), kMostPixels)) {}

  size_t ScratchBytes(const Gemm& gemm) const { return im2col_.BlockBytes(block_) + 2 * RowsBytes() + gemm.ScratchBytes(std::max(block_, s_.direct() ? s_.pixels() : 0)); }

  // `x`: the input of a 1x1 convolution that may be multiplied in place; null: gather always.
  void Run(SpanReader spans, const Gemm& gemm, const T* x, uint8_t* scratch) const {
    T* rows = reinterpret_cast<T*>(scratch);
    T* y = reinterpret_cast<T*>(scratch + im2col_.BlockBytes(block_));
    T* residual = reinterpret_cast<T*>(scratch + im2col_.BlockBytes(block_) + RowsBytes());
    uint8_t* gemm_scratch = scratch + im2col_.BlockBytes(block_) + 2 * RowsBytes();
    while (spans.left() > 0) {
      int64_t first;
      if (x != nullptr && spans.run() >= kInPlace) {
        const int64_t count = spans.Take(spans.run() == spans.left() ? spans.run() : spans.run() / kGemmRows * kGemmRows, &first);
        gemm.Run(gemm.OutputAt(first), first, count, 0, x + first * im2col_.x_stride(), static_cast<size_t>(im2col_.x_stride()), gemm_scratch);
      } else if (spans.run() >= block_) {
        const int64_t count = spans.Take(block_, &first);
        for (int64_t group = 0; group < s_.g.group; ++group) {
          im2col_.Gather(first, count, group * s_.cg, rows);
          gemm.Run(gemm.OutputAt(first), first, count, group, rows, im2col_.row_stride(), gemm_scratch);
        }
      } else {
        RunApart(&spans, gemm, rows, {y, residual, RowStride()}, gemm_scratch);
      }
    }
  }

 private:
  static constexpr int64_t kInPlace = 16;     // pixels of a span from which gathering them does not pay
  static constexpr int64_t kMostPixels = 512;  // of a block
  static constexpr int64_t kMostPieces = 64;

  size_t RowStride() const { return RoundUp(static_cast<uint64_t>(pixel_), 16 / sizeof(T)); }
  size_t RowsBytes() const { return RoundUp(static_cast<uint64_t>(block_) * RowStride() * sizeof(T) + kSlack, 64); }

  void RunApart(SpanReader* spans, const Gemm& gemm, T* rows, const RowsApart<T>& apart, uint8_t* scratch) const {
    struct Piece {
      int64_t first, count;
    } pieces[kMostPieces];
    int64_t count = 0, filled = 0;
    while (spans->left() > 0 && count < kMostPieces && filled < block_) {
      pieces[count].count = spans->Take(block_ - filled, &pieces[count].first);
      filled += pieces[count++].count;
    }
    RowsApart<T> to = apart;
    if (gemm.ResidualAt(0) == nullptr) to.residual = nullptr;
    const size_t row_bytes = static_cast<size_t>(pixel_) * sizeof(T);
    int64_t row = 0;
    for (int64_t i = 0; to.residual != nullptr && i < count; ++i) {
      for (int64_t p = 0; p < pieces[i].count; ++p, ++row) std::memcpy(const_cast<T*>(to.residual) + static_cast<size_t>(row) * to.stride, gemm.ResidualAt(pieces[i].first + p), row_bytes);
    }
    for (int64_t group = 0; group < s_.g.group; ++group) {
      T* at = rows;
      for (int64_t i = 0; i < count; ++i) {
        im2col_.Gather(pieces[i].first, pieces[i].count, group * s_.cg, at);
        at += static_cast<size_t>(pieces[i].count) * im2col_.row_stride();
      }
      gemm.RunApart(to, filled, group, rows, im2col_.row_stride(), scratch);
    }
    row = 0;
    for (int64_t i = 0; i < count; ++i) {
      T* y = gemm.OutputAt(pieces[i].first);
      for (int64_t p = 0; p < pieces[i].count; ++p, ++row, y += gemm.y_stride()) std::memcpy(y, to.y + static_cast<size_t>(row) * to.stride, row_bytes);
    }
  }

  ConvShape s_;
  int64_t pixel_;
  Im2Col<T> im2col_;
  int64_t block_;
};

// 1x1, stride 1: the feature map is the matrix. Units: pixels.
template <typename Gemm>
class DirectConv final : public OpDriver {
 public:
  using T = typename Gemm::Element;

  DirectConv(const ConvShape& shape, const Tensor& x, const uint8_t* data, Gemm gemm)
      : x_(reinterpret_cast<const T*>(data)), stride_(x.pixel_stride), width_(shape.w), one_image_(shape.n == 1), gemm_(std::move(gemm)),
        spans_(shape, Im2Col<T>(shape, x, data, T{}), gemm_.pixel_elements()) {
    rows_ = RowShapeOf(shape, sizeof(T), stride_, gemm_.y_stride(), true);
    units_ = shape.pixels();
    granularity_ = kGemmRows;
    cost_ = ConvCost(shape);
    scratch_bytes_ = gemm_.ScratchBytes(units_);
    kernel_ = gemm_.name();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    gemm_.Run(gemm_.OutputAt(begin), begin, end - begin, 0, x_ + begin * stride_, static_cast<size_t>(stride_), scratch);
  }
  void RunRows(int64_t begin, int64_t end, const MapRows& x, const MapRows& y, uint8_t* scratch) override {
    const int64_t pixel = begin * width_;
    const T* from = x.data == nullptr ? x_ + pixel * stride_ : RowOf<const T>(x, begin, rows_.x_row);
    T* to = y.data == nullptr ? gemm_.OutputAt(pixel) : RowOf<T>(y, begin, rows_.y_row);
    gemm_.Run(to, pixel, (end - begin) * width_, 0, from, static_cast<size_t>(stride_), scratch);
  }
  const RowShape* row_shape() const override { return one_image_ ? &rows_ : nullptr; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override { spans_.Run(spans, gemm_, x_, scratch); }
  size_t span_scratch_bytes() const override { return spans_.ScratchBytes(gemm_); }

 private:
  const T* x_;
  int64_t stride_, width_;
  bool one_image_;
  RowShape rows_;
  Gemm gemm_;
  SpanConv<Gemm> spans_;
};

// 1x1, stride 1, too few pixels to share: units are panels of output channels.
template <typename Gemm>
class PanelConv final : public OpDriver {
 public:
  PanelConv(const ConvShape& shape, const Tensor& x, const uint8_t* data, Gemm gemm)
      : x_(reinterpret_cast<const typename Gemm::Element*>(data)), stride_(x.pixel_stride), pixels_(shape.pixels()), gemm_(std::move(gemm)) {
    units_ = gemm_.panels();
    cost_ = ConvCost(shape);
    scratch_bytes_ = gemm_.ScratchBytes(pixels_);
    kernel_ = gemm_.name();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    for (int64_t panel = begin; panel < end; ++panel) gemm_.Run(gemm_.OutputAt(0), 0, pixels_, panel, x_, static_cast<size_t>(stride_), scratch);
  }

 private:
  const typename Gemm::Element* x_;
  int64_t stride_, pixels_;
  Gemm gemm_;
};

// 1x1 with a stride: one GEMM a row, whose rows of A are `stride` pixels apart. Units: output rows.
template <typename Gemm>
class StridedConv final : public OpDriver {
 public:
  using T = typename Gemm::Element;

  StridedConv(const ConvShape& shape, const Tensor& x, const uint8_t* data, Gemm gemm)
      : s_(shape), x_(reinterpret_cast<const T*>(data)), stride_(x.pixel_stride), gemm_(std::move(gemm)), spans_(shape, Im2Col<T>(shape, x, data, T{}), gemm_.pixel_elements()) {
    units_ = s_.n * s_.oh;
    cost_ = ConvCost(s_);
    scratch_bytes_ = gemm_.ScratchBytes(s_.ow);
    kernel_ = gemm_.name();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t input_row = row / s_.oh * s_.h + row % s_.oh * s_.g.stride_h;
      gemm_.Run(gemm_.OutputAt(row * s_.ow), row * s_.ow, s_.ow, 0, x_ + input_row * s_.w * stride_, static_cast<size_t>(s_.g.stride_w * stride_), scratch);
    }
  }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override { spans_.Run(spans, gemm_, nullptr, scratch); }
  size_t span_scratch_bytes() const override { return spans_.ScratchBytes(gemm_); }

 private:
  ConvShape s_;
  const T* x_;
  int64_t stride_;
  Gemm gemm_;
  SpanConv<Gemm> spans_;
};

// Everything else: gather a block of rows of A, then multiply. Units: output pixels.
template <typename Gemm>
class GatheredConv final : public OpDriver {
 public:
  using T = typename Gemm::Element;

  GatheredConv(const ConvShape& shape, Im2Col<T> im2col, Gemm gemm) : s_(shape), im2col_(std::move(im2col)), gemm_(std::move(gemm)), spans_(s_, im2col_, gemm_.pixel_elements()) {
    units_ = s_.pixels();
    granularity_ = kGemmRows;
    block_ = im2col_.BlockPixels();
    cost_ = ConvCost(s_);
    scratch_bytes_ = im2col_.BlockBytes(block_) + gemm_.ScratchBytes(block_);
    kernel_ = gemm_.name();
    rows_ = RowShapeOf(s_, sizeof(T), im2col_.x_stride(), gemm_.y_stride(), true);
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override { RunTo({nullptr, 0}, gemm_.OutputAt(begin), begin, end, scratch); }
  void RunRows(int64_t begin, int64_t end, const MapRows& x, const MapRows& y, uint8_t* scratch) override {
    RunTo(x, y.data == nullptr ? gemm_.OutputAt(begin * s_.ow) : RowOf<T>(y, begin, rows_.y_row), begin * s_.ow, end * s_.ow, scratch);
  }
  const RowShape* row_shape() const override { return s_.n == 1 ? &rows_ : nullptr; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override { spans_.Run(spans, gemm_, nullptr, scratch); }
  size_t span_scratch_bytes() const override { return spans_.ScratchBytes(gemm_); }

 private:
  // Output pixels [begin, end), the first at `y`.
  void RunTo(const MapRows& x, T* y, int64_t begin, int64_t end, uint8_t* scratch) const {
    T* rows = reinterpret_cast<T*>(scratch);
    uint8_t* gemm_scratch = scratch + im2col_.BlockBytes(block_);
    for (int64_t pixel = begin; pixel < end; pixel += block_) {
      const int64_t count = std::min(block_, end - pixel);
      T* to = y + (pixel - begin) * gemm_.y_stride();
      for (int64_t group = 0; group < s_.g.group; ++group) {
        im2col_.Gather(pixel, count, group * s_.cg, rows, x);
        gemm_.Run(to, pixel, count, group, rows, im2col_.row_stride(), gemm_scratch);
      }
    }
  }

  ConvShape s_;
  RowShape rows_;
  Im2Col<T> im2col_;
  Gemm gemm_;
  int64_t block_;
  SpanConv<Gemm> spans_;
};

// The driver that fits the shape; depthwise convolutions have drivers of their own.
template <typename Gemm>
DriverPtr MakeConvDriver(const ConvShape& s, const Tensor& x, const uint8_t* data, typename Gemm::Element fill, Gemm gemm) {
  if (s.direct() && gemm.panels() > 1) return DriverPtr(new PanelConv<Gemm>(s, x, data, std::move(gemm)));
  if (s.direct()) return DriverPtr(new DirectConv<Gemm>(s, x, data, std::move(gemm)));
  if (s.pointwise()) return DriverPtr(new StridedConv<Gemm>(s, x, data, std::move(gemm)));
  return DriverPtr(new GatheredConv<Gemm>(s, Im2Col<typename Gemm::Element>(s, x, data, fill), std::move(gemm)));
}

}  // namespace sterna
