// describeCpu() and measurePeaks(isa): kernels/binding/native.ts, CpuDescription and PeakRate.
#include "node/errors.h"
#include "node/register.h"
#include "sterna/peak.h"
#include "sterna/registry.h"

namespace sterna_node {
namespace {

Napi::Object DescribeIsa(Napi::Env env, const sterna::IsaStatus& status) {
  Napi::Object isa = Napi::Object::New(env);
  isa.Set("isa", status.isa);
  isa.Set("built", status.built);
  isa.Set("runnable", status.runnable);
  isa.Set("reason", status.reason);
  return isa;
}

Napi::Value DescribeCpu(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const sterna::CpuInfo& cpu = sterna::DetectCpu();
  Napi::Array features = Napi::Array::New(env);
  for (const std::string& feature : cpu.features) features.Set(features.Length(), feature);
  Napi::Array isas = Napi::Array::New(env);
  for (const sterna::IsaStatus& status : sterna::DescribeIsas()) isas.Set(isas.Length(), DescribeIsa(env, status));
  const sterna::IsaKernels& best = sterna::BestIsa().kernels;
  Napi::Object description = Napi::Object::New(env);
  description.Set("arch", cpu.arch);
  description.Set("model", cpu.model);
  description.Set("features", features);
  description.Set("isas", isas);
  description.Set("selected", best.isa);
  description.Set("activation", best.activation == static_cast<uint8_t>(sterna::DType::kS8) ? "int8" : "uint8");
  return description;
}

Napi::Value MeasurePeaks(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const std::string isa = TextOf(info[0]);
  std::vector<sterna::PeakRate> rates;
  const sterna::Status status = sterna::MeasurePeaks(isa.c_str(), &rates);
  if (!status.ok()) {
    ThrowError(env, CodeOf(status), MessageOf(status) + ": " + isa);
    return env.Undefined();
  }
  Napi::Array all = Napi::Array::New(env, rates.size());
  for (uint32_t i = 0; i < rates.size(); ++i) {
    Napi::Object rate = Napi::Object::New(env);
    rate.Set("instruction", rates[i].instruction);
    rate.Set("format", rates[i].is_float ? "float32" : "int8");
    rate.Set("macsPerSecond", rates[i].macs_per_second);
    all.Set(i, rate);
  }
  return all;
}

}  // namespace

void RegisterCpu(Napi::Object exports) {
  SetFunction(exports, "describeCpu", DescribeCpu);
  SetFunction(exports, "measurePeaks", MeasurePeaks);
}

}  // namespace sterna_node
