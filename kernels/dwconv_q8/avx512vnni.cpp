// dwconv_q8/avx512vnni: one output row of a quantized depthwise convolution on vpdpbusd.
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//
// A column is three or four input rows of 64 channels, unpacked into [channel][row 0..3] in four vectors: one vpdpbusd a
// vector multiplies a whole column of the kernel, and a column serves each of the kernel_w outputs over it. Three paths:
//   3 wide, stride 1: three outputs are in flight; a column adds to all, completes one and starts one. 12 accumulators,
//     12 vectors of weights, 4 of the column. Per 64 channels of an output: 8 unpacks, 12 vpdpbusd, 22 to requantize.
//   3 wide, stride 2: the last column of an output is the first of the next. 4 accumulators, 12 weights, 8 columns.
//   all others (any height, width, stride, dilation): columns go to scratch, at most 4 rows high; then outputs read them.
// Bit-equal to ref for all inputs. Preconditions: pixels may be read up to 63 bytes past the last channel; packed by Pack.
#include <immintrin.h>

#include "../x86/requant_avx512.h"
#include "pack_x86.h"

namespace sterna {
namespace {

constexpr size_t kLanes = 4, kDepth = 4, kBlock = 64;

DwShape ShapeOf(size_t channels, size_t kernel_h, size_t kernel_w) { return {channels, kernel_h, kernel_w, kLanes, kDepth}; }

size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
  const DwShape s = ShapeOf(channels, kernel_h, kernel_w);
  return DwBlocks(s) * PackedDwBlockBytes<int8_t>(s);
}

bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  PackDw<int8_t>(ShapeOf(channels, kernel_h, kernel_w), w, bias, x_zp, packed);
  return true;
}

// The general path's scratch: columns for as many outputs as fit, for each group of four kernel rows.
constexpr size_t kColumnBytes = kBlock * kDepth;
constexpr size_t kMinColumns = 64;  // 16 KiB: L1 holds them beside the weights

size_t ColumnCapacity(size_t kernel_w) { return kernel_w > kMinColumns ? kernel_w : kMinColumns; }

size_t ScratchBytes(size_t, size_t kernel_h, size_t kernel_w, size_t, size_t) {
  return ColumnCapacity(kernel_w) * CeilDiv(kernel_h, kDepth) * kColumnBytes;
}

struct ColumnStore {
  uint8_t* bytes;
  size_t capacity;               // columns of a group
  size_t outputs;                // that the capacity suffices for
  bool shared;                   // outputs share adjacent columns; else each output has kernel_w of its own
  size_t output_step, tap_step;  // in columns
};

ColumnStore MakeColumnStore(const DwConvQ8Args& a) {
  const size_t capacity = ColumnCapacity(a.kernel_w), span = (a.kernel_w - 1) * a.dilation_w + 1;
  const size_t apart = capacity / a.kernel_w, sharing = span <= capacity ? (capacity - span) / a.stride_w + 1 : 0;
  uint8_t* bytes = static_cast<uint8_t*>(a.scratch);
  if (sharing >= apart) return {bytes, capacity, sharing, true, a.stride_w, a.dilation_w};
  return {bytes, capacity, apart, false, a.kernel_w, 1};
}

// Four vectors of 16 32-bit lanes: 64 channels of a column, of an accumulator, or of weights.
struct Quad {
  __m512i v[4];
};

inline Quad LoadQuad(const void* p) {
  const uint8_t* bytes = static_cast<const uint8_t*>(p);
  return {{_mm512_loadu_si512(bytes), _mm512_loadu_si512(bytes + 64), _mm512_loadu_si512(bytes + 128), _mm512_loadu_si512(bytes + 192)}};
}

inline void StoreQuad(void* p, const Quad& q) {
  uint8_t* bytes = static_cast<uint8_t*>(p);
  for (int j = 0; j < 4; ++j) _mm512_storeu_si512(bytes + j * 64, q.v[j]);
}

inline __attribute__((always_inline)) void MulAdd(Quad& acc, const Quad& column, const Quad& w) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) acc.v[j] = _mm512_dpbusd_epi32(acc.v[j], column.v[j], w.v[j]);
}

// Lane l of the result's vector j is lane j of vector l.
inline Quad TransposeLanes(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab_lo = _mm512_shuffle_i32x4(a, b, 0x44), ab_hi = _mm512_shuffle_i32x4(a, b, 0xee);
  const __m512i cd_lo = _mm512_shuffle_i32x4(c, d, 0x44), cd_hi = _mm512_shuffle_i32x4(c, d, 0xee);
  return {{_mm512_shuffle_i32x4(ab_lo, cd_lo, 0x88), _mm512_shuffle_i32x4(ab_lo, cd_lo, 0xdd),
           _mm512_shuffle_i32x4(ab_hi, cd_hi, 0x88), _mm512_shuffle_i32x4(ab_hi, cd_hi, 0xdd)}};
}

