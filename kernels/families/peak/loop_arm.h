// The body of a peak loop on Arm: code for twelve independent accumulators, v0..v11, written out four times and run 100 times.
// v30 and v31 are the operands (zero), v16..v27 take products. A group that needs several instructions issues each for all twelve
// before the next, so that cores that execute in order are not held up by latencies either.
#pragma once

// For accumulator `i` and its register of products `p`.
#define STERNA_TWELVE(code) \
  code("0", "16") code("1", "17") code("2", "18") code("3", "19") code("4", "20") code("5", "21") code("6", "22") code("7", "23") code("8", "24") code("9", "25") code("10", "26") code("11", "27")

#define STERNA_PEAK_LOOP(name, code)                                                                                               \
  static void name() {                                                                                                             \
    for (int i = 0; i < 100; ++i) {                                                                                                \
      asm volatile("movi v30.16b, #0\nmovi v31.16b, #0\n" code code code code                                                      \
                   : : : "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v16", "v17", "v18", "v19",     \
                     "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v30", "v31");                                        \
    }                                                                                                                              \
  }
// Multiply-adds that one call issues, whatever an instruction multiplies: times the products of one.
#define STERNA_PEAK_STEPS (12 * 4 * 100)

#define STERNA_FMLA(i, p) "fmla v" i ".4s, v30.4s, v31.4s\n"
#define STERNA_SDOT(i, p) "sdot v" i ".4s, v30.16b, v31.16b\n"
#define STERNA_SMMLA(i, p) "smmla v" i ".4s, v30.16b, v31.16b\n"
#define STERNA_SMULL(i, p) "smull v" p ".8h, v30.8b, v31.8b\n"
#define STERNA_SMLAL2(i, p) "smlal2 v" p ".8h, v30.16b, v31.16b\n"
#define STERNA_SADALP(i, p) "sadalp v" i ".4s, v" p ".8h\n"
