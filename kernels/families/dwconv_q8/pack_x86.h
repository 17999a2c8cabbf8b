// The packed weights of dwconv_q8 on x86.
//
// Channels are cut into blocks of one register of bytes, `lanes` 128-bit lanes of 16 channels. A last block of a half or a
// quarter of that works on 2 or 4 segments of the output row at once, one after another in the lanes, so that no lane is
// idle: lane l holds channels 16 * (l mod (lanes / segments)) onwards of its block.
//
// Kernels interleave the bytes of the input rows by unpacking, within lanes; so vector j of a block's four 32-bit vectors
// holds, in lane l, channels 4j..4j+3 of that lane. A block packs to
//
//   int32 bias[4 j][lanes][4]                                 bias[c] - x_zp * sum w[.][.][c], modulo 2^32
//   T     w[row group][kernel_w][4 j][lanes][4 channels][depth]     `depth` rows of the kernel share a 32-bit lane
//
// and rows past kernel_h and channels past the end are zero: whatever they are multiplied with, they add nothing.
#pragma once
#include <cstddef>
#include <cstdint>

#include "isa/x86/panels.h"

namespace sterna {

struct DwShape {
  size_t channels, kernel_h, kernel_w;
  size_t lanes;  // of a register
  size_t depth;  // rows of the kernel in a 32-bit lane: 4 or 2
};

static inline size_t DwGroups(const DwShape& s) { return CeilDiv(s.kernel_h, s.depth); }
static inline size_t DwBlocks(const DwShape& s) { return CeilDiv(s.channels, s.lanes * 16); }

// Elements of weights in a block.
static inline size_t DwBlockWeights(const DwShape& s) { return DwGroups(s) * s.kernel_w * s.lanes * 16 * s.depth; }

static inline size_t DwSegments(const DwShape& s, size_t block) {
  const size_t left = CeilDiv(s.channels - block * s.lanes * 16, 16);
  if (left * 4 <= s.lanes) return 4;
  return left * 2 <= s.lanes ? 2 : 1;
}

// The channel at place `i` (of lanes * 16, in the order of the vectors) of a block.
static inline size_t DwChannelAt(const DwShape& s, size_t block, size_t i) {
  const size_t j = i / (s.lanes * 4), lane = i / 4 % s.lanes, lanes = s.lanes / DwSegments(s, block);
  return block * s.lanes * 16 + lane % lanes * 16 + j * 4 + i % 4;
}

static inline int32_t DwCorrectedBias(const DwShape& s, const int8_t* w, const int32_t* bias, int32_t x_zp, size_t c) {
  uint32_t sum = 0;
  for (size_t t = 0; t < s.kernel_h * s.kernel_w; ++t) sum += static_cast<uint32_t>(static_cast<int32_t>(w[t * s.channels + c]));
  const uint32_t b = bias != nullptr ? static_cast<uint32_t>(bias[c]) : 0;
  return static_cast<int32_t>(b - static_cast<uint32_t>(x_zp) * sum);
}

template <typename T>
static inline void PackDwBlock(const DwShape& s, size_t block, const int8_t* w, T* out) {
  for (size_t group = 0; group < DwGroups(s); ++group) {
    for (size_t kw = 0; kw < s.kernel_w; ++kw) {
      for (size_t i = 0; i < s.lanes * 16; ++i) {
        const size_t c = DwChannelAt(s, block, i);
        for (size_t kh = group * s.depth; kh < (group + 1) * s.depth; ++kh) {
          *out++ = kh < s.kernel_h && c < s.channels ? w[(kh * s.kernel_w + kw) * s.channels + c] : T{0};
        }
      }
    }
  }
}

template <typename T>
static inline size_t PackedDwBlockBytes(const DwShape& s) {
  return s.lanes * 16 * sizeof(int32_t) + DwBlockWeights(s) * sizeof(T);
}

template <typename T>
static inline void PackDw(const DwShape& s, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  for (size_t block = 0; block < DwBlocks(s); ++block) {
    int32_t* corrected = reinterpret_cast<int32_t*>(static_cast<uint8_t*>(packed) + block * PackedDwBlockBytes<T>(s));
    for (size_t i = 0; i < s.lanes * 16; ++i) {
      const size_t c = DwChannelAt(s, block, i);
      corrected[i] = c < s.channels ? DwCorrectedBias(s, w, bias, x_zp, c) : 0;
    }
    PackDwBlock<T>(s, block, w, reinterpret_cast<T*>(corrected + s.lanes * 16));
  }
}

}  // namespace sterna
