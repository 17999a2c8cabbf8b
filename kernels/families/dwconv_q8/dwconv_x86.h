// One output row of a quantized depthwise convolution, over a vector type V (isa/x86/q8_*.h).
//
//   y[j][c] = epilogue(bias[c] + sum_{kh, kw} (x[kh][j * stride - pad_left + kw * dilation][c] - x_zp) * w[kh][kw][c])
//                                                                                  bit-equal to ref for all inputs
//
// A column is V::kDwDepth input rows of one register of channels, unpacked into [channel][row] in four vectors: one dot
// product a vector multiplies a whole column of the kernel. The paths:
//   3 x 3, stride 1: three outputs are in flight; a column adds to all, completes one and starts one.
//   3 x 3, stride 2: the last column of an output is the first of the next.
//   both, where V::kDwReloads because there are 16 registers: V::kDwOutputs outputs at a time; the next ones load again.
//   all others (any height, width, stride, dilation): columns go to scratch, and outputs read them from there.
// Preconditions: pixels may be read up to 63 bytes past the last channel; packed by Pack; scratch of ScratchBytes.
#pragma once
#include "kernel.h"
#include "isa/x86/requant_x86.h"
#include "pack_x86.h"

namespace sterna {
namespace {

enum class Epilogue { kPlain /* scales below one */, kSigned /* PRelu, large scales */, kFull };

template <typename V>
struct DwConvQ8 {
  using Int = typename V::Int;
  using Quad = typename V::Quad;
  using Weight = typename V::DwWeight;
  static constexpr size_t kDepth = V::kDwDepth, kBlock = V::kBytes;
  static constexpr size_t kQuadBytes = sizeof(Quad);                   // of a column, or of accumulators
  static constexpr size_t kTapBytes = kBlock * kDepth * sizeof(Weight);  // the weights of one column of the kernel
  static constexpr size_t kSmallGroups = CeilDiv(3, kDepth);
  static constexpr size_t kMinColumns = 64;  // 16 KiB or less: L1 holds them beside the weights

  static DwShape ShapeOf(size_t channels, size_t kernel_h, size_t kernel_w) {
    return {channels, kernel_h, kernel_w, kBlock / 16, kDepth};
  }

  static size_t PackedBytes(size_t channels, size_t kernel_h, size_t kernel_w) {
    const DwShape s = ShapeOf(channels, kernel_h, kernel_w);
    return DwBlocks(s) * PackedDwBlockBytes<Weight>(s);
  }

  static bool Pack(size_t channels, size_t kernel_h, size_t kernel_w, const int8_t* w, const int32_t* bias, int32_t x_zp,
                   void* packed) {
    PackDw<Weight>(ShapeOf(channels, kernel_h, kernel_w), w, bias, x_zp, packed);
    return true;
  }

  // The columns that scratch has room for, for each group of kDepth kernel rows.
  static size_t ColumnCapacity(size_t kernel_w) { return kernel_w > kMinColumns ? kernel_w : kMinColumns; }

  static size_t ScratchBytes(size_t, size_t kernel_h, size_t kernel_w, size_t, size_t) {
    return ColumnCapacity(kernel_w) * CeilDiv(kernel_h, kDepth) * kQuadBytes;
  }

  // One block of channels of one row. A copy in a local variable stays in registers, for no store can alias it.
  struct Block {
    const uint8_t* rows[4];  // at the block's first channel; past kernel_h, one that exists: its weights are zero
    const uint8_t* zero;
    size_t x_stride, x_width, segment_step;  // segment_step: input pixels from one segment to the next
    int64_t pad_left;
    const uint8_t* bias;
    const uint8_t* w;
    uint8_t* y;
    size_t y_stride, y_width;
    size_t segment, whole;   // outputs of a segment, and those of the last one
    typename V::Mask mask;              // channels of a segment that exist
  };

  struct Job {
    const DwConvQ8Args* args;
    const Requant<V>* requant;
    size_t channel;         // the block's first
    Quad scale, scale_neg;  // of its channels, in the order of the vectors; scale_neg only where it is used
  };

