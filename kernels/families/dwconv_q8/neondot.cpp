// dwconv_q8/neondot: one output row of a quantized depthwise convolution for ARMv8.2 with dot product, bit-equal to ref.
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//
// 3x3: the three rows of an input column are interleaved to [channel][row 0, 1, 2, 2] (8 zips for 16 channels; the fourth weight is
// 0), and one sdot per 4 channels multiplies a whole tap column. At stride 1 a column serves the three output pixels above it, whose
// accumulators rotate, and two output rows share the columns of four input rows (RunTwo); at stride 2 a column serves one or two
// pixels. Counted with the epilogue, per 16 channels of a pixel: 46 instructions for two rows at stride 1, where smull and saddw need 66;
// 81 at stride 2. Registers of one row: 12 of weights, 12 accumulators, 3 of pixels, 4 of zips. Other kernels go by pointers
// (general_neon.h), with weights packed as there.
//
// Packed 3x3 weights: bias and reach as in isa/arm/bias_neon.h, then int8 [blocks of 16 channels][tap column][16 channels][row 0, 1, 2, 0].
#include <arm_neon.h>

#include "kernel.h"
#include "general_neon.h"

namespace sterna {
namespace {

constexpr size_t kColumnBytes = 4 * kBlockDw;  // one tap column of 16 channels

bool Is3x3(size_t kernel_h, size_t kernel_w) { return kernel_h == 3 && kernel_w == 3; }

size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
  const size_t taps = Is3x3(kernel_h, kernel_w) ? 12 : kernel_h * kernel_w;
  return TapsOffsetDw(channels) + BlocksDw(channels) * kBlockDw * taps;
}

void PackColumns(size_t channels, const int8_t* w, int8_t* out) {
  for (size_t first = 0; first < channels; first += kBlockDw) {
    for (size_t kw = 0; kw < 3; ++kw) {
      for (size_t c = first; c < first + kBlockDw; ++c, out += 4) {
        for (size_t kh = 0; kh < 4; ++kh) out[kh] = c < channels && kh < 3 ? w[(kh * 3 + kw) * channels + c] : int8_t{0};
      }
    }
  }
}

bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp, void* packed) {
  const size_t taps = kernel_h * kernel_w;
  PackBiasDw(channels, taps, w, bias, x_zp, packed);
  int8_t* out = static_cast<int8_t*>(packed) + TapsOffsetDw(channels);
  Is3x3(kernel_h, kernel_w) ? PackColumns(channels, w, out) : PackTapsDw(channels, taps, w, out);
  return true;
}

size_t ScratchBytes(size_t, size_t kernel_h, size_t kernel_w, size_t, size_t) { return kernel_h * kernel_w * sizeof(void*); }

struct Weights {
  int8x16_t tap[3][4];  // [tap column][4 channels]
};

// One input column of 16 channels, interleaved: v[i] holds channels 4i..4i+3 of the three rows.
struct Column {
  int8x16_t v[4];
};

// Walks along the three rows, at one block of channels. Outside the image it reads zero_pixel.
struct Columns {
  const int8_t *row0, *row1, *row2, *zero;
  size_t x, x_width;       // x counts from -pad_left, modulo 2^64: outside is x >= x_width on either side
  size_t offset, x_stride;  // offset = x * x_stride, modulo 2^64
};

inline Columns MakeColumns(const DwConvQ8Args* args, size_t c) {
  const auto at = [c](const uint8_t* p) { return reinterpret_cast<const int8_t*>(p + c); };
  const size_t x = size_t{0} - static_cast<size_t>(static_cast<int64_t>(args->pad_left));
  return {at(args->rows[0]), at(args->rows[1]), at(args->rows[2]), at(args->zero_pixel), x, args->x_width, x * args->x_stride, args->x_stride};
}

