// gemm_f32/ref: the executable specification of the float GEMM, and the fallback on every CPU.
//
//   y[i][o] = epilogue(sum_k a[i][k] * w[o][k])        summed in order of k, within ErrorBoundF32(k)
//
// Packed layout: the weights transposed, float [k][n], so that the inner loop runs over output channels and vectorizes.
#include "kernel.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

constexpr size_t kTile = 16;  // output channels accumulated together: four baseline vector registers

size_t PackedBytes(size_t n, size_t k) { return n * k * sizeof(float); }

void Pack(size_t n, size_t k, const StridedF32& w, void* packed) {
  float* out = static_cast<float*>(packed);
  for (size_t p = 0; p < k; ++p) {
    for (size_t o = 0; o < n; ++o) out[p * n + o] = w.factor * w.data[o * w.n_stride + p * w.k_stride];
  }
}

size_t ScratchBytes(size_t, size_t, size_t) { return 0; }

void Run(const GemmF32Args* args) {
  const EpilogueF32& e = args->epilogue;
  for (size_t i = 0; i < args->m; ++i) {
    const float* a = args->a + i * args->a_stride;
    const float* residual = e.residual != nullptr ? e.residual + i * e.residual_stride : nullptr;
    float* y = args->y + i * args->y_stride;
    for (size_t o0 = 0; o0 < args->n; o0 += kTile) {
      const size_t tile = args->n - o0 < kTile ? args->n - o0 : kTile;
      const float* w = static_cast<const float*>(args->packed) + o0;
      float acc[kTile] = {};
      for (size_t p = 0; p < args->k; ++p, w += args->n) {
        for (size_t t = 0; t < tile; ++t) acc[t] += a[p] * w[t];
      }
      for (size_t t = 0; t < tile; ++t) {
        y[o0 + t] = EpilogueOfF32(e, acc[t], o0 + t, residual != nullptr ? residual[o0 + t] : 0.0f);
      }
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::GemmF32Kernel sterna_gemm_f32_ref;
const sterna::GemmF32Kernel sterna_gemm_f32_ref = {"gemm_f32/ref", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
