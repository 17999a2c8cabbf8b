// gemm_f32/avx2: the float GEMM of gemm_x86.h on ymm registers.
#include "../x86/vec_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_avx2;
const sterna::GemmF32Kernel sterna_gemm_f32_avx2 = {"gemm_f32/avx2", sterna::GemmF32<sterna::Vec256>::PackedBytes,
                                                          sterna::GemmF32<sterna::Vec256>::Pack,
                                                          sterna::GemmF32<sterna::Vec256>::ScratchBytes,
                                                          sterna::GemmF32<sterna::Vec256>::Run};
}
