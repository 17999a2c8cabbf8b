// MatMulF32: y = alpha * a b + bias, with numpy batch broadcasting. A constant b is packed at load; another one in each run.
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

constexpr int64_t kRowGranularity = 8;

// One matrix of a tensor: its sizes, and the distance between rows as stored.
struct Matrix {
  int64_t rows, columns, stride;
};
Matrix MatrixOf(const Tensor& t) { return {t.dims[t.rank - 2], t.dims[t.rank - 1], t.pixel_stride}; }

struct MatMulShape {
  int64_t m, n, k;
  Matrix a, b, y;  // as stored
  bool transpose_a, transpose_b;
  float alpha;
  bool shared_b;  // one b for the whole batch
};

// How the batch is walked: operand offsets, in elements, of batch index i.
class Batch {
 public:
  static constexpr int kOperands = 3;

  // False when the batch axes do not broadcast.
  bool Init(const Tensor& a, const Tensor& b, const Tensor& y) {
    int64_t strides[kOperands][kMaxRank];
    if (!BroadcastBatch(a, y, strides[0]) || !BroadcastBatch(b, y, strides[1]) || !BroadcastBatch(y, y, strides[2])) return false;
    for (int axis = 0; axis < y.rank - 2; ++axis) nest_.AddAxis(y.dims[axis], {strides[0][axis], strides[1][axis], strides[2][axis]});
    count_ = 1;
    for (int axis = 0; axis < y.rank - 2; ++axis) count_ *= y.dims[axis];
    return true;
  }
  int64_t count() const { return count_; }
  void Offsets(int64_t index, int64_t (&offsets)[kOperands]) const {
    const int64_t inner = nest_.inner();
    const int64_t segment = index % inner / LoopNest<3>::kSegment;
    nest_.ForEach(index / inner * nest_.segments() + segment, index / inner * nest_.segments() + segment + 1,
                  [&](const int64_t(&at)[kOperands], int64_t) {
                    for (int i = 0; i < kOperands; ++i) offsets[i] = at[i] + index % inner % LoopNest<3>::kSegment * nest_.inner_stride(i);
                  });
  }

 private:
  // Strides of the batch axes only, aligned to the right of y's.
  static bool BroadcastBatch(const Tensor& t, const Tensor& y, int64_t (&strides)[kMaxRank]) {
    int64_t own[kMaxRank];
    StridesOf(t, own);
    const int shift = y.rank - t.rank;
    for (int axis = 0; axis < y.rank - 2; ++axis) {
      const int64_t dim = axis < shift ? 1 : t.dims[axis - shift];
      if (dim != 1 && dim != y.dims[axis]) return false;
      strides[axis] = dim == 1 ? 0 : own[axis - shift];
    }
    return true;
  }

  LoopNest<kOperands> nest_;
  int64_t count_ = 1;
};

// b as the kernels pack it, [n][k], scaled by alpha.
StridedF32 ColumnsOf(const MatMulShape& s, const float* b) {
  const size_t stride = static_cast<size_t>(s.b.stride);
  return s.transpose_b ? StridedF32{b, stride, 1, s.alpha} : StridedF32{b, 1, stride, s.alpha};
}

// Units: rows of y over the whole batch when b is packed, matrices otherwise (each packs its own b).
class MatMulF32 final : public OpDriver {
 public:
  MatMulF32(const OpContext& context, const MatMulShape& s, const Batch& batch, const GemmF32Kernel* kernel, const uint8_t* packed)
      : s_(s), batch_(batch), gemm_(kernel), packed_(packed), y_(reinterpret_cast<float*>(context.OutputData())) {
    const size_t m = static_cast<size_t>(s.m), n = static_cast<size_t>(s.n), k = static_cast<size_t>(s.k);
    units_ = packed != nullptr ? batch.count() * s.m : batch.count();
    granularity_ = packed != nullptr ? kRowGranularity : 1;
    cost_ = batch.count() * s.m * s.n * s.k / 8;
    kernel_ = kernel->name;
    a_bytes_ = s.transpose_a ? RoundUp(m * k * 4, 64) + kSlack : 0;
    packed_bytes_ = packed != nullptr ? 0 : RoundUp(kernel->packed_bytes(n, k), 64);
    scratch_bytes_ = a_bytes_ + packed_bytes_ + kernel->scratch_bytes(m, n, k);
  }
  void Bind(const uint8_t* a, const uint8_t* b, const uint8_t* bias) {
    a_ = reinterpret_cast<const float*>(a);
    b_ = reinterpret_cast<const float*>(b);
    bias_ = reinterpret_cast<const float*>(bias);
  }

  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    const int64_t rows = packed_ != nullptr ? s_.m : 1;  // units in a matrix
    while (begin < end) {
      const int64_t matrix = begin / rows, first = begin % rows;
      const int64_t count = std::min(rows - first, end - begin);
      RunMatrix(matrix, packed_ != nullptr ? first : 0, packed_ != nullptr ? count : s_.m, scratch);
      begin += count;
    }
  }

 private:
  void RunMatrix(int64_t matrix, int64_t row, int64_t count, uint8_t* scratch) const {
    int64_t at[Batch::kOperands];
    batch_.Offsets(matrix, at);
    const void* packed = packed_;
    if (packed == nullptr) {
      gemm_->pack(static_cast<size_t>(s_.n), static_cast<size_t>(s_.k), ColumnsOf(s_, b_ + at[1]), scratch + a_bytes_);
      packed = scratch + a_bytes_;
    }
    const float* a = a_ + at[0] + row * s_.a.stride;
    size_t a_stride = static_cast<size_t>(s_.a.stride);
    if (s_.transpose_a) {
      a = TransposeA(a_ + at[0], row, count, reinterpret_cast<float*>(scratch));
      a_stride = static_cast<size_t>(s_.k);
    }
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const GemmF32Args args{static_cast<size_t>(count), static_cast<size_t>(s_.n), static_cast<size_t>(s_.k), a, a_stride, packed,
                           y_ + at[2] + row * s_.y.stride, static_cast<size_t>(s_.y.stride),
                           {bias_, nullptr, -kInfinity, kInfinity, nullptr, 0, 0}, scratch + a_bytes_ + packed_bytes_};
    gemm_->run(&args);
  }

  // Rows [row, row + count) of a, which is stored [k][m].
  const float* TransposeA(const float* a, int64_t row, int64_t count, float* out) const {
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t k = 0; k < s_.k; ++k) out[i * s_.k + k] = a[k * s_.a.stride + row + i];
    }
    return out;
  }

  MatMulShape s_;
  Batch batch_;
  const GemmF32Kernel* gemm_;
  const uint8_t* packed_;
  float* y_;
  const float *a_ = nullptr, *b_ = nullptr, *bias_ = nullptr;
  size_t a_bytes_, packed_bytes_;
};

