// frugalMemory(): tells the C allocator to give memory back rather than to keep it. copyBytes(target, source): memcpy.
// allFinite(data): whether no float32 is NaN or infinite.
#include <cstring>

#include "node/errors.h"
#include "node/register.h"
#include "node/views.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sterna_node {
namespace {

Napi::Value FrugalMemory(const Napi::CallbackInfo& info) {
#if defined(__GLIBC__)
  // One arena: glibc makes one a thread, and each keeps what its peak needed. Fixed thresholds: glibc raises them to the
  // largest block ever freed (a camera frame), after which frames live, and leave holes, in the heap for good. Below the
  // 64 KiB that Node reads from a pipe at a time: those blocks wait for the garbage collector, between others that stay.
  constexpr int kThresholdBytes = 32 * 1024;
  const bool done = mallopt(M_ARENA_MAX, 1) == 1 && mallopt(M_MMAP_THRESHOLD, kThresholdBytes) == 1 && mallopt(M_TRIM_THRESHOLD, kThresholdBytes) == 1;
  if (done) malloc_trim(0);
  return Napi::Boolean::New(info.Env(), done);
#else
  return Napi::Boolean::New(info.Env(), false);
#endif
}

Napi::Value CopyBytes(const Napi::CallbackInfo& info) {
  const std::optional<Bytes> target = BytesOf(info[0]), source = BytesOf(info[1]);
  if (!target || !source || target->size != source->size) {
    const std::string received = target && source ? std::to_string(target->size) + " and " + std::to_string(source->size) + " bytes" : "no view, or a detached one";
    ThrowArgument(info.Env(), "Expected two views of as many bytes but received " + received);
    return info.Env().Undefined();
  }
  if (target->size > 0) std::memmove(target->data, source->data, target->size);
  return info.Env().Undefined();
}

// A carry out of the exponent tells that it has only ones. A plain loop, of which compilers make vectors.
bool AllFinite(const uint8_t* data, size_t count) {
  uint32_t carries = 0;
  for (size_t i = 0; i < count; i++) {
    uint32_t bits;
    std::memcpy(&bits, data + i * sizeof(bits), sizeof(bits));
    carries |= (bits & 0x7fffffffu) + 0x00800000u;
  }
  return carries >> 31 == 0;
}

Napi::Value AllFiniteOf(const Napi::CallbackInfo& info) {
  const std::optional<Bytes> bytes = BytesOf(info[0]);
  if (!bytes || bytes->size % sizeof(float) != 0) {
    ThrowArgument(info.Env(), "Expected a view of float32");
    return info.Env().Undefined();
  }
  return Napi::Boolean::New(info.Env(), AllFinite(bytes->data, bytes->size / sizeof(float)));
}

}  // namespace

void RegisterMemory(Napi::Object exports) {
  SetFunction(exports, "frugalMemory", FrugalMemory);
  SetFunction(exports, "copyBytes", CopyBytes);
  SetFunction(exports, "allFinite", AllFiniteOf);
}

}  // namespace sterna_node
