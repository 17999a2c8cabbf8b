// gemm_w46/ref: the executable specification of the GEMM of few codes, and what it adds to gemm_q8: sums of 16 bits.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        equal to gemm_q8/ref
//
// Codes of A are counted from the middle of their range, so that |code| <= levels / 2; `flush` products of the largest code and the largest
// weight fit 16 bits, and are added up there before they go to the sum of 32 bits. At the level pairs of the method (Trusov et al., doi
// 10.3390/math12050651: N_x = 2 * floor(127 / floor(N_w / 2)) + 1) a product is at most 127, and flush at least 258.
// Packed layout: header, int32 corrected bias[n] = bias[o] + (middle - a_zp) * sum_k w[o][k], weights int8 [n][k].
#include "kernel.h"
#include "largest_weight.h"
#include "families/gemm_q8/ref_rows.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

constexpr int32_t kMaxProduct = 127;  // fits 8 bits: what makes a level pair one

struct Header {
  int32_t middle, flush;
};

size_t PackedBytes(size_t n, size_t k) { return sizeof(Header) + n * sizeof(int32_t) + n * k; }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
  const int32_t middle = (a_lo + a_hi + 1) >> 1, largest = a_hi - middle > middle - a_lo ? a_hi - middle : middle - a_lo;
  const int32_t product = LargestWeight(w, n * k) * (largest > 0 ? largest : 1);
  if (product > kMaxProduct) return false;
  Header* header = static_cast<Header*>(packed);
  *header = {middle, 32767 / product};
  int32_t* corrected = reinterpret_cast<int32_t*>(header + 1);
  int8_t* weights = reinterpret_cast<int8_t*>(corrected + n);
  for (size_t o = 0; o < n; ++o) {
    int32_t sum = 0;
    for (size_t i = 0; i < k; ++i) sum += weights[o * k + i] = w[o * k + i];
    const uint32_t b = bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    corrected[o] = static_cast<int32_t>(b + static_cast<uint32_t>((middle - a_zp) * sum));
  }
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

template <typename T>
int32_t Sum(const Header& header, const T* a, const int8_t* w, size_t k) {
  int32_t sum = 0;
  for (size_t p = 0; p < k;) {
    int16_t few = 0;
    for (int32_t left = header.flush; left > 0 && p < k; --left, ++p) few = static_cast<int16_t>(few + (a[p] - header.middle) * w[p]);
    sum += few;
  }
  return sum;
}

template <typename T>
void Run(const GemmQ8Args* args) {
  const Header& header = *static_cast<const Header*>(args->packed);
  const int32_t* bias = reinterpret_cast<const int32_t*>(&header + 1);
  const int8_t* weights = reinterpret_cast<const int8_t*>(bias + args->n);
  RunRows<T>(args, bias, [&](const T* a, size_t o) { return Sum(header, a, weights + o * args->k, args->k); });
}

}  // namespace

STERNA_TYPED_REFERENCE(GemmNarrowKernel, gemm_w46, PackedBytes, Pack, ScratchBytes, Run<T>)

}  // namespace sterna
