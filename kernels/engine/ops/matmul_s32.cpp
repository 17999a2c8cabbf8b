// MatMulS32: products of whole numbers of at most 255, summed up in 32 bits: bytes by constant bytes by gemm_q8, all others by the float GEMM.
//
// In the float GEMM, 256 products of 255 * 255 stay below 2^24, so a float sum of that many is exact in any order: depth is cut into blocks of 256, and the
// blocks are added as integers. A constant b is packed at load; another one in each run.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/ops/drivers.h"
#include "engine/ops/integer_weights.h"

namespace sterna {
namespace {

enum Input : uint32_t { kA, kB, kAZero, kBZero };

constexpr int64_t kDepth = 256;  // products of a block
constexpr int64_t kRows = 32;    // rows of a that are unpacked at once

struct Shape {
  int64_t matrices, m, n, k;
  bool batched_b;  // every matrix of a has a b of its own

  int64_t blocks() const { return (k + kDepth - 1) / kDepth; }
  int64_t depth(int64_t block) const { return std::min(kDepth, k - block * kDepth); }
};

// Units: rows of y over all matrices when b is packed, matrices otherwise.
class MatMulS32 final : public OpDriver {
 public:
  MatMulS32(const OpContext& context, const Shape& s) : s_(s), gemm_(context.kernels().gemm_f32), activation_(context.activation()) {
    const size_t n = static_cast<size_t>(s.n), depth = static_cast<size_t>(std::min(s.k, kDepth));
    block_bytes_ = RoundUp(gemm_->packed_bytes(n, depth), 64);
    a_bytes_ = RoundUp(static_cast<uint64_t>(kRows) * depth * sizeof(float), 64) + kSlack;
    y_bytes_ = RoundUp(static_cast<uint64_t>(kRows) * n * sizeof(float), 64);
    cost_ = s.matrices * s.m * s.n * s.k / 8;
    kernel_ = gemm_->name;
  }
  Status Init(const OpContext& context);
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override;

 private:
  Status PackConstant(const OpContext& context);
  void Pack(const uint8_t* b, uint8_t* packed, float* columns) const;
  void RunRows(const uint8_t* packed, int64_t row, int64_t count, uint8_t* scratch) const;
  void Unpack(int64_t row, int64_t count, int64_t first, int64_t depth, float* out) const;
  int32_t Value(const uint8_t* p) const { return activation_ == DType::kU8 ? *p : static_cast<int8_t>(*p); }
  uint64_t b_bytes() const { return block_bytes_ * static_cast<uint64_t>(s_.blocks()); }

