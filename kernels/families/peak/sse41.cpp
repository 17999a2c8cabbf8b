// peak/sse41: how fast SSE multiplies registers (loop_x86.h). Its instructions overwrite an operand: a copy is part of the work.
#include "loop_x86.h"
#include "kernel.h"

namespace {

#define STERNA_SSE_MADD_WORDS(r, i) STERNA_SSE("movdqa", "xmm14", "xmm12") STERNA_SSE("pmaddwd", "xmm15", "xmm12") STERNA_SSE("paddd", "xmm12", r i)
#define STERNA_SSE_MADD_BYTES(r, i)                                             \
  STERNA_SSE("movdqa", "xmm14", "xmm12") STERNA_SSE("pmaddubsw", "xmm15", "xmm12") \
  STERNA_SSE("pmaddwd", "xmm13", "xmm12") STERNA_SSE("paddd", "xmm12", r i)
#define STERNA_SSE_MUL_ADD(r, i) STERNA_SSE("movaps", "xmm14", "xmm12") STERNA_SSE("mulps", "xmm15", "xmm12") STERNA_SSE("addps", "xmm12", r i)

STERNA_PEAK_LOOP(MaddWords, STERNA_ZERO_SSE, STERNA_TWELVE(STERNA_SSE_MADD_WORDS, "xmm"))
STERNA_PEAK_LOOP(MaddBytes, STERNA_ZERO_SSE, STERNA_TWELVE(STERNA_SSE_MADD_BYTES, "xmm"))
STERNA_PEAK_LOOP(MulAdd, STERNA_ZERO_SSE, STERNA_TWELVE(STERNA_SSE_MUL_ADD, "xmm"))

const sterna::PeakLoop kLoops[] = {{"pmaddwd + paddd xmm", false, 8 * STERNA_PEAK_STEPS, MaddWords},
                                   {"pmaddubsw + pmaddwd + paddd xmm", false, 16 * STERNA_PEAK_STEPS, MaddBytes},
                                   {"mulps + addps xmm", true, 4 * STERNA_PEAK_STEPS, MulAdd}};

}  // namespace

STERNA_PEAK(sse41)
