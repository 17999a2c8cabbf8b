// BinaryQ8: add, subtract and multiply of 8-bit tensors, with broadcasting.
#include <cmath>

#include "engine/op.h"
#include "engine/ops/loop_nest.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

// One segment in plain code: any strides, any kind. T is the activation type.
template <typename T>
void Segment(const BinaryQ8Attrs& p, int64_t n, const T* a, int64_t a_step, const T* b, int64_t b_step, T* y) {
  const bool multiply = p.kind == static_cast<int32_t>(BinaryKind::kMul);
  for (int64_t i = 0; i < n; ++i) {
    const int32_t av = static_cast<int32_t>(a[i * a_step]) - p.a_zp, bv = static_cast<int32_t>(b[i * b_step]) - p.b_zp;
    const float v = multiply ? static_cast<float>(av * bv) * p.a_mul : static_cast<float>(av) * p.a_mul + static_cast<float>(bv) * p.b_mul;
    y[i] = static_cast<T>(RoundClamped(v, p.y_lo, p.y_hi, p.y_zp));
  }
}

class BinaryQ8 final : public OpDriver {
 public:
  // `attrs`: a subtraction has become an addition of -b_mul.
  BinaryQ8(const LoopNest<3>& nest, const BinaryQ8Attrs& attrs, const OpContext& context, const uint8_t* a, const uint8_t* b)
      : nest_(nest), walk_(context.Output()), walks_(walk_.Add(0, *context.Input(0)) && walk_.Add(1, *context.Input(1))), p_(attrs), elementwise_(context.kernels().elementwise), signed_(context.activation() == DType::kS8), a_(a), b_(b), y_(context.OutputData()) {
    units_ = nest_.units();
    cost_ = context.Output().elements / 2;
    use_kernel_ = p_.kind == static_cast<int32_t>(BinaryKind::kAdd);
    kernel_ = use_kernel_ && nest_.inner_stride(0) == 1 && nest_.inner_stride(1) == 1 ? elementwise_->name : "binary_q8";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const int64_t a_step = nest_.inner_stride(0), b_step = nest_.inner_stride(1);
    nest_.ForEach(begin, end, [&](const int64_t(&at)[3], int64_t n) { Compute(n, a_ + at[0], a_step, b_ + at[1], b_step, y_ + at[2]); });
  }
  bool takes_spans() const override { return walks_; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    const int64_t a_step = walk_.inner_stride(0), b_step = walk_.inner_stride(1);
    walk_.ForEach(spans, [&](const int64_t(&at)[3], int64_t n) { Compute(n, a_ + at[0], a_step, b_ + at[1], b_step, y_ + at[2]); });
  }

 private:
  void Compute(int64_t n, const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step, uint8_t* y) const {
    if (use_kernel_ && a_step == 1 && b_step == 1) {
      const AddQ8Args args{static_cast<size_t>(n), a, b, y, p_.a_zp, p_.b_zp, p_.y_zp, p_.y_lo, p_.y_hi, p_.a_mul, p_.b_mul};
      return elementwise_->add_q8(&args);
    }
    if (signed_) return SegmentOf<int8_t>(n, a, a_step, b, b_step, y);
    SegmentOf<uint8_t>(n, a, a_step, b, b_step, y);
  }
  // Not inlined: Run and RunSpans share its loops, which are some 20 KB of code.
  template <typename T>
  __attribute__((noinline)) void SegmentOf(int64_t n, const uint8_t* a, int64_t a_step, const uint8_t* b, int64_t b_step, uint8_t* y) const {
    const T *at = reinterpret_cast<const T*>(a), *bt = reinterpret_cast<const T*>(b);
    T* yt = reinterpret_cast<T*>(y);
    // Constant steps let the compiler vectorize the two common cases.
    if (a_step == 1 && b_step == 1) return Segment<T>(p_, n, at, 1, bt, 1, yt);
    if (a_step == 1 && b_step == 0) return Segment<T>(p_, n, at, 1, bt, 0, yt);
    Segment<T>(p_, n, at, a_step, bt, b_step, yt);
  }

  LoopNest<3> nest_;
  PixelWalk<3> walk_;
  bool walks_;
  BinaryQ8Attrs p_;
  const ElementwiseKernels* elementwise_;
  bool signed_, use_kernel_;
  const uint8_t *a_, *b_;
  uint8_t* y_;
};

Status Check(const OpContext& context, const BinaryQ8Attrs& p) {
  const DType type = context.activation();
  if (context.Input(0)->dtype != type || context.Input(1)->dtype != type || context.Output().dtype != type) return Mismatch("an 8-bit binary op has the wrong types");
  const BinaryKind kind = static_cast<BinaryKind>(p.kind);
  if (kind != BinaryKind::kAdd && kind != BinaryKind::kSub && kind != BinaryKind::kMul) return Unsupported("an 8-bit binary op adds, subtracts or multiplies");
  for (int32_t v : {p.a_zp, p.b_zp, p.y_zp, p.y_lo, p.y_hi}) {
    if (v < context.lowest() || v > context.highest()) return Unsupported("a zero-point or clamp is outside the activation type");
  }
  if (p.y_lo > p.y_hi) return Unsupported("a clamp is empty");
  return std::isfinite(p.a_mul) && std::isfinite(p.b_mul) ? Status::Ok() : Unsupported("a scale is not finite");
}

}  // namespace

Status PrepareBinaryQ8(const OpContext& context, DriverPtr* driver) {
  BinaryQ8Attrs attrs = context.Attrs<BinaryQ8Attrs>();
  Status status = Check(context, attrs);
  LoopNest<3> nest;
  if (status.ok() && !BinaryNest(*context.Input(0), *context.Input(1), context.Output(), &nest)) status = Mismatch("the shapes of a binary op do not broadcast");
  const uint8_t *a = nullptr, *b = nullptr;
  if (status.ok()) status = context.InputData(0, &a);
  if (status.ok()) status = context.InputData(1, &b);
  if (!status.ok()) return status;
  if (attrs.kind == static_cast<int32_t>(BinaryKind::kSub)) {
    attrs.kind = static_cast<int32_t>(BinaryKind::kAdd);
    attrs.b_mul = -attrs.b_mul;  // x - y is x + (-y), bit for bit
  }
  driver->reset(new BinaryQ8(nest, attrs, context, a, b));
  return status;
}

}  // namespace sterna
