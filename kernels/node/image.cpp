// The pixel kernels, as the object `image` of the addon. kernels/binding/image.ts has checked every argument and says what was wrong; here
// only what memory safety needs is checked again.
#include "image/image.h"
#include "node/arguments.h"
#include "node/errors.h"
#include "node/register.h"
#include "node/views.h"
#include "sterna/microkernel.h"

namespace sterna_node {
namespace {

constexpr size_t kMaxSide = 1u << 16;
constexpr double kMaxRegion = 1u << 18;  // bounds the tables of weights

bool SidesOk(size_t width, size_t height) { return width >= 1 && height >= 1 && width <= kMaxSide && height <= kMaxSide; }

// Arguments 0..3: data, width, height, stride.
bool ReadImage(const Napi::CallbackInfo& info, sterna::ImageRef* image) {
  const std::optional<Bytes> bytes = BytesOf(info[0]);
  const size_t width = SizeOf(info[1]), height = SizeOf(info[2]), stride = SizeOf(info[3]);
  if (!bytes || !SidesOk(width, height) || stride < width * 3 || stride > INT32_MAX) return false;
  if (bytes->size < (height - 1) * stride + width * 3) return false;
  *image = {bytes->data, width, height, stride};
  return true;
}

// The rectangle { left, top, width, height } of a canvas `canvas_width` pixels wide.
bool ReadArea(const Bytes& bytes, size_t canvas_width, size_t channels, const Napi::Value& value, sterna::CanvasRef* canvas) {
  if (!value.IsObject() || (channels != 1 && channels != 3) || canvas_width < 1 || canvas_width > kMaxSide) return false;
  size_t sides[4];
  const char* names[4] = {"left", "top", "width", "height"};
  for (int i = 0; i < 4; ++i) {
    sides[i] = SizeOf(value.As<Napi::Object>().Get(names[i]));
    if (sides[i] > kMaxSide) return false;
  }
  const size_t left = sides[0], top = sides[1], width = sides[2], height = sides[3];
  if (!SidesOk(width, height) || left + width > canvas_width || (top + height) * canvas_width * channels > bytes.size) return false;
  *canvas = {bytes.data + (top * canvas_width + left) * channels, width, height, canvas_width * channels, channels};
  return true;
}

Napi::Value Refuse(const Napi::Env& env) {
  ThrowArgument(env, "Expected pictures as large as they say but received other arguments");
  return env.Undefined();
}

// (src, width, height, stride, x, y, regionWidth, regionHeight, dst, dstWidth, channels, area, edge)
Napi::Value Resize(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sterna::ImageRef src;
  sterna::CanvasRef dst;
  const std::optional<Bytes> bytes = BytesOf(info[8]);
  if (!ReadImage(info, &src) || !bytes || !ReadArea(*bytes, SizeOf(info[9]), SizeOf(info[10]), info[11], &dst)) return Refuse(env);
  const sterna::RegionF region{NumberOf(info[4], 0), NumberOf(info[5], 0), NumberOf(info[6], 0), NumberOf(info[7], 0)};
  const auto bounded = [](double start, double length) { return start >= -1e6 && start <= 1e6 && length > 0 && length <= kMaxRegion; };
  if (!bounded(region.x, region.width) || !bounded(region.y, region.height)) return Refuse(env);
  ResizeImage(src, region, IsTrue(info[12]) ? sterna::Border::kEdge : sterna::Border::kBlack, dst);
  return env.Undefined();
}

// (src, width, height, stride, matrix, dst, dstWidth, dstHeight, channels)
Napi::Value Warp(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sterna::ImageRef src;
  const std::optional<Bytes> matrix = BytesOf(info[4]), bytes = BytesOf(info[5]);
  const size_t width = SizeOf(info[6]), height = SizeOf(info[7]), channels = SizeOf(info[8]);
  if (!ReadImage(info, &src) || !matrix || matrix->size != 6 * sizeof(double) || !bytes) return Refuse(env);
  if (!SidesOk(width, height) || (channels != 1 && channels != 3) || bytes->size < width * height * channels) return Refuse(env);
  sterna::WarpAffine(src, reinterpret_cast<const double*>(matrix->data), {bytes->data, width, height, width * channels, channels});
  return env.Undefined();
}

// (src, width, height, stride, factor, rowStep, cells)
Napi::Value GreyCells(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sterna::ImageRef src;
  const size_t factor = SizeOf(info[4]), row_step = SizeOf(info[5]);
  const std::optional<Bytes> cells = BytesOf(info[6]);
  if (!ReadImage(info, &src) || factor < 1 || factor > 16 || row_step < 1 || row_step > factor || !cells) return Refuse(env);
  if (cells->size < (src.width / factor) * (src.height / factor)) return Refuse(env);
  sterna::GreyCells(src, factor, row_step, cells->data);
  return env.Undefined();
}

// (cells, background, threshold, rate, mask)
Napi::Value UpdateBackground(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::optional<Bytes> cells = BytesOf(info[0]), background = BytesOf(info[1]), mask = BytesOf(info[4]);
  if (!cells || !background || background->size != cells->size * sizeof(float) || !mask || mask->size < (cells->size + 7) / 8) return Refuse(env);
  const size_t changed = sterna::UpdateBackground(cells->data, reinterpret_cast<float*>(background->data), cells->size,
                                                  static_cast<float>(NumberOf(info[2], 0)), static_cast<float>(NumberOf(info[3], 0)), mask->data);
  return Napi::Number::New(env, static_cast<double>(changed));
}

// Arguments 0..3: data, channels, zero-point, whether bytes are signed; 4 and 5: background and streaks.
bool ReadFeatures(const Napi::CallbackInfo& info, sterna::FeatureMap* map, int16_t** background, uint8_t** streaks) {
  const std::optional<Bytes> data = BytesOf(info[0]), learned = BytesOf(info[4]), runs = BytesOf(info[5]);
  const size_t channels = SizeOf(info[1]), zp = SizeOf(info[2]);
  if (!data || !learned || !runs || channels < 1 || channels > sterna::kMaxCosineChannels || zp > 255 || data->size % channels != 0) return false;
  *map = {data->data, data->size / channels, channels, static_cast<uint8_t>(IsTrue(info[3]) ? 0x80 : 0), static_cast<int32_t>(zp)};
  *background = reinterpret_cast<int16_t*>(learned->data);
  *streaks = runs->data;
  return learned->size == data->size * sizeof(int16_t) && reinterpret_cast<uintptr_t>(learned->data) % alignof(int16_t) == 0 && runs->size == map->cells;
}

// (data, channels, zeroPoint, signed, background, streaks)
Napi::Value LearnBackground(const Napi::CallbackInfo& info) {
  sterna::FeatureMap map;
  int16_t* background;
  uint8_t* streaks;
  if (!ReadFeatures(info, &map, &background, &streaks)) return Refuse(info.Env());
  sterna::LearnBackground(map, background, streaks);
  return info.Env().Undefined();
}

// (data, channels, zeroPoint, signed, background, streaks, mask, threshold, shift, patience, renewal)
Napi::Value FeatureGate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sterna::FeatureMap map;
  int16_t* background;
  uint8_t* streaks;
  const std::optional<Bytes> mask = BytesOf(info[6]);
  const size_t shift = SizeOf(info[8]), patience = SizeOf(info[9]);
  if (!ReadFeatures(info, &map, &background, &streaks) || !mask || mask->size < (map.cells + 7) / 8 || shift < 1 || shift > 7 || patience > 255) return Refuse(env);
  const sterna::FeatureGateOptions options{NumberOf(info[7], 0), static_cast<int>(shift), static_cast<int>(patience), NumberOf(info[10], 0)};
  return Napi::Number::New(env, static_cast<double>(sterna::FeatureGate(map, options, background, streaks, mask->data)));
}

}  // namespace

void RegisterImage(Napi::Object exports) {
  Napi::Object image = Napi::Object::New(exports.Env());
  SetFunction(image, "resize", Resize);
  SetFunction(image, "warp", Warp);
  SetFunction(image, "greyCells", GreyCells);
  SetFunction(image, "updateBackground", UpdateBackground);
  SetFunction(image, "learnBackground", LearnBackground);
  SetFunction(image, "featureGate", FeatureGate);
  exports.Set("image", image);
}

}  // namespace sterna_node
