// The tables of a Fourier transform (families/audio/kernel.h), computed in double precision and rounded once.
#pragma once
#include <vector>

#include "families/audio/kernel.h"

namespace sterna {

class SpectrumTables {
 public:
  // `points`: a power of two from kLeastPoints to kMostPoints.
  explicit SpectrumTables(size_t points);
  SpectrumTables(const SpectrumTables&) = delete;
  SpectrumTables& operator=(const SpectrumTables&) = delete;

  const SpectrumPlan& plan() const { return plan_; }

  static bool Possible(size_t points) { return points >= kLeastPoints && points <= kMostPoints && (points & (points - 1)) == 0; }

 private:
  std::vector<float> circle_, row_twiddles_, column_twiddles_, between_, split_;
  SpectrumPlan plan_;
};

}  // namespace sterna
