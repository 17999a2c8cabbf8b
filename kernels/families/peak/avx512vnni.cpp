// peak/avx512vnni: how fast AVX-512 VNNI multiplies registers (loop_x86.h). Some CPUs do as much with ymm as with zmm.
#include "loop_x86.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(DotZmm, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_DOT, "zmm"))
STERNA_PEAK_LOOP(DotYmm, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_DOT, "ymm"))
STERNA_PEAK_LOOP(FmaZmm, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_FMA, "zmm"))
STERNA_PEAK_LOOP(FmaYmm, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_FMA, "ymm"))

const sterna::PeakLoop kLoops[] = {{"vpdpbusd zmm", false, 64 * STERNA_PEAK_STEPS, DotZmm},
                                   {"vpdpbusd ymm", false, 32 * STERNA_PEAK_STEPS, DotYmm},
                                   {"vfmadd231ps zmm", true, 16 * STERNA_PEAK_STEPS, FmaZmm},
                                   {"vfmadd231ps ymm", true, 8 * STERNA_PEAK_STEPS, FmaYmm}};

}  // namespace

STERNA_PEAK(avx512vnni)
