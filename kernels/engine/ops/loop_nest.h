// N operands walked together over a common index space: the skeleton of every element-wise and data-moving op.
//
// Axes are merged wherever all operands allow it, so that dense tensors become one long axis. The unit of work is a segment of at
// most kSegment elements of the innermost axis.
#pragma once
#include <algorithm>
#include <cstdint>
#include <utility>

#include "engine/program.h"
#include "engine/spans.h"

namespace sterna {

template <int N>
class LoopNest {
 public:
  static constexpr int64_t kSegment = 4096;

  // Adds the next axis, outermost first. Strides in elements; 0 repeats, negative walks backwards.
  void AddAxis(int64_t dim, const int64_t (&strides)[N]) {
    if (dim == 1) return;
    if (rank_ > 0 && Merges(dim, strides)) {
      dims_[rank_ - 1] *= dim;
    } else {
      dims_[rank_++] = dim;
    }
    for (int i = 0; i < N; ++i) strides_[i][rank_ - 1] = strides[i];
  }

  // Lets `operand` end in an axis of stride 1, of one element if need be: for bodies that walk it without a step. Pixels of one
  // channel that lie apart need that.
  void EndContiguous(int operand) {
    if (rank_ == 0 || strides_[operand][rank_ - 1] == 1) return;
    dims_[rank_++] = 1;
    for (int i = 0; i < N; ++i) strides_[i][rank_ - 1] = 1;
  }

  // Makes a long axis the innermost one where the last axis is too short to be worth a loop. For bodies that take any strides.
  void PreferLongInner() {
    constexpr int64_t kShort = 8;
    if (rank_ < 2 || dims_[rank_ - 1] >= kShort || dims_[rank_ - 2] <= dims_[rank_ - 1]) return;
    std::swap(dims_[rank_ - 1], dims_[rank_ - 2]);
    for (int i = 0; i < N; ++i) std::swap(strides_[i][rank_ - 1], strides_[i][rank_ - 2]);
  }

  int64_t inner() const { return rank_ == 0 ? 1 : dims_[rank_ - 1]; }
  // Distance between neighbours on the innermost axis; 1 when there is no axis.
  int64_t inner_stride(int operand) const { return rank_ == 0 ? 1 : strides_[operand][rank_ - 1]; }
  int64_t segments() const { return (inner() + kSegment - 1) / kSegment; }
  int64_t units() const {
    int64_t outer = 1;
    for (int axis = 0; axis + 1 < rank_; ++axis) outer *= dims_[axis];
    return outer * segments();
  }

  // body(const int64_t (&offsets)[N], int64_t count): offsets, in elements, of the first of `count` elements.
  template <typename Body>
  void ForEach(int64_t begin, int64_t end, Body body) const {
    int64_t index[kMaxRank] = {}, base[N] = {};
    const int64_t segments = this->segments(), inner = this->inner();
    Seek(begin / segments, index, base);
    int64_t segment = begin % segments;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t start = segment * kSegment;
      int64_t offsets[N];
      for (int i = 0; i < N; ++i) offsets[i] = base[i] + start * inner_stride(i);
      body(offsets, std::min(kSegment, inner - start));
      if (++segment < segments) continue;
      segment = 0;
      Advance(index, base);
    }
  }

 private:
  bool Merges(int64_t dim, const int64_t (&strides)[N]) const {
    for (int i = 0; i < N; ++i) {
      if (strides_[i][rank_ - 1] != dim * strides[i]) return false;
    }
    return true;
  }

  void Seek(int64_t outer, int64_t (&index)[kMaxRank], int64_t (&base)[N]) const {
    for (int axis = rank_ - 2; axis >= 0; --axis) {
      index[axis] = outer % dims_[axis];
      outer /= dims_[axis];
      for (int i = 0; i < N; ++i) base[i] += index[axis] * strides_[i][axis];
    }
  }

  void Advance(int64_t (&index)[kMaxRank], int64_t (&base)[N]) const {
    for (int axis = rank_ - 2; axis >= 0; --axis) {
      for (int i = 0; i < N; ++i) base[i] += strides_[i][axis];
      if (++index[axis] < dims_[axis]) return;
      index[axis] = 0;
      for (int i = 0; i < N; ++i) base[i] -= dims_[axis] * strides_[i][axis];
    }
  }

  int rank_ = 0;
  int64_t dims_[kMaxRank] = {};
  int64_t strides_[N][kMaxRank] = {};
};

// N operands, the last of which is the output, walked along spans of the output's pixels: for ops that compute each element from those at the
// same place of the others, or from one that all pixels, channels or elements share.
template <int N>
class PixelWalk {
 public:
  explicit PixelWalk(const Tensor& y) : y_(y) { pixel_[N - 1] = y.pixel_stride, channel_[N - 1] = 1; }

