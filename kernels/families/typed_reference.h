// The two references of a family that computes on 8-bit activations (TYPED of families.h).
#pragma once
#include <cstdint>

// Defines sterna_<family>_ref_u8 and sterna_<family>_ref_s8. `reference<T>()` is a constexpr function that makes the descriptor for activations of
// type T. The declarations give the constants external linkage.
#define STERNA_TYPED_REFERENCE(Kernel, family, reference)                          \
  extern "C" {                                                                     \
  extern const Kernel sterna_##family##_ref_u8, sterna_##family##_ref_s8;          \
  const Kernel sterna_##family##_ref_u8 = reference<uint8_t>();                    \
  const Kernel sterna_##family##_ref_s8 = reference<int8_t>();                     \
  }
