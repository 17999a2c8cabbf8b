// Pixel kernels for the front of a vision pipeline: 8-bit RGB in, 8-bit RGB or luma (ITU-R BT.601) out. Portable C++ that compilers
// vectorize; arithmetic is in float and rounds half to even, the same bits on every CPU. Callers check sizes (kernels/binding/image.ts, and
// for memory safety node/image.cpp): the functions here trust them. Nothing outside the pictures is read or written.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sterna {

// RGB, HWC, rows `stride` bytes apart.
struct ImageRef {
  const uint8_t* data;
  size_t width, height, stride;
};

// A rectangle of a picture to be drawn: rows `stride` bytes apart, 1 or 3 channels.
struct CanvasRef {
  uint8_t* data;
  size_t width, height, stride, channels;
};

// In pixels of a picture; may be fractional and reach beyond the borders.
struct RegionF {
  double x, y, width, height;
};

// What lies outside a picture.
enum class Border { kBlack, kEdge };

// Draws the region onto the canvas. Each axis averages ceil(region / canvas) equally spaced bilinear samples a canvas pixel: bilinear
// with half-pixel centres when enlarging, an area average when shrinking.
void ResizeImage(const ImageRef& src, const RegionF& region, Border border, const CanvasRef& dst);

// dst(x, y) = src(m[0] x + m[1] y + m[2], m[3] x + m[4] y + m[5]) between pixel centres, bilinear, black outside.
void WarpAffine(const ImageRef& src, const double m[6], const CanvasRef& dst);

// Mean luma of each factor x factor cell, factor 1..16; floor(width / factor) * floor(height / factor) cells, row-major. Of a cell only every
// row_step-th row is read, 1..factor: the first one and those that follow.
void GreyCells(const ImageRef& src, size_t factor, size_t row_step, uint8_t* cells);

// Counts the cells that differ from the background by more than `threshold`, once the mean difference of all cells (a lamp, the
// camera's exposure) is taken out; then background += (cell - background) * rate. Bit i & 7 of byte i >> 3 of `mask` says which cells those are.
size_t UpdateBackground(const uint8_t* cells, float* background, size_t n, float threshold, float rate, uint8_t* mask);

// A feature map: `cells` pixels of `channels` bytes without gaps, at most kMaxCosineChannels (cell_cosine/kernel.h). `flip`: 0x80 when the bytes are
// signed, else 0; `zp`: of a byte once it is flipped.
struct FeatureMap {
  const uint8_t* data;
  size_t cells, channels;
  uint8_t flip;
  int32_t zp;
};
struct FeatureGateOptions {
  double threshold;  // a cell is active when 1 - max(0, cosine with the background) is at least this, 0..1
  int shift;         // the background takes over 2^-shift of the difference a frame where it learns, 1..7
  int patience;      // it learns where a cell is quiet, and where one has been active for more than so many frames in a row, 0..255
  double renewal;    // when more than this share of the cells are active, the frame becomes the background
};

// background = the map, times 2^kBackgroundBits; streaks = 0. Both belong to one map: cells * channels numbers, and one for each cell.
void LearnBackground(const FeatureMap& map, int16_t* background, uint8_t* streaks);

// Counts the active cells, says which they are (bit i & 7 of byte i >> 3 of `mask`), and lets the background learn.
size_t FeatureGate(const FeatureMap& map, const FeatureGateOptions& options, int16_t* background, uint8_t* streaks, uint8_t* mask);

}  // namespace sterna
