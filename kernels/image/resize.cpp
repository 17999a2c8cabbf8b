// ResizeImage: separable. Each axis has a table of taps; a canvas row is first a weighted sum of source rows (contiguous, so it
// vectorizes), and then of that row's pixels, one vector of R, G, B and a spare lane at a time.
#include <algorithm>
#include <cmath>
#include <vector>

#include "image/rows.h"

namespace sterna {
namespace {

// For each canvas index: `taps` source indices from `first` on, with their weights.
struct Axis {
  size_t taps;
  std::vector<uint32_t> first;
  std::vector<float> weights;  // [canvas size][taps]
};

// As many taps as a canvas index can need, wherever its samples fall.
Axis MakeWideAxis(double start, double length, size_t source, size_t canvas, Border border) {
  const double step = length / static_cast<double>(canvas);
  const size_t samples = static_cast<size_t>(std::max(1.0, std::ceil(step)));
  const int64_t end = static_cast<int64_t>(source) - 1;
  Axis axis{std::min(samples + 2, source), std::vector<uint32_t>(canvas), {}};
  axis.weights.assign(canvas * axis.taps, 0.0f);
  for (size_t i = 0; i < canvas; ++i) {
    const double at = start + static_cast<double>(i) * step - 0.5, spacing = step / static_cast<double>(samples);
    const int64_t first = std::clamp<int64_t>(static_cast<int64_t>(std::floor(at + 0.5 * spacing)), 0, static_cast<int64_t>(source - axis.taps));
    axis.first[i] = static_cast<uint32_t>(first);
    float* weights = axis.weights.data() + i * axis.taps;
    for (size_t s = 0; s < samples; ++s) {
      const double sample = at + (static_cast<double>(s) + 0.5) * spacing, left = std::floor(sample), fraction = sample - left;
      for (int64_t side = 0; side < 2; ++side) {
        const int64_t index = static_cast<int64_t>(left) + side;
        if (border == Border::kBlack && (index < 0 || index > end)) continue;
        const double weight = side == 1 ? fraction : 1.0 - fraction;
        weights[std::clamp<int64_t>(index, 0, end) - first] += static_cast<float>(weight / static_cast<double>(samples));
      }
    }
  }
  return axis;
}

// The taps of one canvas index that weigh anything.
struct Used {
  size_t first, count;
};

Used UsedTaps(const float* w, size_t taps) {
  size_t first = 0, last = taps;
  while (first < last && w[first] == 0.0f) ++first;
  while (last > first && w[last - 1] == 0.0f) --last;
  return {first, last - first};
}

// Without the taps that weigh nothing for every canvas index: at full size that leaves one of three, at an exact half two of four.
Axis MakeAxis(double start, double length, size_t source, size_t canvas, Border border) {
  const Axis wide = MakeWideAxis(start, length, source, canvas, border);
  size_t taps = 1;
  for (size_t i = 0; i < canvas; ++i) taps = std::max(taps, UsedTaps(wide.weights.data() + i * wide.taps, wide.taps).count);
  Axis axis{taps, std::vector<uint32_t>(canvas), std::vector<float>(canvas * taps, 0.0f)};
  for (size_t i = 0; i < canvas; ++i) {
    const float* from = wide.weights.data() + i * wide.taps;
    const Used used = UsedTaps(from, wide.taps);
    const size_t at = used.count == 0 ? 0 : wide.first[i] + used.first, first = std::min(at, source - taps);
    axis.first[i] = static_cast<uint32_t>(first);
    std::copy_n(from + used.first, used.count, axis.weights.data() + i * taps + (used.count == 0 ? 0 : at - first));
  }
  return axis;
}

void SumTwoRows(const uint8_t* a, const uint8_t* b, float wa, float wb, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] = wa * static_cast<float>(a[i]) + wb * static_cast<float>(b[i]);
}

void AddTwoRows(const uint8_t* a, const uint8_t* b, float wa, float wb, size_t n, float* out) {
  for (size_t i = 0; i < n; ++i) out[i] += wa * static_cast<float>(a[i]) + wb * static_cast<float>(b[i]);
}

// Bytes [begin, begin + n) of the rows under canvas row y, weighted.
void SumRows(const ImageRef& src, const Axis& axis, size_t y, size_t begin, size_t n, float* out) {
  const float* w = axis.weights.data() + y * axis.taps;
  const uint8_t* rows = src.data + axis.first[y] * src.stride + begin;
  for (size_t t = 0; t < axis.taps; t += 2) {
    const bool pair = t + 1 < axis.taps;
    const uint8_t *a = rows + t * src.stride, *b = pair ? a + src.stride : a;
    const float wb = pair ? w[t + 1] : 0.0f;
    t == 0 ? SumTwoRows(a, b, w[t], wb, n, out) : AddTwoRows(a, b, w[t], wb, n, out);
  }
}

// Weighs the pixels of a row for each canvas pixel. `row` starts at source pixel `begin` and is readable one float past its end;
// `out` is writable one float past its end.
template <size_t kTaps>
void SumPixels(const Axis& axis, const float* row, size_t begin, size_t width, float* out) {
  const size_t taps = kTaps != 0 ? kTaps : axis.taps;
  const float* w = axis.weights.data();
  for (size_t x = 0; x < width; ++x, w += taps) {
    const float* pixel = row + 3 * (axis.first[x] - begin);
    F4 sum = w[0] * LoadF4(pixel);
    for (size_t t = 1; t < taps; ++t) sum += w[t] * LoadF4(pixel + 3 * t);
    StoreF4(out + 3 * x, sum);
  }
}

}  // namespace

void ResizeImage(const ImageRef& src, const RegionF& region, Border border, const CanvasRef& dst) {
  const Axis vertical = MakeAxis(region.y, region.height, src.height, dst.height, border);
  const Axis horizontal = MakeAxis(region.x, region.width, src.width, dst.width, border);
  const size_t begin = *std::min_element(horizontal.first.begin(), horizontal.first.end());
  const size_t end = *std::max_element(horizontal.first.begin(), horizontal.first.end()) + horizontal.taps;
  std::vector<float> row(3 * (end - begin) + 1), pixels(3 * dst.width + 1);
  const auto sum = horizontal.taps == 1 ? SumPixels<1> : horizontal.taps == 2 ? SumPixels<2> : horizontal.taps == 3 ? SumPixels<3> : SumPixels<0>;
  for (size_t y = 0; y < dst.height; ++y) {
    SumRows(src, vertical, y, 3 * begin, 3 * (end - begin), row.data());
    sum(horizontal, row.data(), begin, dst.width, pixels.data());
    StoreRow(pixels.data(), dst.width, dst.channels, dst.data + y * dst.stride);
  }
}

}  // namespace sterna
