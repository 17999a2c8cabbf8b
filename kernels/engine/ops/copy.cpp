// Copy, Transpose, Pad and Gather: data movement, for elements of 1 or 4 bytes.
#include <cmath>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// n elements from x to y, steps in elements.
template <typename T>
void CopyLine(int64_t n, const T* x, int64_t x_step, T* y, int64_t y_step) {
  if (x_step == 1 && y_step == 1) {
    std::memcpy(y, x, static_cast<size_t>(n) * sizeof(T));
  } else if (y_step == 1) {
    for (int64_t i = 0; i < n; ++i) y[i] = x[i * x_step];
  } else {
    for (int64_t i = 0; i < n; ++i) y[i * y_step] = x[i * x_step];
  }
}

// Where the elements of an output's pixels come from: for spans of them.
struct PixelSource {
  bool known = false;  // false: not every pixel is written
  int rank = 0;
  int64_t dims[kMaxRank] = {}, steps[kMaxRank] = {};  // of the output's axes, and how far apart their elements are in x
  int64_t y_pixel = 0;                      // elements of y between pixels

  // `steps`: in the order of y's axes.
  static PixelSource Of(const Tensor& y, const int64_t* dims, const int64_t* steps) {
    PixelSource source;
    source.known = true;
    source.rank = std::max(y.rank, 1);
    for (int axis = 0; axis < source.rank; ++axis) source.dims[axis] = y.rank == 0 ? 1 : dims[axis], source.steps[axis] = y.rank == 0 ? 1 : steps[axis];
    source.y_pixel = y.pixel_stride;
    return source;
  }

  template <typename T>
  void Copy(SpanReader spans, const T* x, T* y) const {
    const int last = rank - 1;
    while (spans.left() > 0) {
      int64_t first, index[kMaxRank] = {};
      const int64_t count = spans.Take(spans.run(), &first);
      int64_t from = 0, rest = first;
      for (int axis = last - 1; axis >= 0; --axis) {
        index[axis] = rest % dims[axis];
        rest /= dims[axis];
        from += index[axis] * steps[axis];
      }
      for (int64_t pixel = first; pixel < first + count; ++pixel) {
        CopyLine(dims[last], x + from, steps[last], y + pixel * y_pixel, 1);
        for (int axis = last - 1; axis >= 0; --axis) {
          from += steps[axis];
          if (++index[axis] < dims[axis]) break;
          index[axis] = 0;
          from -= dims[axis] * steps[axis];
        }
      }
    }
  }
};

// Units: segments of the nest.
template <typename T>
class StridedCopy final : public OpDriver {
 public:
  StridedCopy(const LoopNest<2>& nest, const PixelSource& source, const uint8_t* x, uint8_t* y, int64_t elements, const char* name)
      : nest_(nest), source_(source), x_(reinterpret_cast<const T*>(x)), y_(reinterpret_cast<T*>(y)) {
    if (nest_.inner_stride(0) != 1 || nest_.inner_stride(1) != 1) nest_.PreferLongInner();
    units_ = nest_.units();
    cost_ = elements * static_cast<int64_t>(sizeof(T)) / 8;
    kernel_ = name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const int64_t x_step = nest_.inner_stride(0), y_step = nest_.inner_stride(1);
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) { CopyLine(n, x_ + at[0], x_step, y_ + at[1], y_step); });
  }
  bool takes_spans() const override { return source_.known; }
  void RunSpans(SpanReader spans, uint8_t*) override { source_.Copy(spans, x_, y_); }

 private:
  LoopNest<2> nest_;
  PixelSource source_;
  const T* x_;
  T* y_;
};

// y[r][c] = x[c][r] for 4 x 4 floats; strides in elements.
inline void TransposeSquare(const float* x, int64_t x_stride, float* y, int64_t y_stride) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
  using Four = float __attribute__((vector_size(16)));
  Four a, b, c, d;
  std::memcpy(&a, x, sizeof a);
  std::memcpy(&b, x + x_stride, sizeof b);
  std::memcpy(&c, x + 2 * x_stride, sizeof c);
  std::memcpy(&d, x + 3 * x_stride, sizeof d);
  const Four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
  const Four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);
  const Four rows[4] = {__builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5), __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7),
                        __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5), __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7)};
  for (int64_t r = 0; r < 4; ++r) std::memcpy(y + r * y_stride, &rows[r], sizeof rows[r]);
  return;
#endif
#endif
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < 4; ++c) y[r * y_stride + c] = x[c * x_stride + r];
  }
}

