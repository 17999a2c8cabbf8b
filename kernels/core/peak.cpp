#include "sterna/peak.h"

#include <chrono>
#include <cstring>

#include "sterna/registry.h"

namespace sterna {
namespace {

constexpr int kBursts = 50;
constexpr double kSecondsPerBurst = 0.0004;  // long enough for the clock, short enough to fit between two interruptions

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double SecondsOfOne(void (*run)()) {
  const double start = Now();
  int runs = 0;
  do run(), ++runs;
  while (Now() - start < kSecondsPerBurst);
  return (Now() - start) / runs;
}

PeakRate Measure(const PeakLoop& loop) {
  double best = SecondsOfOne(loop.run);
  for (int burst = 1; burst < kBursts; ++burst) {
    const double seconds = SecondsOfOne(loop.run);
    best = seconds < best ? seconds : best;
  }
  return {loop.instruction, loop.is_float, loop.macs / best};
}

}  // namespace

Status MeasurePeaks(const char* isa, std::vector<PeakRate>* rates) {
  rates->clear();
  KernelSet kernels;
  const Status runnable = SelectKernels(isa, DType::kU8, &kernels);
  if (!runnable.ok()) return runnable;
  for (size_t i = 0; i < kIsaRowCount; ++i) {
    const PeakKernel* peak = kIsaRows[i].kernels.peak;
    if (peak == nullptr || std::strcmp(kIsaRows[i].kernels.isa, kernels.isa) != 0) continue;
    for (size_t j = 0; j < peak->count; ++j) rates->push_back(Measure(peak->loops[j]));
  }
  return Status::Ok();
}

}  // namespace sterna
