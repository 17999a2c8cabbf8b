// The audio front end, as the object `audio` of the addon. kernels/binding/audio.ts has checked every argument and says what was wrong; here
// only what memory safety needs is checked again. An open front end is an External that its finalizer deletes; it keeps no view.
#include "audio/front_end.h"
#include "node/arguments.h"
#include "node/errors.h"
#include "node/register.h"
#include "node/views.h"

namespace sterna_node {
namespace {

using sterna::FrontEnd;

constexpr napi_type_tag kFrontEndTag = {0x3a5d0c9be17f4462, 0x91c8e7d02b6fa513};
constexpr size_t kMostFeatures = 8192, kMostRows = 65536, kMostWeights = 1u << 22;

template <typename T>
bool ReadArray(const Napi::Value& value, std::vector<T>* out) {
  const std::optional<Bytes> bytes = BytesOf(value);
  if (!bytes || bytes->size % sizeof(T) != 0 || bytes->size / sizeof(T) > kMostWeights) return false;
  const T* data = reinterpret_cast<const T*>(bytes->data);
  out->assign(data, data + bytes->size / sizeof(T));
  return true;
}

// The bands (first, length, weights) of `inputs` values.
bool ReadBands(const Napi::CallbackInfo& info, size_t at, size_t inputs, sterna::BandRows* bands) {
  if (!ReadArray(info[at], &bands->first) || !ReadArray(info[at + 1], &bands->length) || !ReadArray(info[at + 2], &bands->weights)) return false;
  if (bands->first.size() != bands->length.size() || bands->first.size() > kMostFeatures) return false;
  size_t offset = 0;
  for (size_t m = 0; m < bands->first.size(); ++m) {
    bands->offset.push_back(static_cast<uint32_t>(offset));
    if (bands->length[m] > inputs || bands->first[m] > inputs - bands->length[m]) return false;
    offset += bands->length[m];
  }
  return offset == bands->weights.size();
}

bool ReadConfig(const Napi::CallbackInfo& info, sterna::FrontEndConfig* config, sterna::DType* type) {
  std::vector<double> n;
  if (!ReadArray(info[0], &n) || n.size() != 18 || !ReadArray(info[1], &config->window)) return false;
  if (!IsWhole(n[0], 1, sterna::kMostPoints) || !IsWhole(n[1], sterna::kLeastPoints, sterna::kMostPoints) || !IsWhole(n[2], 0, sterna::kMostPoints)) return false;
  config->hop = static_cast<size_t>(n[0]), config->points = static_cast<size_t>(n[1]), config->padding = static_cast<size_t>(n[2]);
  if (!sterna::SpectrumTables::Possible(config->points) || config->window.size() > config->points || config->window.size() < config->hop) return false;
  config->remove_mean = n[3] != 0, config->preemphasis = static_cast<float>(n[4]), config->magnitude = n[5] != 0;
  if (!IsWhole(n[6], 0, 2) || !IsWhole(n[16], 0, 2)) return false;
  config->compression = static_cast<sterna::Compression>(static_cast<int>(n[6]));
  float* const of_log[] = {&config->floor, &config->offset, &config->scale, &config->shift};
  for (size_t i = 0; i < 4; ++i) *of_log[i] = static_cast<float>(n[7 + i]);
  float* const of_pcen[] = {&config->pcen_smooth, &config->pcen_gain, &config->pcen_bias, &config->pcen_power, &config->pcen_epsilon};
  for (size_t i = 0; i < 5; ++i) *of_pcen[i] = static_cast<float>(n[11 + i]);
  *type = n[16] == 1 ? sterna::DType::kS8 : sterna::DType::kU8;
  if (!ReadBands(info, 2, config->points / 2 + 1, &config->bands)) return false;
  const size_t bands = config->bands.first.empty() ? config->points / 2 + 1 : config->bands.first.size();
  if (!ReadBands(info, 5, bands, &config->cosines) || !ReadArray(info[8], &config->mean) || !ReadArray(info[9], &config->factor)) return false;
  const size_t features = config->cosines.first.empty() ? bands : config->cosines.first.size();
  if (config->mean.size() != config->factor.size() || (!config->mean.empty() && config->mean.size() != features)) return false;
  config->code_scale = n[16] == 0 ? 0.0f : static_cast<float>(NumberOf(info[10], 0));
  config->code_zero = IsWhole(n[17], -128, 255) ? static_cast<int32_t>(n[17]) : 0;
  return n[16] == 0 || config->code_scale > 0;
}

Napi::Value Refuse(const Napi::Env& env, const char* expected) {
  ThrowArgument(env, std::string("Expected ") + expected + " but received other arguments");
  return env.Undefined();
}

// (numbers, window, first, length, weights, cosineFirst, cosineLength, cosineWeights, mean, factor, codeScale, isa)
Napi::Value Open(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  sterna::FrontEndConfig config{};
  sterna::DType type = sterna::DType::kU8;
  if (!ReadConfig(info, &config, &type)) return Refuse(env, "a front end whose tables fit each other");
  sterna::KernelSet kernels{};
  const std::string isa = info[11].IsString() ? info[11].As<Napi::String>().Utf8Value() : "";
  const sterna::Status status = sterna::SelectKernels(isa.empty() ? nullptr : isa.c_str(), type, &kernels);
  if (!status.ok()) {
    ThrowError(env, CodeOf(status), MessageOf(status) + ": " + isa);
    return env.Undefined();
  }
  auto* const front_end = new FrontEnd(std::move(config), kernels);
  const auto external = Napi::External<FrontEnd>::New(env, front_end, [](Napi::Env, FrontEnd* owned) { delete owned; });
  if (external.IsEmpty()) {  // the environment ends
    delete front_end;
    return {};
  }
  external.TypeTag(&kFrontEndTag);
  return external;
}

// Null when the first argument is no front end.
FrontEnd* Given(const Napi::CallbackInfo& info) {
  const Napi::Value value = info[0];
  return value.IsExternal() && value.As<Napi::External<FrontEnd>>().CheckTypeTag(&kFrontEndTag) ? value.As<Napi::External<FrontEnd>>().Data() : nullptr;
}

// (frontEnd, samples, ring, ringRows) -> rows that were completed
Napi::Value Push(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  FrontEnd* const front_end = Given(info);
  const std::optional<Bytes> samples = BytesOf(info[1]), ring = BytesOf(info[2]);
  const double rows = NumberOf(info[3], 0);
  if (front_end == nullptr || !samples || !ring || samples->size % sizeof(float) != 0 || !IsWhole(rows, 1, kMostRows)) return Refuse(env, "a front end, samples and a ring");
  const size_t bytes = 2 * static_cast<size_t>(rows) * front_end->features() * (front_end->quantized() ? 1 : sizeof(float));
  if (ring->size != bytes) return Refuse(env, "a ring of twice its rows");
  const size_t written = front_end->Push(reinterpret_cast<const float*>(samples->data), samples->size / sizeof(float), ring->data, static_cast<size_t>(rows));
  return Napi::Number::New(env, static_cast<double>(written));
}

// (frontEnd) -> samples that were not finite so far
Napi::Value NotFinite(const Napi::CallbackInfo& info) {
  const FrontEnd* const front_end = Given(info);
  return front_end == nullptr ? Refuse(info.Env(), "a front end") : Napi::Number::New(info.Env(), static_cast<double>(front_end->not_finite()));
}

Napi::Value Reset(const Napi::CallbackInfo& info) {
  FrontEnd* const front_end = Given(info);
  if (front_end == nullptr) return Refuse(info.Env(), "a front end");
  front_end->Reset();
  return info.Env().Undefined();
}

}  // namespace

void RegisterAudio(Napi::Object exports) {
  Napi::Object audio = Napi::Object::New(exports.Env());
  SetFunction(audio, "open", Open);
  SetFunction(audio, "push", Push);
  SetFunction(audio, "notFinite", NotFinite);
  SetFunction(audio, "reset", Reset);
  exports.Set("audio", audio);
}

}  // namespace sterna_node
