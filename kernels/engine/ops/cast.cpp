// Cast and Select: numbers to another type, and one of two values by a condition.
#include <cmath>
#include <limits>

#include "engine/op.h"
#include "engine/ops/failure.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// Towards zero; what 32 bits cannot hold saturates, NaN becomes 0, and false is returned. 2^31 is a float, 2^31 - 1 is none.
bool ToWhole(float v, int32_t* whole) {
  constexpr float kLimit = 2147483648.0f;
  if (v >= -kLimit && v < kLimit) return *whole = static_cast<int32_t>(v), true;
  *whole = std::isnan(v) ? 0 : v < 0 ? std::numeric_limits<int32_t>::min() : std::numeric_limits<int32_t>::max();
  return false;
}
bool ToWhole(int32_t v, int32_t* whole) { return *whole = v, true; }

// A number as In stores it: itself, or with the zero-point taken off.
float Number(float v, int32_t) { return v; }
int32_t Number(int32_t v, int32_t) { return v; }
int32_t Number(uint8_t v, int32_t zp) { return v - zp; }
int32_t Number(int8_t v, int32_t zp) { return v - zp; }

template <typename N>
bool Store(N v, const CastAttrs&, float* y) { return *y = static_cast<float>(v), true; }
template <typename N>
bool Store(N v, const CastAttrs&, int32_t* y) { return ToWhole(v, y); }
// Bytes are modulo 256, so that the sign of the program's bytes does not matter.
template <typename N>
bool Store(N v, const CastAttrs& a, uint8_t* y) {
  if (a.to_bool != 0) return *y = v != 0, true;
  int32_t whole;
  const bool good = ToWhole(v, &whole);
  *y = static_cast<uint8_t>(static_cast<uint32_t>(whole) + static_cast<uint32_t>(a.y_zp));
  return good;
}

// Units: segments of the nest.
template <typename In, typename Out>
class Cast final : public OpDriver {
 public:
  Cast(const OpContext& context, const uint8_t* x)
      : nest_(UnaryNest(*context.Input(0), context.Output())), attrs_(context.Attrs<CastAttrs>()), x_(reinterpret_cast<const In*>(x)), y_(reinterpret_cast<Out*>(context.OutputData())) {
    units_ = nest_.units();
    cost_ = context.Output().elements / 2;
    kernel_ = "cast";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const CastAttrs attrs = attrs_;
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) {
      const In* x = x_ + at[0];
      Out* y = y_ + at[1];
      bool good = true;
      for (int64_t i = 0; i < n; ++i) good &= Store(Number(x[i], attrs.x_zp), attrs, y + i);
      if (!good && attrs.checked != 0) failure_.Set();
    });
  }
  bool Succeeded() override { return !failure_.Take(); }
  const char* problem() const override { return kOutOf32Bits; }

 private:
  LoopNest<2> nest_;
  CastAttrs attrs_;
  const In* x_;
  Out* y_;
  Failure failure_;
};

template <typename In>
Status MakeCast(const OpContext& context, const uint8_t* x, DriverPtr* driver) {
  switch (context.Output().dtype) {
    case DType::kF32: driver->reset(new Cast<In, float>(context, x)); break;
    case DType::kS32: driver->reset(new Cast<In, int32_t>(context, x)); break;
    default: driver->reset(new Cast<In, uint8_t>(context, x));
  }
  return Status::Ok();
}

// Units: segments of the nest; operands: condition, a, b, y.
template <typename T>
class Select final : public OpDriver {
 public:
  Select(const LoopNest<4>& nest, int64_t elements, const uint8_t* c, const uint8_t* a, const uint8_t* b, uint8_t* y)
      : nest_(nest), c_(c), a_(reinterpret_cast<const T*>(a)), b_(reinterpret_cast<const T*>(b)), y_(reinterpret_cast<T*>(y)) {
    nest_.PreferLongInner();
    units_ = nest_.units();
    cost_ = elements;
    kernel_ = "select";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const int64_t cs = nest_.inner_stride(0), as = nest_.inner_stride(1), bs = nest_.inner_stride(2), ys = nest_.inner_stride(3);
    nest_.ForEach(begin, end, [&](const int64_t(&at)[4], int64_t n) {
      for (int64_t i = 0; i < n; ++i) y_[at[3] + i * ys] = c_[at[0] + i * cs] != 0 ? a_[at[1] + i * as] : b_[at[2] + i * bs];
    });
  }

 private:
  LoopNest<4> nest_;
  const uint8_t* c_;
  const T *a_, *b_;
  T* y_;
};

}  // namespace

Status PrepareCast(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &y = context.Output();
  const CastAttrs& attrs = context.Attrs<CastAttrs>();
  if (!SameShape(x, y)) return Mismatch("a cast keeps the shape");
  if (attrs.to_bool != 0 && y.dtype != DType::kU8) return Mismatch("a cast to booleans has another type");
  if (attrs.x_zp < -255 || attrs.x_zp > 255 || attrs.y_zp < -255 || attrs.y_zp > 255) return Unsupported("a zero-point of a cast is out of range");
  const uint8_t* data;
  const Status status = context.InputData(0, &data);
  if (!status.ok()) return status;
  switch (x.dtype) {
    case DType::kF32: return MakeCast<float>(context, data, driver);
    case DType::kS32: return MakeCast<int32_t>(context, data, driver);
    case DType::kU8: return MakeCast<uint8_t>(context, data, driver);
    case DType::kS8: return MakeCast<int8_t>(context, data, driver);
  }
  return Mismatch("a cast of an unknown type");
}

Status PrepareSelect(const OpContext& context, DriverPtr* driver) {
  const Tensor &c = *context.Input(0), &a = *context.Input(1), &b = *context.Input(2), &y = context.Output();
  if (c.dtype != DType::kU8 || a.dtype != y.dtype || b.dtype != y.dtype) return Mismatch("a selection has the wrong types");
  int64_t cs[kMaxRank], as[kMaxRank], bs[kMaxRank], ys[kMaxRank];
  if (!BroadcastStrides(c, y, cs) || !BroadcastStrides(a, y, as) || !BroadcastStrides(b, y, bs)) return Mismatch("the shapes of a selection do not broadcast");
  StridesOf(y, ys);
  LoopNest<4> nest;
  for (int axis = 0; axis < y.rank; ++axis) nest.AddAxis(y.dims[axis], {cs[axis], as[axis], bs[axis], ys[axis]});
  const uint8_t* data[3] = {};
  Status status = Status::Ok();
  for (uint32_t i = 0; status.ok() && i < 3; ++i) status = context.InputData(i, &data[i]);
  if (!status.ok()) return status;
  if (SizeOf(y.dtype) == 1) driver->reset(new Select<uint8_t>(nest, y.elements, data[0], data[1], data[2], context.OutputData()));
  else driver->reset(new Select<float>(nest, y.elements, data[0], data[1], data[2], context.OutputData()));
  return status;
}

}  // namespace sterna
