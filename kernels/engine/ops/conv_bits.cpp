#include "engine/ops/conv_bits.h"

namespace sterna {
namespace {

constexpr uint32_t kX = 0, kW = 1;

// Whether all that x can hold is zp - 1, zp or zp + 1; *zero: whether it can be zp.
bool HoldsSigns(const OpContext& context, int32_t zp, bool* zero) {
  const ByteSet& values = context.Values(kX);
  size_t known = 0;
  for (int32_t v = std::max(zp - 1, context.lowest()); v <= std::min(zp + 1, context.highest()); ++v) known += values.Has(v) ? 1 : 0;
  *zero = values.Has(zp);
  return known == values.count();
}

bool WeightsAreSigns(const int8_t* w, int64_t count, bool* zero) {
  *zero = false;
  for (int64_t i = 0; i < count; ++i) {
    if (w[i] < -1 || w[i] > 1) return false;
    *zero = *zero || w[i] == 0;
  }
  return true;
}

}  // namespace

bool FindBitFamily(const OpContext& context, int32_t x_zp, BitFamily* family) {
  bool x_zero, w_zero;
  if (!HoldsSigns(context, x_zp, &x_zero)) return false;
  const KernelSet& k = context.kernels();
  const BitFamily families[] = {{"gemm_bnn", k.gemm_bnn, false, false}, {"gemm_tbn", k.gemm_tbn, true, false}, {"gemm_tnn", k.gemm_tnn, true, true}};
  const PackedRecord* packed = context.Packed(kW);
  if (packed == nullptr) {
    const Tensor& w = *context.Input(kW);
    if (!WeightsAreSigns(reinterpret_cast<const int8_t*>(context.Constant(kW)), w.elements, &w_zero)) return false;
    *family = families[w_zero ? 2 : x_zero ? 1 : 0];
    return true;
  }
  for (const BitFamily& candidate : families) {
    if (std::strcmp(packed->kernel, candidate.kernel->name) != 0 || (x_zero && !candidate.ternary_x)) continue;
    *family = candidate;
    return true;
  }
  return false;
}

bool WideEnoughForBits(const ConvShape& s) {
  const int64_t bits = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(s.cg), 32));
  return 4 * s.cg >= 3 * bits && s.og() >= 32;
}

void BitLayer::Axis::Init(int64_t positions, int64_t stride, int64_t pad, int64_t dilation, int64_t taps, int64_t size) {
  for (int64_t i = 0; i < positions; ++i) {
    const int64_t start = i * stride - pad;
    const int64_t first = std::min(start >= 0 ? 0 : (-start + dilation - 1) / dilation, taps);
    const int64_t last = std::max(start >= size ? 0 : std::min((size - 1 - start) / dilation + 1, taps), first);
    const std::pair<int64_t, int64_t> range(first, last);
    if (kinds.empty() || kinds.back() != range) kinds.push_back(range);  // both ends never rise, so equal ranges are neighbours
    kind_of.push_back(static_cast<uint32_t>(kinds.size() - 1));
  }
}

Status BitLayer::Init(const OpContext& context, const ConvShape& s, const BitFamily& family, int32_t x_zp, const int32_t* bias) {
  s_ = s;
  kernel_ = family.kernel;
  planes_ = context.kernels().bit_planes;
  x_stride_ = context.Input(kX)->pixel_stride;
  x_zp_ = x_zp;
  masked_ = family.ternary_x, masked_weights_ = family.ternary_w;
  tap_words_ = (s.cg + 31) / 32;
  pixel_words_ = s.g.group * tap_words_;
  words_ = s.kh * s.kw * tap_words_;
  a_stride_ = words_ + 3;  // a copy of taps may run into these
  row_words_ = (s.w + s.g.pad_left + s.g.pad_right) * pixel_words_;
  PlanScratch();
  uint8_t* zeros;
  Status status = context.Allocate(static_cast<uint64_t>(row_words_) * 4, &zeros);
  zero_row_ = reinterpret_cast<const uint32_t*>(zeros);
  const bool padded = s.g.pad_top + s.g.pad_left + s.g.pad_bottom + s.g.pad_right > 0;
  if (status.ok() && !masked_ && padded) {
    status = context.Reserve(static_cast<uint64_t>(s.oh + s.ow) * (sizeof(rows_.kinds[0]) + sizeof(rows_.kind_of[0])));
    if (!status.ok()) return status;
    rows_.Init(s.oh, s.g.stride_h, s.g.pad_top, s.g.dilation_h, s.kh, s.h);
    columns_.Init(s.ow, s.g.stride_w, s.g.pad_left, s.g.dilation_w, s.kw, s.w);
    border_width_ = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(s.og()), 64));
  }
  if (status.ok()) status = context.InputData(kX, &x_);
  return status.ok() ? PackWeights(context, bias) : status;
}

