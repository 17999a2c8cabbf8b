// Depthwise convolutions, row by row. A driver is a template over `Dw`, which computes one output row from pointers to input rows:
//
//   Dw::Element                              uint8_t or float
//   void Run(y, shape, rows, pixel, zero_pixel, x_stride, scratch) const            the shape's `ow` output pixels from `pixel` on, at y
//   Element* OutputAt(pixel) const           where the output tensor has a pixel
//   static constexpr bool kTwoRows           whether it has RunTwo
//   int64_t rows_at_once() const             2 where RunTwo is faster than Run twice, else 1
//   void RunTwo(y, shape, upper, lower, pixel, width, zero_pixel, x_stride, scratch) const   the same and, `width` pixels on, those of the row below
#pragma once
#include <utility>

#include "engine/ops/conv.h"

namespace sterna {

// The arguments of a kernel that say where it reads; the caller adds weights, target and epilogue.
template <typename Args>
Args DwArgs(const ConvShape& s, decltype(Args::rows) rows, decltype(Args::zero_pixel) zero_pixel, size_t x_stride) {
  Args args{};
  args.channels = static_cast<size_t>(s.c);
  args.kernel_h = static_cast<size_t>(s.kh), args.kernel_w = static_cast<size_t>(s.kw);
  args.stride_w = static_cast<size_t>(s.g.stride_w), args.dilation_w = static_cast<size_t>(s.g.dilation_w);
  args.x_width = static_cast<size_t>(s.w), args.y_width = static_cast<size_t>(s.ow);
  args.pad_left = s.g.pad_left;
  args.rows = rows, args.x_stride = x_stride, args.zero_pixel = zero_pixel;
  return args;
}

// Units: output rows.
template <typename Dw>
class DepthwiseConv final : public OpDriver {
 public:
  using T = typename Dw::Element;

