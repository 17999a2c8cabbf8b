// A constant matrix of 8 bits, less its zero-points, as weights of gemm_q8.
//
// Those take numbers in [-127, 127], and differences reach 255. What does not fit is split: w = 127 + 127 + 1 are three products of the same
// activation, so a row k of b with such a number gets one or two rows more, and rows of a repeat that activation behind their end. Weights that a
// quantizer made symmetric need none. a's zero-point, which is known in a run only, takes the sum of each column times it from the result.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "engine/op.h"

namespace sterna {

class IntegerWeights {
 public:
  // b [K, N] and b_zp [1 or N] are constants of the activation type.
  Status Init(const OpContext& context, uint32_t b, uint32_t b_zp);
  // For products of up to `rows` rows.
  size_t ScratchBytes(int64_t rows) const {
    return Padded() * sizeof(int32_t) + block_bytes_ + gemm_->scratch_bytes(repeated_count_ == 0 ? static_cast<size_t>(rows) : kRows, n_, depth());
  }
  const char* kernel() const { return gemm_->name; }
  // Numbers of an array by column that kernels may read.
  size_t Padded() const { return static_cast<size_t>(RoundUp(n_, 64)); }

  // Rows of stored bytes, of which a_zero stands for 0; WideQ8 (sterna/epilogue.h) says what becomes of the sums with scale and bias. Strides in bytes.
  struct Product {
    const uint8_t* a;
    size_t a_stride;
    int64_t rows;
    int32_t a_zero;
    const float *scale, *bias;
    uint8_t* y;
    size_t y_stride;
  };
  void Multiply(const Product& p, uint8_t* scratch) const {
    int32_t* offset = reinterpret_cast<int32_t*>(scratch);
    for (size_t n = 0; n < Padded(); ++n) offset[n] = static_cast<int32_t>(0u - static_cast<uint32_t>(p.a_zero) * static_cast<uint32_t>(columns_[n]));
    uint8_t* block = scratch + Padded() * sizeof(int32_t);
    GemmQ8Args args{};
    args.m = static_cast<size_t>(p.rows), args.n = n_, args.k = depth();
    args.a = p.a, args.a_stride = p.a_stride, args.packed = packed_, args.y = p.y, args.y_stride = p.y_stride;
    args.scratch = block + block_bytes_;
    args.wide = {offset, p.scale, p.bias};
    if (repeated_count_ == 0) return gemm_->run(&args);
    args.a = block, args.a_stride = row_bytes_;
    for (int64_t row = 0; row < p.rows; row += static_cast<int64_t>(kRows)) {
      args.m = static_cast<size_t>(std::min<int64_t>(static_cast<int64_t>(kRows), p.rows - row));
      for (size_t i = 0; i < args.m; ++i) RepeatRow(p.a + (static_cast<size_t>(row) + i) * p.a_stride, block + i * row_bytes_);
      args.y = p.y + static_cast<size_t>(row) * p.y_stride;
      gemm_->run(&args);
    }
  }

 private:
  static constexpr size_t kRows = 64;  // that are copied at once
  static constexpr int32_t kMost = 127;

  size_t depth() const { return k_ + repeated_count_; }
  void RepeatRow(const uint8_t* a, uint8_t* to) const {
    std::memcpy(to, a, k_);
    for (size_t i = 0; i < repeated_count_; ++i) to[k_ + i] = a[repeated_[i]];
  }

  const GemmQ8Kernel* gemm_ = nullptr;
  size_t n_ = 0, k_ = 0, repeated_count_ = 0, row_bytes_ = 0, block_bytes_ = 0;
  const uint8_t* packed_ = nullptr;
  const int32_t* columns_ = nullptr;    // sums of b - b_zp
  const uint32_t* repeated_ = nullptr;  // which activations come again
};

inline Status IntegerWeights::Init(const OpContext& context, uint32_t b, uint32_t b_zp) {
  const Tensor &matrix = *context.Input(b), &zeros = *context.Input(b_zp);
  gemm_ = context.kernels().gemm_q8;
  k_ = static_cast<size_t>(matrix.dims[matrix.rank - 2]), n_ = static_cast<size_t>(matrix.dims[matrix.rank - 1]);
  const uint8_t *from = context.Constant(b), *zero = context.Constant(b_zp);
  const bool is_unsigned = context.activation() == DType::kU8;
  const auto value = [is_unsigned](uint8_t byte) { return is_unsigned ? static_cast<int32_t>(byte) : static_cast<int32_t>(static_cast<int8_t>(byte)); };
  const auto weight = [&](size_t k, size_t n) { return value(from[k * static_cast<size_t>(matrix.pixel_stride) + n]) - value(zero[zeros.elements > 1 ? n : 0]); };
  std::vector<uint32_t> repeated;
  std::vector<int32_t> sums(Padded(), 0);
  for (size_t k = 0; k < k_; ++k) {
    int32_t most = 0;
    for (size_t n = 0; n < n_; ++n) {
      const int32_t w = weight(k, n);
      most = std::max(most, w < 0 ? -w : w);
      sums[n] = static_cast<int32_t>(static_cast<uint32_t>(sums[n]) + static_cast<uint32_t>(w));
    }
    for (; most > kMost; most -= kMost) repeated.push_back(static_cast<uint32_t>(k));
  }
  repeated_count_ = repeated.size();
  row_bytes_ = static_cast<size_t>(RoundUp(depth(), 64));
  block_bytes_ = repeated.empty() ? 0 : kRows * row_bytes_ + kSlack;
  std::vector<int8_t> weights(n_ * depth());
  for (size_t n = 0; n < n_; ++n) {
    int8_t* row = weights.data() + n * depth();
    size_t next = 0;
    for (size_t k = 0; k < k_; ++k) {
      int32_t rest = weight(k, n);
      const auto take = [&rest] {
        const int32_t part = std::min(std::max(rest, -kMost), kMost);
        rest -= part;
        return static_cast<int8_t>(part);
      };
      row[k] = take();
      for (; next < repeated.size() && repeated[next] == k; ++next) row[k_ + next] = take();
    }
  }
  uint8_t *packed, *columns, *order;
  Status status = context.Allocate(gemm_->packed_bytes(n_, depth()), &packed);
  if (status.ok()) status = context.Allocate(Padded() * sizeof(int32_t), &columns);
  if (status.ok()) status = context.Allocate(repeated.size() * sizeof(uint32_t), &order);
  if (!status.ok()) return status;
  if (!gemm_->pack(n_, depth(), weights.data(), nullptr, 0, packed)) return Unsupported("a kernel refuses the weights of an integer product");
  std::memcpy(columns, sums.data(), Padded() * sizeof(int32_t));
  if (!repeated.empty()) std::memcpy(order, repeated.data(), repeated.size() * sizeof(uint32_t));
  packed_ = packed, columns_ = reinterpret_cast<const int32_t*>(columns), repeated_ = reinterpret_cast<const uint32_t*>(order);
  return status;
}

}  // namespace sterna
