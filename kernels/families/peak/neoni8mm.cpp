// peak/neoni8mm: how fast NEON with matrix multiplication multiplies registers (loop_arm.h).
#include "loop_arm.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(MatMul, STERNA_TWELVE(STERNA_SMMLA))
STERNA_PEAK_LOOP(Fma, STERNA_TWELVE(STERNA_FMLA))

const sterna::PeakLoop kLoops[] = {{"smmla 4s", false, 32 * STERNA_PEAK_STEPS, MatMul}, {"fmla 4s", true, 4 * STERNA_PEAK_STEPS, Fma}};

}  // namespace

STERNA_PEAK(neoni8mm)
