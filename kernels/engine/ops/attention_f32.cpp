// AttentionF32: y = softmax(scale * q k^T + mask) v, a block of queries at a time, so that all scores never exist at once.
//
// The keys and the values of a matrix are packed once in each call; then, for each block of queries: scores by one GEMM, softmax row by row, the weighted
// values by another GEMM. The scores of a block stay in the caches. Operands are read, and y is written, wherever their transposed tensors have them.
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

constexpr int64_t kScoreBytes = 192 * 1024;  // of a block: with the packed keys and values they should fit L2
constexpr int64_t kLeastRows = 12, kMostRows = 96;  // of a block: the tallest tile of gemm_f32, and what more rows no longer gain

// A tensor with its axes in the order of the formula.
struct Ordered {
  int64_t dims[kMaxRank], strides[kMaxRank];
};

// False when `perm` does not order the axes of t.
bool Order(const Tensor& t, const int32_t (&perm)[kMaxRank], Ordered* out) {
  int64_t strides[kMaxRank];
  StridesOf(t, strides);
  uint32_t seen = 0;
  for (int i = 0; i < t.rank; ++i) {
    if (perm[i] < 0 || perm[i] >= t.rank || ((seen >> perm[i]) & 1u) != 0) return false;
    seen |= 1u << perm[i];
    out->dims[i] = t.dims[perm[i]], out->strides[i] = strides[perm[i]];
  }
  return true;
}

struct AttentionShape {
  int rank;
  int64_t m, n, d, e, matrices;
  Ordered q, k, v, y;
  int64_t mask[kMaxRank];  // its strides; 0 along axes that it does not have
};

// Matrix `index` of an operand.
int64_t MatrixAt(const AttentionShape& s, const int64_t (&strides)[kMaxRank], int64_t index) {
  int64_t at = 0;
  for (int axis = s.rank - 3; axis >= 0; --axis) {
    at += index % s.y.dims[axis] * strides[axis];
    index /= s.y.dims[axis];
  }
  return at;
}

// Units: blocks of queries, matrix by matrix.
class AttentionF32 final : public OpDriver {
 public:
  AttentionF32(const OpContext& context, const AttentionShape& s)
      : s_(s), gemm_(context.kernels().gemm_f32), softmax_(context.kernels().rows_f32->softmax), add_(context.kernels().elementwise->add_f32),
        scale_(context.Attrs<AttentionAttrs>().scale), y_(reinterpret_cast<float*>(context.OutputData())) {
    const size_t n = static_cast<size_t>(s.n), d = static_cast<size_t>(s.d), e = static_cast<size_t>(s.e);
    score_stride_ = static_cast<size_t>(RoundUp(n, 16));
    const int64_t most = std::min(kMostRows, std::max(kLeastRows, kScoreBytes / (4 * static_cast<int64_t>(score_stride_))));
    blocks_ = (s.m + most - 1) / most;
    rows_ = (s.m + blocks_ - 1) / blocks_;
    key_bytes_ = RoundUp(gemm_->packed_bytes(n, d), 64);
    value_bytes_ = RoundUp(gemm_->packed_bytes(e, n), 64);
    score_bytes_ = RoundUp(static_cast<size_t>(rows_) * score_stride_ * sizeof(float) + kSlack, 64);
    const size_t rows = static_cast<size_t>(rows_);
    scratch_bytes_ = key_bytes_ + value_bytes_ + score_bytes_ + std::max(gemm_->scratch_bytes(rows, n, d), gemm_->scratch_bytes(rows, e, n));
    units_ = s.matrices * blocks_;
    cost_ = s.matrices * s.m * s.n * (s.d + s.e) / 8;
    kernel_ = gemm_->name;
  }
  void Bind(const uint8_t* q, const uint8_t* k, const uint8_t* v, const uint8_t* mask) {
    q_ = reinterpret_cast<const float*>(q), k_ = reinterpret_cast<const float*>(k), v_ = reinterpret_cast<const float*>(v);
    mask_ = reinterpret_cast<const float*>(mask);
  }

  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    int64_t packed = -1;
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t matrix = unit / blocks_, row = unit % blocks_ * rows_;
      if (matrix != packed) Pack(packed = matrix, scratch);
      if (row < s_.m) Block(matrix, row, std::min(rows_, s_.m - row), scratch);
    }
  }

 private:
  // Rows of y from scores and values, and of scores from queries and keys.
  struct Product {
    const float* a;
    int64_t a_stride;
    const uint8_t* packed;
    float* y;
    int64_t y_stride;
  };

  static StridedF32 Columns(const Ordered& o, const float* data, int n_axis, int k_axis, float factor) {
    return {data, static_cast<size_t>(o.strides[n_axis]), static_cast<size_t>(o.strides[k_axis]), factor};
  }
  void Pack(int64_t matrix, uint8_t* scratch) const {
    const int rows = s_.rank - 2, columns = s_.rank - 1;
    const size_t n = static_cast<size_t>(s_.n);
    gemm_->pack(n, static_cast<size_t>(s_.d), Columns(s_.k, k_ + MatrixAt(s_, s_.k.strides, matrix), rows, columns, scale_), scratch);
    gemm_->pack(static_cast<size_t>(s_.e), n, Columns(s_.v, v_ + MatrixAt(s_, s_.v.strides, matrix), columns, rows, 1.0f), scratch + key_bytes_);
  }
  void Multiply(int64_t m, int64_t n, int64_t k, const Product& p, uint8_t* scratch) const {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const GemmF32Args args{static_cast<size_t>(m), static_cast<size_t>(n), static_cast<size_t>(k), p.a, static_cast<size_t>(p.a_stride), p.packed, p.y,
                           static_cast<size_t>(p.y_stride), {nullptr, nullptr, -kInfinity, kInfinity, nullptr, 0, 0}, scratch};
    gemm_->run(&args);
  }
  void Block(int64_t matrix, int64_t row, int64_t count, uint8_t* scratch) const {
    const int rows = s_.rank - 2;
    const int64_t stride = static_cast<int64_t>(score_stride_);
    float* scores = reinterpret_cast<float*>(scratch + key_bytes_ + value_bytes_);
    uint8_t* rest = scratch + key_bytes_ + value_bytes_ + score_bytes_;
    const float* q = q_ + MatrixAt(s_, s_.q.strides, matrix) + row * s_.q.strides[rows];
    Multiply(count, s_.n, s_.d, {q, s_.q.strides[rows], scratch, scores, stride}, rest);
    for (int64_t i = 0; i < count; ++i) {
      float* line = scores + i * stride;
      if (mask_ != nullptr) Mask(mask_ + MatrixAt(s_, s_.mask, matrix) + (row + i) * s_.mask[rows], line);
      softmax_(static_cast<size_t>(s_.n), line, line);
    }
    float* y = y_ + MatrixAt(s_, s_.y.strides, matrix) + row * s_.y.strides[rows];
    Multiply(count, s_.e, s_.n, {scores, stride, scratch + key_bytes_, y, s_.y.strides[rows]}, rest);
  }
  void Mask(const float* mask, float* line) const {
    const int64_t step = s_.mask[s_.rank - 1];
    if (step == 1) return add_(static_cast<size_t>(s_.n), line, mask, line);
    for (int64_t i = 0; i < s_.n; ++i) line[i] += mask[i * step];
  }

  AttentionShape s_;
  const GemmF32Kernel* gemm_;
  void (*softmax_)(size_t, const float*, float*);
  void (*add_)(size_t, const float*, const float*, float*);
  float scale_;
  const float *q_ = nullptr, *k_ = nullptr, *v_ = nullptr, *mask_ = nullptr;
  float* y_;
  int64_t blocks_, rows_;
  size_t score_stride_, key_bytes_, value_bytes_, score_bytes_;
};

