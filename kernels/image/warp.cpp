// WarpAffine: four neighbours a pixel. Where all four are inside, each is one 4-byte load (R, G, B and a byte of the next pixel, which is
// dropped); at the borders, neighbours outside count as black.
#include <cmath>
#include <vector>

#include "image/rows.h"

namespace sterna {
namespace {

struct Sample {
  int32_t x, y;  // of the upper left neighbour
  float fx, fy;  // beyond it, [0, 1)
};

F4 LoadPixel(const uint8_t* p) {
  typedef uint8_t U4 __attribute__((vector_size(4)));
  U4 v;
  std::memcpy(&v, p, sizeof(v));
  return __builtin_convertvector(v, F4);
}

F4 SampleInside(const ImageRef& src, const Sample& s) {
  const uint8_t* p = src.data + static_cast<size_t>(s.y) * src.stride + static_cast<size_t>(s.x) * 3;
  const F4 top = LoadPixel(p) * (1.0f - s.fx) + LoadPixel(p + 3) * s.fx;
  const F4 bottom = LoadPixel(p + src.stride) * (1.0f - s.fx) + LoadPixel(p + src.stride + 3) * s.fx;
  return top * (1.0f - s.fy) + bottom * s.fy;
}

F4 SampleAtBorder(const ImageRef& src, const Sample& s) {
  F4 sum = {};
  for (int32_t corner = 0; corner < 4; ++corner) {
    const int64_t x = int64_t{s.x} + (corner & 1), y = int64_t{s.y} + (corner >> 1);
    if (x < 0 || y < 0 || x >= static_cast<int64_t>(src.width) || y >= static_cast<int64_t>(src.height)) continue;
    const uint8_t* p = src.data + static_cast<size_t>(y) * src.stride + static_cast<size_t>(x) * 3;
    const float weight = ((corner & 1) != 0 ? s.fx : 1.0f - s.fx) * ((corner >> 1) != 0 ? s.fy : 1.0f - s.fy);
    const F4 pixel = {static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]), 0.0f};
    sum += pixel * weight;
  }
  return sum;
}

// One canvas row; `x0`, `y0`: the source of its first pixel.
void WarpRow(const ImageRef& src, const double m[6], double x0, double y0, size_t width, float* out) {
  // The last column is left to the border path: a 4-byte load of it could leave the picture.
  const int32_t inside_x = static_cast<int32_t>(src.width) - 2, inside_y = static_cast<int32_t>(src.height) - 1;
  const double right = static_cast<double>(src.width), bottom = static_cast<double>(src.height);
  for (size_t i = 0; i < width; ++i) {
    const double x = x0 + m[0] * static_cast<double>(i), y = y0 + m[3] * static_cast<double>(i);
    F4 sum = {};
    if (x > -1.0 && y > -1.0 && x < right && y < bottom) {
      // Truncation is floor for what is not negative; the shift by 1 makes it so.
      const Sample s = {static_cast<int32_t>(x + 1.0) - 1, static_cast<int32_t>(y + 1.0) - 1, 0.0f, 0.0f};
      const Sample at = {s.x, s.y, static_cast<float>(x - s.x), static_cast<float>(y - s.y)};
      const bool inside = at.x >= 0 && at.y >= 0 && at.x < inside_x && at.y < inside_y;
      sum = inside ? SampleInside(src, at) : SampleAtBorder(src, at);
    }
    StoreF4(out + 3 * i, sum);
  }
}

}  // namespace

void WarpAffine(const ImageRef& src, const double m[6], const CanvasRef& dst) {
  std::vector<float> row(3 * dst.width + 1);
  for (size_t y = 0; y < dst.height; ++y) {
    const double v = static_cast<double>(y);
    WarpRow(src, m, m[1] * v + m[2], m[4] * v + m[5], dst.width, row.data());
    StoreRow(row.data(), dst.width, dst.channels, dst.data + y * dst.stride);
  }
}

}  // namespace sterna
