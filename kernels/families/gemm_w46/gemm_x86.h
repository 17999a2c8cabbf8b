// The GEMMs of few codes on x86: gemm_q8/gemm_x86.h with sums of 16 bits, which take a multiply and an addition for what sums of 32 bits take two
// multiplies and two more instructions for.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        bit-equal to gemm_q8/ref
//
// Activations are multiplied as they are stored, and a_zp is in the bias. vpmaddubsw makes sums of two products; `flush` of them fit 16 bits at the
// largest stored value and the largest weight, and then go to sums of 32 bits (vpmaddwd by ones). Codes that start at 0, as those of a layer
// behind a clamp do, make that 65 steps, a depth of 260, at the level pairs of 4.6 bits; 29 codes at the upper end of a byte 7 steps.
// Packed: int32 flush and padding to 64 bytes, then as gemm_q8/pack_x86.h has it, without complements; u4u4 two weights to a byte.
#pragma once
#include "kernel.h"
#include "largest_weight.h"
#include "families/gemm_q8/gemm_x86.h"

namespace sterna {
namespace {

constexpr int32_t kMaxProduct = 127;  // of code and weight, counted from the middle of the codes: what makes a level pair of 4.6 bits

inline int32_t Magnitude(int32_t v) { return v < 0 ? -v : v; }

template <typename V>
struct PairSums {
  using Int = typename V::Int;
  static constexpr size_t kHeaderBytes = 64;
  static constexpr size_t kWeightBytes = V::kBytes;
  static constexpr bool kComplements = false;

  size_t flush;  // steps

  // Packed weights that a file brings may hold anything.
  static size_t FlushOf(const void* packed) {
    const int32_t flush = *static_cast<const int32_t*>(packed);
    return flush > 0 ? static_cast<size_t>(flush) : 1;
  }
  // A lane of a step holds two products, each at most `activation * weight`.
  static int32_t* WriteHeader(int32_t activation, int32_t weight, void* packed) {
    int32_t* header = static_cast<int32_t*>(packed);
    for (size_t i = 0; i < kHeaderBytes / sizeof(int32_t); ++i) header[i] = 0;
    header[0] = 32767 / (2 * (activation > 0 ? activation : 1) * weight);
    return header + kHeaderBytes / sizeof(int32_t);
  }

  // Products of the next `steps` steps, at most `flush`, in sums of 16 bits; a and w move past them.
  template <int kRows, int kVectors>
  static inline __attribute__((always_inline)) void SumPairs(Int (&sums)[kRows * kVectors], const uint8_t*& a, size_t stride, const int8_t*& w, size_t steps) {
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) sums[i] = V::Zero();
    for (; steps != 0; --steps, a += 4, w += kVectors * kWeightBytes) {
      Int weights[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) weights[v] = V::LoadInt(w + v * kWeightBytes);
#pragma GCC unroll 12
      for (int i = 0; i < kRows; ++i) {
        const Int four = V::BroadcastFour(a + i * stride);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) V::DotPairs(sums[i * kVectors + v], four, weights[v]);
      }
    }
  }

  template <int kRows, int kVectors>
  inline __attribute__((always_inline)) void Sum(Int (&acc)[kRows * kVectors], const SumsOf& of) const {
    const uint8_t* a = of.a;
    const int8_t* w = of.w;
    size_t few = of.steps < flush ? of.steps : flush;
    Int sums[kRows * kVectors];
    SumPairs<kRows, kVectors>(sums, a, of.a_stride, w, few);
#pragma GCC unroll 24
    for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::AddPairs(V::LoadInt(of.bias + i % kVectors * V::kLanes), sums[i]);
    for (size_t left = of.steps - few; left != 0; left -= few) {
      few = left < flush ? left : flush;
      SumPairs<kRows, kVectors>(sums, a, of.a_stride, w, few);
#pragma GCC unroll 24
      for (int i = 0; i < kRows * kVectors; ++i) acc[i] = V::AddPairs(acc[i], sums[i]);
    }
  }
};

template <typename V>
struct SumsW46 : PairSums<V> {
  static constexpr size_t kPackedBytes = V::kBytes;
  static constexpr bool kExpands = false;
  static SumsW46 Of(const void* packed) { return {{PairSums<V>::FlushOf(packed)}}; }

  static bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
    const int32_t largest = LargestWeight(w, n * k), middle = (a_lo + a_hi + 1) >> 1, code = a_hi - middle > middle - a_lo ? a_hi - middle : middle - a_lo;
    if (largest * (code > 0 ? code : 1) > kMaxProduct) return false;
    PackQ8(GemmQ8<V, SumsW46>::ShapeOf(n, k), w, bias, a_zp, PairSums<V>::WriteHeader(a_hi, largest, packed));
    return true;
  }
};

template <typename V>
struct SumsU4U4 : PairSums<V> {
  static constexpr size_t kPackedBytes = V::kBytes / 2;
  static constexpr bool kExpands = true;
  static SumsU4U4 Of(const void* packed) { return {{PairSums<V>::FlushOf(packed)}}; }

  static void Expand(const int8_t* w, size_t vectors, int8_t* out) {
    for (; vectors != 0; --vectors, w += kPackedBytes, out += V::kBytes) V::StoreInt(out, V::ExpandNibbles(w));
  }

  static bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
    if (a_hi - a_lo > 15) return false;
    for (size_t i = 0; i < n * k; ++i) {
      if (w[i] < -8 || w[i] > 7) return false;
    }
    int32_t* body = PairSums<V>::WriteHeader(a_hi, 8, packed);
    const PackQ8Shape shape = GemmQ8<V, SumsU4U4>::ShapeOf(n, k);
    PackBiasQ8(shape, w, bias, a_zp, body);
    uint8_t* out = reinterpret_cast<uint8_t*>(body + RoundUp(n, V::kLanes));
    size_t at = 0;
    ForEachPacked(shape, w, [&](int8_t weight) {
      const uint8_t code = static_cast<uint8_t>(weight + 8);
      out[at / 2] = static_cast<uint8_t>(at % 2 == 0 ? code : out[at / 2] | code << 4);
      ++at;
    });
    return true;
  }
};

template <typename V, template <typename> typename Sums>
constexpr GemmNarrowKernel NarrowKernel(const char* name) {
  using Gemm = GemmQ8<V, Sums<V>>;
  return {name, Gemm::PackedBytes, Sums<V>::Pack, Gemm::ScratchBytes, Gemm::Run};
}

}  // namespace
}  // namespace sterna