// 64 scales in the order of the vectors (pack_x86.h).
inline Quad LoadScales(const float* scale, size_t segments) {
  const size_t second = segments < 4 ? 16 : 0, third = segments < 2 ? 32 : 0;
  return TransposeLanes(_mm512_loadu_si512(scale), _mm512_loadu_si512(scale + second), _mm512_loadu_si512(scale + third),
                        _mm512_loadu_si512(scale + third + second));
}

// One block of channels of one row.
struct Block {
  const DwConvQ8Args* args;
  const Requant512* requant;
  size_t channel;          // the block's first
  const uint8_t* rows[4];  // of the current row group, at the block's first channel; rows past kernel_h repeat one that exists
  const uint8_t* zero;
  const int32_t* bias;
  const int8_t* w;
  Quad scale, scale_neg;
  uint8_t* y;
  const uint8_t* residual;
  size_t segment;  // outputs in a segment
  __mmask64 mask;  // channels of a segment that exist
};

void SetRows(Block& b, size_t group) {
  for (size_t i = 0; i < kDepth; ++i) {
    const size_t kh = group * kDepth + i;
    b.rows[i] = b.args->rows[kh < b.args->kernel_h ? kh : group * kDepth] + b.channel;
  }
}

inline const uint8_t* Pixel(const Block& b, int row, int64_t x) {
  const bool inside = static_cast<uint64_t>(x) < b.args->x_width;
  return inside ? b.rows[row] + static_cast<size_t>(x) * b.args->x_stride : b.zero;
}

// 64 / kSegments channels of the input pixel at column `c` of each segment.
template <int kSegments>
inline __attribute__((always_inline)) __m512i LoadPixels(const Block& b, int row, int64_t c) {
  const int64_t x = c - b.args->pad_left;
  const int64_t next = static_cast<int64_t>(b.segment * b.args->stride_w);
  if constexpr (kSegments == 1) {
    return _mm512_loadu_si512(Pixel(b, row, x));
  } else if constexpr (kSegments == 2) {
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(Pixel(b, row, x)));
    const __m256i second = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(Pixel(b, row, x + next)));
    return _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  } else {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(Pixel(b, row, x))));
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(Pixel(b, row, x + next))), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(Pixel(b, row, x + 2 * next))), 2);
    return _mm512_inserti32x4(v, _mm_loadu_si128(reinterpret_cast<const __m128i*>(Pixel(b, row, x + 3 * next))), 3);
  }
}

template <int kSegments, int kRows>
inline __attribute__((always_inline)) Quad LoadColumn(const Block& b, int64_t c) {
  const __m512i r0 = LoadPixels<kSegments>(b, 0, c), r1 = LoadPixels<kSegments>(b, 1, c), r2 = LoadPixels<kSegments>(b, 2, c);
  const __m512i r3 = kRows == 4 ? LoadPixels<kSegments>(b, 3, c) : r2;
  const __m512i lo01 = _mm512_unpacklo_epi8(r0, r1), hi01 = _mm512_unpackhi_epi8(r0, r1);
  const __m512i lo23 = _mm512_unpacklo_epi8(r2, r3), hi23 = _mm512_unpackhi_epi8(r2, r3);
  return {{_mm512_unpacklo_epi16(lo01, lo23), _mm512_unpackhi_epi16(lo01, lo23), _mm512_unpacklo_epi16(hi01, hi23),
           _mm512_unpackhi_epi16(hi01, hi23)}};
}

// Bytes of output `j` of each segment, as far as it exists.
template <int kSegments>
inline __attribute__((always_inline)) void StorePixels(const Block& b, size_t j, __m512i bytes) {
  const size_t stride = b.args->y_stride, width = b.args->y_width, next = b.segment;
  uint8_t* y = b.y + j * stride;
  if constexpr (kSegments == 1) {
    _mm512_mask_storeu_epi8(y, b.mask, bytes);
  } else if constexpr (kSegments == 2) {
    const __mmask32 mask = static_cast<__mmask32>(b.mask);
    _mm256_mask_storeu_epi8(y, mask, _mm512_castsi512_si256(bytes));
    if (j + next < width) _mm256_mask_storeu_epi8(y + next * stride, mask, _mm512_extracti64x4_epi64(bytes, 1));
  } else {
    const __mmask16 mask = static_cast<__mmask16>(b.mask);
    _mm_mask_storeu_epi8(y, mask, _mm512_castsi512_si128(bytes));
    if (j + next < width) _mm_mask_storeu_epi8(y + next * stride, mask, _mm512_extracti32x4_epi32(bytes, 1));
    if (j + 2 * next < width) _mm_mask_storeu_epi8(y + 2 * next * stride, mask, _mm512_extracti32x4_epi32(bytes, 2));
    if (j + 3 * next < width) _mm_mask_storeu_epi8(y + 3 * next * stride, mask, _mm512_extracti32x4_epi32(bytes, 3));
  }
}

