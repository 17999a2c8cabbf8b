// GreyCells and UpdateBackground: what a motion gate computes of a frame.
#include <cmath>
#include <cstring>
#include <vector>

#include "image/rows.h"

namespace sterna {
namespace {

// Sums of `rows` rows, byte by byte: at most 16 * 255 fit 16 bits. Two rows a pass, so that sums are stored half as often.
void SumRows(const uint8_t* src, size_t stride, size_t rows, size_t n, uint16_t* sums) {
  const size_t odd = rows % 2;
  for (size_t i = 0; i < n; ++i) sums[i] = odd ? src[i] : 0;
  for (size_t r = odd; r < rows; r += 2) {
    const uint8_t *first = src + r * stride, *second = first + stride;
    for (size_t i = 0; i < n; ++i) sums[i] = static_cast<uint16_t>(sums[i] + first[i] + second[i]);
  }
}

}  // namespace

void GreyCells(const ImageRef& src, size_t factor, size_t row_step, uint8_t* cells) {
  const size_t columns = src.width / factor, rows = src.height / factor, read = (factor + row_step - 1) / row_step;
  const float share = 1.0f / static_cast<float>(factor * read);
  std::vector<uint16_t> sums(columns * factor * 3);
  for (size_t y = 0; y < rows; ++y) {
    SumRows(src.data + y * factor * src.stride, src.stride * row_step, read, sums.size(), sums.data());
    const uint16_t* sum = sums.data();
    for (size_t x = 0; x < columns; ++x) {
      uint32_t r = 0, g = 0, b = 0;
      for (size_t i = 0; i < factor; ++i, sum += 3) r += sum[0], g += sum[1], b += sum[2];
      *cells++ = RoundToByte(Luma(static_cast<float>(r), static_cast<float>(g), static_cast<float>(b)) * share);
    }
  }
}

size_t UpdateBackground(const uint8_t* cells, float* background, size_t n, float threshold, float rate, uint8_t* mask) {
  if (n == 0) return 0;
  std::memset(mask, 0, (n + 7) / 8);
  double total = 0.0;
  for (size_t i = 0; i < n; ++i) total += static_cast<double>(static_cast<float>(cells[i]) - background[i]);
  const float shift = static_cast<float>(total / static_cast<double>(n));
  size_t changed = 0;
  for (size_t i = 0; i < n; ++i) {
    const float difference = static_cast<float>(cells[i]) - background[i];
    const uint8_t left = std::fabs(difference - shift) > threshold ? 1 : 0;
    changed += left;
    mask[i >> 3] = static_cast<uint8_t>(mask[i >> 3] | left << (i & 7));
    background[i] += difference * rate;
  }
  return changed;
}

}  // namespace sterna
