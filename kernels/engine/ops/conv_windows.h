// Convolutions without im2col, for kernels that multiply windows where they are in the image (GemmF32Kernel::run_pieces). Beyond what drivers of
// conv.h ask of a `Gemm`:
//
//   void RunWindows(y, pixel, count, step, panel, a, a_stride, rows, row_stride) const
//       `count` output pixels of one output row from `pixel` on, `step` apart, the first to y
//
// The input rows under a block of output rows are copied once, with their padding around them and one group's channels together, where im2col
// copies every value as often as windows overlap (9 times for 3 x 3). Taps that are d columns apart become neighbours: the copy of a row holds its
// columns 0, d, 2d, ..., then 1, d + 1, ..., and each of these d phases gives every d-th output. Sums run in the order of im2col, so that bits are
// the same.
#pragma once
#include "engine/ops/conv.h"

namespace sterna {

// Units: output rows.
template <typename Gemm>
class WindowConv final : public OpDriver {
 public:
  using T = typename Gemm::Element;

  WindowConv(const ConvShape& shape, const Tensor& x, const uint8_t* data, Gemm gemm)
      : s_(shape), x_(reinterpret_cast<const T*>(data)), stride_(x.pixel_stride), gemm_(std::move(gemm)), spans_(shape, Im2Col<T>(shape, x, data, T{}), gemm_.pixel_elements()) {
    units_ = s_.n * s_.oh;
    row_ = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(RowElements(s_)), 64 / sizeof(T)));
    const int64_t fitting = kBlockBytes / (row_ * static_cast<int64_t>(sizeof(T)));
    block_ = std::clamp<int64_t>((fitting - Reach(s_)) / s_.g.stride_h + 1, 1, s_.oh);
    cost_ = ConvCost(s_);
    scratch_bytes_ = static_cast<size_t>(InputRows(block_) * row_) * sizeof(T);
    kernel_ = gemm_.name();
    rows_ = RowShapeOf(s_, sizeof(T), stride_, gemm_.y_stride(), true);
  }

  // Few output columns of a phase fill no tile, and then the weights are read again for each output row. The input rows under one must not outgrow L2.
  static bool Fits(const ConvShape& s) {
    constexpr int64_t kMinColumns = 12, kMinColumnsApart = 6, kMostBytes = 512 * 1024;
    const bool wide = s.g.dilation_w == 1 ? s.ow >= kMinColumns : s.g.stride_w == 1 && s.ow / s.g.dilation_w >= kMinColumnsApart;
    return wide && !s.pointwise() && RowElements(s) <= kMostBytes / static_cast<int64_t>(sizeof(T)) / Reach(s);
  }

  void Run(int64_t begin, int64_t end, uint8_t* scratch) override { RunTo({nullptr, 0}, gemm_.OutputAt(begin * s_.ow), begin, end, scratch); }
  void RunRows(int64_t begin, int64_t end, const MapRows& x, const MapRows& y, uint8_t* scratch) override {
    RunTo(x, y.data == nullptr ? gemm_.OutputAt(begin * s_.ow) : RowOf<T>(y, begin, rows_.y_row), begin, end, scratch);
  }
  const RowShape* row_shape() const override { return s_.n == 1 ? &rows_ : nullptr; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override { spans_.Run(spans, gemm_, nullptr, scratch); }
  size_t span_scratch_bytes() const override { return spans_.ScratchBytes(gemm_); }

 private:
  static constexpr int64_t kBlockBytes = 64 * 1024;  // of input rows: most of L1, or a little of L2

  // Output rows [begin, end), the first at `y`.
  void RunTo(const MapRows& x, T* y, int64_t begin, int64_t end, uint8_t* scratch) const {
    T* image = reinterpret_cast<T*>(scratch);
    for (int64_t row = begin, count; row < end; row += count) {
      const int64_t n = row / s_.oh, oy = row % s_.oh;
      count = std::min({block_, end - row, s_.oh - oy});
      for (int64_t group = 0; group < s_.g.group; ++group) {
        CopyRows(x, n, oy * s_.g.stride_h - s_.g.pad_top, InputRows(count), group * s_.cg, image);
        for (int64_t r = 0; r < count; ++r) RunRow(y + (row + r - begin) * s_.ow * gemm_.y_stride(), row + r, group, image + r * s_.g.stride_h * row_);
      }
    }
  }

  // An output row from copied rows.
  void RunRow(T* y, int64_t row, int64_t group, const T* image) const {
    const int64_t step = s_.g.dilation_w;
    for (int64_t phase = 0; phase < step; ++phase) {
      const int64_t columns = (s_.ow - phase + step - 1) / step;
      gemm_.RunWindows(y + phase * gemm_.y_stride(), row * s_.ow + phase, columns, step, group, image + phase * PhaseColumns(s_) * s_.cg,
                       static_cast<size_t>(s_.g.stride_w * s_.cg), static_cast<size_t>(s_.kh), static_cast<size_t>(s_.g.dilation_h * row_));
    }
  }

  // Pixels of a padded row, of one phase of its copy, and rows under one output row.
  static int64_t Width(const ConvShape& s) { return (s.ow - 1) * s.g.stride_w + (s.kw - 1) * s.g.dilation_w + 1; }
  static int64_t PhaseColumns(const ConvShape& s) { return (Width(s) + s.g.dilation_w - 1) / s.g.dilation_w; }
  static int64_t RowElements(const ConvShape& s) { return PhaseColumns(s) * s.g.dilation_w * s.cg; }
  static int64_t Reach(const ConvShape& s) { return (s.kh - 1) * s.g.dilation_h + 1; }
  int64_t InputRows(int64_t output_rows) const { return (output_rows - 1) * s_.g.stride_h + Reach(s_); }

  // `count` input rows from `first` on, zeros outside the image.
  void CopyRows(const MapRows& x, int64_t n, int64_t first, int64_t count, int64_t channel, T* to) const {
    const int64_t width = Width(s_), left = std::min<int64_t>(s_.g.pad_left, width), inside = std::min(s_.w, width - left);
    for (int64_t y = first; y < first + count; ++y, to += row_) {
      const bool outside = y < 0 || y >= s_.h;
      const T* from = outside ? nullptr : (x.data == nullptr ? x_ + (n * s_.h + y) * s_.w * stride_ : RowOf<const T>(x, y, rows_.x_row)) + channel;
      if (outside || s_.g.dilation_w > 1) {
        std::fill_n(to, RowElements(s_), T{0});
        if (!outside) CopyPhases(from, left, inside, to);
        continue;
      }
      T* at = std::fill_n(to, left * s_.cg, T{0});
      CopyPixels(from, inside, at);
      std::fill_n(at + inside * s_.cg, (width - left - inside) * s_.cg, T{0});
    }
  }
  void CopyPhases(const T* from, int64_t left, int64_t pixels, T* to) const {
    const int64_t step = s_.g.dilation_w, columns = PhaseColumns(s_);
    for (int64_t i = 0, phase = left % step, column = left / step; i < pixels; ++i, from += stride_) {
      std::memcpy(to + (phase * columns + column) * s_.cg, from, static_cast<size_t>(s_.cg) * sizeof(T));
      if (++phase == step) phase = 0, ++column;
    }
  }
  void CopyPixels(const T* from, int64_t pixels, T* to) const {
    if (stride_ == s_.cg) {
      std::memcpy(to, from, static_cast<size_t>(pixels * s_.cg) * sizeof(T));
      return;
    }
    for (int64_t i = 0; i < pixels; ++i) std::memcpy(to + i * s_.cg, from + i * stride_, static_cast<size_t>(s_.cg) * sizeof(T));
  }

  ConvShape s_;
  const T* x_;
  RowShape rows_;
  int64_t stride_, row_, block_;  // floats of an input pixel and of a copied row; output rows of a block
  Gemm gemm_;
  SpanConv<Gemm> spans_;  // spans are gathered: their sums have the same order
};

}  // namespace sterna