  // An operand but the output, in order. False when it is broadcast in another way.
  bool Add(int operand, const Tensor& t) {
    const bool one_pixel = t.pixels() == 1, one_channel = t.channels() == 1;
    if (!one_channel && t.channels() != y_.channels()) return false;
    if (!one_pixel && (t.rank != y_.rank || !std::equal(t.dims, t.dims + t.rank - 1, y_.dims))) return false;
    channel_[operand] = one_channel && (one_pixel || y_.channels() > 1) ? 0 : 1;
    pixel_[operand] = one_pixel ? 0 : t.pixel_stride;
    return true;
  }

  // Distance between neighbours of a pixel.
  int64_t inner_stride(int operand) const { return channel_[operand]; }

  // body(const int64_t (&offsets)[N], int64_t count), as LoopNest::ForEach.
  template <typename Body>
  void ForEach(SpanReader spans, Body body) const {
    const bool dense = Dense();
    while (spans.left() > 0) {
      int64_t first, offsets[N];
      const int64_t count = spans.Take(spans.run(), &first);
      for (int64_t p = first; p < first + count; ++p) {
        for (int i = 0; i < N; ++i) offsets[i] = p * pixel_[i];
        body(offsets, dense ? count * y_.channels() : y_.channels());
        if (dense) break;
      }
    }
  }

 private:
  // Whether the elements of a span are one run in all operands.
  bool Dense() const {
    for (int i = 0; i < N; ++i) {
      if (pixel_[i] != y_.channels() * channel_[i]) return false;
    }
    return true;
  }

  Tensor y_;
  int64_t pixel_[N] = {}, channel_[N] = {};
};

// Strides with which `t` is read under the index of `y` (numpy broadcasting). False when the shapes do not broadcast.
inline bool BroadcastStrides(const Tensor& t, const Tensor& y, int64_t (&strides)[kMaxRank]) {
  if (t.rank > y.rank) return false;
  int64_t own[kMaxRank];
  StridesOf(t, own);
  const int shift = y.rank - t.rank;
  for (int axis = 0; axis < y.rank; ++axis) {
    const int64_t dim = axis < shift ? 1 : t.dims[axis - shift];
    if (dim != 1 && dim != y.dims[axis]) return false;
    strides[axis] = dim == 1 ? 0 : own[axis - shift];
  }
  return true;
}

// The nest of y = f(x), x and y of the same shape; both contiguous on the innermost axis.
inline LoopNest<2> UnaryNest(const Tensor& x, const Tensor& y) {
  int64_t xs[kMaxRank], ys[kMaxRank];
  StridesOf(x, xs);
  StridesOf(y, ys);
  LoopNest<2> nest;
  for (int axis = 0; axis < y.rank; ++axis) nest.AddAxis(y.dims[axis], {xs[axis], ys[axis]});
  nest.EndContiguous(0);
  nest.EndContiguous(1);
  return nest;
}

// The lines of x and y, and how far apart the elements of each are. Units: segments of the nest over the other axes.
struct Lines {
  LoopNest<2> nest;
  int64_t n, x_step, y_step;

  Lines(const Tensor& x, const Tensor& y, int axis) {
    int64_t xs[kMaxRank], ys[kMaxRank];
    StridesOf(x, xs);
    StridesOf(y, ys);
    n = x.dims[axis];
    x_step = xs[axis], y_step = ys[axis];
    for (int i = 0; i < x.rank; ++i) {
      if (i != axis) nest.AddAxis(x.dims[i], {xs[i], ys[i]});
    }
  }

  // body(x, y): offsets of the first elements of a line.
  template <typename Body>
  void ForEach(int64_t begin, int64_t end, Body body) const {
    const int64_t xs = nest.inner_stride(0), ys = nest.inner_stride(1);
    nest.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t count) {
      for (int64_t i = 0; i < count; ++i) body(at[0] + i * xs, at[1] + i * ys);
    });
  }
};

// The walk of y = f(x), x and y of the same shape.
inline PixelWalk<2> UnaryWalk(const Tensor& x, const Tensor& y) {
  PixelWalk<2> walk(y);
  (void)walk.Add(0, x);
  return walk;
}

// The nest of y = f(a, b) with broadcasting, y contiguous on the innermost axis. False when the shapes do not fit.
inline bool BinaryNest(const Tensor& a, const Tensor& b, const Tensor& y, LoopNest<3>* nest) {
  int64_t as[kMaxRank], bs[kMaxRank], ys[kMaxRank];
  if (!BroadcastStrides(a, y, as) || !BroadcastStrides(b, y, bs)) return false;
  StridesOf(y, ys);
  for (int axis = 0; axis < y.rank; ++axis) nest->AddAxis(y.dims[axis], {as[axis], bs[axis], ys[axis]});
  nest->EndContiguous(2);
  return true;
}

}  // namespace sterna
