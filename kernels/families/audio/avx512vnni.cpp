// audio/avx512vnni: the transform and the bands of spectrum.h on zmm registers.
#include "kernel.h"
#include "isa/x86/vec_avx512.h"
#include "spectrum.h"

extern "C" {
extern const sterna::AudioKernels sterna_audio_avx512vnni;
const sterna::AudioKernels sterna_audio_avx512vnni = sterna::Spectrum<sterna::Vec512>::Kernels("audio/avx512vnni");
}