__m512i LoadResidual(const Block& b, size_t segments, size_t j) {
  alignas(64) uint8_t bytes[64] = {};
  const size_t stride = b.requant->residual_stride, size = kBlock / segments;
  for (size_t s = 0; s < segments && j + s * b.segment < b.args->y_width; ++s) {
    const __m512i v = _mm512_maskz_loadu_epi8(b.mask, b.residual + (j + s * b.segment) * stride);
    _mm512_mask_storeu_epi8(bytes + s * size, b.mask, v);
  }
  return _mm512_load_si512(bytes);
}

// Tables and residuals: out of line, for they are rare here.
template <int kSegments>
__attribute__((noinline)) void FinishPixels(const Block& b, size_t j, __m512i q) {
  const __m512i residual = b.residual != nullptr ? LoadResidual(b, kSegments, j) : q;
  StorePixels<kSegments>(b, j, FinishBytes512(*b.requant, q, residual));
}

enum class Epilogue { kPlain, kSigned, kFull };

template <int kSegments, Epilogue kEpilogue>
inline __attribute__((always_inline)) void Emit(const Block& b, size_t j, const Quad& acc) {
  __m512 x[4];
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const __m512 scale = _mm512_castsi512_ps(b.scale.v[i]), scale_neg = _mm512_castsi512_ps(b.scale_neg.v[i]);
    x[i] = kEpilogue == Epilogue::kPlain ? Scale512(acc.v[i], scale) : ScaleSigned512(acc.v[i], scale, scale_neg);
  }
  const __m512i q = NarrowToU8(b.requant->mid, x[0], x[1], x[2], x[3]);
  if constexpr (kEpilogue == Epilogue::kFull) {
    FinishPixels<kSegments>(b, j, q);
  } else {
    StorePixels<kSegments>(b, j, q);
  }
}

template <int kSegments, Epilogue kEpilogue>
struct Paths {
  // A column of outputs j, j + 1 and j + 2, where `done` is output j's accumulator; it then becomes that of output j + 3.
  static inline __attribute__((always_inline)) void Advance(const Block& b, const Quad (&w)[3], size_t j, Quad& done, Quad& middle,
                                                            Quad& fresh) {
    const Quad column = LoadColumn<kSegments, 3>(b, static_cast<int64_t>(j + 2));
    MulAdd(done, column, w[2]);
    MulAdd(middle, column, w[1]);
    MulAdd(fresh, column, w[0]);
    Emit<kSegments, kEpilogue>(b, j, done);
    done = LoadQuad(b.bias);
  }

  static void Stride1(const Block& b) {
    const Quad w[3] = {LoadQuad(b.w), LoadQuad(b.w + kColumnBytes), LoadQuad(b.w + 2 * kColumnBytes)};
    Quad p = LoadQuad(b.bias), q = p, r = p;
    const Quad first = LoadColumn<kSegments, 3>(b, 0), second = LoadColumn<kSegments, 3>(b, 1);
    MulAdd(p, first, w[0]);
    MulAdd(p, second, w[1]);
    MulAdd(q, second, w[0]);
    size_t j = 0;
    for (; j + 3 <= b.segment; j += 3) {
      Advance(b, w, j, p, q, r);
      Advance(b, w, j + 1, q, r, p);
      Advance(b, w, j + 2, r, p, q);
    }
    if (j < b.segment) Advance(b, w, j, p, q, r);
    if (j + 1 < b.segment) Advance(b, w, j + 1, q, r, p);
  }

  static void Stride2(const Block& b) {
    const Quad w[3] = {LoadQuad(b.w), LoadQuad(b.w + kColumnBytes), LoadQuad(b.w + 2 * kColumnBytes)};
    Quad left = LoadColumn<kSegments, 3>(b, 0);
    for (size_t j = 0; j < b.segment; ++j) {
      Quad acc = LoadQuad(b.bias);
      MulAdd(acc, left, w[0]);
      MulAdd(acc, LoadColumn<kSegments, 3>(b, static_cast<int64_t>(2 * j + 1)), w[1]);
      left = LoadColumn<kSegments, 3>(b, static_cast<int64_t>(2 * j + 2));
      MulAdd(acc, left, w[2]);
      Emit<kSegments, kEpilogue>(b, j, acc);
    }
  }

