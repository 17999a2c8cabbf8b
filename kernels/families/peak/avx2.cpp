// peak/avx2: how fast AVX2 multiplies registers (loop_x86.h).
#include "loop_x86.h"
#include "kernel.h"

namespace {

STERNA_PEAK_LOOP(MaddWords, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_MADD_WORDS, "ymm"))
STERNA_PEAK_LOOP(MaddBytes, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_MADD_BYTES, "ymm"))
STERNA_PEAK_LOOP(Fma, STERNA_ZERO_VEX, STERNA_TWELVE(STERNA_FMA, "ymm"))

const sterna::PeakLoop kLoops[] = {{"vpmaddwd + vpaddd ymm", false, 16 * STERNA_PEAK_STEPS, MaddWords},
                                   {"vpmaddubsw + vpmaddwd + vpaddd ymm", false, 32 * STERNA_PEAK_STEPS, MaddBytes},
                                   {"vfmadd231ps ymm", true, 8 * STERNA_PEAK_STEPS, Fma}};

}  // namespace

STERNA_PEAK(avx2)
