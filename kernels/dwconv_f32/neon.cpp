// dwconv_f32/neon: one output row of a float depthwise convolution for every 64-bit Arm core.
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//
// 3x3: 4 channels at a time, whose 9 weight vectors stay in registers along the row; two output pixels at stride 1 share the columns
// that both read (12 loads instead of 18). 9 fmla and 6 loads a pixel for 36 products; fused, so |error| <= 9 * eps * sum |x * w|.
// Pixels at the borders, and every other kernel size, find the pixel under each tap. Registers: 9 weights, 2 accumulators, 6 of the
// epilogue. The weights are not padded: the last channels % 4 are read one by one.
#include <arm_neon.h>

#include "../arm/epilogue_f32_neon.h"

namespace sterna {
namespace {

// The pixel of `row` under tap `kw` of output pixel j, at channel c.
inline const float* PixelUnder(const DwConvF32Args* args, const float* row, size_t j, size_t kw, size_t c) {
  const int64_t x = static_cast<int64_t>(j * args->stride_w + kw * args->dilation_w) - args->pad_left;
  const bool outside = x < 0 || x >= static_cast<int64_t>(args->x_width);
  return (outside ? args->zero_pixel : row + static_cast<size_t>(x) * args->x_stride) + c;
}

// Channels [c, c + epilogue.count) of output pixel j, any kernel.
void AnyPixel(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, size_t j, size_t c) {
  const float* w = args->w + c;
  float32x4_t acc = vdupq_n_f32(0.0f);
  for (size_t kh = 0; kh < args->kernel_h; ++kh) {
    for (size_t kw = 0; kw < args->kernel_w; ++kw, w += args->channels) {
      // Lanes past the last channel may hold NaN; they are not stored.
      acc = vfmaq_f32(acc, vld1q_f32(PixelUnder(args, args->rows[kh], j, kw, c)), LoadSomeF32(w, epilogue.count));
    }
  }
  FinishF32Neon(epilogue, acc, j, args->y + j * args->y_stride + c);
}

// P neighbouring output pixels of a 3x3 kernel with stride S. `x`: the three rows, at the first pixel's left column.
template <int P, int S>
inline __attribute__((always_inline)) void Multiply3x3(float32x4_t (&acc)[P], const float* const (&x)[3], size_t x_stride, const float32x4_t (&w)[9]) {
#pragma GCC unroll 9
  for (int t = 0; t < 9; ++t) {
    for (int p = 0; p < P; ++p) {
      const float32x4_t v = vld1q_f32(x[t / 3] + static_cast<size_t>(p * S + t % 3) * x_stride);
      acc[p] = t == 0 ? vmulq_f32(v, w[t]) : vfmaq_f32(acc[p], v, w[t]);
    }
  }
}

template <int P, int S>
inline __attribute__((always_inline)) void Pixels3x3(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, size_t j, size_t c,
                                                     const float32x4_t (&w)[9]) {
  const size_t offset = (j * S - static_cast<size_t>(args->pad_left)) * args->x_stride + c;
  const float* const x[3] = {args->rows[0] + offset, args->rows[1] + offset, args->rows[2] + offset};
  float32x4_t acc[P];
  Multiply3x3<P, S>(acc, x, args->x_stride, w);
  for (size_t p = 0; p < P; ++p) FinishF32Neon(epilogue, acc[p], j + p, args->y + (j + p) * args->y_stride + c);
}

// Output pixels that no tap of leaves the image: [begin, end).
struct Interior {
  size_t begin, end;
};

Interior InteriorOf(const DwConvF32Args* args) {
  const bool fits = args->kernel_h == 3 && args->kernel_w == 3 && args->dilation_w == 1 && args->stride_w <= 2 && args->pad_left >= 0;
  const size_t pad = static_cast<size_t>(args->pad_left), stride = args->stride_w;
  if (!fits || args->x_width + pad < 3) return {0, 0};
  const size_t begin = (pad + stride - 1) / stride, end = (args->x_width + pad - 3) / stride + 1;
  if (begin >= args->y_width || begin >= end) return {0, 0};
  return {begin, end < args->y_width ? end : args->y_width};
}

template <int S>
void Interior3x3(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, const Interior& interior, size_t c) {
  float32x4_t w[9];
  for (size_t t = 0; t < 9; ++t) w[t] = LoadSomeF32(args->w + t * args->channels + c, epilogue.count);
  size_t j = interior.begin;
  for (; j + 2 <= interior.end; j += 2) Pixels3x3<2, S>(args, epilogue, j, c, w);
  if (j < interior.end) Pixels3x3<1, S>(args, epilogue, j, c, w);
}

void Run(const DwConvF32Args* args) {
  const Interior interior = InteriorOf(args);
  for (size_t c = 0; c < args->channels; c += 4) {
    const EpilogueF32Neon epilogue = MakeEpilogueF32Neon(args->epilogue, c, args->channels - c);
    for (size_t j = 0; j < interior.begin; ++j) AnyPixel(args, epilogue, j, c);
    if (interior.begin < interior.end) args->stride_w == 1 ? Interior3x3<1>(args, epilogue, interior, c) : Interior3x3<2>(args, epilogue, interior, c);
    for (size_t j = interior.end; j < args->y_width; ++j) AnyPixel(args, epilogue, j, c);
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_neon;
const sterna::DwConvF32Kernel sterna_dwconv_f32_neon = {"dwconv_f32/neon", sterna::Run};
}
