// The body of a peak loop on x86: code for twelve independent accumulators, 0..11, written out four times and run 100 times.
// Registers 14 and 15 are the operands (zero: what they hold does not change how long an instruction takes), 13 is a constant
// operand, 12 takes products. Twelve accumulators hide the latency (4 or 5 cycles) of two multipliers.
#pragma once

#define STERNA_VEX(op, a, b, to) op " %%" a ", %%" b ", %%" to "\n"
#define STERNA_SSE(op, from, to) op " %%" from ", %%" to "\n"

#define STERNA_TWELVE(code, r) \
  code(r, "0") code(r, "1") code(r, "2") code(r, "3") code(r, "4") code(r, "5") code(r, "6") code(r, "7") code(r, "8") code(r, "9") code(r, "10") code(r, "11")

#define STERNA_PEAK_LOOP(name, zero, code)                                                                                \
  static void name() {                                                                                                    \
    for (int i = 0; i < 100; ++i) {                                                                                       \
      asm volatile(zero code code code code                                                                               \
                   : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",         \
                     "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");                                                        \
    }                                                                                                                     \
  }
// Multiply-adds that one call issues, whatever an instruction multiplies: times the products of one.
#define STERNA_PEAK_STEPS (12 * 4 * 100)

#define STERNA_ZERO_VEX STERNA_VEX("vpxor", "xmm13", "xmm13", "xmm13") STERNA_VEX("vpxor", "xmm14", "xmm14", "xmm14") STERNA_VEX("vpxor", "xmm15", "xmm15", "xmm15")
#define STERNA_ZERO_SSE STERNA_SSE("pxor", "xmm13", "xmm13") STERNA_SSE("pxor", "xmm14", "xmm14") STERNA_SSE("pxor", "xmm15", "xmm15")

// One instruction that multiplies and accumulates.
#define STERNA_DOT(r, i) STERNA_VEX("vpdpbusd", r "14", r "15", r i)
#define STERNA_VEX_DOT(r, i) STERNA_VEX("%{vex%} vpdpbusd", r "14", r "15", r i)
#define STERNA_FMA(r, i) STERNA_VEX("vfmadd231ps", r "14", r "15", r i)
// 16-bit products: exact.
#define STERNA_MADD_WORDS(r, i) STERNA_VEX("vpmaddwd", r "14", r "15", r "12") STERNA_VEX("vpaddd", r "12", r i, r i)
// 8-bit products, which saturate at 16 bits: no kernel of ours may use it for all inputs, but it is what the CPU could do.
#define STERNA_MADD_BYTES(r, i)                \
  STERNA_VEX("vpmaddubsw", r "14", r "15", r "12") \
  STERNA_VEX("vpmaddwd", r "12", r "13", r "12") STERNA_VEX("vpaddd", r "12", r i, r i)
