// peak/neon: how fast NEON multiplies registers (loop_arm.h).
#include "loop_arm.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(Products, STERNA_TWELVE(STERNA_SMULL) STERNA_TWELVE(STERNA_SMLAL2) STERNA_TWELVE(STERNA_SADALP))
STERNA_PEAK_LOOP(Fma, STERNA_TWELVE(STERNA_FMLA))

const sterna::PeakLoop kLoops[] = {{"smull + smlal2 + sadalp", false, 16 * STERNA_PEAK_STEPS, Products}, {"fmla 4s", true, 4 * STERNA_PEAK_STEPS, Fma}};

}  // namespace

STERNA_PEAK(neon)