inline __attribute__((always_inline)) Column ReadColumn(const Columns& from) {
  int8x16_t r0, r1, r2;
  if (__builtin_expect(from.x < from.x_width, 1)) {
    r0 = vld1q_s8(from.row0 + from.offset), r1 = vld1q_s8(from.row1 + from.offset), r2 = vld1q_s8(from.row2 + from.offset);
  } else {
    r0 = r1 = r2 = vld1q_s8(from.zero);
  }
  const int16x8_t top0 = vreinterpretq_s16_s8(vzip1q_s8(r0, r1)), top1 = vreinterpretq_s16_s8(vzip2q_s8(r0, r1));
  const int16x8_t end0 = vreinterpretq_s16_s8(vzip1q_s8(r2, r2)), end1 = vreinterpretq_s16_s8(vzip2q_s8(r2, r2));
  return {{vreinterpretq_s8_s16(vzip1q_s16(top0, end0)), vreinterpretq_s8_s16(vzip2q_s16(top0, end0)),
           vreinterpretq_s8_s16(vzip1q_s16(top1, end1)), vreinterpretq_s8_s16(vzip2q_s16(top1, end1))}};
}

inline __attribute__((always_inline)) void Move(Columns* columns, size_t by) {
  columns->x += by;
  columns->offset += by * columns->x_stride;
}

inline __attribute__((always_inline)) void MultiplyColumn(int32x4_t (&acc)[1][4], const Column& x, const int8x16_t (&tap)[4]) {
  for (int i = 0; i < 4; ++i) acc[0][i] = vdotq_s32(acc[0][i], x.v[i], tap[i]);
}

// What does not change along a row, for one block of 16 channels; `to` moves.
struct Block {
  const RequantNeon* requant;
  const int32_t* bias;
  TargetNeon to;
  FinishNeon finish;
};

inline __attribute__((always_inline)) void LoadBias(const Block& block, int32x4_t (&acc)[1][4]) {
  for (int i = 0; i < 4; ++i) acc[0][i] = vld1q_s32(block.bias + 4 * i);
}

inline __attribute__((always_inline)) void Finish(Block* block, const int32x4_t (&acc)[1][4]) {
  FinishRowsNeon<1>(*block->requant, acc, block->to, block->finish);
  block->to.y += block->to.y_stride;
  ++block->to.row;
}

// Stride 1. An input column is tap 2 of the oldest of three pixels, tap 1 of the middle one and tap 0 of the newest.
inline __attribute__((always_inline)) void StepStride1(Columns* columns, const Block& block, const Weights& w, int32x4_t (&oldest)[1][4],
                                                       int32x4_t (&middle)[1][4], int32x4_t (&newest)[1][4]) {
  const Column x = ReadColumn(*columns);
  Move(columns, 1);
  LoadBias(block, newest);
  MultiplyColumn(oldest, x, w.tap[2]);
  MultiplyColumn(middle, x, w.tap[1]);
  MultiplyColumn(newest, x, w.tap[0]);
}

void RowStride1(Columns columns, Block block, const Weights& w, size_t y_width) {
  int32x4_t a[1][4], b[1][4], c[1][4];
  LoadBias(block, a);
  LoadBias(block, b);
  // The first two columns finish nothing: whatever they add to the two pixels before the row is dropped.
  StepStride1(&columns, block, w, a, b, c);
  StepStride1(&columns, block, w, b, c, a);
  for (size_t left = y_width;;) {
    StepStride1(&columns, block, w, c, a, b);
    Finish(&block, c);
    if (--left == 0) return;
    StepStride1(&columns, block, w, a, b, c);
    Finish(&block, a);
    if (--left == 0) return;
    StepStride1(&columns, block, w, b, c, a);
    Finish(&block, b);
    if (--left == 0) return;
  }
}

// Stride 2: the right column of a pixel is the left one of the next.
void RowStride2(Columns columns, Block block, const Weights& w, size_t y_width) {
  Column left = ReadColumn(columns);
  for (size_t j = 0; j < y_width; ++j) {
    int32x4_t acc[1][4];
    LoadBias(block, acc);
    MultiplyColumn(acc, left, w.tap[0]);
    Move(&columns, 1);
    MultiplyColumn(acc, ReadColumn(columns), w.tap[1]);
    Move(&columns, 1);
    left = ReadColumn(columns);
    MultiplyColumn(acc, left, w.tap[2]);
    Finish(&block, acc);
  }
}

