// audio/ref: the executable specification, sums as they stand, in double precision.
#include "kernel.h"

namespace sterna {
namespace {

void Power(const SpectrumPlan* plan, const float* x, float* power, float*) {
  const size_t n = plan->points;
  for (size_t k = 0; k <= n / 2; ++k) {
    double re = 0, im = 0;
    for (size_t i = 0; i < n; ++i) {
      const size_t angle = i * k % n;
      re += static_cast<double>(x[i]) * static_cast<double>(plan->circle[angle]);
      im += static_cast<double>(x[i]) * static_cast<double>(plan->circle[(angle + n / 4) % n]);  // -sin a = cos(a + pi / 2)
    }
    power[k] = static_cast<float>(re * re + im * im);
  }
}

void Bands(const BandTable* table, const float* x, float* y) {
  for (size_t m = 0; m < table->bands; ++m) {
    double sum = 0;
    for (size_t i = 0; i < table->length[m]; ++i) {
      sum += static_cast<double>(table->weights[table->offset[m] + i]) * static_cast<double>(x[table->first[m] + i]);
    }
    y[m] = static_cast<float>(sum);
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::AudioKernels sterna_audio_ref;
const sterna::AudioKernels sterna_audio_ref = {"audio/ref", sterna::Power, sterna::Bands};
}
