// What an instruction set could multiply at most on this CPU: what the speed of kernels and models is a share of.
#pragma once
#include <vector>

#include "sterna/status.h"

namespace sterna {

struct PeakRate {
  const char* instruction;  // "vpdpbusd zmm"
  bool is_float;            // float32; else 8-bit integers
  double macs_per_second;
};

// Times the peak loops of `isa` (PeakLoop, families/peak/kernel.h), some 20 ms each, and keeps the fastest burst of each: other processes can only
// slow one down. *rates stays empty for an ISA without such loops (ref). kUnsupportedIsa: not built, not offered, or masked.
Status MeasurePeaks(const char* isa, std::vector<PeakRate>* rates);

}  // namespace sterna