  Shape s_;
  const GemmF32Kernel* gemm_;
  DType activation_;
  bool a_is_float_ = false;
  const uint8_t *a_ = nullptr, *b_ = nullptr, *a_zero_ = nullptr, *b_zero_ = nullptr, *packed_ = nullptr;
  int64_t a_stride_ = 0, b_stride_ = 0, y_stride_ = 0;
  bool zero_by_column_ = false;
  int32_t* y_ = nullptr;
  uint64_t block_bytes_, a_bytes_, y_bytes_;
};

Status MatMulS32::Init(const OpContext& context) {
  const Tensor &a = *context.Input(kA), &b = *context.Input(kB);
  a_is_float_ = a.dtype == DType::kF32;
  a_stride_ = a.pixel_stride, b_stride_ = b.pixel_stride, y_stride_ = context.Output().pixel_stride;
  y_ = reinterpret_cast<int32_t*>(context.OutputData());
  zero_by_column_ = context.Input(kBZero)->elements > 1;
  Status status = context.InputData(kA, &a_);
  if (status.ok() && context.Input(kAZero) != nullptr) status = context.InputData(kAZero, &a_zero_);
  if (status.ok()) status = context.InputData(kBZero, &b_zero_);
  const bool constant = context.Constant(kB) != nullptr && context.Constant(kBZero) != nullptr && !s_.batched_b;
  if (status.ok()) status = constant ? PackConstant(context) : context.InputData(kB, &b_);
  units_ = constant ? s_.matrices * s_.m : s_.matrices;
  granularity_ = constant ? 8 : 1;
  const uint64_t own_b = constant ? 0 : b_bytes() + RoundUp(static_cast<uint64_t>(s_.n * std::min(s_.k, kDepth)) * sizeof(float), 64);
  scratch_bytes_ = own_b + a_bytes_ + y_bytes_ + gemm_->scratch_bytes(kRows, static_cast<size_t>(s_.n), static_cast<size_t>(std::min(s_.k, kDepth)));
  return status;
}

Status MatMulS32::PackConstant(const OpContext& context) {
  uint8_t* block;
  const Status status = context.Allocate(b_bytes(), &block);
  if (!status.ok()) return status;
  std::vector<float> columns(static_cast<size_t>(s_.n * std::min(s_.k, kDepth)));
  Pack(context.Constant(kB), block, columns.data());
  packed_ = block;
  return status;
}

// Each block of rows of b, less the zero-points, as the kernel packs [n][depth].
void MatMulS32::Pack(const uint8_t* b, uint8_t* packed, float* columns) const {
  for (int64_t block = 0; block < s_.blocks(); ++block) {
    const int64_t depth = s_.depth(block);
    for (int64_t n = 0; n < s_.n; ++n) {
      const int32_t zero = Value(b_zero_ + (zero_by_column_ ? n : 0));
      for (int64_t k = 0; k < depth; ++k) columns[n * depth + k] = static_cast<float>(Value(b + (block * kDepth + k) * b_stride_ + n) - zero);
    }
    gemm_->pack(static_cast<size_t>(s_.n), static_cast<size_t>(depth), DenseF32(columns, static_cast<size_t>(depth)), packed + block_bytes_ * static_cast<uint64_t>(block));
  }
}

void MatMulS32::Run(int64_t begin, int64_t end, uint8_t* scratch) {
  if (packed_ != nullptr) {
    for (int64_t row = begin; row < end; row += kRows) RunRows(packed_, row, std::min(kRows, end - row), scratch);
    return;
  }
  float* columns = reinterpret_cast<float*>(scratch + b_bytes());
  uint8_t* rest = scratch + b_bytes() + RoundUp(static_cast<uint64_t>(s_.n * std::min(s_.k, kDepth)) * sizeof(float), 64);
  for (int64_t matrix = begin; matrix < end; ++matrix) {
    Pack(b_ + (s_.batched_b ? matrix * s_.k * b_stride_ : 0), scratch, columns);
    const int64_t last = (matrix + 1) * s_.m;
    for (int64_t row = matrix * s_.m; row < last; row += kRows) RunRows(scratch, row, std::min(kRows, last - row), rest);
  }
}

// Rows [row, row + count) of y, over all matrices.
void MatMulS32::RunRows(const uint8_t* packed, int64_t row, int64_t count, uint8_t* scratch) const {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  float *a = reinterpret_cast<float*>(scratch), *sums = reinterpret_cast<float*>(scratch + a_bytes_);
  for (int64_t block = 0; block < s_.blocks(); ++block) {
    const int64_t depth = s_.depth(block);
    Unpack(row, count, block * kDepth, depth, a);
    const GemmF32Args args{static_cast<size_t>(count), static_cast<size_t>(s_.n), static_cast<size_t>(depth), a, static_cast<size_t>(depth),
                           packed + block_bytes_ * static_cast<uint64_t>(block), sums, static_cast<size_t>(s_.n),
                           {nullptr, nullptr, -kInfinity, kInfinity, nullptr, 0, 0}, scratch + a_bytes_ + y_bytes_};
    gemm_->run(&args);
    for (int64_t i = 0; i < count; ++i) {
      int32_t* y = y_ + (row + i) * y_stride_;
      const float* sum = sums + i * s_.n;
      // Unsigned, since a sum beyond 32 bits wraps.
      for (int64_t n = 0; n < s_.n; ++n) y[n] = static_cast<int32_t>((block == 0 ? 0u : static_cast<uint32_t>(y[n])) + static_cast<uint32_t>(static_cast<int32_t>(sum[n])));
    }
  }
}

// Columns [first, first + depth) of some rows of a, less the zero-point. Floats are brought to the whole numbers they have to be.
void MatMulS32::Unpack(int64_t row, int64_t count, int64_t first, int64_t depth, float* out) const {
  const int32_t zero = a_zero_ == nullptr ? 0 : Value(a_zero_);
  for (int64_t i = 0; i < count; ++i, out += depth) {
    const int64_t at = (row + i) * a_stride_ + first;
    if (a_is_float_) {
      const float* a = reinterpret_cast<const float*>(a_) + at;
      for (int64_t k = 0; k < depth; ++k) out[k] = a[k] > -255.0f ? (a[k] < 255.0f ? std::nearbyint(a[k]) : 255.0f) : -255.0f;
    } else {
      for (int64_t k = 0; k < depth; ++k) out[k] = static_cast<float>(Value(a_ + at + k) - zero);
    }
  }
}

// Bytes by a constant matrix. Units: rows of y over all matrices.
class BytesMatMulS32 final : public PixelDriver {
 public:
  BytesMatMulS32(const OpContext& context, const Shape& s)
      : activation_(context.activation()), a_stride_(static_cast<size_t>(context.Input(kA)->pixel_stride)),
        y_stride_(static_cast<size_t>(context.Output().pixel_stride) * sizeof(int32_t)), y_(context.OutputData()) {
    units_ = s.matrices * s.m;
    granularity_ = 8;
    cost_ = units_ * s.n * s.k / 16;
  }
  Status Init(const OpContext& context) {
    Status status = weights_.Init(context, kB, kBZero);
    if (status.ok()) status = context.InputData(kA, &a_);
    if (status.ok()) status = context.InputData(kAZero, &a_zero_);
    kernel_ = weights_.kernel();
    scratch_bytes_ = weights_.ScratchBytes(units_);
    return status;
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    const int32_t zero = activation_ == DType::kU8 ? *a_zero_ : static_cast<int8_t>(*a_zero_);
    const size_t first = static_cast<size_t>(begin);
    weights_.Multiply({a_ + first * a_stride_, a_stride_, end - begin, zero, nullptr, nullptr, y_ + first * y_stride_, y_stride_}, scratch);
  }

