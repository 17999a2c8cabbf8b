// The peak loops: every built one runs, and the rate is a number. How high it is depends on the machine.
#include "sterna/peak.h"

#include <cmath>
#include <cstring>

#include "kernel_cases.h"

namespace sterna_test {

STERNA_TEST(peak_loops_run_on_every_runnable_isa) {
  ForEachIsa("peak", &sterna::IsaKernels::peak, [](const sterna::IsaKernels& kernels) {
    std::vector<sterna::PeakRate> rates;
    EXPECT(sterna::MeasurePeaks(kernels.isa, &rates).ok());
    EXPECT(rates.size() == kernels.peak->count);
    bool int8 = false, f32 = false;
    for (const sterna::PeakRate& rate : rates) {
      EXPECT(std::isfinite(rate.macs_per_second) && rate.macs_per_second > 0);
      EXPECT(std::strlen(rate.instruction) > 0);
      (rate.is_float ? f32 : int8) = true;
    }
    EXPECT(int8 && f32);
  });
}

STERNA_TEST(ref_has_no_peak_and_an_unknown_isa_is_refused) {
  std::vector<sterna::PeakRate> rates = {{"left over", false, 1}};
  EXPECT(sterna::MeasurePeaks("ref", &rates).ok());
  EXPECT(rates.empty());
  EXPECT(sterna::MeasurePeaks("mmx", &rates).code == sterna::StatusCode::kUnsupportedIsa);
}

}  // namespace sterna_test
