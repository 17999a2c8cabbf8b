// gemm_q8/sse41: the quantized GEMM of gemm_x86.h on pmaddubsw, exact for all inputs (x86/q8_avx2.h says how).
#include "../x86/q8_sse41.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_sse41;
const sterna::GemmQ8Kernel sterna_gemm_q8_sse41 = {"gemm_q8/sse41", sterna::GemmQ8<sterna::Q8Vec128>::PackedBytes,
                                                   sterna::GemmQ8<sterna::Q8Vec128>::Pack,
                                                   sterna::GemmQ8<sterna::Q8Vec128>::ScratchBytes,
                                                   sterna::GemmQ8<sterna::Q8Vec128>::Run};
}
