// LutQ8: any function of one 8-bit value, as a table for the whole tensor or for each channel.
#include "engine/op.h"
#include "engine/ops/drivers.h"
#include "engine/ops/loop_nest.h"
#include "engine/ops/table.h"

namespace sterna {
namespace {

class LutQ8 final : public OpDriver {
 public:
  LutQ8(const LoopNest<2>& nest, const OpContext& context, const uint8_t* x, const uint8_t* table)
      : nest_(nest), walk_(UnaryWalk(*context.Input(0), context.Output())), lut_(context.kernels().elementwise->lut_q8), x_(x), y_(context.OutputData()), table_(table) {
    units_ = nest_.units();
    cost_ = context.Output().elements / 4;
    kernel_ = context.kernels().elementwise->name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    nest_.ForEach(begin, end, [&](const int64_t(&at)[2], int64_t n) { lut_(static_cast<size_t>(n), x_ + at[0], table_, y_ + at[1]); });
  }
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t*) override {
    walk_.ForEach(spans, [&](const int64_t(&at)[2], int64_t n) { lut_(static_cast<size_t>(n), x_ + at[0], table_, y_ + at[1]); });
  }

 private:
  LoopNest<2> nest_;
  PixelWalk<2> walk_;
  void (*lut_)(size_t, const uint8_t*, const uint8_t*, uint8_t*);
  const uint8_t* x_;
  uint8_t* y_;
  const uint8_t* table_;
};

// A table of 256 codes for each channel.
struct LutOfChannel {
  const uint8_t* tables;
  uint8_t operator()(int64_t c, uint8_t x) const { return tables[c * 256 + x]; }
};

}  // namespace

Status PrepareLutQ8(const OpContext& context, DriverPtr* driver) {
  const Tensor &x = *context.Input(0), &table = *context.Input(1), &y = context.Output();
  if (x.dtype != context.activation() || y.dtype != context.activation() || table.dtype != context.activation() || !SameShape(x, y)) {
    return Mismatch("a table lookup needs 8-bit tensors of one shape");
  }
  if (table.location != Location::kConst) return Unsupported("a lookup table must be constant");
  const bool single = table.elements == 256;
  if (!table.dense() || (!single && table.elements != y.channels() * 256)) return Mismatch("a lookup table needs 256 entries, or 256 for each channel");
  const uint8_t* data;
  Status status = context.InputData(0, &data);
  uint8_t* copy = nullptr;
  if (status.ok()) status = context.Allocate(static_cast<uint64_t>(table.elements), &copy);
  if (!status.ok()) return status;
  CopyTable(context.activation(), context.Constant(1), table.elements, copy);
  if (single) driver->reset(new LutQ8(UnaryNest(x, y), context, data, copy));
  else driver->reset(new ChannelMap<uint8_t, uint8_t, LutOfChannel>(context, data, {copy}, 16, "lut_q8"));
  return status;
}

}  // namespace sterna
