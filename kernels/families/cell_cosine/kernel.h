#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// Fraction bits of a learned background: 2^6 * 255 and the difference of two such numbers fit 16 bits.
constexpr int kBackgroundBits = 6;
// More channels than this could overflow the sums: 255^2 * 2^15 < 2^31.
constexpr size_t kMaxCosineChannels = 1 << 15;

// Sums over the channels of each cell, of v = (x ^ flip) - zp, the feature, and of b, the background rounded to whole numbers, half up.
struct CellSums {
  int32_t dot, vv, bb;  // sum of v b, of v v, and of b b
};
struct CellCosineArgs {
  size_t cells, channels;      // cells follow each other without gaps
  const uint8_t* x;            // stored bytes; flip: 0x80 when they are signed, else 0
  uint8_t flip;
  int32_t zp;                  // of x ^ flip, 0..255
  const int16_t* background;   // times 2^kBackgroundBits, in +-255 * 2^kBackgroundBits
  CellSums* sums;              // one for each cell
};

// What a gate on features computes. All of it is integer arithmetic, so every variant gives the bits of ref. Exactly the elements that are there
// are read and written.
struct CellCosineKernel {
  const char* name;
  void (*sums)(const CellCosineArgs* args);
  // b += ((v * 2^kBackgroundBits - b) + 2^(shift - 1)) >> shift for n elements, shift 1..7: the background moves towards the features.
  void (*blend)(size_t n, const uint8_t* x, uint8_t flip, int32_t zp, int shift, int16_t* background);
};

}  // namespace sterna
