// rows_f32/ref: the executable specification, in double precision.
#include <math.h>

#include "kernel.h"

namespace sterna {
namespace {

void Softmax(size_t n, const float* x, float* y) {
  float largest = x[0];
  for (size_t i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += exp(static_cast<double>(x[i]) - static_cast<double>(largest));
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<float>(exp(static_cast<double>(x[i]) - static_cast<double>(largest)) / sum);
}

void Normalize(size_t n, const float* x, const float* scale, const float* bias, float epsilon, float* y) {
  double mean = 0, variance = 0;
  for (size_t i = 0; i < n; ++i) mean += static_cast<double>(x[i]);
  mean /= static_cast<double>(n);
  for (size_t i = 0; i < n; ++i) variance += (static_cast<double>(x[i]) - mean) * (static_cast<double>(x[i]) - mean);
  const double deviation = sqrt(variance / static_cast<double>(n) + static_cast<double>(epsilon));
  for (size_t i = 0; i < n; ++i) {
    const double factor = scale != nullptr ? static_cast<double>(scale[i]) : 1.0, summand = bias != nullptr ? static_cast<double>(bias[i]) : 0.0;
    y[i] = static_cast<float>((static_cast<double>(x[i]) - mean) / deviation * factor + summand);
  }
}

void ExtendRange(size_t n, const float* x, float* low, float* high) {
  for (size_t i = 0; i < n; ++i) {
    if (x[i] < *low) *low = x[i];
    if (x[i] > *high || x[i] != x[i]) *high = x[i];
    if (*high != *high) break;  // nothing is larger than a NaN, so it would stay
  }
  if (*high != *high) *low = *high;
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::RowsF32Kernels sterna_rows_f32_ref;
const sterna::RowsF32Kernels sterna_rows_f32_ref = {"rows_f32/ref", sterna::Softmax, sterna::Normalize, sterna::ExtendRange};
}
