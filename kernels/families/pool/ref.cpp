// pool/ref: the executable specification of the pools.
#include "kernel.h"
#include "families/typed_reference.h"

namespace sterna {
namespace {

template <typename T>
void Max(size_t n, const uint8_t* a, uint8_t* y) {
  for (size_t i = 0; i < n; ++i) y[i] = static_cast<T>(a[i]) > static_cast<T>(y[i]) ? a[i] : y[i];
}

template <typename T>
void Sum(size_t n, const uint8_t* a, int32_t* acc) {
  for (size_t i = 0; i < n; ++i) acc[i] += static_cast<T>(a[i]);
}

template <float (*fold)(float x, float so_far)>
void Pool(const PoolF32Args* a, float start) {
  for (size_t o = 0; o < a->outputs; ++o) {
    for (size_t c = 0; c < a->channels; ++c) {
      float y = start;
      for (size_t i = 0; i < a->rows; ++i) {
        for (size_t j = 0; j < a->columns; ++j) y = fold(a->x[o * a->x_step + i * a->row_stride + j * a->column_stride + c], y);
      }
      a->y[o * a->y_step + c] = y;
    }
  }
}

// A NaN makes the result NaN.
float Greater(float x, float y) { return x > y || x != x ? x : y; }
float Plus(float x, float y) { return y + x; }

void MaxPoolF32(const PoolF32Args* args) { Pool<Greater>(args, -__builtin_inff()); }
void SumPoolF32(const PoolF32Args* args) { Pool<Plus>(args, 0.0f); }

}  // namespace

STERNA_TYPED_REFERENCE(PoolKernels, pool, Max<T>, Sum<T>, MaxPoolF32, SumPoolF32)

}  // namespace sterna
