// gemm_f32/sse41: the float GEMM of gemm_x86.h on xmm registers.
#include "../x86/vec_sse41.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_sse41;
const sterna::GemmF32Kernel sterna_gemm_f32_sse41 = {"gemm_f32/sse41", sterna::GemmF32<sterna::Vec128>::PackedBytes,
                                                     sterna::GemmF32<sterna::Vec128>::Pack,
                                                     sterna::GemmF32<sterna::Vec128>::ScratchBytes,
                                                     sterna::GemmF32<sterna::Vec128>::Run};
}
