// gemm_q8/avx2: the quantized GEMM of gemm_x86.h on vpmaddubsw, exact for all inputs (isa/x86/q8_avx2.h says how).
//
// Registers (4 x 16 tile): 8 accumulators, 2 vectors of weights, 2 of complements, ones, 1 broadcast of four activations, 1
// product: 15 of 16. 32 products take an xor, two multiplies and a sum; a step of the tile has 8 loads beside 32 of these.
// Weights are packed in 8 bits, and a panel gets its complements in scratch once a block of rows.
// Measured (layers of MobileNetV2-224, Zen 5, peak of vpmaddubsw + vpmaddwd + vpaddd 118 GMAC/s): 0.82..0.91 of the peak for
// depths from 64 on, 0.61..0.75 below; 91 GMAC/s over all of them. Products widened to 16 bits (vpmaddwd) made 80.
#include "kernel.h"
#include "isa/x86/q8_avx2.h"
#include "gemm_x86.h"

extern "C" {
extern const sterna::GemmQ8Kernel sterna_gemm_q8_avx2;
const sterna::GemmQ8Kernel sterna_gemm_q8_avx2 = sterna::GemmQ8<sterna::Q8Vec256>::Kernel("gemm_q8/avx2");
}