  // Output j's column under tap t is at (j - j0) * output_step + t * tap_step.
  static void GeneralOutputs(const Block& b, const ColumnStore& store, size_t j0, size_t count) {
    const size_t groups = CeilDiv(b.args->kernel_h, kDepth);
    for (size_t i = 0; i < count; ++i) {
      Quad acc = LoadQuad(b.bias);
      const int8_t* w = b.w;
      for (size_t group = 0; group < groups; ++group) {
        const uint8_t* column = store.bytes + (group * store.capacity + i * store.output_step) * kColumnBytes;
        for (size_t t = 0; t < b.args->kernel_w; ++t, w += kColumnBytes, column += store.tap_step * kColumnBytes) {
          MulAdd(acc, LoadQuad(column), LoadQuad(w));
        }
      }
      Emit<kSegments, kEpilogue>(b, j0 + i, acc);
    }
  }

  static void FillColumns(Block b, const ColumnStore& store, size_t j0, size_t count) {
    const size_t stride = b.args->stride_w, dilation = b.args->dilation_w, kernel_w = b.args->kernel_w;
    for (size_t group = 0; group < CeilDiv(b.args->kernel_h, kDepth); ++group) {
      SetRows(b, group);
      uint8_t* out = store.bytes + group * store.capacity * kColumnBytes;
      if (store.shared) {
        const size_t columns = (count - 1) * stride + (kernel_w - 1) * dilation + 1;
        for (size_t c = 0; c < columns; ++c) StoreQuad(out + c * kColumnBytes, LoadColumn<kSegments, 4>(b, static_cast<int64_t>(j0 * stride + c)));
        continue;
      }
      for (size_t i = 0; i < count * kernel_w; ++i) {
        const size_t c = (j0 + i / kernel_w) * stride + i % kernel_w * dilation;
        StoreQuad(out + i * kColumnBytes, LoadColumn<kSegments, 4>(b, static_cast<int64_t>(c)));
      }
    }
  }

  static void General(const Block& b) {
    const ColumnStore store = MakeColumnStore(*b.args);
    for (size_t j = 0; j < b.segment; j += store.outputs) {
      const size_t left = b.segment - j, count = left < store.outputs ? left : store.outputs;
      FillColumns(b, store, j, count);
      GeneralOutputs(b, store, j, count);
    }
  }

  static void Run(const Block& b) {
    const DwConvQ8Args& a = *b.args;
    const bool small = a.kernel_w == 3 && a.kernel_h <= 3 && a.dilation_w == 1;
    if (small && a.stride_w == 1) return Stride1(b);
    if (small && a.stride_w == 2) return Stride2(b);
    General(b);
  }
};

template <int kSegments>
void RunBlock(const Block& b) {
  if (b.requant->table != nullptr || b.requant->residual != nullptr) return Paths<kSegments, Epilogue::kFull>::Run(b);
  if (b.requant->scale_neg != nullptr) return Paths<kSegments, Epilogue::kSigned>::Run(b);
  Paths<kSegments, Epilogue::kPlain>::Run(b);
}

void Run(const DwConvQ8Args* args) {
  const DwShape s = ShapeOf(args->channels, args->kernel_h, args->kernel_w);
  const Requant512 requant = MakeRequant512(args->requant);
  const uint8_t* packed = static_cast<const uint8_t*>(args->packed);
  for (size_t block = 0; block < DwBlocks(s); ++block, packed += PackedDwBlockBytes<int8_t>(s)) {
    const size_t channel = block * kBlock, segments = DwSegments(s, block), left = args->channels - channel;
    const float* scale_neg = requant.scale_neg != nullptr ? requant.scale_neg : requant.scale;
    Block b = {};
    b.args = args;
    b.requant = &requant;
    b.channel = channel;
    SetRows(b, 0);
    b.zero = args->zero_pixel + channel;
    b.bias = reinterpret_cast<const int32_t*>(packed);
    b.w = reinterpret_cast<const int8_t*>(packed + kColumnBytes);
    b.scale = LoadScales(requant.scale + channel, segments);
    b.scale_neg = LoadScales(scale_neg + channel, segments);
    b.y = args->y + channel;
    b.residual = requant.residual != nullptr ? requant.residual + channel : nullptr;
    b.segment = CeilDiv(args->y_width, segments);
    b.mask = ~__mmask64{0} >> (kBlock - (left < kBlock ? left : kBlock));
    if (segments == 1) RunBlock<1>(b);
    if (segments == 2) RunBlock<2>(b);
    if (segments == 4) RunBlock<4>(b);
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_avx512vnni = {"dwconv_q8/avx512vnni", sterna::PackedBytes, sterna::Pack,
                                                            sterna::ScratchBytes, sterna::Run};
}