// Rows of A that fit L1 beside the weights; the ring holds the input rows under them.
void BitLayer::PlanScratch() {
  constexpr int64_t kBlockWords = 4096, kMinBlock = 48, kMaxBlock = 512;
  block_ = std::min(std::clamp(kBlockWords / words_, kMinBlock, kMaxBlock), s_.oh * s_.ow);
  const int64_t output_rows = std::min((block_ + s_.ow - 2) / s_.ow + 1, s_.oh);
  ring_rows_ = std::min((output_rows - 1) * s_.g.stride_h + (s_.kh - 1) * s_.g.dilation_h + 1, s_.h);
  scratch_bytes_ = 0;
  const auto take = [&](int64_t bytes) {
    const size_t at = scratch_bytes_;
    scratch_bytes_ += RoundUp(static_cast<uint64_t>(bytes), 64) + kSlack;
    return at;
  };
  for (int plane = 0; plane < (masked_ ? 2 : 1); ++plane) {
    ring_at_[plane] = take(ring_rows_ * row_words_ * 4);
    a_at_[plane] = take(block_ * a_stride_ * 4);
  }
  borders_at_ = take(block_ * static_cast<int64_t>(sizeof(const int32_t*)));
  kernel_at_ = take(static_cast<int64_t>(kernel_->scratch_bytes(static_cast<size_t>(block_), static_cast<size_t>(s_.og()), static_cast<size_t>(words_))));
}

Status BitLayer::PackWeights(const OpContext& context, const int32_t* bias) {
  const uint64_t panels = static_cast<uint64_t>(s_.g.group) * GroupBytes();
  const uint64_t borders = rows_.kinds.size() * columns_.kinds.size() * static_cast<uint64_t>(BorderStride()) * sizeof(int32_t);
  const uint8_t* block;
  const Status status = context.PackedWeights(kW, {kernel_->name, s_.og(), RoundUp(panels + borders, 64)}, [&](uint8_t* out) {
    const int8_t* w = reinterpret_cast<const int8_t*>(context.Constant(kW));
    for (int64_t group = 0; group < s_.g.group; ++group) {
      PackGroup(w + group * s_.og() * s_.k(), bias != nullptr ? bias + group * s_.og() : nullptr, out + static_cast<size_t>(group) * GroupBytes());
    }
    if (borders > 0) MakeBorders(w, reinterpret_cast<int32_t*>(out + panels));
    return true;
  }, &block);
  if (!status.ok()) return status;
  for (int64_t group = 0; group < s_.g.group; ++group) packed_.push_back(block + static_cast<size_t>(group) * GroupBytes());
  if (borders > 0) borders_ = reinterpret_cast<const int32_t*>(block + panels);
  return status;
}

void BitLayer::PackGroup(const int8_t* w, const int32_t* bias, uint8_t* block) const {
  const size_t n = static_cast<size_t>(s_.og()), words = static_cast<size_t>(words_);
  std::vector<uint32_t> sign(n * words), mask(n * words);
  for (int64_t row = 0; row < s_.og() * s_.kh * s_.kw; ++row) {
    for (int64_t c = 0; c < s_.cg; ++c) {
      const size_t at = static_cast<size_t>(row * tap_words_ + c / 32);
      const int8_t value = w[row * s_.cg + c];
      sign[at] |= uint32_t{value < 0} << c % 32;
      mask[at] |= uint32_t{value != 0} << c % 32;
    }
  }
  kernel_->pack(n, words, static_cast<size_t>(s_.k()), sign.data(), masked_weights_ ? mask.data() : nullptr, bias, block);
}

// For each kind of border, minus the sums of the weights that meet padding, from sums over all taps above and to the left.
void BitLayer::MakeBorders(const int8_t* w, int32_t* tables) const {
  const int64_t across = s_.kw + 1;
  std::vector<int32_t> sums(static_cast<size_t>((s_.kh + 1) * across));
  for (int64_t o = 0; o < s_.o; ++o) {
    for (int64_t ky = 0; ky < s_.kh; ++ky) {
      for (int64_t kx = 0; kx < s_.kw; ++kx) {
        int32_t sum = 0;
        for (int64_t c = 0; c < s_.cg; ++c) sum += *w++;
        int32_t* at = sums.data() + (ky + 1) * across + kx + 1;
        *at = sum + at[-1] + at[-across] - at[-across - 1];
      }
    }
    int32_t* table = tables + o / s_.og() * border_width_ + o % s_.og();
    for (const auto& rows : rows_.kinds) {
      for (const auto& columns : columns_.kinds) {
        const int32_t *first = sums.data() + rows.first * across, *last = sums.data() + rows.second * across;
        const int32_t inside = last[columns.second] - last[columns.first] - first[columns.second] + first[columns.first];
        *table = inside - sums.back();
        table += BorderStride();
      }
    }
  }
}

