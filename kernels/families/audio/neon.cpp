// audio/neon: the transform and the bands of spectrum.h on NEON registers.
#include "kernel.h"
#include "isa/arm/vec_neon.h"
#include "spectrum.h"

extern "C" {
extern const sterna::AudioKernels sterna_audio_neon;
const sterna::AudioKernels sterna_audio_neon = sterna::Spectrum<sterna::VecNeon>::Kernels("audio/neon");
}
