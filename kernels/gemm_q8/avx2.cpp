// gemm_q8/avx2: the quantized GEMM of gemm_x86.h on vpmaddwd, exact for all inputs (x86/q8_avx2.h says why not vpmaddubsw).
#include "../x86/q8_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx2;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx2 = {"gemm_q8/avx2", sterna::GemmQ8<sterna::Q8Vec256>::PackedBytes,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::Pack,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::ScratchBytes,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::Run};
}
