#pragma once
#include "sterna/epilogue.h"

namespace sterna {

// gemm_f32: y[i][o] = epilogue(sum_k a[i][k] * w[o][k]) within ErrorBoundF32(k). What is computed for an element depends on its row of A, its
// column of W and the epilogue alone, bit for bit: not on m, n, or its place in them, so that threads may divide the work in any way.
struct GemmF32Args {
  size_t m, n, k;
  const float* a;
  size_t a_stride;  // floats
  const void* packed;
  float* y;
  size_t y_stride;  // floats
  EpilogueF32 epilogue;
  void* scratch;
};
// The weights [n][k] wherever they are: factor * data[o * n_stride + p * k_stride].
struct StridedF32 {
  const float* data;
  size_t n_stride, k_stride;  // floats
  float factor;
};

// w: [n][k], dense.
static inline StridedF32 DenseF32(const float* w, size_t k) { return {w, k, 1, 1.0f}; }

struct GemmF32Kernel {
  const char* name;
  size_t (*packed_bytes)(size_t n, size_t k);
  void (*pack)(size_t n, size_t k, const StridedF32& w, void* packed);
  size_t (*scratch_bytes)(size_t m, size_t n, size_t k);
  void (*run)(const GemmF32Args* args);
  // run(), but row i of A is `pieces` pieces of k / pieces floats, piece p at a + i * a_stride + p * piece_stride: the windows of a convolution where
  // they are in the image, one piece a row of taps. The same bits. nullptr: no such thing.
  void (*run_pieces)(const GemmF32Args* args, size_t pieces, size_t piece_stride) = nullptr;
};

}  // namespace sterna
