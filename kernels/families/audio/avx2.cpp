// audio/avx2: the transform and the bands of spectrum.h on ymm registers.
#include "kernel.h"
#include "isa/x86/vec_avx2.h"
#include "spectrum.h"

extern "C" {
extern const sterna::AudioKernels sterna_audio_avx2;
const sterna::AudioKernels sterna_audio_avx2 = sterna::Spectrum<sterna::Vec256>::Kernels("audio/avx2");
}
