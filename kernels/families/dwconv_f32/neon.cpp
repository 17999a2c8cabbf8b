// dwconv_f32/neon: one output row of a float depthwise convolution for every 64-bit Arm core.
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//
// 3x3: 4 channels at a time, whose 9 weight vectors stay in registers along the row; two output pixels at stride 1 share the columns
// that both read (12 loads instead of 18). 9 fmla and 6 loads a pixel for 36 products; fused. Within ErrorBoundF32(9).
// Pixels at the borders, and every other kernel size, find the pixel under each tap. Registers: 9 weights, 2 accumulators, 6 of the
// epilogue. The weights are not padded: the last channels % 4 are read one by one.
#include <arm_neon.h>

#include "kernel.h"
#include "isa/arm/epilogue_f32_neon.h"
#include "isa/arm/interior_neon.h"

namespace sterna {
namespace {

// Channels [c, c + epilogue.count) of output pixel j, any kernel. kWhole: there are 4.
template <bool kWhole>
inline __attribute__((always_inline)) void AnyPixel(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, size_t j, size_t c) {
  const int64_t left = static_cast<int64_t>(j * args->stride_w) - args->pad_left, dilation = static_cast<int64_t>(args->dilation_w);
  const float* w = args->w + c;
  float32x4_t acc = vdupq_n_f32(0.0f);
  for (size_t kh = 0; kh < args->kernel_h; ++kh) {
    const float* row = args->rows[kh] + c;
    int64_t x = left;
    for (size_t kw = 0; kw < args->kernel_w; ++kw, x += dilation, w += args->channels) {
      const bool outside = static_cast<uint64_t>(x) >= args->x_width;  // on either side
      const float* pixel = outside ? args->zero_pixel + c : row + static_cast<size_t>(x) * args->x_stride;
      // Lanes past the last channel may hold NaN; they are not stored.
      acc = vfmaq_f32(acc, vld1q_f32(pixel), kWhole ? vld1q_f32(w) : LoadSomeF32(w, epilogue.count));
    }
  }
  FinishF32Neon(epilogue, acc, j, args->y + j * args->y_stride + c);
}

// Output pixels [begin, end).
void AnyPixels(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, size_t begin, size_t end, size_t c) {
  for (size_t j = begin; j < end; ++j) epilogue.count >= 4 ? AnyPixel<true>(args, epilogue, j, c) : AnyPixel<false>(args, epilogue, j, c);
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

// Where a block of 4 channels is along the row.
struct Cursor {
  const float *x0, *x1, *x2;
  float* y;
  size_t j;
};

template <int P, int S>
inline __attribute__((always_inline)) void Pixels3x3(const EpilogueF32Neon& epilogue, size_t x_stride, size_t y_stride, const float32x4_t (&w)[9],
                                                     Cursor* at) {
  float32x4_t acc[P];
  Multiply3x3<P, S>(acc, {at->x0, at->x1, at->x2}, x_stride, w);
  for (size_t p = 0; p < P; ++p) FinishF32Neon(epilogue, acc[p], at->j + p, at->y + p * y_stride);
  at->x0 += P * S * x_stride, at->x1 += P * S * x_stride, at->x2 += P * S * x_stride;
  at->y += P * y_stride;
  at->j += P;
}

template <int S>
void Interior3x3(const DwConvF32Args* args, const EpilogueF32Neon& epilogue, const InteriorNeon& interior, size_t c) {
  float32x4_t w[9];
  for (size_t t = 0; t < 9; ++t) w[t] = LoadSomeF32(args->w + t * args->channels + c, epilogue.count);
  const size_t x_stride = args->x_stride, y_stride = args->y_stride;
  const size_t offset = (interior.begin * S - static_cast<size_t>(args->pad_left)) * x_stride + c;
  Cursor at{args->rows[0] + offset, args->rows[1] + offset, args->rows[2] + offset, args->y + interior.begin * y_stride + c, interior.begin};
  size_t count = interior.end - interior.begin;
  for (; count >= 2; count -= 2) Pixels3x3<2, S>(epilogue, x_stride, y_stride, w, &at);
  if (count > 0) Pixels3x3<1, S>(epilogue, x_stride, y_stride, w, &at);
}

void Run(const DwConvF32Args* args) {
  const InteriorNeon interior = InteriorOf(args);
  for (size_t c = 0; c < args->channels; c += 4) {
    const EpilogueF32Neon epilogue = MakeEpilogueF32Neon(args->epilogue, c, args->channels - c);
    AnyPixels(args, epilogue, 0, interior.begin, c);
    if (interior.begin < interior.end) args->stride_w == 1 ? Interior3x3<1>(args, epilogue, interior, c) : Interior3x3<2>(args, epilogue, interior, c);
    AnyPixels(args, epilogue, interior.end, args->y_width, c);
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_neon;
const sterna::DwConvF32Kernel sterna_dwconv_f32_neon = {"dwconv_f32/neon", sterna::Run};
}
