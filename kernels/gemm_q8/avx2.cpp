// gemm_q8/avx2: the quantized GEMM of gemm_x86.h on vpmaddwd, exact for all inputs (x86/q8_avx2.h says why not vpmaddubsw).
//
// Registers (6 x 16 tile): 12 accumulators, 2 vectors of weights (widened as they are loaded), 1 broadcast of two activations
// (widened once a block of rows, in scratch), 1 product: 16 of 16.
// Measured (kernels_bench, layers of MobileNetV2-224, Zen 5, peak of vpmaddwd + vpaddd 95 GMAC/s): 0.85..0.97 of the peak for
// depths from 64 on, 0.67..0.80 below; 78 GMAC/s over all of them.
#include "../x86/q8_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx2;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx2 = {"gemm_q8/avx2", sterna::GemmQ8<sterna::Q8Vec256>::PackedBytes,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::Pack,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::ScratchBytes,
                                                  sterna::GemmQ8<sterna::Q8Vec256>::Run};
}
