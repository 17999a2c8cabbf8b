// dwconv_f32/ref: the executable specification of one output row of a float depthwise convolution.
//
//   y[j][c] = epilogue(sum_{kh, kw} x[kh][j * stride - pad_left + kw * dilation][c] * w[kh][kw][c])
//
// Columns outside [0, x_width) read zero_pixel; rows outside the image come as pointers to zeros. Summed in order of kh, kw.
#include "kernel.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

const float* PixelUnder(const DwConvF32Args* args, const float* row, size_t j, size_t kw) {
  const int64_t x = static_cast<int64_t>(j * args->stride_w + kw * args->dilation_w) - args->pad_left;
  const bool outside = x < 0 || x >= static_cast<int64_t>(args->x_width);
  return outside ? args->zero_pixel : row + static_cast<size_t>(x) * args->x_stride;
}

void Run(const DwConvF32Args* args) {
  const EpilogueF32& e = args->epilogue;
  for (size_t j = 0; j < args->y_width; ++j) {
    float* y = args->y + j * args->y_stride;
    const float* residual = e.residual != nullptr ? e.residual + j * e.residual_stride : nullptr;
    for (size_t c = 0; c < args->channels; ++c) {
      const float* w = args->w + c;
      float acc = 0.0f;
      for (size_t kh = 0; kh < args->kernel_h; ++kh) {
        for (size_t kw = 0; kw < args->kernel_w; ++kw, w += args->channels) {
          acc += PixelUnder(args, args->rows[kh], j, kw)[c] * *w;
        }
      }
      y[c] = EpilogueOfF32(e, acc, c, residual != nullptr ? residual[c] : 0.0f);
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvF32Kernel sterna_dwconv_f32_ref;
const sterna::DwConvF32Kernel sterna_dwconv_f32_ref = {"dwconv_f32/ref", sterna::Run};
}