// The strides of the mask, aligned to the right of [.., M, N].
bool OrderMask(const Tensor& mask, AttentionShape* s) {
  int64_t own[kMaxRank];
  StridesOf(mask, own);
  const int shift = s->rank - mask.rank;
  if (shift < 0) return false;
  for (int axis = 0; axis < s->rank; ++axis) {
    const int64_t dim = axis < shift ? 1 : mask.dims[axis - shift], wanted = axis == s->rank - 1 ? s->n : s->y.dims[axis];
    if (dim != 1 && dim != wanted) return false;
    s->mask[axis] = dim == 1 ? 0 : own[axis - shift];
  }
  return true;
}

Status CheckAttention(const OpContext& context, AttentionShape* s) {
  const AttentionAttrs& attrs = context.Attrs<AttentionAttrs>();
  const Tensor &q = *context.Input(0), &k = *context.Input(1), &v = *context.Input(2), &y = context.Output();
  const Tensor* mask = context.Input(3);
  for (const Tensor* t : {&q, &k, &v, &y}) {
    if (t->dtype != DType::kF32 || t->rank != q.rank || t->rank < 3) return Mismatch("attention needs floats of one rank of 3 or more");
  }
  if (!std::isfinite(attrs.scale)) return Unsupported("the factor of an attention is not finite");
  *s = {};
  s->rank = q.rank;
  if (!Order(q, attrs.q_perm, &s->q) || !Order(k, attrs.k_perm, &s->k) || !Order(v, attrs.v_perm, &s->v) || !Order(y, attrs.y_perm, &s->y)) return Mismatch("attention has an order of axes that is none");
  const int rows = s->rank - 2, columns = s->rank - 1;
  s->m = s->q.dims[rows], s->d = s->q.dims[columns], s->n = s->k.dims[rows], s->e = s->v.dims[columns], s->matrices = 1;
  for (int axis = 0; axis < rows; ++axis) {
    if (s->q.dims[axis] != s->y.dims[axis] || s->k.dims[axis] != s->y.dims[axis] || s->v.dims[axis] != s->y.dims[axis]) return Mismatch("the operands of an attention have different batches");
    s->matrices *= s->y.dims[axis];
  }
  if (s->k.dims[columns] != s->d || s->v.dims[rows] != s->n || s->y.dims[rows] != s->m || s->y.dims[columns] != s->e) return Mismatch("the operands of an attention do not fit together");
  if (attrs.q_perm[columns] != columns || attrs.y_perm[columns] != columns) return Mismatch("the queries and the result of an attention need their last axis last");
  if (mask != nullptr && (mask->dtype != DType::kF32 || !OrderMask(*mask, s))) return Mismatch("the mask of an attention does not broadcast to its scores");
  return Status::Ok();
}

}  // namespace

Status PrepareAttentionF32(const OpContext& context, DriverPtr* driver) {
  AttentionShape shape;
  Status status = CheckAttention(context, &shape);
  const uint8_t *q = nullptr, *k = nullptr, *v = nullptr, *mask = nullptr;
  if (status.ok()) status = context.InputData(0, &q);
  if (status.ok()) status = context.InputData(1, &k);
  if (status.ok()) status = context.InputData(2, &v);
  if (status.ok() && context.Input(3) != nullptr) status = context.InputData(3, &mask);
  if (!status.ok()) return status;
  auto attention = std::make_unique<AttentionF32>(context, shape);
  attention->Bind(q, k, v, mask);
  *driver = std::move(attention);
  return status;
}

}  // namespace sterna