 private:
  DType activation_;
  IntegerWeights weights_;
  size_t a_stride_, y_stride_;
  const uint8_t *a_ = nullptr, *a_zero_ = nullptr;
  uint8_t* y_;
};

Status CheckZero(const OpContext& context, uint32_t input, int64_t most) {
  const Tensor* t = context.Input(input);
  if (t == nullptr) return Status::Ok();
  const bool fits = t->dtype == context.activation() && t->dense() && (t->elements == 1 || t->elements == most);
  return fits ? Status::Ok() : Mismatch("a zero-point of an integer product has the wrong type or length");
}

Status CheckMatMulS32(const OpContext& context, Shape* s) {
  const Tensor &a = *context.Input(kA), &b = *context.Input(kB), &y = context.Output();
  if ((a.dtype != context.activation() && a.dtype != DType::kF32) || b.dtype != context.activation() || y.dtype != DType::kS32) return Mismatch("an integer product has the wrong types");
  if (a.rank < 2 || b.rank < 2 || y.rank != a.rank || b.rank > a.rank) return Mismatch("an integer product needs ranks of 2 or more, the first operand's the largest");
  *s = {1, a.dims[a.rank - 2], b.dims[b.rank - 1], a.dims[a.rank - 1], b.elements != b.dims[b.rank - 2] * b.dims[b.rank - 1]};
  if (b.dims[b.rank - 2] != s->k || y.dims[y.rank - 2] != s->m || y.dims[y.rank - 1] != s->n) return Mismatch("the matrices of an integer product do not fit together");
  for (int axis = 0; axis < a.rank - 2; ++axis) {
    const int own = axis - (a.rank - b.rank);
    if (y.dims[axis] != a.dims[axis] || (s->batched_b && (own < 0 || b.dims[own] != a.dims[axis]))) return Mismatch("the batches of an integer product are not the same");
    s->matrices *= a.dims[axis];
  }
  if (context.Input(kBZero) == nullptr || (a.is_q8() && context.Input(kAZero) == nullptr)) return Mismatch("a zero-point of an integer product is absent");
  const Status status = CheckZero(context, kAZero, 1);
  return status.ok() ? CheckZero(context, kBZero, s->n) : status;
}

}  // namespace

Status PrepareMatMulS32(const OpContext& context, DriverPtr* driver) {
  Shape shape;
  const Status status = CheckMatMulS32(context, &shape);
  if (!status.ok()) return status;
  const bool bytes = context.Input(kA)->is_q8() && context.Constant(kB) != nullptr && context.Constant(kBZero) != nullptr && !shape.batched_b;
  if (bytes) return PrepareChecked<BytesMatMulS32>(context, CheckMatMulS32, driver);
  return PrepareChecked<MatMulS32>(context, CheckMatMulS32, driver);
}

}  // namespace sterna
