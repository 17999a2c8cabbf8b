// Bytes one by one, for what the shorter vectors have no instruction for: incomplete parts of a register, and tables.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {
namespace {

// The first `mask` bytes of each of `count` parts, `part` bytes apart in a register's copy and `stride` in memory.
inline __attribute__((noinline)) void ScatterBytes(const uint8_t* copy, size_t part, size_t count, size_t mask, uint8_t* p, size_t stride) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t b = 0; b < mask; ++b) p[i * stride + b] = copy[i * part + b];
  }
}
inline __attribute__((noinline)) void GatherBytes(uint8_t* copy, size_t part, size_t count, size_t mask, const uint8_t* p, size_t stride) {
  for (size_t i = 0; i < count; ++i) {
    for (size_t b = 0; b < mask; ++b) copy[i * part + b] = p[i * stride + b];
  }
}

// Sixteen vpshufb would take longer than 32 loads.
inline void LookupBytes(const uint8_t* table, uint8_t* bytes, size_t n) {
  for (size_t i = 0; i < n; ++i) bytes[i] = table[bytes[i]];
}

}  // namespace
}  // namespace sterna
