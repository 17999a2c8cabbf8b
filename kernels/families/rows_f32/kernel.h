#pragma once
#include <cstddef>

namespace sterna {

// Functions of whole rows of `n` floats, n >= 1, which need not be aligned; nothing is read or written beyond them. y may be x. The results for a row do
// not depend on where it is, bit for bit.
struct RowsF32Kernels {
  const char* name;
  // y = e^(x - max x) / sum of these. A NaN anywhere, an infinity, or -infinity throughout makes the whole row NaN.
  void (*softmax)(size_t n, const float* x, float* y);
  // y = (x - mean) / sqrt(variance + epsilon) * scale + bias; the variance is that of the centred row. scale and bias: n floats each, or null (1 and 0).
  void (*normalize)(size_t n, const float* x, const float* scale, const float* bias, float epsilon, float* y);
  // Widens [*low, *high] to what the row holds. A NaN, in the row or in *high, makes both NaN.
  void (*extend_range)(size_t n, const float* x, float* low, float* high);
};

// Bounds of the error against the exact result, in units of 2^-23. Sums are taken lane by lane, so that n / 4 terms at most follow each other.
//   softmax:   (kSoftmaxTerms + |x - max x| + n / 4) * y, and kSoftmaxDenormal
//   normalize: (kNormalizeTerms + n / 4) * (max |x| / deviation + |y - bias| / |scale|) * |scale| + |y| + |bias|
constexpr double kSoftmaxTerms = 6, kSoftmaxDenormal = 3e-45, kNormalizeTerms = 6;

}  // namespace sterna