// A transposition whose innermost axes differ: `nest` walks the other axes; a block of the last two is copied at a time, along x's
// contiguous axis (`rows` of y) and y's (`columns`). Units: positions of the nest times blocks of rows.
template <typename T>
class BlockTranspose final : public OpDriver {
 public:
  static constexpr int64_t kBlock = 32;
  static constexpr int64_t kBlockElements = kBlock * kBlock;
  static constexpr int64_t kTile = 8;

  struct Plane {
    int64_t rows, y_row_stride;     // x is contiguous along this axis
    int64_t columns, x_column_stride;  // y is contiguous along this one
  };

  BlockTranspose(const LoopNest<2>& nest, const Plane& plane, const PixelSource& source, const ElementwiseKernels& elementwise, const uint8_t* x, uint8_t* y, int64_t elements)
      : nest_(nest), p_(plane), source_(source), interleave_(elementwise.interleave3_q8), interleave_floats_(elementwise.interleave3_f32), block_rows_(std::max(kBlock, kBlockElements / plane.columns)),
        own_x_(reinterpret_cast<const T*>(x)), own_y_(reinterpret_cast<T*>(y)), x_(own_x_), y_(own_y_) {
    blocks_ = (plane.rows + block_rows_ - 1) / block_rows_;
    for_each_inner_ = nest_.inner();
    units_ = nest_.units() / nest_.segments() * for_each_inner_ * blocks_;
    cost_ = elements;
    kernel_ = "transpose";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t position = unit / blocks_, first = unit % blocks_ * block_rows_;
      int64_t x = 0, y = 0;
      Position(position, &x, &y);
      Block(x_ + x + first, y_ + y + first * p_.y_row_stride, std::min(block_rows_, p_.rows - first));
    }
  }
  // The kernel that interleaves bytes may touch what follows.
  bool takes_outside() const override { return sizeof(T) == sizeof(float); }
  void ReadFrom(const uint8_t* x) override { x_ = x != nullptr ? reinterpret_cast<const T*>(x) : own_x_; }
  void WriteTo(uint8_t* y) override { y_ = y != nullptr ? reinterpret_cast<T*>(y) : own_y_; }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t*) override { source_.Copy(spans, x_, y_); }

  // From channels first to channels last: rows of the map are what the nest walks, `x_row` elements apart in x.
  void SetRows(const RowShape& rows, int64_t x_row) { rows_ = rows, x_row_ = x_row; }
  const RowShape* row_shape() const override { return rows_.y_rows > 0 ? &rows_ : nullptr; }
  void RunRows(int64_t begin, int64_t end, const MapRows&, const MapRows& y, uint8_t*) override {
    for (int64_t row = begin; row < end; ++row) Block(x_ + row * x_row_, reinterpret_cast<T*>(y.data + static_cast<size_t>(row - y.first) * rows_.y_row), p_.rows);
  }

 private:
  void Position(int64_t position, int64_t* x, int64_t* y) const {
    const int64_t inner = nest_.inner(), within = position % inner, segment = within / LoopNest<2>::kSegment;
    const int64_t unit = position / inner * nest_.segments() + segment;
    nest_.ForEach(unit, unit + 1, [&](const int64_t(&at)[2], int64_t) {
      *x = at[0] + within % LoopNest<2>::kSegment * nest_.inner_stride(0);
      *y = at[1] + within % LoopNest<2>::kSegment * nest_.inner_stride(1);
    });
  }
  void Block(const T* x, T* y, int64_t rows) const {
    if (p_.columns == 2 && p_.y_row_stride == 2) return BlockOf2(x, x + p_.x_column_stride, y, rows);
    if (p_.columns == 3) return BlockOf3(x, y, rows);
    // What lies further apart is walked in the inner loop, so that its cache lines are used up before the next ones are needed: lines that are a
    // power of two apart share the few places of one set.
    const bool rows_inside = p_.x_column_stride > p_.y_row_stride;
    const int64_t outer = rows_inside ? p_.columns : rows, inner = rows_inside ? rows : p_.columns;
    for (int64_t i = 0; i < outer; i += kTile) {
      for (int64_t j = 0; j < inner; j += kTile) {
        const int64_t row = rows_inside ? j : i, column = rows_inside ? i : j;
        Tile(x + column * p_.x_column_stride + row, y + row * p_.y_row_stride + column, std::min(kTile, rows - row), std::min(kTile, p_.columns - column));
      }
    }
  }
  void Tile(const T* x, T* y, int64_t rows, int64_t columns) const {
    if (rows < kTile || columns < kTile) {
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < columns; ++c) y[r * p_.y_row_stride + c] = x[c * p_.x_column_stride + r];
      }
      return;
    }
    if constexpr (sizeof(T) == sizeof(float)) {
      for (int64_t c = 0; c < kTile; c += 4) {
        for (int64_t r = 0; r < kTile; r += 4) TransposeSquare(x + c * p_.x_column_stride + r, p_.x_column_stride, y + r * p_.y_row_stride + c, p_.y_row_stride);
      }
      return;
    }
    T tile[kTile][kTile];  // a copy without gaps
    for (int64_t c = 0; c < kTile; ++c) std::memcpy(tile[c], x + c * p_.x_column_stride, sizeof tile[c]);
    for (int64_t r = 0; r < kTile; ++r) {
      T line[kTile];
      for (int64_t c = 0; c < kTile; ++c) line[c] = tile[c][r];
      std::memcpy(y + r * p_.y_row_stride, line, sizeof line);
    }
  }
  // Two halves of a pixel's channels, shuffled (ShuffleNet); in pieces that the compiler makes vectors of.
  static void BlockOf2(const T* first, const T* second, T* y, int64_t rows) {
    constexpr int64_t kPiece = 16 / sizeof(T);
    int64_t r = 0;
    for (; r + kPiece <= rows; r += kPiece) {
      T a[kPiece], b[kPiece], pairs[2 * kPiece];
      std::memcpy(a, first + r, sizeof a);
      std::memcpy(b, second + r, sizeof b);
      for (int64_t i = 0; i < kPiece; ++i) pairs[2 * i] = a[i], pairs[2 * i + 1] = b[i];
      std::memcpy(y + 2 * r, pairs, sizeof pairs);
    }
    for (; r < rows; ++r) y[2 * r] = first[r], y[2 * r + 1] = second[r];
  }
  // Planar to interleaved colours, the most common transposition of all.
  void BlockOf3(const T* x, T* y, int64_t rows) const {
    const T *x1 = x + p_.x_column_stride, *x2 = x1 + p_.x_column_stride;
    if (p_.y_row_stride == 3) {
      if constexpr (sizeof(T) == 1) return interleave_(static_cast<size_t>(rows), x, x1, x2, y);
      else return interleave_floats_(static_cast<size_t>(rows), x, x1, x2, y);
    }
    for (int64_t r = 0; r < rows; ++r, y += p_.y_row_stride) y[0] = x[r], y[1] = x1[r], y[2] = x2[r];
  }

  RowShape rows_{};
  int64_t x_row_ = 0;
  LoopNest<2> nest_;
  Plane p_;
  PixelSource source_;
  decltype(ElementwiseKernels::interleave3_q8) interleave_;
  decltype(ElementwiseKernels::interleave3_f32) interleave_floats_;
  int64_t block_rows_, blocks_, for_each_inner_;
  const T* own_x_;
  T* own_y_;
  const T* x_;  // of the next run
  T* y_;
};

