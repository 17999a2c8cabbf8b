// Convolutions on bit planes: of layers whose inputs and weights hold no codes but -1, 0 and 1.
//
// A driver turns rows of the input into planes as it needs them, into a ring of rows that are padded on both sides, gathers the taps under a
// block of output pixels as whole words, and multiplies. Each tap of a group takes words of its own; weights are packed the same way.
// Padding counts 0: where there are masks, by its mask; in binary layers it is +1, and pixels of the border get the sum of the weights
// that met it back, from tables made with the weights.
#pragma once
#include "engine/ops/conv.h"

namespace sterna {

struct BitFamily {
  const char* name;  // "gemm_tbn"
  const GemmBitsKernel* kernel;
  bool ternary_x, ternary_w;
};

// The family that can compute inputs 0 and 1 of an op, by the values that x can hold and the weights, or the kernel that packed them. False:
// none can.
bool FindBitFamily(const OpContext& context, int32_t x_zp, BitFamily* family);

// Whether taps fill their words, and output channels the lanes of a kernel: else more is computed than saved (DECISIONS.md).
bool WideEnoughForBits(const ConvShape& s);

// A layer with its weights. It gives a kernel everything but the output.
class BitLayer {
 public:
  Status Init(const OpContext& context, const ConvShape& s, const BitFamily& family, int32_t x_zp, const int32_t* bias);

  // Calls multiply(args, pixel, channel) for blocks of at most block() pixels of output rows [begin, end), group by group.
  template <typename Multiply>
  void Run(int64_t begin, int64_t end, uint8_t* scratch, Multiply multiply) const;

  const ConvShape& shape() const { return s_; }
  const char* name() const { return kernel_->name; }
  int64_t block() const { return block_; }
  size_t ScratchBytes() const { return scratch_bytes_; }

 private:
  struct Planes {
    uint32_t *sign, *mask;  // mask is nullptr in a binary layer
  };
  // Taps [first, last) of one axis that meet the image; which of the distinct ranges a position has.
  struct Axis {
    std::vector<std::pair<int64_t, int64_t>> kinds;
    std::vector<uint32_t> kind_of;
    void Init(int64_t positions, int64_t stride, int64_t pad, int64_t dilation, int64_t taps, int64_t size);
  };

  void PlanScratch();
  Status PackWeights(const OpContext& context, const int32_t* bias);
  void PackGroup(const int8_t* w, const int32_t* bias, uint8_t* block) const;
  void MakeBorders(const int8_t* w, int32_t* tables) const;
  size_t GroupBytes() const { return RoundUp(kernel_->packed_bytes(static_cast<size_t>(s_.og()), static_cast<size_t>(words_)), 64); }
  int64_t BorderStride() const { return s_.g.group * border_width_; }

  Planes RingRow(uint8_t* scratch, int64_t row) const;
  Planes Gathered(uint8_t* scratch) const;
  void MakePlanes(int64_t n, int64_t row, uint8_t* scratch) const;
  void Gather(int64_t oy, int64_t ox, int64_t count, int64_t group, uint8_t* scratch, Planes out) const;
  void CopyTaps(const uint32_t* row, int64_t ox, int64_t count, uint32_t* out) const;
  const int32_t* const* FindBorders(int64_t pixel, int64_t count, int64_t group, uint8_t* scratch) const;

  ConvShape s_;
  const GemmBitsKernel* kernel_;
  const BitPlaneKernels* planes_;
  const uint8_t* x_;
  int64_t x_stride_;
  int32_t x_zp_;
  bool masked_, masked_weights_;
  int64_t tap_words_, pixel_words_, words_;  // of a tap of a group, of a pixel, of a row of A
  int64_t a_stride_, row_words_;             // words from one row of A, and of the ring, to the next
  int64_t block_, ring_rows_;
  size_t ring_at_[2], a_at_[2], borders_at_, kernel_at_, scratch_bytes_;
  std::vector<const uint8_t*> packed_;       // by group
  Axis rows_, columns_;
  int64_t border_width_ = 0;
  const int32_t* borders_ = nullptr;         // [kinds of rows][kinds of columns][group][border_width_]
  const uint32_t* zero_row_;                 // above and below the image
};

template <typename Multiply>
void BitLayer::Run(int64_t begin, int64_t end, uint8_t* scratch, Multiply multiply) const {
  const int64_t image = s_.oh * s_.ow;
  int64_t made = 0, made_of = -1;  // rows of image made_of that are planes already
  for (int64_t pixel = begin * s_.ow; pixel < end * s_.ow;) {
    const int64_t n = pixel / image, last_of_image = (n + 1) * image;
    const int64_t count = std::min({block_, end * s_.ow - pixel, last_of_image - pixel});
    const int64_t first_row = pixel % image / s_.ow, last_row = (pixel + count - 1) % image / s_.ow;
    if (made_of != n) made = 0, made_of = n;
    made = std::max(made, first_row * s_.g.stride_h - s_.g.pad_top);
    const int64_t needed = std::min(last_row * s_.g.stride_h - s_.g.pad_top + (s_.kh - 1) * s_.g.dilation_h + 1, s_.h);
    for (; made < needed; ++made) MakePlanes(n, made, scratch);
    for (int64_t group = 0; group < s_.g.group; ++group) {
      const Planes a = Gathered(scratch);
      for (int64_t done = 0; done < count;) {
        const int64_t oy = (pixel + done) % image / s_.ow, ox = (pixel + done) % s_.ow, run = std::min(count - done, s_.ow - ox);
        Gather(oy, ox, run, group, scratch, {a.sign + done * a_stride_, masked_ ? a.mask + done * a_stride_ : nullptr});
        done += run;
      }
      GemmBitsArgs args{};
      args.m = static_cast<size_t>(count), args.n = static_cast<size_t>(s_.og()), args.words = static_cast<size_t>(words_);
      args.sign = a.sign, args.mask = a.mask, args.a_stride = static_cast<size_t>(a_stride_);
      args.packed = packed_[static_cast<size_t>(group)];
      args.row_bias = FindBorders(pixel, count, group, scratch);
      args.scratch = scratch + kernel_at_;
      multiply(*kernel_, args, pixel, group * s_.og());
    }
    pixel += count;
  }
}

// Units: output rows. Output knows where results go:
//   size_t ScratchBytes(block, channels) const
//   void Multiply(kernel, args, pixel, channel, scratch) const
template <typename Output>
class BitConv final : public OpDriver {
 public:
  BitConv(BitLayer layer, Output output) : layer_(std::move(layer)), output_(std::move(output)) {
    const ConvShape& s = layer_.shape();
    units_ = s.n * s.oh;
    cost_ = std::max<int64_t>(ConvCost(s) / 4, s.n * s.h * s.w * s.c / 32);
    scratch_bytes_ = layer_.ScratchBytes() + output_.ScratchBytes(layer_.block(), s.og());
    kernel_ = layer_.name();
  }
  void Run(int64_t begin, int64_t end, uint8_t* scratch) override {
    uint8_t* own = scratch + layer_.ScratchBytes();
    layer_.Run(begin, end, scratch, [&](const GemmBitsKernel& kernel, GemmBitsArgs& args, int64_t pixel, int64_t channel) { output_.Multiply(kernel, args, pixel, channel, own); });
  }

 private:
  BitLayer layer_;
  Output output_;
};

}  // namespace sterna