  // `zero_row`: one input row of padding.
  DepthwiseConv(const ConvShape& shape, const Tensor& x, const uint8_t* data, const T* zero_row, Dw dw)
      : s_(shape), x_(reinterpret_cast<const T*>(data)), stride_(x.pixel_stride), zero_row_(zero_row), dw_(std::move(dw)) {
    rows_ = RowShapeOf(s_, sizeof(T), stride_, dw_.y_stride(), true);
    units_ = s_.n * s_.oh;
    granularity_ = dw_.rows_at_once();
    cost_ = ConvCost(s_);
    scratch_bytes_ = dw_.ScratchBytes(s_);
    kernel_ = dw_.name();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override { RunRows(begin, end, {nullptr, 0}, {nullptr, 0}, scratch); }
  void RunRows(int64_t begin, int64_t end, const MapRows& x, const MapRows& y, uint8_t* scratch) override {
    const T* rows[kMaxDepthwiseRows];
    const auto at = [&](int64_t row) { return y.data == nullptr ? dw_.OutputAt(row * s_.ow) : RowOf<T>(y, row, rows_.y_row); };
    int64_t row = begin;
    if constexpr (Dw::kTwoRows) {
      const T* next[kMaxDepthwiseRows];
      for (; row + 2 <= end; row += 2) {
        FindRows(row, x, rows);
        FindRows(row + 1, x, next);
        dw_.RunTwo(at(row), s_, rows, next, row * s_.ow, s_.ow, zero_row_, static_cast<size_t>(stride_), scratch);
      }
    }
    for (; row < end; ++row) {
      FindRows(row, x, rows);
      dw_.Run(at(row), s_, rows, row * s_.ow, zero_row_, static_cast<size_t>(stride_), scratch);
    }
  }
  const RowShape* row_shape() const override { return s_.n == 1 ? &rows_ : nullptr; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override {
    Piece pieces[kMostPieces];
    int64_t count = 0;
    ForEachRow(spans, s_.ow, [&](int64_t row, int64_t begin, int64_t end) {
      if (count == kMostPieces) RunPieces(pieces, std::exchange(count, 0), scratch);
      pieces[count++] = {row, begin, end - begin};
    });
    RunPieces(pieces, count, scratch);
  }

 private:
  // Columns of an output row, from `column` on; none: they are computed.
  struct Piece {
    int64_t row, column, columns;
  };
  static constexpr int64_t kMostPieces = 64;

  // Two at a time where the next row has the same columns.
  void RunPieces(Piece* pieces, int64_t count, uint8_t* scratch) {
    for (int64_t i = 0; i < count; ++i) {
      const Piece upper = pieces[i];
      if (upper.columns == 0) continue;
      bool two = false;
      for (int64_t k = i + 1; dw_.rows_at_once() == 2 && k < count && pieces[k].row <= upper.row + 1 && !two; ++k) {
        two = pieces[k].row == upper.row + 1 && pieces[k].column == upper.column && pieces[k].columns == upper.columns;
        if (two) pieces[k].columns = 0;
      }
      RunColumns(upper, two, scratch);
    }
  }

  // As of a map that begins where the input columns of the piece do.
  void RunColumns(const Piece& piece, bool two_rows, uint8_t* scratch) {
    const int64_t start = piece.column * s_.g.stride_w - s_.g.pad_left, skipped = std::clamp<int64_t>(start, 0, s_.w - 1);
    const int64_t pixel = piece.row * s_.ow + piece.column;
    const T* rows[kMaxDepthwiseRows];
    FindRows(piece.row, {nullptr, 0}, rows);
    for (int64_t ky = 0; ky < s_.kh; ++ky) rows[ky] += skipped * stride_;
    ConvShape part = s_;
    part.w = s_.w - skipped, part.ow = piece.columns;
    part.g.pad_left = static_cast<int32_t>(skipped - start);
    if constexpr (Dw::kTwoRows) {
      if (two_rows) {
        const T* next[kMaxDepthwiseRows];
        FindRows(piece.row + 1, {nullptr, 0}, next);
        for (int64_t ky = 0; ky < s_.kh; ++ky) next[ky] += skipped * stride_;
        return dw_.RunTwo(dw_.OutputAt(pixel), part, rows, next, pixel, s_.ow, zero_row_, static_cast<size_t>(stride_), scratch);
      }
    }
    dw_.Run(dw_.OutputAt(pixel), part, rows, pixel, zero_row_, static_cast<size_t>(stride_), scratch);
  }

  // The input rows under the taps of an output row.
  void FindRows(int64_t row, const MapRows& x, const T** rows) const {
    const int64_t n = row / s_.oh, y0 = row % s_.oh * s_.g.stride_h - s_.g.pad_top;
    for (int64_t ky = 0; ky < s_.kh; ++ky) {
      const int64_t iy = y0 + ky * s_.g.dilation_h;
      if (iy < 0 || iy >= s_.h) rows[ky] = zero_row_;
      else rows[ky] = x.data == nullptr ? x_ + (n * s_.h + iy) * s_.w * stride_ : RowOf<const T>(x, iy, rows_.x_row);
    }
  }

  ConvShape s_;
  const T* x_;
  int64_t stride_;
  const T* zero_row_;
  RowShape rows_;
  Dw dw_;
};

// Weights [C, KH, KW, 1] as kernels want them: [KH, KW, C].
template <typename T>
void TransposeDepthwise(const ConvShape& s, const T* w, T* out) {
  const int64_t taps = s.kh * s.kw;
  for (int64_t c = 0; c < s.c; ++c) {
    for (int64_t t = 0; t < taps; ++t) out[t * s.c + c] = w[c * taps + t];
  }
}

// One input row of `fill`.
template <typename T>
Status MakeZeroRow(const OpContext& context, const ConvShape& s, const Tensor& x, T fill, const T** row) {
  const int64_t elements = s.w * x.pixel_stride;
  uint8_t* block;
  const Status status = context.Allocate(static_cast<uint64_t>(elements) * sizeof(T), &block);
  if (!status.ok()) return status;
  std::fill_n(reinterpret_cast<T*>(block), elements, fill);
  *row = reinterpret_cast<const T*>(block);
  return status;
}

}  // namespace sterna