Status CheckMatMul(const OpContext& context, MatMulShape* s, Batch* batch) {
  const Tensor &a = *context.Input(0), &b = *context.Input(1), &y = context.Output();
  const MatMulAttrs& attrs = context.Attrs<MatMulAttrs>();
  if (a.dtype != DType::kF32 || b.dtype != DType::kF32 || y.dtype != DType::kF32) return Mismatch("a matrix product has the wrong types");
  if (a.rank < 2 || b.rank < 2 || y.rank < 2 || a.rank > y.rank || b.rank > y.rank) return Mismatch("a matrix product needs ranks of 2 or more");
  if (!std::isfinite(attrs.alpha)) return Unsupported("the factor of a matrix product is not finite");
  *s = {};
  s->a = MatrixOf(a), s->b = MatrixOf(b), s->y = MatrixOf(y);
  s->transpose_a = attrs.transpose_a != 0, s->transpose_b = attrs.transpose_b != 0, s->alpha = attrs.alpha;
  s->m = s->transpose_a ? s->a.columns : s->a.rows;
  s->k = s->transpose_a ? s->a.rows : s->a.columns;
  s->n = s->transpose_b ? s->b.rows : s->b.columns;
  const int64_t b_depth = s->transpose_b ? s->b.columns : s->b.rows;
  if (b_depth != s->k || s->y.rows != s->m || s->y.columns != s->n) return Mismatch("the matrices of a product do not fit together");
  s->shared_b = b.elements == s->n * s->k;
  const Tensor* bias = context.Input(2);
  if (bias != nullptr && (bias->dtype != DType::kF32 || bias->elements != s->n || !bias->dense())) return Mismatch("the bias of a matrix product needs one number a column");
  return batch->Init(a, b, y) ? Status::Ok() : Mismatch("the batches of a matrix product do not broadcast");
}

Status PackConstantB(const OpContext& context, const MatMulShape& s, const uint8_t** packed) {
  *packed = nullptr;
  if (context.Constant(1) == nullptr || !s.shared_b) return Status::Ok();
  const size_t n = static_cast<size_t>(s.n), k = static_cast<size_t>(s.k);
  const GemmF32Kernel& kernel = *context.kernels().gemm_f32;
  uint8_t* block;
  const Status status = context.Allocate(kernel.packed_bytes(n, k), &block);
  if (!status.ok()) return status;
  kernel.pack(n, k, ColumnsOf(s, reinterpret_cast<const float*>(context.Constant(1))), block);
  *packed = block;
  return status;
}

}  // namespace

Status PrepareMatMulF32(const OpContext& context, DriverPtr* driver) {
  MatMulShape shape;
  Batch batch;
  Status status = CheckMatMul(context, &shape, &batch);
  const uint8_t *packed = nullptr, *a = nullptr, *b = nullptr, *bias = nullptr;
  if (status.ok()) status = PackConstantB(context, shape, &packed);
  if (status.ok()) status = context.InputData(0, &a);
  if (status.ok() && packed == nullptr) status = context.InputData(1, &b);
  if (status.ok() && context.Input(2) != nullptr) status = context.InputData(2, &bias);
  if (!status.ok()) return status;
  auto matmul = std::make_unique<MatMulF32>(context, shape, batch, context.kernels().gemm_f32, packed);
  matmul->Bind(a, b, bias);
  *driver = std::move(matmul);
  return status;
}

}  // namespace sterna
