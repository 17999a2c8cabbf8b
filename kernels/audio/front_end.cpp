#include "audio/front_end.h"

#include <cmath>
#include <cstring>

namespace sterna {

FrontEnd::FrontEnd(FrontEndConfig config, const KernelSet& kernels)
    : config_(std::move(config)), kernels_(kernels), tables_(config_.points), bins_(config_.points / 2 + 1) {
  bands_ = config_.bands.first.empty() ? bins_ : config_.bands.first.size();
  features_ = config_.cosines.first.empty() ? bands_ : config_.cosines.first.size();
  frame_.assign(config_.points, 0.0f);
  scratch_.resize(2 * config_.points);
  power_.resize(bins_), values_.resize(bands_), work_.resize(bands_), coefficients_.resize(features_);
  Reset();
}

void FrontEnd::Reset() {
  pending_.assign(config_.padding, 0.0f);
  smooth_.assign(bands_, 1.0f);  // as after a long time of 1, which is how librosa begins
}

size_t FrontEnd::Push(const float* samples, size_t count, void* ring, size_t ring_rows) {
  const size_t old = pending_.size();
  pending_.insert(pending_.end(), samples, samples + count);
  for (size_t i = old; i < pending_.size(); ++i) {
    if (std::isfinite(pending_[i])) continue;
    pending_[i] = 0.0f;
    ++not_finite_;
  }
  const size_t length = config_.window.size();
  size_t rows = 0, start = 0;
  for (; start + length <= pending_.size(); start += config_.hop, ++rows) Frame(pending_.data() + start, ring, ring_rows);
  pending_.erase(pending_.begin(), pending_.begin() + static_cast<std::ptrdiff_t>(start));
  return rows;
}

void FrontEnd::Frame(const float* samples, void* ring, size_t ring_rows) {
  const size_t length = config_.window.size();
  float* frame = frame_.data();
  float mean = 0.0f;
  if (config_.remove_mean) {
    double sum = 0;
    for (size_t i = 0; i < length; ++i) sum += static_cast<double>(samples[i]);
    mean = static_cast<float>(sum / static_cast<double>(length));
  }
  if (config_.preemphasis != 0.0f) {
    const float c = config_.preemphasis;
    for (size_t i = 1; i < length; ++i) frame[i] = (samples[i] - mean) - c * (samples[i - 1] - mean);
    frame[0] = (samples[0] - mean) - c * (samples[0] - mean);
  } else {
    for (size_t i = 0; i < length; ++i) frame[i] = samples[i] - mean;
  }
  kernels_.elementwise->mul_f32(length, frame, config_.window.data(), frame);
  kernels_.audio->power(&tables_.plan(), frame, power_.data(), scratch_.data());
  if (config_.magnitude) {
    for (float& value : power_) value = std::sqrt(value);
  }
  const float* spectrum = power_.data();
  if (config_.bands.first.empty()) {
    std::memcpy(values_.data(), spectrum, bins_ * sizeof(float));
  } else {
    const BandTable table = config_.bands.table();
    kernels_.audio->bands(&table, spectrum, values_.data());
  }
  float* row = Compress(values_.data(), bands_);
  if (!config_.cosines.first.empty()) {
    const BandTable table = config_.cosines.table();
    kernels_.audio->bands(&table, row, coefficients_.data());
    row = coefficients_.data();
  }
  for (size_t i = 0; i < config_.mean.size(); ++i) row[i] = (row[i] - config_.mean[i]) * config_.factor[i];
  const size_t at = static_cast<size_t>(position_ % ring_rows), bytes = features_ * (quantized() ? 1 : sizeof(float));
  uint8_t *first = static_cast<uint8_t*>(ring) + at * bytes, *second = first + ring_rows * bytes;
  if (quantized()) kernels_.elementwise->quantize(features_, row, first, config_.code_scale, config_.code_zero);
  else std::memcpy(first, row, bytes);
  std::memcpy(second, first, bytes);
  ++position_;
}

float* FrontEnd::Compress(float* values, size_t count) {
  if (config_.compression == Compression::kPcen) {
    Pcen(values, count);
  } else if (config_.compression == Compression::kLog) {
    for (size_t i = 0; i < count; ++i) values[i] = (values[i] > config_.floor ? values[i] : config_.floor) + config_.offset;
    kernels_.unary_f32->log(count, values, values, 0, 0);
    for (size_t i = 0; i < count; ++i) values[i] = config_.scale * values[i] + config_.shift;
  }
  return values;
}

// (E / (epsilon + M)^gain + bias)^power - bias^power, M being E smoothed over time.
void FrontEnd::Pcen(float* values, size_t count) {
  const float s = config_.pcen_smooth, gain = config_.pcen_gain, bias = config_.pcen_bias, power = config_.pcen_power;
  for (size_t i = 0; i < count; ++i) {
    smooth_[i] = (1.0f - s) * smooth_[i] + s * values[i];
    work_[i] = config_.pcen_epsilon + smooth_[i];
  }
  kernels_.unary_f32->log(count, work_.data(), work_.data(), 0, 0);
  for (size_t i = 0; i < count; ++i) work_[i] *= -gain;
  kernels_.elementwise->exp_f32(count, work_.data(), work_.data());
  for (size_t i = 0; i < count; ++i) work_[i] = values[i] * work_[i] + bias;
  kernels_.unary_f32->log(count, work_.data(), work_.data(), 0, 0);
  for (size_t i = 0; i < count; ++i) work_[i] *= power;
  kernels_.elementwise->exp_f32(count, work_.data(), values);
  const float least = std::pow(bias, power);
  for (size_t i = 0; i < count; ++i) values[i] -= least;
}

}  // namespace sterna
