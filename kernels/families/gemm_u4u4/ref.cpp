// gemm_u4u4/ref: the executable specification of the GEMM of 4-bit codes, with weights stored two to a byte.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        equal to gemm_q8/ref
//
// A has at most 16 codes, which are counted from the lowest; weights are in [-8, 7] and stored as w + 8. Products of codes without sign
// are at most 15 * 15, so 291 of them fit 16 bits (Trusov et al., arXiv 2009.06488):
//   sum (a - a_zp) * w = sum a' * w' - 8 * sum a' + (a_lo - a_zp) * sum w,   a' = a - a_lo, w' = w + 8
// Packed layout: int32 a_lo, int32 corrected bias[n] = bias[o] + (a_lo - a_zp) * sum_k w[o][k], then rows of ceil(k / 2) bytes, the
// lower half first.
#include "families/gemm_q8/ref_rows.h"
#include "families/gemm_w46/kernel.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

constexpr size_t kFlush = 291;

size_t RowBytes(size_t k) { return (k + 1) / 2; }
size_t PackedBytes(size_t n, size_t k) { return sizeof(int32_t) * (1 + n) + n * RowBytes(k); }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, int32_t a_lo, int32_t a_hi, void* packed) {
  if (a_hi - a_lo > 15) return false;
  int32_t* header = static_cast<int32_t*>(packed);
  uint8_t* codes = reinterpret_cast<uint8_t*>(header + 1 + n);
  header[0] = a_lo;
  for (size_t o = 0; o < n; ++o, codes += RowBytes(k)) {
    int32_t sum = 0;
    for (size_t i = 0; i < k; ++i) {
      const int32_t weight = w[o * k + i];
      if (weight < -8 || weight > 7) return false;
      sum += weight;
      if (i % 2 == 0) codes[i / 2] = static_cast<uint8_t>(weight + 8);
      else codes[i / 2] = static_cast<uint8_t>(codes[i / 2] | (weight + 8) << 4);
    }
    const uint32_t b = bias != nullptr ? static_cast<uint32_t>(bias[o]) : 0;
    header[1 + o] = static_cast<int32_t>(b + static_cast<uint32_t>((a_lo - a_zp) * sum));
  }
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

template <typename T>
int32_t Sum(const T* a, int32_t a_lo, const uint8_t* codes, size_t k) {
  uint32_t products = 0, codes_of_a = 0;
  for (size_t p = 0; p < k;) {
    uint16_t few = 0;
    for (size_t left = kFlush; left > 0 && p < k; --left, ++p) {
      const uint32_t code = static_cast<uint32_t>(a[p] - a_lo);
      few = static_cast<uint16_t>(few + code * (codes[p / 2] >> p % 2 * 4 & 15));
      codes_of_a += code;
    }
    products += few;
  }
  return static_cast<int32_t>(products - 8 * codes_of_a);
}

template <typename T>
void Run(const GemmQ8Args* args) {
  const int32_t* bias = static_cast<const int32_t*>(args->packed) + 1;
  const uint8_t* codes = reinterpret_cast<const uint8_t*>(bias + args->n);
  RunRows<T>(args, bias, [=](const T* a, size_t o) { return Sum(a, bias[-1], codes + o * RowBytes(args->k), args->k); });
}

}  // namespace

STERNA_TYPED_REFERENCE(GemmNarrowKernel, gemm_u4u4, PackedBytes, Pack, ScratchBytes, Run<T>)

}  // namespace sterna
