// Drivers that several ops share, by what their units are.
#pragma once
#include <cstdint>
#include <memory>
#include <utility>

#include "engine/op.h"
#include "engine/spans.h"

namespace sterna {

// A driver whose units are pixels of the output.
class PixelDriver : public OpDriver {
 public:
  bool takes_spans() const override { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) override {
    while (spans.left() > 0) {
      int64_t first;
      const int64_t count = spans.Take(spans.run(), &first);
      Run(first, first + count, scratch);
    }
  }
};

// A driver whose units are rows of the output, each of which can be computed in part.
class RowDriver : public OpDriver {
 public:
  void Run(int64_t begin, int64_t end, uint8_t* scratch) final {
    for (int64_t row = begin; row < end; ++row) Columns(row, 0, width(), scratch);
  }
  bool takes_spans() const final { return true; }
  void RunSpans(SpanReader spans, uint8_t* scratch) final {
    ForEachRow(spans, width(), [&](int64_t row, int64_t begin, int64_t end) { Columns(row, begin, end, scratch); });
  }

 private:
  // Of the output, in pixels.
  virtual int64_t width() const = 0;
  // Columns [begin, end) of an output row.
  virtual void Columns(int64_t row, int64_t begin, int64_t end, uint8_t* scratch) = 0;
};

// y = f(channel, x) for each element. F: To operator()(int64_t channel, From x) const. Units: pixels.
template <typename From, typename To, typename F>
class ChannelMap final : public PixelDriver {
 public:
  ChannelMap(const OpContext& context, const uint8_t* x, const F& f, int64_t granularity, const char* name)
      : f_(f), channels_(context.Output().channels()), x_stride_(context.Input(0)->pixel_stride), y_stride_(context.Output().pixel_stride),
        x_(reinterpret_cast<const From*>(x)), y_(reinterpret_cast<To*>(context.OutputData())) {
    units_ = context.Output().pixels();
    granularity_ = granularity;
    cost_ = context.Output().elements;
    kernel_ = name;
  }
  void Run(int64_t begin, int64_t end, uint8_t*) override {
    const F f = f_;  // outputs of bytes could be any member, for all that the compiler knows
    const int64_t channels = channels_;
    for (int64_t pixel = begin; pixel < end; ++pixel) {
      const From* x = x_ + pixel * x_stride_;
      To* y = y_ + pixel * y_stride_;
      for (int64_t c = 0; c < channels; ++c) y[c] = f(c, x[c]);
    }
  }

 private:
  F f_;
  int64_t channels_, x_stride_, y_stride_;
  const From* x_;
  To* y_;
};

// Checks an op into its Shape and makes the driver, which may still refuse in its Init(context).
template <typename Driver, typename Shape>
Status PrepareChecked(const OpContext& context, Status (*check)(const OpContext&, Shape*), DriverPtr* driver) {
  Shape shape;
  Status status = check(context, &shape);
  if (!status.ok()) return status;
  auto made = std::make_unique<Driver>(context, shape);
  status = made->Init(context);
  if (status.ok()) *driver = std::move(made);
  return status;
}

}  // namespace sterna
