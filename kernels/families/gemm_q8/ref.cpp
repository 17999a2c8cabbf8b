// gemm_q8/ref: the executable specification of the quantized GEMM, and the fallback on every CPU.
//
//   y[i][o] = epilogue(bias[o] + sum_k (a[i][k] - a_zp) * w[o][k])        i < m, o < n; exact in 32 bits
//
// It computes the formula as it stands. The other kernels add -a_zp * sum_k w[o][k] to the bias when they pack, and an error in that must show
// where they are compared with this one.
// Packed layout: int32 a_zp, int32 bias[n], then the weights as they come, int8 [n][k].
#include "kernel.h"
#include "families/typed_reference.h"
#include "ref_rows.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t n, size_t k) { return (1 + n) * sizeof(int32_t) + n * k; }

bool Pack(size_t n, size_t k, const int8_t* w, const int32_t* bias, int32_t a_zp, void* packed) {
  int32_t* header = static_cast<int32_t*>(packed);
  int8_t* weights = reinterpret_cast<int8_t*>(header + 1 + n);
  header[0] = a_zp;
  for (size_t o = 0; o < n; ++o) header[1 + o] = bias != nullptr ? bias[o] : 0;
  for (size_t i = 0; i < n * k; ++i) weights[i] = w[i];
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

template <typename T>
void Run(const GemmQ8Args* args) {
  const int32_t* bias = static_cast<const int32_t*>(args->packed) + 1;
  const int32_t a_zp = bias[-1];
  const int8_t* weights = reinterpret_cast<const int8_t*>(bias + args->n);
  RunRows<T>(args, bias, [=](const T* a, size_t o) {
    const int8_t* w = weights + o * args->k;
    int32_t sum = 0;
    for (size_t p = 0; p < args->k; ++p) sum += (static_cast<int32_t>(a[p]) - a_zp) * w[p];
    return sum;
  });
}

}  // namespace

STERNA_TYPED_REFERENCE(GemmQ8Kernel, gemm_q8, PackedBytes, Pack, ScratchBytes, Run<T>)

}  // namespace sterna
