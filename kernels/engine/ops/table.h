// Lookup tables. A program's table is in order of value (index 0 is the lowest); kernels index it by the stored byte. For unsigned
// activations that is the same; for signed ones the halves change places.
#pragma once
#include "engine/program.h"

namespace sterna {

// `bytes`: a multiple of 256, one table for each 256.
inline void CopyTable(DType activation, const uint8_t* from, int64_t bytes, uint8_t* to) {
  const int64_t flip = activation == DType::kS8 ? 128 : 0;
  for (int64_t i = 0; i < bytes; ++i) to[i ^ flip] = from[i];
}

}  // namespace sterna
