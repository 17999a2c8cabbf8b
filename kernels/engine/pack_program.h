// Programs whose weights are packed already: they load without packing, and from a mapped file without copying.
#pragma once
#include <vector>

#include "engine/engine.h"

namespace sterna {

// The same program with the weights of its convolutions as the kernels that `options` select want them, in place of the plain ones.
// It loads wherever the same kernels are selected for the same number of threads, and gives the same bits. Errors: those of Engine::Load.
Status PackProgram(const uint8_t* bytes, size_t size, const LoadOptions& options, std::vector<uint8_t>* packed);

}  // namespace sterna
