// dwconv_q8/ref: the executable specification of one output row of a quantized depthwise convolution.
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//
// Columns outside [0, x_width) read zero_pixel, whose bytes are x_zp; rows outside the image come as pointers to such bytes.
// It computes the formula as it stands; the other kernels add -x_zp * sum w[.][.][c] to the bias when they pack.
// Packed layout: int32 x_zp, int32 bias[channels], then int8 w[kernel_h][kernel_w][channels].
#include "kernel.h"
#include "families/typed_reference.h"
#include "sterna/requant.h"

namespace sterna {
namespace {

size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
  return (1 + channels) * sizeof(int32_t) + channels * kernel_h * kernel_w;
}

bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  int32_t* header = static_cast<int32_t*>(packed);
  int8_t* weights = reinterpret_cast<int8_t*>(header + 1 + channels);
  header[0] = x_zp;
  for (size_t c = 0; c < channels; ++c) header[1 + c] = bias != nullptr ? bias[c] : 0;
  for (size_t i = 0; i < kernel_h * kernel_w * channels; ++i) weights[i] = w[i];
  return true;
}

size_t ScratchBytes(size_t, size_t, size_t, size_t, size_t) { return 0; }

// The input pixel under tap `kw` of output pixel `j`, in input row `row`.
template <typename T>
const T* PixelUnder(const DwConvQ8Args* args, const uint8_t* row, size_t j, size_t kw) {
  const int64_t x = static_cast<int64_t>(j * args->stride_w + kw * args->dilation_w) - args->pad_left;
  const bool outside = x < 0 || x >= static_cast<int64_t>(args->x_width);
  return reinterpret_cast<const T*>(outside ? args->zero_pixel : row + static_cast<size_t>(x) * args->x_stride);
}

template <typename T>
int32_t Accumulate(const DwConvQ8Args* args, size_t j, size_t c) {
  const int32_t* bias = static_cast<const int32_t*>(args->packed) + 1;
  const int32_t x_zp = bias[-1];
  const int8_t* w = reinterpret_cast<const int8_t*>(bias + args->channels) + c;
  int32_t acc = 0;
  for (size_t kh = 0; kh < args->kernel_h; ++kh) {
    for (size_t kw = 0; kw < args->kernel_w; ++kw, w += args->channels) {
      acc += (static_cast<int32_t>(PixelUnder<T>(args, args->rows[kh], j, kw)[c]) - x_zp) * *w;
    }
  }
  return static_cast<int32_t>(static_cast<uint32_t>(acc) + static_cast<uint32_t>(bias[c]));
}

template <typename T>
void Run(const DwConvQ8Args* args) {
  const RequantQ8& r = args->requant;
  for (size_t j = 0; j < args->y_width; ++j) {
    T* y = reinterpret_cast<T*>(args->y + j * args->y_stride);
    const T* residual = reinterpret_cast<const T*>(r.residual != nullptr ? r.residual + j * r.residual_stride : nullptr);
    for (size_t c = 0; c < args->channels; ++c) {
      y[c] = RequantizeQ8<T>(r, Accumulate<T>(args, j, c), c, residual != nullptr ? residual[c] : T{0});
    }
  }
}

}  // namespace

STERNA_TYPED_REFERENCE(DwConvQ8Kernel, dwconv_q8, PackedBytes, Pack, ScratchBytes, Run<T>)

}  // namespace sterna