Status CheckCopy(const Tensor& x, const Tensor& y, const CopyAttrs& a) {
  if (x.dtype != y.dtype || x.rank != y.rank) return Mismatch("a copy needs tensors of one type and rank");
  const auto inside = [](int64_t start, int64_t step, int64_t extent, int64_t size) {
    const int64_t last = start + step * (extent - 1);
    return start >= 0 && start < size && last >= 0 && last < size;
  };
  for (int axis = 0; axis < x.rank; ++axis) {
    if (a.extent[axis] < 1 || a.y_step[axis] < 1) return Mismatch("a copy has an empty extent or an output step below 1");
    if (!inside(a.x_start[axis], a.x_step[axis], a.extent[axis], x.dims[axis]) || !inside(a.y_start[axis], a.y_step[axis], a.extent[axis], y.dims[axis])) {
      return Mismatch("a copy reaches outside its tensors");
    }
  }
  return Status::Ok();
}

// Of a copy that writes channels next to each other of every pixel of y.
PixelSource SourceOf(const Tensor& y, const CopyAttrs& a, const int64_t* xs) {
  int64_t dims[kMaxRank], steps[kMaxRank];
  for (int axis = 0; axis < y.rank; ++axis) {
    const bool last = axis == y.rank - 1;
    if (a.y_step[axis] != 1 || (!last && (a.y_start[axis] != 0 || a.extent[axis] != y.dims[axis]))) return {};
    dims[axis] = a.extent[axis], steps[axis] = a.x_step[axis] * xs[axis];
  }
  return PixelSource::Of(y, dims, steps);
}

