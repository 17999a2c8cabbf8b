// The two references of a family that computes on 8-bit activations (TYPED of families.h).
#pragma once
#include <cstdint>

// Defines sterna_<family>_ref_u8 and sterna_<family>_ref_s8, whose name is "<family>/ref" and whose functions are the other arguments, in the order
// of Kernel's members; T in them is the type of the activations. Belongs into namespace sterna. The declarations give the constants external linkage.
#define STERNA_TYPED_REFERENCE(Kernel, family, ...)                                \
  namespace {                                                                      \
  template <typename T>                                                            \
  constexpr Kernel Reference() {                                                   \
    return {#family "/ref", __VA_ARGS__};                                          \
  }                                                                                \
  }                                                                                \
  extern "C" {                                                                     \
  extern const Kernel sterna_##family##_ref_u8, sterna_##family##_ref_s8;          \
  const Kernel sterna_##family##_ref_u8 = Reference<uint8_t>();                    \
  const Kernel sterna_##family##_ref_s8 = Reference<int8_t>();                     \
  }
