// Which of many embeddings may be the nearest ones to a query, by 8-bit codes and a bound of what rounding to them can have changed. Whoever
// then compares those few in float finds exactly what comparing all in float would find.
#pragma once
#include <cstddef>
#include <cstdint>

#include "sterna/registry.h"

namespace sterna {

// A unit vector v as v = scale * codes + rest, |rest| <= error.
struct Codes {
  const int8_t* codes;  // depth bytes, a multiple of kDotsStep, padded with zeros
  float scale, error;
};

// Unit vectors, each one's owner beside it.
struct CodedRows {
  const int8_t* codes;  // count x depth, dense
  const float* scale;   // count, like the following
  const float* error;
  const int32_t* owner;
  size_t count, depth;
};

constexpr size_t kMaxNearestOwners = 8;

// Writes the numbers of the rows that may be the best of one of the `owners` nearest owners, 1..kMaxNearestOwners, in rising order; returns
// their count. `cosines` (count floats) is scratch; `out` has room for count numbers.
size_t NearestCandidates(const CodedRows& rows, const Codes& query, size_t owners, const DotsS8Kernel& kernel, float* cosines, uint32_t* out);

}  // namespace sterna