// The axis along which consecutive indices are neighbours in memory, or -1.
int ContiguousAxis(const int64_t* dims, const int64_t* strides, int rank) {
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (dims[axis] > 1) return strides[axis] == 1 ? axis : -1;
  }
  return -1;
}

// `xs`: the strides of x in the order of y's axes.
template <typename T>
DriverPtr MakeTranspose(const OpContext& context, const int64_t* xs, const int64_t* ys, const uint8_t* x_data) {
  const Tensor& y = context.Output();
  uint8_t* y_data = context.OutputData();
  const int y_axis = ContiguousAxis(y.dims, ys, y.rank);
  int x_axis = -1;
  for (int axis = 0; axis < y.rank; ++axis) {
    if (y.dims[axis] > 1 && xs[axis] == 1) x_axis = axis;
  }
  LoopNest<2> nest;
  const bool blocks = y_axis >= 0 && x_axis >= 0 && x_axis != y_axis;
  for (int axis = 0; axis < y.rank; ++axis) {
    if (!blocks || (axis != y_axis && axis != x_axis)) nest.AddAxis(y.dims[axis], {xs[axis], ys[axis]});
  }
  const PixelSource source = PixelSource::Of(y, y.dims, xs);
  if (!blocks) return DriverPtr(new StridedCopy<T>(nest, source, x_data, y_data, y.elements, "transpose"));
  const typename BlockTranspose<T>::Plane plane{y.dims[x_axis], ys[x_axis], y.dims[y_axis], xs[y_axis]};
  auto* transpose = new BlockTranspose<T>(nest, plane, source, *context.kernels().elementwise, x_data, y_data, y.elements);
  if (y.location == Location::kStrip && y.rank == 4 && y.dims[0] == 1 && x_axis == 2 && y_axis == 3) {
    const size_t row = static_cast<size_t>(ys[1]) * sizeof(T);
    transpose->SetRows({y.dims[1], y.dims[1], row, row, 1, 1, 0, false}, xs[1]);
  }
  return DriverPtr(transpose);
}

}  // namespace

Status PrepareCopy(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const CopyAttrs& a = context.Attrs<CopyAttrs>();
  Status status = CheckCopy(x, y, a);
  const uint8_t* x_data = nullptr;
  if (status.ok()) status = context.InputData(0, &x_data);
  if (!status.ok()) return status;
  int64_t xs[kMaxRank], ys[kMaxRank], x_start = 0, y_start = 0, elements = 1;
  StridesOf(x, xs);
  StridesOf(y, ys);
  LoopNest<2> nest;
  for (int axis = 0; axis < x.rank; ++axis) {
    x_start += a.x_start[axis] * xs[axis];
    y_start += a.y_start[axis] * ys[axis];
    elements *= a.extent[axis];
    nest.AddAxis(a.extent[axis], {a.x_step[axis] * xs[axis], a.y_step[axis] * ys[axis]});
  }
  const PixelSource source = SourceOf(y, a, xs);
  const int64_t size = static_cast<int64_t>(SizeOf(x.dtype));
  const uint8_t* from = x_data + x_start * size;
  uint8_t* to = context.OutputData() + y_start * size;
  if (size == 1) driver->reset(new StridedCopy<uint8_t>(nest, source, from, to, elements, "copy"));
  else driver->reset(new StridedCopy<float>(nest, source, from, to, elements, "copy"));
  return status;
}

Status PrepareTranspose(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const TransposeAttrs& a = context.Attrs<TransposeAttrs>();
  if (x.dtype != y.dtype || x.rank != y.rank) return Mismatch("a transposition needs tensors of one type and rank");
  int64_t own[kMaxRank], xs[kMaxRank], ys[kMaxRank];
  StridesOf(x, own);
  StridesOf(y, ys);
  unsigned seen = 0;
  for (int axis = 0; axis < y.rank; ++axis) {
    const int32_t from = a.perm[axis];
    if (from < 0 || from >= x.rank || (seen >> from & 1) != 0) return Mismatch("the axes of a transposition are not a permutation");
    seen |= 1u << from;
    if (y.dims[axis] != x.dims[from]) return Mismatch("a transposition's output does not follow from its axes");
    xs[axis] = own[from];
  }
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (!status.ok()) return status;
  if (SizeOf(x.dtype) == 1) *driver = MakeTranspose<uint8_t>(context, xs, ys, data);
  else *driver = MakeTranspose<float>(context, xs, ys, data);
  return status;
}

}  // namespace sterna
