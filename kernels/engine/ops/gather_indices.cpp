// GatherElements and GatherNd: elements, or slices, that index tensors name one by one.
#include "engine/op.h"
#include "engine/ops/failure.h"
#include "engine/ops/loop_nest.h"

namespace sterna {
namespace {

// ONNX counts negative indices from the end. False when the index is outside all the same; it is 0 then.
bool Resolve(int64_t* index, int64_t size) {
  if (*index < 0) *index += size;
  if (*index >= 0 && *index < size) return true;
  *index = 0;
  return false;
}

// y[i][j][k] = x[i][indices[i][j][k]][k] for the middle axis. Units: segments of the nest; operands: x without the axis, indices, y.
template <typename T>
class GatherElements final : public OpDriver {
 public:
  GatherElements(const OpContext& context, const LoopNest<3>& nest, int64_t size, int64_t stride, const uint8_t* x, const uint8_t* indices)
      : nest_(nest), size_(size), stride_(stride), x_(reinterpret_cast<const T*>(x)), indices_(reinterpret_cast<const int32_t*>(indices)), y_(reinterpret_cast<T*>(context.OutputData())) {
    units_ = nest_.units();
    cost_ = context.Output().elements * 2;
    kernel_ = "gather_elements";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const int64_t xs = nest_.inner_stride(0), is = nest_.inner_stride(1), ys = nest_.inner_stride(2);
    nest_.ForEach(begin, end, [&](const int64_t(&at)[3], int64_t n) {
      bool good = true;
      for (int64_t i = 0; i < n; ++i) {
        int64_t index = indices_[at[1] + i * is];
        good &= Resolve(&index, size_);
        y_[at[2] + i * ys] = x_[at[0] + i * xs + index * stride_];
      }
      if (!good) failure_.Set();
    });
  }
  bool Succeeded() override { return !failure_.Take(); }

 private:
  LoopNest<3> nest_;
  int64_t size_, stride_;  // of the axis in x
  const T* x_;
  const int32_t* indices_;
  T* y_;
  Failure failure_;
};

// Each tuple of `depth` indices names a slice of `bytes` bytes. Units: tuples.
class GatherNd final : public OpDriver {
 public:
  GatherNd(const OpContext& context, int batch_dims, int depth, const uint8_t* x, const uint8_t* indices)
      : depth_(depth), x_(x), indices_(reinterpret_cast<const int32_t*>(indices)), y_(context.OutputData()) {
    const Tensor& in = *context.Input(0);
    int64_t batches = 1;
    for (int i = 0; i < batch_dims; ++i) batches *= in.dims[i];
    batch_elements_ = in.elements / batches;
    slice_ = batch_elements_;
    for (int i = 0; i < depth; ++i) sizes_[i] = in.dims[batch_dims + i], slice_ /= sizes_[i];
    element_bytes_ = static_cast<int64_t>(SizeOf(in.dtype));
    units_ = context.Input(1)->elements / depth;
    tuples_ = units_ / batches;
    granularity_ = 16;
    cost_ = context.Output().elements + units_ * 2;
    kernel_ = "gather_nd";
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    for (int64_t unit = begin; unit < end; ++unit) {
      int64_t at = 0;
      for (int i = 0; i < depth_; ++i) {
        int64_t index = indices_[unit * depth_ + i];
        if (!Resolve(&index, sizes_[i])) failure_.Set();
        at = at * sizes_[i] + index;
      }
      const int64_t from = unit / tuples_ * batch_elements_ + at * slice_;
      std::memcpy(y_ + unit * slice_ * element_bytes_, x_ + from * element_bytes_, static_cast<size_t>(slice_ * element_bytes_));
    }
  }
  bool Succeeded() override { return !failure_.Take(); }

 private:
  int depth_;
  int64_t sizes_[kMaxRank];          // of the indexed axes
  int64_t batch_elements_, slice_;   // elements
  int64_t tuples_, element_bytes_;   // tuples: of one batch
  const uint8_t* x_;
  const int32_t* indices_;
  uint8_t* y_;
  Failure failure_;
};

Status BindGather(const OpContext& context, const uint8_t** x, const uint8_t** indices) {
  const Status status = context.InputData(0, x);
  return status.ok() ? context.InputData(1, indices) : status;
}

}  // namespace

Status PrepareGatherElements(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &indices = *context.Input(1), &y = context.Output();
  const int32_t axis = context.Attrs<GatherAttrs>().axis;
  if (x.dtype != y.dtype || indices.dtype != DType::kS32) return Mismatch("a gather has the wrong types");
  if (axis < 0 || axis >= x.rank) return Unsupported("the axis of a gather is out of range");
  if (x.rank != indices.rank || !SameShape(indices, y)) return Mismatch("a gather's output does not follow from its inputs");
  int64_t xs[kMaxRank], is[kMaxRank], ys[kMaxRank];
  StridesOf(x, xs);
  StridesOf(indices, is);
  StridesOf(y, ys);
  LoopNest<3> nest;
  for (int i = 0; i < x.rank; ++i) {
    if (i != axis && indices.dims[i] > x.dims[i]) return Mismatch("the indices of a gather reach beyond what they index");
    nest.AddAxis(indices.dims[i], {i == axis ? 0 : xs[i], is[i], ys[i]});
  }
  const uint8_t *data = nullptr, *index_data = nullptr;
  const Status status = BindGather(context, &data, &index_data);
  if (!status.ok()) return status;
  if (SizeOf(x.dtype) == 1) driver->reset(new GatherElements<uint8_t>(context, nest, x.dims[axis], xs[axis], data, index_data));
  else driver->reset(new GatherElements<float>(context, nest, x.dims[axis], xs[axis], data, index_data));
  return status;
}

Status PrepareGatherNd(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &indices = *context.Input(1), &y = context.Output();
  const int32_t batch_dims = context.Attrs<GatherNdAttrs>().batch_dims;
  if (x.dtype != y.dtype || indices.dtype != DType::kS32) return Mismatch("a gather has the wrong types");
  if (indices.rank == 0 || batch_dims < 0 || batch_dims >= indices.rank || batch_dims >= x.rank) return Unsupported("the batch axes of a gather are out of range");
  const int64_t depth = indices.channels();
  if (depth > x.rank - batch_dims) return Mismatch("a gather has more indices than axes");
  if (!x.dense() || !indices.dense() || !y.dense()) return Unsupported("a gather needs dense tensors");
  const int tuples = indices.rank - 1, sliced = batch_dims + static_cast<int>(depth);
  if (y.rank != tuples + x.rank - sliced) return Mismatch("a gather's output does not follow from its inputs");
  for (int i = 0; i < y.rank; ++i) {
    if (y.dims[i] != (i < tuples ? indices.dims[i] : x.dims[i - tuples + sliced])) return Mismatch("a gather's output does not follow from its inputs");
  }
  for (int i = 0; i < batch_dims; ++i) {
    if (indices.dims[i] != x.dims[i]) return Mismatch("the batches of a gather differ");
  }
  const uint8_t *data = nullptr, *index_data = nullptr;
  const Status status = BindGather(context, &data, &index_data);
  if (status.ok()) driver->reset(new GatherNd(context, batch_dims, static_cast<int>(depth), data, index_data));
  return status;
}

}  // namespace sterna
