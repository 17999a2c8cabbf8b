// What every packed buffer of 8-bit weights starts with, for n output channels:
//
//   int32 bias[round_up(n, 16)]     bias[o] - x_zp * sum of the channel's weights, modulo 2^32
//   float reach[round_up(n, 16)]    no |bias[o] + sum of x * w| is larger, whatever the activations x are
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

static inline size_t RoundUpArm(size_t v, size_t to) { return (v + to - 1) / to * to; }

// Bytes of either array: a multiple of 64.
static inline size_t BiasBytesArm(size_t n) { return RoundUpArm(n, 16) * sizeof(int32_t); }

// most: no |x| is larger. A sum that wraps is smaller than this, too. What conversion to float rounds off, kBoundNeon (requant_neon.h) leaves room for.
static inline float ReachArm(int32_t bias, uint64_t magnitudes, uint64_t most) {
  const int64_t distance = bias < 0 ? -static_cast<int64_t>(bias) : bias;
  return static_cast<float>(distance + static_cast<int64_t>(most * magnitudes));
}

struct WeightSumsArm {
  uint32_t sum;  // modulo 2^32
  uint64_t magnitudes;
};

// Of w[0], w[step], ..., `count` of them.
static inline WeightSumsArm SumWeightsArm(const int8_t* w, size_t step, size_t count) {
  WeightSumsArm sums{0, 0};
  for (size_t i = 0; i < count; ++i) {
    const int32_t v = w[i * step];
    sums.sum += static_cast<uint32_t>(v);
    sums.magnitudes += static_cast<uint64_t>(v < 0 ? -v : v);
  }
  return sums;
}

// Bias and reach of n channels, whose weights are `count` numbers `step` apart, channels `next` apart; zeros for the padding.
static inline void PackBiasArm(size_t n, const int8_t* w, size_t next, size_t step, size_t count, const int32_t* bias, int32_t x_zp, void* packed,
                               uint64_t most = 128) {
  const size_t end = RoundUpArm(n, 16);
  int32_t* out = static_cast<int32_t*>(packed);
  float* reach = reinterpret_cast<float*>(out + end);
  for (size_t o = 0; o < end; ++o) {
    const WeightSumsArm sums = o < n ? SumWeightsArm(w + o * next, step, count) : WeightSumsArm{0, 0};
    const uint32_t b = o < n && bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    out[o] = static_cast<int32_t>(b - static_cast<uint32_t>(x_zp) * sums.sum);
    reach[o] = ReachArm(out[o], sums.magnitudes, most);
  }
}

}  // namespace sterna
