// gemm_q8/avx512vnni: the quantized GEMM of gemm_x86.h on vpdpbusd, which does not saturate; sums wrap modulo 2^32 like ref's.
#include "../x86/q8_avx512.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx512vnni = {"gemm_q8/avx512vnni", sterna::GemmQ8<sterna::Q8Vec512>::PackedBytes,
                                                        sterna::GemmQ8<sterna::Q8Vec512>::Pack,
                                                        sterna::GemmQ8<sterna::Q8Vec512>::ScratchBytes,
                                                        sterna::GemmQ8<sterna::Q8Vec512>::Run};
}
