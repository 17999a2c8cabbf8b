// dwconv_q8/neon: one output row of a quantized depthwise convolution for ARMv8.0 (Cortex-A53, A72, A73), bit-equal to ref.
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//
// 3x3 of stride 1 or 2: 16 channels at a time, whose 9 weight vectors stay in registers along the row; two output pixels share the
// columns that both read (12 loads instead of 18 at stride 1). Taps are summed in pairs in 16 bits: a pixel takes 18 smull/smlal
// and 20 saddw for 144 products; counted with everything, 71 instructions. Registers: 9 weights, 8 accumulators, 4 pairs in 16 bits, the
// rest for pixels. Pixels at the borders, and every other kernel, go by pointers (general_neon.h).
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/interior_neon.h"
#include "general_neon.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
  return TapsOffsetDw(channels) + BlocksDw(channels) * kBlockDw * kernel_h * kernel_w;
}

bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  const size_t taps = kernel_h * kernel_w;
  PackBiasDw(channels, taps, w, bias, x_zp, packed);
  PackTapsDw(channels, taps, w, static_cast<int8_t*>(packed) + TapsOffsetDw(channels));
  return true;
}

size_t ScratchBytes(size_t, size_t kernel_h, size_t kernel_w, size_t, size_t) { return kernel_h * kernel_w * sizeof(void*); }

// P neighbouring output pixels of a 3x3 kernel with stride S, 16 channels. `x`: the three rows, at the first pixel's left column.
template <int P, int S>
inline __attribute__((always_inline)) void Multiply3x3(int32x4_t (&acc)[P][4], const int8_t* const (&x)[3], size_t x_stride, const int8x16_t (&w)[9]) {
  int16x8_t low[P], high[P];
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) {
#pragma GCC unroll 2
    for (int p = 0; p < P; ++p) {
      const int8x16_t v = vld1q_s8(x[t / 3] + static_cast<size_t>(p * S + t % 3) * x_stride);
      if (t % 2 == 0) {
        low[p] = vmull_s8(vget_low_s8(v), vget_low_s8(w[t]));
        high[p] = vmull_high_s8(v, w[t]);
      } else {
        low[p] = vmlal_s8(low[p], vget_low_s8(v), vget_low_s8(w[t]));
        high[p] = vmlal_high_s8(high[p], v, w[t]);
      }
      if (t % 2 == 1 || t == 8) AddWideDw(acc[p], low[p], high[p]);
    }
  }
}

// Where a block of 16 channels is along the row.
struct Cursor {
  const int8_t* x[3];
  size_t x_stride;
  const int32_t* bias;
  TargetNeon to;
  FinishNeon finish;
};

// The next P output pixels.
template <int P, int S>
inline __attribute__((always_inline)) void Pixels3x3(const RequantNeon& requant, const int8x16_t (&w)[9], Cursor* at) {
  int32x4_t acc[P][4];
  for (int p = 0; p < P; ++p) {
    for (int i = 0; i < 4; ++i) acc[p][i] = vld1q_s32(at->bias + 4 * i);
  }
  Multiply3x3<P, S>(acc, at->x, at->x_stride, w);
  FinishRowsNeon<P>(requant, acc, at->to, at->finish);
  for (const int8_t*& x : at->x) x += P * S * at->x_stride;
  at->to.y += P * at->to.y_stride;
  at->to.row += P;
}

template <int S>
void Interior3x3(const DwConvQ8Args* args, const RequantNeon& requant, const InteriorNeon& interior, const int8_t* weights) {
  const size_t first = (interior.begin * S - static_cast<size_t>(args->pad_left)) * args->x_stride;
  for (size_t c = 0; c < args->channels; c += kBlockDw, weights += 9 * kBlockDw) {
    int8x16_t w[9];
    for (int t = 0; t < 9; ++t) w[t] = vld1q_s8(weights + static_cast<size_t>(t) * kBlockDw);
    const auto row = [&](int kh) { return reinterpret_cast<const int8_t*>(args->rows[kh]) + first + c; };
    Cursor at{{row(0), row(1), row(2)}, args->x_stride, static_cast<const int32_t*>(args->packed) + c, TargetDw(args, interior.begin, c),
              FinishOfDw(args, c)};
    size_t count = interior.end - interior.begin;
    for (; count >= 2; count -= 2) Pixels3x3<2, S>(requant, w, &at);
    if (count > 0) Pixels3x3<1, S>(requant, w, &at);
  }
}

void Run(const DwConvQ8Args* args) {
  const RequantNeon requant = MakeRequantNeon(args->requant);
  const int8_t* w = static_cast<const int8_t*>(args->packed) + TapsOffsetDw(args->channels);
  const int8_t** taps = static_cast<const int8_t**>(args->scratch);
  const InteriorNeon interior = InteriorOf(args);
  for (size_t j = 0; j < interior.begin; ++j) GeneralPixelDw(args, requant, w, j, taps);
  if (interior.begin < interior.end) args->stride_w == 1 ? Interior3x3<1>(args, requant, interior, w) : Interior3x3<2>(args, requant, interior, w);
  for (size_t j = interior.end; j < args->y_width; ++j) GeneralPixelDw(args, requant, w, j, taps);
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_neon;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_neon = {"dwconv_q8/neon", sterna::PackedBytes, sterna::Pack, sterna::ScratchBytes, sterna::Run};
}
