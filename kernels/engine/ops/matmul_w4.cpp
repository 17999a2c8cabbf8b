// MatMulW4: few float rows times weights of 4 bits in groups that share a scale.
#include <algorithm>
#include <limits>

#include "engine/op.h"
#include "families/gemm_f32w4/half.h"
#include "sterna/registry.h"

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
class SlabDriver : public OpDriver {
 protected:
  SlabDriver(const OpContext& context, const Shape& s, const char* kernel, const uint8_t* packed, size_t slab_bytes, const uint8_t* a, const uint8_t* bias)
      : s_(s), a_(reinterpret_cast<const float*>(a)), a_stride_(static_cast<size_t>(context.Input(kA)->pixel_stride)),
        y_stride_(static_cast<size_t>(context.Output().pixel_stride)), m_(static_cast<size_t>(s.m)), k_(static_cast<size_t>(s.k)), packed_(packed),
        slab_bytes_(slab_bytes), bias_(reinterpret_cast<const float*>(bias)), y_(reinterpret_cast<float*>(context.OutputData())) {
    units_ = s.slabs();
    cost_ = s.m * s.n * s.k / 8;
    kernel_ = kernel;
  }

  size_t Channels(int64_t slab) const { return static_cast<size_t>(std::min(kSlab, s_.n - slab * kSlab)); }
  const uint8_t* Packed(int64_t slab) const { return packed_ + static_cast<size_t>(slab) * slab_bytes_; }
  const float* Bias(int64_t slab) const { return bias_ != nullptr ? bias_ + slab * kSlab : nullptr; }
  float* Result(int64_t slab) const { return y_ + slab * kSlab; }

  Shape s_;
  const float* a_;
  size_t a_stride_, y_stride_, m_, k_;

 private:
  const uint8_t* packed_;
  size_t slab_bytes_;
  const float* bias_;
  float* y_;
};

class MatMulW4 final : public SlabDriver {
 public:
  MatMulW4(const OpContext& context, const Shape& s, const uint8_t* packed, const uint8_t* a, const uint8_t* bias)
      : SlabDriver(context, s, Kernel(context).name, packed, SlabBytes(Kernel(context), s), a, bias), gemm_(&Kernel(context)) {}

  static const GemmF32W4Kernel& Kernel(const OpContext& context) { return *context.kernels().gemm_f32w4; }
  static size_t SlabBytes(const GemmF32W4Kernel& kernel, const Shape& s) {
    return RoundUp(kernel.packed_bytes(kSlab, static_cast<size_t>(s.k), static_cast<size_t>(s.group)), 64);
  }

  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t slab = begin; slab < end; ++slab) {
      const GemmF32W4Args args{m_, Channels(slab), k_, static_cast<size_t>(s_.group), a_, a_stride_, Packed(slab), Bias(slab), Result(slab), y_stride_};
      gemm_->run(&args);
    }
  }

 private:
  const GemmF32W4Kernel* gemm_;
};

// The same with weights that were made float when the program was loaded, each slab packed for gemm_f32.
class WideMatMulW4 final : public SlabDriver {
 public:
  WideMatMulW4(const OpContext& context, const Shape& s, const uint8_t* packed, const uint8_t* a, const uint8_t* bias)
      : SlabDriver(context, s, Kernel(context).name, packed, SlabBytes(Kernel(context), s), a, bias), gemm_(&Kernel(context)) {
    scratch_bytes_ = gemm_->scratch_bytes(m_, static_cast<size_t>(kSlab), k_);
  }

  static const GemmF32Kernel& Kernel(const OpContext& context) { return *context.kernels().gemm_f32; }
  static size_t SlabBytes(const GemmF32Kernel& kernel, const Shape& s) { return RoundUp(kernel.packed_bytes(kSlab, static_cast<size_t>(s.k)), 64); }

  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    for (int64_t slab = begin; slab < end; ++slab) {
      const EpilogueF32 epilogue{Bias(slab), nullptr, -kInfinity, kInfinity, nullptr, 0, 0};
      const GemmF32Args args{m_, Channels(slab), k_, a_, a_stride_, Packed(slab), Result(slab), y_stride_, epilogue, scratch};
      gemm_->run(&args);
    }
  }

 private:
  const GemmF32Kernel* gemm_;
};

// Whether this ISA multiplies floats faster than it could widen weights: it has a gemm_f32, and no gemm_f32w4 but ref's.
bool WidensAtLoad(const OpContext& context) {
  const KernelSet ref = RefKernels(DType::kU8);
  return context.kernels().gemm_f32w4 == ref.gemm_f32w4 && context.kernels().gemm_f32 != ref.gemm_f32;
}

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

Status CheckCodes(const OpContext& context, const Shape& s) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  const bool fit = std::all_of(w, w + s.n * s.k, [](int8_t code) { return code >= -8 && code <= 7; });
  return fit ? Status::Ok() : Unsupported("a weight does not fit 4 bits");
}

Status PackWide(const OpContext& context, const Shape& s, uint8_t** packed) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  const float* scale = reinterpret_cast<const float*>(context.Constant(kScale));
  const GemmF32Kernel& kernel = *context.kernels().gemm_f32;
  const size_t bytes = WideMatMulW4::SlabBytes(kernel, s);
  Status status = context.Allocate(static_cast<uint64_t>(s.slabs()) * bytes, packed);
  std::vector<float> wide(static_cast<size_t>(kSlab * s.k));
  for (int64_t slab = 0; status.ok() && slab < s.slabs(); ++slab) {
    const int64_t first = slab * kSlab * s.k, rows = std::min(kSlab, s.n - slab * kSlab);
    for (int64_t i = 0; i < rows * s.k; ++i) wide[static_cast<size_t>(i)] = scale[(first + i) / s.group] * static_cast<float>(w[first + i]);
    kernel.pack(static_cast<size_t>(rows), static_cast<size_t>(s.k), DenseF32(wide.data(), static_cast<size_t>(s.k)), *packed + static_cast<size_t>(slab) * bytes);
  }
  return status;
}

Status PackNarrow(const OpContext& context, const Shape& s, const std::vector<uint16_t>& scale, uint8_t** packed) {
  const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
  const GemmF32W4Kernel& kernel = *context.kernels().gemm_f32w4;
  const size_t bytes = MatMulW4::SlabBytes(kernel, s);
  Status status = context.Allocate(static_cast<uint64_t>(s.slabs()) * bytes, packed);
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
  std::vector<uint16_t> scale;
  if (status.ok()) status = CheckCodes(context, shape);
  if (status.ok()) status = ToHalves(context, shape, &scale);
  const bool wide = WidensAtLoad(context);
  if (status.ok()) status = wide ? PackWide(context, shape, &packed) : PackNarrow(context, shape, scale, &packed);
  if (status.ok()) status = context.InputData(kA, &a);
  if (status.ok() && context.Input(kBias) != nullptr) status = context.InputData(kBias, &bias);
  if (!status.ok()) return status;
  if (wide) driver->reset(new WideMatMulW4(context, shape, packed, a, bias));
  else driver->reset(new MatMulW4(context, shape, packed, a, bias));
  return status;
}

}  // namespace sterna
