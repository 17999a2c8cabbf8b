#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// Tables of a real Fourier transform of `points` floats, a power of two from kLeastPoints to kMostPoints; audio/spectrum_plan.h makes them.
//
// The transform runs as a complex one of n = points / 2 values, seen as a matrix of rows x columns: columns are transformed, multiplied by
// `between`, transposed, and transformed again. So every inner loop runs over neighbouring floats.
struct SpectrumPlan {
  size_t points, rows, columns;                    // rows * columns = points / 2, rows <= columns
  const float* circle;                             // cos(2 pi i / points), i < points
  const float *row_twiddles, *column_twiddles;     // for each radix-4 pass and p: w^p, w^2p, w^3p, each re im
  const float *between_re, *between_im;            // e^(-2 pi i r c / n) at r * columns + c
  const float *split_re, *split_im;                // e^(-2 pi i k / points), k <= points / 4
};

constexpr size_t kLeastPoints = 32, kMostPoints = 8192;

// Sums of neighbouring values with weights: band m is the sum of weights[offset[m] + i] * x[first[m] + i], i < length[m].
struct BandTable {
  size_t bands;
  const uint32_t *first, *length, *offset;
  const float* weights;
};

// What turns sound into features (audio/front_end.h uses it). Nothing is read or written beyond the arrays. The result does not depend on
// addresses, bit for bit.
struct AudioKernels {
  const char* name;
  // power[k] = |sum over i of x[i] e^(-2 pi i k / points)|^2 for k <= points / 2. scratch: 2 * points floats.
  void (*power)(const SpectrumPlan* plan, const float* x, float* power, float* scratch);
  void (*bands)(const BandTable* table, const float* x, float* y);
};

// The amplitude of a bin errs by at most this times log2(points) * sqrt(points) * |x|, |x| being the Euclidean norm of the frame.
constexpr double kSpectrumError = 1.2e-7;
// A band errs by at most this times its length times the sum of |weight * x|.
constexpr double kBandError = 1.2e-7;

}  // namespace sterna
