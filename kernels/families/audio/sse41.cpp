// audio/sse41: the transform and the bands of spectrum.h on xmm registers.
#include "kernel.h"
#include "isa/x86/vec_sse41.h"
#include "spectrum.h"

extern "C" {
extern const sterna::AudioKernels sterna_audio_sse41;
const sterna::AudioKernels sterna_audio_sse41 = sterna::Spectrum<sterna::Vec128>::Kernels("audio/sse41");
}
