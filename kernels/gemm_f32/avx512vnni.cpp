// gemm_f32/avx512vnni: the float GEMM of gemm_x86.h on zmm registers.
#include "../x86/vec_avx512.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_avx512vnni;
const sterna::GemmF32Kernel sterna_gemm_f32_avx512vnni = {"gemm_f32/avx512vnni", sterna::GemmF32<sterna::Vec512>::PackedBytes,
                                                          sterna::GemmF32<sterna::Vec512>::Pack,
                                                          sterna::GemmF32<sterna::Vec512>::ScratchBytes,
                                                          sterna::GemmF32<sterna::Vec512>::Run};
}