BitLayer::Planes BitLayer::RingRow(uint8_t* scratch, int64_t row) const {
  const int64_t at = row % ring_rows_ * row_words_;
  return {reinterpret_cast<uint32_t*>(scratch + ring_at_[0]) + at, masked_ ? reinterpret_cast<uint32_t*>(scratch + ring_at_[1]) + at : nullptr};
}

BitLayer::Planes BitLayer::Gathered(uint8_t* scratch) const {
  return {reinterpret_cast<uint32_t*>(scratch + a_at_[0]), masked_ ? reinterpret_cast<uint32_t*>(scratch + a_at_[1]) : nullptr};
}

// One row of the input, and the padding to its left and right.
void BitLayer::MakePlanes(int64_t n, int64_t row, uint8_t* scratch) const {
  const Planes to = RingRow(scratch, row);
  const int64_t left = s_.g.pad_left * pixel_words_, right = left + s_.w * pixel_words_;
  for (uint32_t* plane : {to.sign, to.mask}) {
    if (plane == nullptr) continue;
    std::fill(plane, plane + left, 0u);
    std::fill(plane + right, plane + row_words_, 0u);
  }
  const uint8_t* x = x_ + (n * s_.h + row) * s_.w * x_stride_;
  const auto make = [&](int64_t count, const uint8_t* from, int64_t at) {
    planes_->from_q8(static_cast<size_t>(count), from, x_zp_, to.sign + at, masked_ ? to.mask + at : nullptr);
  };
  if (s_.g.group == 1 && s_.c % 32 == 0 && x_stride_ == s_.c) return make(s_.w * s_.c, x, left);
  for (int64_t pixel = 0; pixel < s_.w; ++pixel) {
    for (int64_t group = 0; group < s_.g.group; ++group) make(s_.cg, x + pixel * x_stride_ + group * s_.cg, left + pixel * pixel_words_ + group * tap_words_);
  }
}

// The taps of `count` pixels of output row `oy`.
void BitLayer::Gather(int64_t oy, int64_t ox, int64_t count, int64_t group, uint8_t* scratch, Planes out) const {
  for (int64_t ky = 0; ky < s_.kh; ++ky) {
    const int64_t iy = oy * s_.g.stride_h - s_.g.pad_top + ky * s_.g.dilation_h, at = ky * s_.kw * tap_words_;
    const bool inside = iy >= 0 && iy < s_.h;
    const Planes row = inside ? RingRow(scratch, iy) : Planes{nullptr, nullptr};
    CopyTaps((inside ? row.sign : zero_row_) + group * tap_words_, ox, count, out.sign + at);
    if (masked_) CopyTaps((inside ? row.mask : zero_row_) + group * tap_words_, ox, count, out.mask + at);
  }
}

void BitLayer::CopyTaps(const uint32_t* row, int64_t ox, int64_t count, uint32_t* out) const {
  const bool contiguous = s_.g.dilation_w == 1 && s_.g.group == 1;
  const int64_t pieces = contiguous ? 1 : s_.kw, words = contiguous ? s_.kw * tap_words_ : tap_words_;
  const int64_t step = s_.g.stride_w * pixel_words_, tap_step = s_.g.dilation_w * pixel_words_;
  row += ox * step;
  for (int64_t i = 0; i < count; ++i, row += step, out += a_stride_) {
    for (int64_t piece = 0; piece < pieces; ++piece) {
      CopySpan(reinterpret_cast<uint8_t*>(out + piece * words), reinterpret_cast<const uint8_t*>(row + piece * tap_step), static_cast<size_t>(words) * 4);
    }
  }
}

// What each pixel of a binary layer adds for the padding under it; null where none is.
const int32_t* const* BitLayer::FindBorders(int64_t pixel, int64_t count, int64_t group, uint8_t* scratch) const {
  if (borders_ == nullptr) return nullptr;
  const int32_t** out = reinterpret_cast<const int32_t**>(scratch + borders_at_);
  const std::pair<int64_t, int64_t> all_rows(0, s_.kh), all_columns(0, s_.kw);
  int64_t oy = pixel / s_.ow % s_.oh, ox = pixel % s_.ow;
  for (int64_t i = 0; i < count; ++i) {
    const size_t row = rows_.kind_of[static_cast<size_t>(oy)], column = columns_.kind_of[static_cast<size_t>(ox)];
    const bool whole = rows_.kinds[row] == all_rows && columns_.kinds[column] == all_columns;
    out[i] = whole ? nullptr : borders_ + static_cast<int64_t>(row * columns_.kinds.size() + column) * BorderStride() + group * border_width_;
    if (++ox == s_.ow) ox = 0, ++oy;
  }
  return out;
}

}  // namespace sterna
