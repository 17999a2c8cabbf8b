// peak/neondot: how fast NEON with dot product multiplies registers (loop_arm.h).
#include "loop_arm.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(Dot, STERNA_TWELVE(STERNA_SDOT))
STERNA_PEAK_LOOP(Fma, STERNA_TWELVE(STERNA_FMLA))

const sterna::PeakLoop kLoops[] = {{"sdot 4s", false, 16 * STERNA_PEAK_STEPS, Dot}, {"fmla 4s", true, 4 * STERNA_PEAK_STEPS, Fma}};

}  // namespace

STERNA_PEAK(neondot)
