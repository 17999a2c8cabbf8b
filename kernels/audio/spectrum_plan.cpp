#include "audio/spectrum_plan.h"

#include <cmath>

namespace sterna {
namespace {

constexpr double kPi = 3.14159265358979323846;

// cos and -sin of 2 pi * part / whole.
float Re(size_t part, size_t whole) { return static_cast<float>(std::cos(2 * kPi * static_cast<double>(part % whole) / static_cast<double>(whole))); }
float Im(size_t part, size_t whole) { return static_cast<float>(-std::sin(2 * kPi * static_cast<double>(part % whole) / static_cast<double>(whole))); }

// Of every radix-4 pass: lengths length, length / 4, ...
std::vector<float> Twiddles(size_t length) {
  std::vector<float> all;
  for (; length >= 4; length /= 4) {
    for (size_t p = 0; p < length / 4; ++p) {
      for (size_t power = 1; power <= 3; ++power) all.push_back(Re(power * p, length)), all.push_back(Im(power * p, length));
    }
  }
  return all;
}

}  // namespace

SpectrumTables::SpectrumTables(size_t points) : plan_{} {
  const size_t n = points / 2;
  size_t rows = 4;
  while (rows * 2 * rows * 2 <= n) rows *= 2;
  const size_t columns = n / rows;
  for (size_t i = 0; i < points; ++i) circle_.push_back(Re(i, points));
  row_twiddles_ = Twiddles(rows), column_twiddles_ = Twiddles(columns);
  between_.resize(2 * n), split_.resize(2 * (n / 2 + 1));
  for (size_t r = 0; r < rows; ++r) {
    for (size_t c = 0; c < columns; ++c) between_[r * columns + c] = Re(r * c, n), between_[n + r * columns + c] = Im(r * c, n);
  }
  for (size_t k = 0; k <= n / 2; ++k) split_[k] = Re(k, points), split_[n / 2 + 1 + k] = Im(k, points);
  plan_ = {points, rows, columns, circle_.data(), row_twiddles_.data(), column_twiddles_.data(),
           between_.data(), between_.data() + n, split_.data(), split_.data() + n / 2 + 1};
}

}  // namespace sterna
