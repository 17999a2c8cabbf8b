// NonMaxSuppression: of boxes that overlap, the best of each image and class.
#include <algorithm>
#include <cmath>
#include <limits>

#include "engine/op.h"

namespace sterna {
namespace {

struct Corners {
  float y0, x0, y1, x1;
  float area() const { return (y1 - y0) * (x1 - x0); }
};

// From [y, x, y, x], any two opposite corners, or from [x, y, width, height] about the centre.
Corners CornersOf(const float* box, bool center) {
  if (center) return {box[1] - box[3] / 2, box[0] - box[2] / 2, box[1] + box[3] / 2, box[0] + box[2] / 2};
  return {std::min(box[0], box[2]), std::min(box[1], box[3]), std::max(box[0], box[2]), std::max(box[1], box[3])};
}

// Whether the boxes share more than `limit` of what they cover together. Boxes of no area overlap nothing.
bool Overlaps(const Corners& a, const Corners& b, float limit) {
  const float height = std::min(a.y1, b.y1) - std::max(a.y0, b.y0), width = std::min(a.x1, b.x1) - std::max(a.x0, b.x0);
  const float area_a = a.area(), area_b = b.area();
  if (!(height > 0) || !(width > 0) || !(area_a > 0) || !(area_b > 0)) return false;
  const float both = height * width;
  return both / (area_a + area_b - both) > limit;
}

// One unit: where a row goes depends on how many came before it. Scratch: the candidates of a class.
class NonMaxSuppression final : public OpDriver {
 public:
  NonMaxSuppression(const OpContext& context, const uint8_t* boxes, const uint8_t* scores)
      : attrs_(context.Attrs<NonMaxSuppressionAttrs>()), boxes_(reinterpret_cast<const float*>(boxes)), scores_(reinterpret_cast<const float*>(scores)),
        y_(reinterpret_cast<int32_t*>(context.OutputData())) {
    const Tensor& scored = *context.Input(1);
    images_ = scored.dims[0], classes_ = scored.dims[1], n_ = scored.dims[2];
    rows_ = context.Output().dims[0];
    cost_ = scored.elements * 16;
    scratch_bytes_ = static_cast<size_t>(n_) * sizeof(int32_t);
    kernel_ = "non_max_suppression";
  }
  void Run(int64_t, int64_t, uint8_t* scratch) override {
    int32_t* candidates = reinterpret_cast<int32_t*>(scratch);
    int64_t row = 0;
    for (int64_t image = 0; image < images_; ++image) {
      for (int64_t c = 0; c < classes_; ++c) {
        const int64_t kept = Suppress(boxes_ + image * n_ * 4, scores_ + (image * classes_ + c) * n_, candidates);
        for (int64_t i = 0; i < kept; ++i, ++row) {
          y_[row * 3] = static_cast<int32_t>(image), y_[row * 3 + 1] = static_cast<int32_t>(c), y_[row * 3 + 2] = candidates[i];
        }
      }
    }
    std::fill(y_ + row * 3, y_ + rows_ * 3, -1);
  }

 private:
  // The boxes that stay, best first, at the start of `candidates`; returns how many. A box is compared with those that stay already, which
  // lie before it.
  int64_t Suppress(const float* boxes, const float* scores, int32_t* candidates) const {
    int64_t count = 0, kept = 0;
    for (int64_t i = 0; i < n_; ++i) {
      if (scores[i] > attrs_.score) candidates[count++] = static_cast<int32_t>(i);  // NaN is not
    }
    std::sort(candidates, candidates + count, [scores](int32_t a, int32_t b) { return scores[a] != scores[b] ? scores[a] > scores[b] : a < b; });
    for (int64_t i = 0; i < count && kept < attrs_.limit; ++i) {
      const int32_t candidate = candidates[i];
      const Corners box = CornersOf(boxes + candidate * int64_t{4}, attrs_.center != 0);
      const bool dropped = std::any_of(candidates, candidates + kept, [&](int32_t better) {
        return Overlaps(box, CornersOf(boxes + better * int64_t{4}, attrs_.center != 0), attrs_.iou);
      });
      if (!dropped) candidates[kept++] = candidate;
    }
    return kept;
  }

  NonMaxSuppressionAttrs attrs_;
  const float *boxes_, *scores_;
  int32_t* y_;
  int64_t images_, classes_, n_, rows_;
};

}  // namespace

Status PrepareNonMaxSuppression(const OpContext& context, DriverPtr* driver) {
  const NonMaxSuppressionAttrs& attrs = context.Attrs<NonMaxSuppressionAttrs>();
  const Tensor &boxes = *context.Input(0), &scores = *context.Input(1), &y = context.Output();
  if (boxes.dtype != DType::kF32 || scores.dtype != DType::kF32 || y.dtype != DType::kS32) return Mismatch("non-maximum suppression has the wrong types");
  if (boxes.rank != 3 || scores.rank != 3 || boxes.dims[0] != scores.dims[0] || boxes.dims[1] != scores.dims[2] || boxes.dims[2] != 4) {
    return Mismatch("boxes and scores do not fit together");
  }
  if (!boxes.dense() || !scores.dense() || !y.dense()) return Unsupported("non-maximum suppression needs dense tensors");
  if (attrs.limit < 1 || boxes.dims[1] > std::numeric_limits<int32_t>::max()) return Unsupported("the limit of boxes is out of range");
  const int64_t rows = scores.dims[0] * scores.dims[1] * std::min<int64_t>(attrs.limit, boxes.dims[1]);
  if (y.rank != 2 || y.dims[1] != 3 || y.dims[0] != rows) return Mismatch("the output has no row for every box that may be selected");
  const uint8_t *box_data = nullptr, *score_data = nullptr;
  Status status = context.InputData(0, &box_data);
  if (status.ok()) status = context.InputData(1, &score_data);
  if (status.ok()) driver->reset(new NonMaxSuppression(context, box_data, score_data));
  return status;
}

}  // namespace sterna
