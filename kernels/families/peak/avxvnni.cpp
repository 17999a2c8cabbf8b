// peak/avxvnni: how fast AVX2 with VNNI multiplies registers (loop_x86.h).
#include "loop_x86.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(Dot, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_VEX_DOT, "ymm"))
STERNA_PEAK_LOOP(Fma, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_FMA, "ymm"))

const sterna::PeakLoop kLoops[] = {{"vpdpbusd ymm", false, 32 * STERNA_PEAK_STEPS, Dot}, {"vfmadd231ps ymm", true, 8 * STERNA_PEAK_STEPS, Fma}};

}  // namespace

STERNA_PEAK(avxvnni)
