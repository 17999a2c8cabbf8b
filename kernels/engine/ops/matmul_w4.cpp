// MatMulW4: few float rows times weights of 4 bits in groups that share a scale.
#include <algorithm>

#include "engine/op.h"
#include "gemm_f32w4/half.h"

namespace sterna {
namespace {

enum Input : uint32_t { kA, kW, kScale, kBias };

constexpr int64_t kGroupStep = 32;  // groups are multiples of it
constexpr int64_t kSlab = 64;       // channels that are packed together: the widest panel of any ISA, and a multiple of the others

struct Shape {
  int64_t m, n, k, group;
  int64_t slabs() const { return (n + kSlab - 1) / kSlab; }
};

// Units: slabs of output channels, each with all rows.
class MatMulW4 final : public OpDriver {
 public:
  MatMulW4(const OpContext& context, const Shape& s, const uint8_t* packed, const uint8_t* a, const uint8_t* bias)
      : s_(s), gemm_(context.kernels().gemm_f32w4), slab_bytes_(SlabBytes(*gemm_, s)), packed_(packed), a_(reinterpret_cast<const float*>(a)),
        bias_(reinterpret_cast<const float*>(bias)), y_(reinterpret_cast<float*>(context.OutputData())),
        a_stride_(static_cast<size_t>(context.Input(kA)->pixel_stride)), y_stride_(static_cast<size_t>(context.Output().pixel_stride)) {
    units_ = s.slabs();
    cost_ = s.m * s.n * s.k / 8;
    kernel_ = gemm_->name;
  }

  static size_t SlabBytes(const GemmF32W4Kernel& kernel, const Shape& s) {
    return RoundUp(kernel.packed_bytes(kSlab, static_cast<size_t>(s.k), static_cast<size_t>(s.group)), 64);
  }

  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t slab = begin; slab < end; ++slab) {
      const int64_t channel = slab * kSlab;
      const GemmF32W4Args args{static_cast<size_t>(s_.m), static_cast<size_t>(std::min(kSlab, s_.n - channel)), static_cast<size_t>(s_.k),
                               static_cast<size_t>(s_.group), a_, a_stride_, packed_ + static_cast<size_t>(slab) * slab_bytes_,
                               bias_ != nullptr ? bias_ + channel : nullptr, y_ + channel, y_stride_};
      gemm_->run(&args);
    }
  }

 private:
  Shape s_;
  const GemmF32W4Kernel* gemm_;
  size_t slab_bytes_;
  const uint8_t* packed_;
  const float *a_, *bias_;
  float* y_;
  size_t a_stride_, y_stride_;
};

bool IsDenseConstant(const OpContext& context, uint32_t input, DType type, int64_t rows, int64_t columns) {
  const Tensor& t = *context.Input(input);
  return context.Constant(input) != nullptr && t.dtype == type && t.rank == 2 && t.dims[0] == rows && t.dims[1] == columns && t.dense();
}

Status Check(const OpContext& context, Shape* s) {
  const Tensor &a = *context.Input(kA), &y = context.Output();
  if (a.dtype != DType::kF32 || y.dtype != DType::kF32) return Mismatch("a product by 4-bit weights has the wrong types");
  if (a.rank < 1 || y.rank != a.rank) return Mismatch("a product by 4-bit weights needs rows of the same rank in and out");
  *s = {a.elements / a.channels(), y.channels(), a.channels(), context.Attrs<MatMulW4Attrs>().group};
  for (int axis = 0; axis < a.rank - 1; ++axis) {
    if (a.dims[axis] != y.dims[axis]) return Mismatch("a product by 4-bit weights has other rows than its input");
  }
  if (s->group < kGroupStep || s->group % kGroupStep != 0 || s->k % s->group != 0) return Unsupported("groups of 4-bit weights are multiples of 32 that divide the depth");
  if (!IsDenseConstant(context, kW, DType::kS8, s->n, s->k)) return Mismatch("4-bit weights are a dense constant of signed bytes, [N, K]");
  if (!IsDenseConstant(context, kScale, DType::kF32, s->n, s->k / s->group)) return Mismatch("scales of 4-bit weights are a dense constant, [N, K / group]");
  const Tensor* bias = context.Input(kBias);
  if (bias != nullptr && (bias->dtype != DType::kF32 || bias->elements != s->n || !bias->dense())) return Mismatch("the bias of a matrix product needs one number a column");
  return Status::Ok();
}

Status ToHalves(const OpContext& context, const Shape& s, std::vector<uint16_t>* halves) {
  const float* scale = reinterpret_cast<const float*>(context.Constant(kScale));
  halves->resize(static_cast<size_t>(s.n * (s.k / s.group)));
  for (size_t i = 0; i < halves->size(); ++i) {
    if (!FloatToHalf(scale[i], &(*halves)[i])) return Unsupported("a scale of 4-bit weights is no number of 16 bits");
  }
  return Status::Ok();
}

Status PackWeights(const OpContext& context, const Shape& s, uint8_t** packed) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  for (int64_t i = 0; i < s.n * s.k; ++i) {
    if (w[i] < -8 || w[i] > 7) return Unsupported("a weight does not fit 4 bits");
  }
  std::vector<uint16_t> scale;
  Status status = ToHalves(context, s, &scale);
  const GemmF32W4Kernel& kernel = *context.kernels().gemm_f32w4;
  const size_t bytes = MatMulW4::SlabBytes(kernel, s);
  if (status.ok()) status = context.Allocate(static_cast<uint64_t>(s.slabs()) * bytes, packed);
  for (int64_t slab = 0; status.ok() && slab < s.slabs(); ++slab) {
    const int64_t channel = slab * kSlab;
    kernel.pack(static_cast<size_t>(std::min(kSlab, s.n - channel)), static_cast<size_t>(s.k), static_cast<size_t>(s.group), w + channel * s.k,
                scale.data() + channel * (s.k / s.group), *packed + static_cast<size_t>(slab) * bytes);
  }
  return status;
}

}  // namespace

Status PrepareMatMulW4(const OpContext& context, DriverPtr* driver) {
  Shape shape;
  Status status = Check(context, &shape);
  uint8_t* packed = nullptr;
  const uint8_t *a = nullptr, *bias = nullptr;
  if (status.ok()) status = PackWeights(context, shape, &packed);
  if (status.ok()) status = context.InputData(kA, &a);
  if (status.ok() && context.Input(kBias) != nullptr) status = context.InputData(kBias, &bias);
  if (status.ok()) driver->reset(new MatMulW4(context, shape, packed, a, bias));
  return status;
}

}  // namespace sterna
