#include "engine/ops/conv.h"

namespace sterna {
namespace {

constexpr int32_t kMaxSide = 1 << 15;  // of kernels, strides, dilations and pads: keeps all index arithmetic far from overflow

bool InRange(int32_t v, int32_t lo) { return v >= lo && v <= kMaxSide; }

bool GeometryOk(const ConvGeometry& g) {
  return InRange(g.stride_h, 1) && InRange(g.stride_w, 1) && InRange(g.dilation_h, 1) && InRange(g.dilation_w, 1) && InRange(g.pad_top, 0) &&
         InRange(g.pad_left, 0) && InRange(g.pad_bottom, 0) && InRange(g.pad_right, 0) && g.group >= 1;
}

// Output size of one axis, or 0 when the kernel does not fit.
int64_t OutputSize(int64_t size, int64_t kernel, int64_t stride, int64_t dilation, int64_t pads) {
  const int64_t room = size + pads - dilation * (kernel - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

}  // namespace

Status CheckConv(const Tensor& x, const Tensor& w, const Tensor& y, const ConvGeometry& g, ConvShape* shape) {
  if (x.rank != 4 || w.rank != 4 || y.rank != 4) return Mismatch("a convolution needs x, w and y of rank 4");
  if (!GeometryOk(g)) return Unsupported("a convolution's strides, dilations, pads or groups are out of range");
  if (w.location == Location::kArena) return Unsupported("a convolution's weights must be constant");
  if (!w.dense()) return Mismatch("a convolution's weights must be dense");
  *shape = {x.dims[0], x.dims[1], x.dims[2], x.dims[3], y.dims[1], y.dims[2], y.dims[3], w.dims[1], w.dims[2], w.dims[3], g};
  const ConvShape& s = *shape;
  if (s.kh > kMaxSide || s.kw > kMaxSide) return Unsupported("a convolution's kernel is too large");
  if (s.c % g.group != 0 || s.o % g.group != 0) return Mismatch("a convolution's channels are not divisible by its groups");
  if (s.cg != s.c / g.group || w.dims[0] != s.o || y.dims[0] != s.n) return Mismatch("a convolution's channels or batch do not fit");
  const bool fits = s.oh == OutputSize(s.h, s.kh, g.stride_h, g.dilation_h, int64_t{g.pad_top} + g.pad_bottom) &&
                    s.ow == OutputSize(s.w, s.kw, g.stride_w, g.dilation_w, int64_t{g.pad_left} + g.pad_right);
  return fits ? Status::Ok() : Mismatch("a convolution's output size does not follow from its input");
}

Status CheckVector(const OpContext& context, uint32_t input, DType type, int64_t length) {
  const Tensor* t = context.Input(input);
  if (t == nullptr) return Status::Ok();
  if (t->location != Location::kConst) return Unsupported("a per-channel parameter must be constant");
  if (t->dtype != type || t->elements != length || !t->dense()) return Mismatch("a per-channel parameter has the wrong type or length");
  return Status::Ok();
}

}  // namespace sterna