// Any stride and dilation.
void RowStrided(Columns columns, Block block, const Weights& w, const DwConvQ8Args* args) {
  for (size_t j = 0; j < args->y_width; ++j) {
    Columns tap = columns;
    int32x4_t acc[1][4];
    LoadBias(block, acc);
    for (int kw = 0; kw < 3; ++kw) {
      MultiplyColumn(acc, ReadColumn(tap), w.tap[kw]);
      Move(&tap, args->dilation_w);
    }
    Finish(&block, acc);
    Move(&columns, args->stride_w);
  }
}

// One output row of the 16 channels from `c` on.
__attribute__((noinline)) void Block3x3(const DwConvQ8Args* args, const RequantNeon& requant, size_t c) {
  const int8_t* packed = static_cast<const int8_t*>(args->packed) + TapsOffsetDw(args->channels) + c / kBlockDw * 3 * kColumnBytes;
  Weights w;
  for (int i = 0; i < 12; ++i) w.tap[i / 4][i % 4] = vld1q_s8(packed + 16 * i);
  const Columns columns = MakeColumns(args, c);
  const Block block{&requant, static_cast<const int32_t*>(args->packed) + c, TargetDw(args, 0, c), FinishOfDw(args, c)};
  if (args->dilation_w == 1 && args->stride_w == 1) {
    RowStride1(columns, block, w, args->y_width);
  } else if (args->dilation_w == 1 && args->stride_w == 2) {
    RowStride2(columns, block, w, args->y_width);
  } else {
    RowStrided(columns, block, w, args);
  }
}

void Run(const DwConvQ8Args* args) {
  if (args->y_width == 0) return;
  const RequantNeon requant = MakeRequantNeon(args->requant);
  if (Is3x3(args->kernel_h, args->kernel_w)) {
    for (size_t c = 0; c < args->channels; c += kBlockDw) Block3x3(args, requant, c);
    return;
  }
  const int8_t* w = static_cast<const int8_t*>(args->packed) + TapsOffsetDw(args->channels);
  for (size_t j = 0; j < args->y_width; ++j) GeneralPixelDw(args, requant, w, j, static_cast<const int8_t**>(args->scratch));
}


// Two output rows at stride 1 read four input rows. Interleaved to [channel][row 0, 1, 2, 3], a column serves both: the lower row's
// weights are [0, w0, w1, w2]. 8 channels at a time, so that the accumulators of three pixels of both rows, and both rows' weights, stay
// in registers: 12 + 12, 4 of pixels, 3 of the epilogue. Per column, 16 outputs: 4 loads, 4 zips, 12 sdot.
using Accumulators = int32x4_t[2][2];  // [row][4 channels]

// Input columns that follow each other in memory, or (step 0) that are all zero_pixel.
struct Stretch {
  const uint8_t* rows[4];
  size_t step, columns;
};

// All the columns of a row: the left padding, the image, the right padding.
struct Stretches {
  Stretch part[3];
};

Stretches StretchesOf(const DwConvQ8Args* upper, const DwConvQ8Args* lower) {
  const int64_t total = static_cast<int64_t>(upper->y_width) + 2, pad = upper->pad_left, width = static_cast<int64_t>(upper->x_width);
  const auto within = [total](int64_t v) { return v < 0 ? 0 : v < total ? v : total; };
  const int64_t begin = within(pad), end = within(pad + width);  // of the image, in columns
  const uint8_t* zero = upper->zero_pixel;
  const size_t skipped = pad < 0 ? static_cast<size_t>(-pad) * upper->x_stride : 0;
  const auto row = [&](const uint8_t* p) { return p + skipped; };
  const auto count = [](int64_t v) { return static_cast<size_t>(v < 0 ? 0 : v); };
  return {{{{zero, zero, zero, zero}, 0, count(begin)},
           {{row(upper->rows[0]), row(upper->rows[1]), row(upper->rows[2]), row(lower->rows[2])}, upper->x_stride, count(end - begin)},
           {{zero, zero, zero, zero}, 0, count(total - (end < begin ? begin : end))}}};
}

