// pool/neon: the pools for every 64-bit Arm core, equal to ref bit for bit. A window is folded with 4 channels of floats in a register.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/map_neon.h"

namespace sterna {
namespace {

void Max(size_t n, const uint8_t* a, uint8_t* y) {
  ForPairsOfBytes(n, a, y, y, [](int8x16_t va, int8x16_t vy) { return vmaxq_s8(va, vy); });
}

void Sum(size_t n, const uint8_t* a, int32_t* acc) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const int8x16_t v = LoadBytes(a + i);
    const int16x8_t low = vmovl_s8(vget_low_s8(v)), high = vmovl_high_s8(v);
    vst1q_s32(acc + i, vaddw_s16(vld1q_s32(acc + i), vget_low_s16(low)));
    vst1q_s32(acc + i + 4, vaddw_high_s16(vld1q_s32(acc + i + 4), low));
    vst1q_s32(acc + i + 8, vaddw_s16(vld1q_s32(acc + i + 8), vget_low_s16(high)));
    vst1q_s32(acc + i + 12, vaddw_high_s16(vld1q_s32(acc + i + 12), high));
  }
  for (; i < n; ++i) acc[i] += static_cast<int8_t>(a[i]);
}

inline float32x4_t Greater(float32x4_t v, float32x4_t acc) { return vmaxq_f32(v, acc); }  // a NaN makes the result NaN
inline float32x4_t Plus(float32x4_t v, float32x4_t acc) { return vaddq_f32(acc, v); }

// `load` takes the channels of a tap that are worked on.
template <float32x4_t (*op)(float32x4_t, float32x4_t), typename Load>
inline float32x4_t PoolWindow(const PoolF32Args& a, const float* window, float start, Load load) {
  float32x4_t acc = vdupq_n_f32(start);
  for (size_t i = 0; i < a.rows; ++i) {
    for (size_t j = 0; j < a.columns; ++j) acc = op(load(window + i * a.row_stride + j * a.column_stride), acc);
  }
  return acc;
}

template <float32x4_t (*op)(float32x4_t, float32x4_t)>
inline void Pool(const PoolF32Args& a, float start) {
  for (size_t o = 0; o < a.outputs; ++o) {
    const float* window = a.x + o * a.x_step;
    float* y = a.y + o * a.y_step;
    size_t c = 0;
    for (; c + 4 <= a.channels; c += 4) vst1q_f32(y + c, PoolWindow<op>(a, window + c, start, [](const float* p) { return vld1q_f32(p); }));
    for (; c < a.channels; ++c) y[c] = vgetq_lane_f32(PoolWindow<op>(a, window + c, start, [](const float* p) { return vdupq_n_f32(*p); }), 0);
  }
}

void MaxPoolF32(const PoolF32Args* args) { Pool<Greater>(*args, -__builtin_inff()); }
void SumPoolF32(const PoolF32Args* args) { Pool<Plus>(*args, 0.0f); }

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::PoolKernels sterna_pool_neon;
const sterna::PoolKernels sterna_pool_neon = {"pool/neon", sterna::Max, sterna::Sum, sterna::MaxPoolF32, sterna::SumPoolF32};
}
