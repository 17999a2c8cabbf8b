// gemm_q8/avxvnni: the quantized GEMM of gemm_x86.h on vpdpbusd in ymm registers, which does not saturate.
#include "../x86/q8_avxvnni.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avxvnni;
const sterna::GemmQ8Kernel sterna_gemm_q8_avxvnni = {"gemm_q8/avxvnni", sterna::GemmQ8<sterna::Q8VecVnni256>::PackedBytes,
                                                     sterna::GemmQ8<sterna::Q8VecVnni256>::Pack,
                                                     sterna::GemmQ8<sterna::Q8VecVnni256>::ScratchBytes,
                                                     sterna::GemmQ8<sterna::Q8VecVnni256>::Run};
}
