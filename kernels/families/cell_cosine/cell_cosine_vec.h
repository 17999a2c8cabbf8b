// Cells over a vector V of 16-bit numbers, V::kLanes of them at a time: features are widened, flipped and shifted by the zero-point, backgrounds are
// rounded, and V::MulPairs multiplies two neighbours and adds the products (pmaddwd, or smull and smlal): 2 * 255 * 255 fits 32 bits.
// Three accumulators, a feature, a background and three constants fill 8 registers. The loads limit the speed: 3 bytes a channel.
// The last, incomplete vector goes through a copy, filled with what counts 0. Channels: up to kMaxCosineChannels.
#pragma once
#include "kernel.h"

namespace sterna {
namespace {

template <typename V>
struct CellCosine {
  using Reg = typename V::Reg;
  using Sum = typename V::Sum;
  static constexpr size_t kLanes = V::kLanes;

  struct Accumulators {
    Sum dot, vv, bb;
  };

  static inline __attribute__((always_inline)) void Step(const uint8_t* x, const int16_t* background, Reg flip, Reg zp, Accumulators* a) {
    const Reg v = V::Sub(V::Xor(V::Widen(x), flip), zp);
    const Reg b = V::ShiftRight(V::Add(V::Load(background), V::Set(1 << (kBackgroundBits - 1))), V::Count(kBackgroundBits));
    a->dot = V::MulPairs(a->dot, v, b), a->vv = V::MulPairs(a->vv, v, v), a->bb = V::MulPairs(a->bb, b, b);
  }

  static void Sums(const CellCosineArgs* args) {
    const CellCosineArgs& s = *args;
    const Reg flip = V::Set(s.flip), zp = V::Set(static_cast<int16_t>(s.zp));
    const uint8_t* x = s.x;
    const int16_t* background = s.background;
    const size_t whole = s.channels / kLanes * kLanes, rest = s.channels - whole;
    for (size_t cell = 0; cell < s.cells; ++cell, x += s.channels, background += s.channels) {
      Accumulators a{V::Zero(), V::Zero(), V::Zero()};
      for (size_t c = 0; c < whole; c += kLanes) Step(x + c, background + c, flip, zp, &a);
      if (rest != 0) {
        uint8_t last[kLanes];
        int16_t behind[kLanes] = {};
        for (size_t i = 0; i < kLanes; ++i) last[i] = i < rest ? x[whole + i] : static_cast<uint8_t>(s.zp ^ s.flip);
        for (size_t i = 0; i < rest; ++i) behind[i] = background[whole + i];
        Step(last, behind, flip, zp, &a);
      }
      s.sums[cell] = {V::Total(a.dot), V::Total(a.vv), V::Total(a.bb)};
    }
  }

  static inline __attribute__((always_inline)) Reg Blended(const uint8_t* x, const int16_t* background, Reg flip, Reg zp, Reg half, typename V::Shift shift) {
    const Reg b = V::Load(background);
    const Reg v = V::ShiftLeft(V::Sub(V::Xor(V::Widen(x), flip), zp));
    return V::Add(b, V::ShiftRight(V::Add(V::Sub(v, b), half), shift));
  }

  static void Blend(size_t n, const uint8_t* x, uint8_t flips, int32_t zero, int bits, int16_t* background) {
    const Reg flip = V::Set(flips), zp = V::Set(static_cast<int16_t>(zero)), half = V::Set(static_cast<int16_t>(1 << (bits - 1)));
    const typename V::Shift shift = V::Count(bits);
    size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) V::Store(background + i, Blended(x + i, background + i, flip, zp, half, shift));
    if (i == n) return;
    uint8_t last[kLanes] = {};
    int16_t behind[kLanes] = {};
    for (size_t l = 0; l < n - i; ++l) last[l] = x[i + l], behind[l] = background[i + l];
    V::Store(behind, Blended(last, behind, flip, zp, half, shift));
    for (size_t l = 0; l < n - i; ++l) background[i + l] = behind[l];
  }
};

}  // namespace
}  // namespace sterna