// Where 8 channels are along the rows.
struct Walk {
  const Stretches* stretches;
  size_t c;
  const int8_t *row0, *row1, *row2, *row3;
  size_t offset, step, left;  // left: columns of this stretch
  int next;                   // stretch

  // Goes on to the next stretch that has columns; false at the end of the row.
  inline __attribute__((always_inline)) bool Turn() {
    while (next < 3 && stretches->part[next].columns == 0) ++next;
    if (next == 3) return false;
    const Stretch& s = stretches->part[next++];
    const auto at = [this](const uint8_t* p) { return reinterpret_cast<const int8_t*>(p) + c; };
    row0 = at(s.rows[0]), row1 = at(s.rows[1]), row2 = at(s.rows[2]), row3 = at(s.rows[3]);
    offset = 0, step = s.step, left = s.columns;
    return true;
  }
  inline __attribute__((always_inline)) bool Advance() {
    offset += step;
    return __builtin_expect(--left != 0, 1) || Turn();
  }
};

struct PairWeights {
  int8x16_t upper[3][2], lower[3][2];  // [tap column][4 channels]
};

inline __attribute__((always_inline)) void LoadPairWeights(const int8_t* packed, PairWeights* w) {
  for (int kw = 0; kw < 3; ++kw) {
    for (int i = 0; i < 2; ++i) {
      w->upper[kw][i] = vld1q_s8(packed + kColumnBytes * kw + 16 * i);
      w->lower[kw][i] = vreinterpretq_s8_u32(vshlq_n_u32(vreinterpretq_u32_s8(w->upper[kw][i]), 8));
    }
  }
}

// As StepStride1, for both rows.
inline __attribute__((always_inline)) void StepPair(const Walk& at, const int32_t*& bias, const PairWeights& w, Accumulators& oldest,
                                                    Accumulators& middle, Accumulators& newest) {
  const int8x16_t r0 = vld1q_s8(at.row0 + at.offset), r1 = vld1q_s8(at.row1 + at.offset), r2 = vld1q_s8(at.row2 + at.offset),
                  r3 = vld1q_s8(at.row3 + at.offset);
  const int16x8_t top = vreinterpretq_s16_s8(vzip1q_s8(r0, r1)), end = vreinterpretq_s16_s8(vzip1q_s8(r2, r3));
  const int8x16_t column[2] = {vreinterpretq_s8_s16(vzip1q_s16(top, end)), vreinterpretq_s8_s16(vzip2q_s16(top, end))};
  LoadBiasNeon(bias, newest[0]);
  LoadBiasNeon(bias, newest[1]);
  for (int i = 0; i < 2; ++i) {
    oldest[0][i] = vdotq_s32(oldest[0][i], column[i], w.upper[2][i]), oldest[1][i] = vdotq_s32(oldest[1][i], column[i], w.lower[2][i]);
    middle[0][i] = vdotq_s32(middle[0][i], column[i], w.upper[1][i]), middle[1][i] = vdotq_s32(middle[1][i], column[i], w.lower[1][i]);
    newest[0][i] = vdotq_s32(newest[0][i], column[i], w.upper[0][i]), newest[1][i] = vdotq_s32(newest[1][i], column[i], w.lower[0][i]);
  }
}

// Where a pixel of both rows goes.
struct PairTarget {
  int8_t *upper, *lower;
  size_t offset, y_stride;
};

template <FinishNeon kFinish>
inline __attribute__((always_inline)) void FinishPair(const NarrowNeon& mid, const float32x4_t (&scale)[2], const Accumulators& acc, PairTarget* to) {
  for (int r = 0; r < 2; ++r) {
    int8x8_t v = vqmovn_s16(WordsNeon<kFinish>(mid, acc[r], scale, 0));
    if (kFinish == FinishNeon::kClamp) v = vmin_s8(vmax_s8(v, vget_low_s8(mid.lo)), vget_low_s8(mid.hi));
    vst1_s8((r == 0 ? to->upper : to->lower) + to->offset, v);
  }
  to->offset += to->y_stride;
}