  static inline Quad LoadQuad(const void* p) {
    const uint8_t* bytes = static_cast<const uint8_t*>(p);
    Quad q;
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) q.v[j] = V::LoadInt(bytes + j * kBlock);
    return q;
  }

  static inline __attribute__((always_inline)) void MulAdd(Quad& acc, const Quad& column, const Quad& w) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) acc.v[j] = V::DwDot(acc.v[j], column.v[j], w.v[j]);
  }

  // Column `c` of each segment: kRows rows that exist, of one group.
  template <int kSegments, int kRows>
  static inline __attribute__((always_inline)) Quad LoadColumn(const Block& b, const uint8_t* const* rows, int64_t c) {
    size_t offset[kSegments];
    bool inside[kSegments];
#pragma GCC unroll 4
    for (int s = 0; s < kSegments; ++s) {
      const int64_t x = c - b.pad_left + s * static_cast<int64_t>(b.segment_step);
      inside[s] = static_cast<uint64_t>(x) < b.x_width;
      offset[s] = static_cast<size_t>(x) * b.x_stride;
    }
    Int r[kDepth];
#pragma GCC unroll 4
    for (int i = 0; i < kRows; ++i) {
      const uint8_t* pixels[4] = {};
#pragma GCC unroll 4
      for (int s = 0; s < kSegments; ++s) pixels[s] = inside[s] ? rows[i] + offset[s] : b.zero;
      r[i] = V::template Gather<kSegments>(pixels);
    }
    // The weights of rows past the last are zero.
    if constexpr (kDepth == 2) {
      return V::Interleave(r[0], r[kRows - 1]);
    } else {
      return V::Interleave(r[0], r[1], r[2], r[kRows - 1]);
    }
  }

  // Tables and residuals: out of line, for they are rare here.
  template <int kSegments>
  static __attribute__((noinline)) void FinishPixels(const Job& job, const Block& b, size_t j, Int q) {
    const size_t count = CeilDiv(b.y_width - j, b.segment), stride = job.requant->residual_stride;
    Int residual = q;
    if (job.requant->residual != nullptr) {
      const uint8_t* from = job.requant->residual + job.channel + j * stride;
      residual = V::template LoadParts<kSegments>(count, b.mask, from, b.segment * stride);
    }
    q = FinishBytes<V>(*job.requant, q, residual);
    V::template StoreParts<kSegments>(q, count, b.mask, b.y + j * b.y_stride, b.segment * b.y_stride);
  }

  // The common epilogue's operands: registers are short, so the scales stay where they are.
  struct Plain {
    typename V::Narrower mid;
    const Quad& scale;
  };

  template <int kSegments, Epilogue kEpilogue>
  struct Paths {
    static inline __attribute__((always_inline)) void Emit(const Job& job, const Block& b, const Plain& plain, size_t j,
                                                           const Quad& acc) {
      typename V::Float x[4];
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const typename V::Float scale = V::AsFloat(plain.scale.v[i]);
        x[i] = kEpilogue == Epilogue::kPlain ? V::Scale(acc.v[i], scale)
                                             : V::ScaleSigned(acc.v[i], scale, V::AsFloat(job.scale_neg.v[i]));
      }
      const Int q = kEpilogue == Epilogue::kPlain ? V::NarrowSmall(plain.mid, x[0], x[1], x[2], x[3])
                                                : V::Narrow(plain.mid, x[0], x[1], x[2], x[3]);
      if constexpr (kEpilogue == Epilogue::kFull) {
        FinishPixels<kSegments>(job, b, j, q);
      } else {
        // All but the last few outputs exist in every segment; `count` is then a constant.
        const size_t step = b.segment * b.y_stride;
        if (j < b.whole) return V::template StoreParts<kSegments>(q, kSegments, b.mask, b.y + j * b.y_stride, step);
        V::template StoreParts<kSegments>(q, CeilDiv(b.y_width - j, b.segment), b.mask, b.y + j * b.y_stride, step);
      }
    }

    // Adds column `c`, the kernel's column t, to acc.
    struct Taps {
      Quad column[kSmallGroups];

      inline __attribute__((always_inline)) Taps(const Block& b, size_t c) {
        const int64_t at = static_cast<int64_t>(c);
        column[0] = LoadColumn<kSegments, kDepth < 3 ? kDepth : 3>(b, b.rows, at);
        if constexpr (kSmallGroups == 2) column[1] = LoadColumn<kSegments, 1>(b, b.rows + kDepth, at);
      }
      inline __attribute__((always_inline)) void AddTo(Quad& acc, const Block& b, size_t t) const {
#pragma GCC unroll 2
        for (size_t g = 0; g < kSmallGroups; ++g) MulAdd(acc, column[g], LoadQuad(b.w + (g * 3 + t) * kTapBytes));
      }
    };

    // The last column of output j, whose accumulator is `done`; then that starts anew, for output j + 3.
    static inline __attribute__((always_inline)) void Advance(const Job& job, const Block& b, const Plain& plain, size_t j,
                                                              Quad& done, Quad& middle, Quad& fresh) {
      const Taps taps(b, j + 2);
      taps.AddTo(done, b, 2);
      taps.AddTo(middle, b, 1);
      taps.AddTo(fresh, b, 0);
      Emit(job, b, plain, j, done);
      done = LoadQuad(b.bias);
    }

    static void Stride1(const Job& job, const Block& block) {
      const Block b = block;
      const Plain plain = {job.requant->mid, job.scale};
      Quad p = LoadQuad(b.bias), q = p, r = p;
      const Taps first(b, 0), second(b, 1);
      first.AddTo(p, b, 0);
      second.AddTo(p, b, 1);
      second.AddTo(q, b, 0);
      size_t j = 0;
      for (; j + 3 <= b.segment; j += 3) {
        Advance(job, b, plain, j, p, q, r);
        Advance(job, b, plain, j + 1, q, r, p);
        Advance(job, b, plain, j + 2, r, p, q);
      }
      if (j < b.segment) Advance(job, b, plain, j, p, q, r);
      if (j + 1 < b.segment) Advance(job, b, plain, j + 1, q, r, p);
    }

    static void Stride2(const Job& job, const Block& block) {
      const Block b = block;
      const Plain plain = {job.requant->mid, job.scale};
      Taps left(b, 0);
      for (size_t j = 0; j < b.segment; ++j) {
        Quad acc = LoadQuad(b.bias);
        left.AddTo(acc, b, 0);
        Taps(b, 2 * j + 1).AddTo(acc, b, 1);
        left = Taps(b, 2 * j + 2);
        left.AddTo(acc, b, 2);
        Emit(job, b, plain, j, acc);
      }
    }

    // Adds the kernel's column c of one group of rows to every output over it.
    template <int kStride, int kOutputs, int kGroup, int kRows>
    static inline __attribute__((always_inline)) void AddSmall(const Block& b, size_t j, int c, Quad (&acc)[kOutputs]) {
      const Quad column = LoadColumn<kSegments, kRows>(b, b.rows + kGroup * kDepth, static_cast<int64_t>(j * kStride) + c);
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) {
        const int t = c - o * kStride;
        if (t >= 0 && t < 3) MulAdd(acc[o], column, LoadQuad(b.w + static_cast<size_t>(kGroup * 3 + t) * kTapBytes));
      }
      // gcc would else keep the weights of an output for the next one, on the stack.
      asm volatile("" : : : "memory");
    }

    template <int kStride, int kOutputs>
    static inline __attribute__((always_inline)) void EmitSmall(const Job& job, const Block& b, const Plain& plain, size_t j) {
      Quad acc[kOutputs];
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) acc[o] = LoadQuad(b.bias);
#pragma GCC unroll 5
      for (int c = 0; c < (kOutputs - 1) * kStride + 3; ++c) {
        AddSmall<kStride, kOutputs, 0, kDepth < 3 ? kDepth : 3>(b, j, c, acc);
        if constexpr (kSmallGroups == 2) AddSmall<kStride, kOutputs, 1, 1>(b, j, c, acc);
      }
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) Emit(job, b, plain, j + static_cast<size_t>(o), acc[o]);
    }

    template <int kStride>
    static void Reloading(const Job& job, const Block& block) {
      const Block b = block;
      const Plain plain = {job.requant->mid, job.scale};
      size_t j = 0;
      for (; j + V::kDwOutputs <= b.segment; j += V::kDwOutputs) EmitSmall<kStride, V::kDwOutputs>(job, b, plain, j);
      for (; j < b.segment; ++j) EmitSmall<kStride, 1>(job, b, plain, j);
    }

    // Where the general path keeps columns; steps in columns.
    struct Store {
      uint8_t* bytes;
      size_t capacity;               // columns of a group
      size_t outputs;                // that the capacity suffices for
      bool shared;                   // outputs share adjacent columns; else each output has kernel_w of its own
      size_t output_step, tap_step;  // output i's column under tap t: i * output_step + t * tap_step
    };

    static Store MakeStore(const DwConvQ8Args& a) {
      const size_t capacity = ColumnCapacity(a.kernel_w), span = (a.kernel_w - 1) * a.dilation_w + 1;
      const size_t apart = capacity / a.kernel_w, sharing = span <= capacity ? (capacity - span) / a.stride_w + 1 : 0;
      uint8_t* bytes = static_cast<uint8_t*>(a.scratch);
      if (sharing >= apart) return {bytes, capacity, sharing, true, a.stride_w, a.dilation_w};
      return {bytes, capacity, apart, false, a.kernel_w, 1};
    }

    // The columns of outputs j0 .. j0 + count - 1.
    static void FillColumns(const Job& job, const Block& b, const Store& store, size_t j0, size_t count) {
      const DwConvQ8Args& a = *job.args;
      const size_t shared = (count - 1) * a.stride_w + (a.kernel_w - 1) * a.dilation_w + 1;
      const size_t columns = store.shared ? shared : count * a.kernel_w;
      for (size_t group = 0; group < CeilDiv(a.kernel_h, kDepth); ++group) {
        const uint8_t* rows[4];
        PointToRows(job, group * kDepth, kDepth, rows);
        uint8_t* out = store.bytes + group * store.capacity * kQuadBytes;
        for (size_t i = 0; i < columns; ++i, out += kQuadBytes) {
          const size_t c = store.shared ? i : i / a.kernel_w * a.stride_w + i % a.kernel_w * a.dilation_w;
          const Quad column = LoadColumn<kSegments, kDepth>(b, rows, static_cast<int64_t>(j0 * a.stride_w + c));
          for (size_t v = 0; v < 4; ++v) V::StoreInt(out + v * kBlock, column.v[v]);
        }
      }
    }

    // kOutputs outputs from number `i` of the store on: they share the loads of weights.
    template <int kOutputs>
    static inline __attribute__((always_inline)) void Accumulate(const DwConvQ8Args& a, const Block& b, const Store& store, size_t i,
                                                                 Quad (&acc)[kOutputs]) {
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) acc[o] = LoadQuad(b.bias);
      const size_t taps = a.kernel_w, tap_step = store.tap_step * kQuadBytes, output_step = store.output_step * kQuadBytes;
      const uint8_t* w = b.w;
      for (size_t group = 0; group < CeilDiv(a.kernel_h, kDepth); ++group) {
        const uint8_t* column = store.bytes + (group * store.capacity + i * store.output_step) * kQuadBytes;
        for (size_t t = 0; t < taps; ++t, w += kTapBytes, column += tap_step) {
#pragma GCC unroll 4
          for (int j = 0; j < 4; ++j) {
            const Int weights = V::LoadInt(w + j * kBlock);
#pragma GCC unroll 4
            for (int o = 0; o < kOutputs; ++o) {
              acc[o].v[j] = V::DwDot(acc[o].v[j], V::LoadInt(column + static_cast<size_t>(o) * output_step + j * kBlock), weights);
            }
          }
        }
      }
    }

    template <int kOutputs>
    static void EmitStored(const Job& job, const Block& b, const Store& store, size_t j0, size_t i) {
      const Plain plain = {job.requant->mid, job.scale};
      Quad acc[kOutputs];
      Accumulate<kOutputs>(*job.args, b, store, i, acc);
#pragma GCC unroll 4
      for (int o = 0; o < kOutputs; ++o) Emit(job, b, plain, j0 + i + static_cast<size_t>(o), acc[o]);
    }

    static void General(const Job& job, const Block& b) {
      constexpr int kAtOnce = V::kDwOutputs;
      const Store store = MakeStore(*job.args);
      for (size_t j = 0; j < b.segment; j += store.outputs) {
        const size_t left = b.segment - j, count = left < store.outputs ? left : store.outputs;
        FillColumns(job, b, store, j, count);
        size_t i = 0;
        for (; i + kAtOnce <= count; i += kAtOnce) EmitStored<kAtOnce>(job, b, store, j, i);
        for (; i < count; ++i) EmitStored<1>(job, b, store, j, i);
      }
    }

    static void Run(const Job& job, const Block& b) {
      const DwConvQ8Args& a = *job.args;
      const bool small = a.kernel_w == 3 && a.kernel_h <= 3 && CeilDiv(a.kernel_h, kDepth) == kSmallGroups && a.dilation_w == 1;
      if (!small || a.stride_w > 2) return General(job, b);
      if constexpr (V::kDwReloads) {
        a.stride_w == 1 ? Reloading<1>(job, b) : Reloading<2>(job, b);
      } else {
        a.stride_w == 1 ? Stride1(job, b) : Stride2(job, b);
      }
    }
  };

  template <int kSegments>
  static void RunBlock(Job& job, const Block& b) {
    constexpr size_t kSegmentLanes = kBlock / 16 / kSegments;
    job.scale = V::LoadChannels(job.requant->scale + job.channel, kSegmentLanes);
    bool plain = job.requant->plain;
    for (const Int scale : job.scale.v) plain &= V::AllBelowOne(V::AsFloat(scale));
    if (plain) return Paths<kSegments, Epilogue::kPlain>::Run(job, b);
    job.scale_neg = V::LoadChannels(job.requant->scale_neg + job.channel, kSegmentLanes);
    if (job.requant->table != nullptr || job.requant->residual != nullptr) return Paths<kSegments, Epilogue::kFull>::Run(job, b);
    Paths<kSegments, Epilogue::kSigned>::Run(job, b);
  }

  static void PointToRows(const Job& job, size_t first, size_t count, const uint8_t** rows) {
    for (size_t i = 0; i < count; ++i) {
      const size_t kh = first + i < job.args->kernel_h ? first + i : job.args->kernel_h - 1;
      rows[i] = job.args->rows[kh] + job.channel;
    }
  }

  static Block MakeBlock(const Job& job, const uint8_t* packed, size_t segments) {
    const DwConvQ8Args& a = *job.args;
    Block b;
    PointToRows(job, 0, 4, b.rows);
    b.zero = a.zero_pixel + job.channel;
    b.segment = CeilDiv(a.y_width, segments);
    b.x_stride = a.x_stride;
    b.x_width = a.x_width;
    b.segment_step = b.segment * a.stride_w;
    b.pad_left = a.pad_left;
    b.bias = packed;
    b.w = packed + kBlock * sizeof(int32_t);
    b.y = a.y + job.channel;
    b.y_stride = a.y_stride;
    b.y_width = a.y_width;
    b.whole = a.y_width > (segments - 1) * b.segment ? a.y_width - (segments - 1) * b.segment : 0;
    b.mask = V::MakeMask(a.channels - job.channel);
    return b;
  }

  static void Run(const DwConvQ8Args* args) {
    const DwShape s = ShapeOf(args->channels, args->kernel_h, args->kernel_w);
    const Requant<V> requant = MakeRequant<V>(args->requant);
    const uint8_t* packed = static_cast<const uint8_t*>(args->packed);
    Job job;
    job.args = args;
    job.requant = &requant;
    for (size_t block = 0; block < DwBlocks(s); ++block, packed += PackedDwBlockBytes<Weight>(s)) {
      job.channel = block * kBlock;
      const size_t segments = DwSegments(s, block);
      const Block b = MakeBlock(job, packed, segments);
      if (segments == 1) RunBlock<1>(job, b);
      if constexpr (kBlock / 16 >= 2) {
        if (segments == 2) RunBlock<2>(job, b);
      }
      if constexpr (kBlock / 16 >= 4) {
        if (segments == 4) RunBlock<4>(job, b);
      }
    }
  }
};

}  // namespace
}  // namespace sterna
