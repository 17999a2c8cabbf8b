// From samples to rows of features, hop by hop. The definitions (windows, filter banks, cosine transforms, constants) come as numbers from
// runtime/audio; what is here is the order of the arithmetic.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "audio/spectrum_plan.h"
#include "sterna/registry.h"

namespace sterna {

enum class Compression : uint8_t { kNone, kLog, kPcen };

struct BandRows {
  std::vector<uint32_t> first, length, offset;
  std::vector<float> weights;
  BandTable table() const { return {first.size(), first.data(), length.data(), offset.data(), weights.data()}; }
};

struct FrontEndConfig {
  size_t hop, points;         // samples from one frame to the next; size of the transform
  size_t padding;             // zeros before the first sample
  std::vector<float> window;  // its length is that of a frame, at most `points`; a gain on the samples is part of it
  bool remove_mean;           // of each frame, before the window
  float preemphasis;          // x[i] -= preemphasis * x[i - 1] (x[0] -= preemphasis * x[0]), before the window; 0: none
  bool magnitude;             // |X| instead of |X|^2
  BandRows bands;             // over points / 2 + 1 bins; empty: the bins themselves
  Compression compression;
  float floor, offset, scale, shift;                                 // kLog: scale * ln(max(x, floor) + offset) + shift
  float pcen_smooth, pcen_gain, pcen_bias, pcen_power, pcen_epsilon; // kPcen (Wang et al., "Trainable frontend", 2017)
  BandRows cosines;           // coefficients from bands; empty: none
  std::vector<float> mean, factor;  // of each feature: (x - mean) * factor; empty: none
  float code_scale;           // of quantized rows; 0: rows are floats
  int32_t code_zero;
};

// Rows are written into a ring of 2 * `ring_rows` rows, each of them twice, `ring_rows` apart: so the newest `ring_rows` rows always lie in one piece,
// beginning at row position() % ring_rows.
class FrontEnd {
 public:
  FrontEnd(FrontEndConfig config, const KernelSet& kernels);

  size_t features() const { return features_; }
  bool quantized() const { return config_.code_scale > 0; }
  // Rows written so far.
  uint64_t position() const { return position_; }
  // Samples that were not finite so far; each counts as 0.
  uint64_t not_finite() const { return not_finite_; }

  // Takes `count` samples and writes every row that they complete. Returns the number of rows.
  size_t Push(const float* samples, size_t count, void* ring, size_t ring_rows);
  // Forgets all samples, as after a gap in the stream; rows go on where they were.
  void Reset();

 private:
  void Frame(const float* samples, void* ring, size_t ring_rows);
  float* Compress(float* values, size_t count);
  void Pcen(float* values, size_t count);

  FrontEndConfig config_;
  KernelSet kernels_;
  SpectrumTables tables_;
  size_t bins_, bands_, features_;
  std::vector<float> pending_;   // samples of frames that are not complete yet
  std::vector<float> frame_, scratch_, power_, values_, smooth_, work_, coefficients_;
  uint64_t position_ = 0, not_finite_ = 0;
};

}  // namespace sterna