// 8 channels of both rows.
template <FinishNeon kFinish>
__attribute__((noinline)) void RowPair(Walk at, const RequantNeon& requant, const int32_t* bias, const float* scales, const int8_t* packed, PairTarget to) {
  const NarrowNeon mid = requant.mid;
  PairWeights w;
  LoadPairWeights(packed, &w);
  float32x4_t scale[2];
  LoadScalesNeon(scales, scale);
  Accumulators x, y, z;
  for (int r = 0; r < 2; ++r) LoadBiasNeon(bias, x[r]), LoadBiasNeon(bias, y[r]);
  at.Turn();
  // The first two columns finish nothing.
  StepPair(at, bias, w, x, y, z);
  at.Advance();
  StepPair(at, bias, w, y, z, x);
  at.Advance();
  for (;;) {
    StepPair(at, bias, w, z, x, y);
    FinishPair<kFinish>(mid, scale, z, &to);
    if (!at.Advance()) return;
    StepPair(at, bias, w, x, y, z);
    FinishPair<kFinish>(mid, scale, x, &to);
    if (!at.Advance()) return;
    StepPair(at, bias, w, y, z, x);
    FinishPair<kFinish>(mid, scale, y, &to);
    if (!at.Advance()) return;
  }
}

// 16 channels of both rows, from `c` on.
template <FinishNeon kFinish>
void BlockPair(const DwConvQ8Args* upper, const DwConvQ8Args* lower, const RequantNeon& requant, const Stretches& stretches, size_t c) {
  const int8_t* packed = static_cast<const int8_t*>(upper->packed) + TapsOffsetDw(upper->channels) + c / kBlockDw * 3 * kColumnBytes;
  for (size_t half = c; half < c + kBlockDw; half += 8, packed += 32) {
    const Walk walk{&stretches, half, nullptr, nullptr, nullptr, nullptr, 0, 0, 0, 0};
    const auto target = [half](const DwConvQ8Args* args) { return reinterpret_cast<int8_t*>(args->y + half); };
    RowPair<kFinish>(walk, requant, static_cast<const int32_t*>(upper->packed) + half, upper->requant.scale + half, packed,
                     {target(upper), target(lower), 0, upper->y_stride});
  }
}

void RunTwo(const DwConvQ8Args* upper, const DwConvQ8Args* lower) {
  const bool shared = Is3x3(upper->kernel_h, upper->kernel_w) && upper->stride_w == 1 && upper->dilation_w == 1 && upper->y_width > 0 &&
                      upper->rows[1] == lower->rows[0] && upper->rows[2] == lower->rows[1];
  if (!shared) return Run(upper), Run(lower);
  const RequantNeon requant = MakeRequantNeon(upper->requant), below = MakeRequantNeon(lower->requant);
  const Stretches stretches = StretchesOf(upper, lower);
  for (size_t c = 0; c < upper->channels; c += kBlockDw) {
    switch (FinishOfDw(upper, c)) {
      case FinishNeon::kBounded: BlockPair<FinishNeon::kBounded>(upper, lower, requant, stretches, c); break;
      case FinishNeon::kSaturate: BlockPair<FinishNeon::kSaturate>(upper, lower, requant, stretches, c); break;
      case FinishNeon::kClamp: BlockPair<FinishNeon::kClamp>(upper, lower, requant, stretches, c); break;
      default: Block3x3(upper, requant, c), Block3x3(lower, below, c); break;
    }
  }
}

}  // namespace
}  // namespace sterna

extern "C" {
extern const sterna::DwConvQ8Kernel sterna_dwconv_q8_neondot;
const sterna::DwConvQ8Kernel sterna_dwconv_q8_neondot = {"dwconv_q8/neondot", sterna::PackedBytes,  sterna::Pack,
                                                         sterna::ScratchBytes, sterna::Run, sterna::RunTwo};
}
