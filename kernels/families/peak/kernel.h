#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// peak: no kernel of any op, but how fast the ISA's instructions multiply what is in registers already, for benches (sterna/peak.h).
struct PeakLoop {
  const char* instruction;  // "vpdpbusd zmm"; "vpmaddwd + vpaddd ymm" where it takes several
  bool is_float;            // multiplies float32; else 8-bit integers
  uint32_t macs;            // multiply-adds of one call of run
  void (*run)();
};
struct PeakKernel {
  const char* name;  // "peak/avx512vnni"
  const PeakLoop* loops;
  size_t count;
};

}  // namespace sterna

// The kernel of an ISA, of its array kLoops. The declaration gives the constant external linkage.
#define STERNA_PEAK(isa)                                                                                                        \
  extern "C" {                                                                                                                  \
  extern const sterna::PeakKernel sterna_peak_##isa;                                                                            \
  const sterna::PeakKernel sterna_peak_##isa = {"peak/" #isa, kLoops, sizeof(kLoops) / sizeof(kLoops[0])};                      \
  }
