// nearestCandidates(...): kernels/binding/nearest.ts, which has checked every argument and says what was wrong; here only what memory safety
// needs is checked again.
#include "families/dots_s8/kernel.h"
#include "nearest/nearest.h"
#include "node/arguments.h"
#include "node/errors.h"
#include "node/register.h"
#include "node/views.h"

namespace sterna_node {
namespace {

template <typename T>
bool Read(const Napi::Value& value, size_t count, T** data) {
  const std::optional<Bytes> bytes = BytesOf(value);
  if (!bytes || bytes->size / sizeof(T) < count || reinterpret_cast<uintptr_t>(bytes->data) % alignof(T) != 0) return false;
  *data = reinterpret_cast<T*>(bytes->data);
  return true;
}

// (codes, scales, errors, owners, count, depth, query, queryScale, queryError, wanted, cosines, out) -> count
Napi::Value NearestCandidates(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const size_t count = SizeOf(info[4]), depth = SizeOf(info[5]), wanted = SizeOf(info[9]);
  int8_t *codes, *query;
  float *scales, *errors, *cosines;
  int32_t* owners;
  uint32_t* out;
  const bool sizes = count <= UINT32_MAX && depth >= sterna::kDotsStep && depth <= sterna::kDotsMaxDepth && depth % sterna::kDotsStep == 0 && wanted >= 1 &&
                     wanted <= sterna::kMaxNearestOwners;
  if (!sizes || !Read(info[0], count * depth, &codes) || !Read(info[1], count, &scales) || !Read(info[2], count, &errors) ||
      !Read(info[3], count, &owners) || !Read(info[6], depth, &query) || !Read(info[10], count, &cosines) || !Read(info[11], count, &out)) {
    ThrowArgument(env, "Expected arrays as long as count and depth say but received other arguments");
    return env.Undefined();
  }
  const sterna::CodedRows rows{codes, scales, errors, owners, count, depth};
  const size_t found = sterna::NearestCandidates(rows, {query, static_cast<float>(NumberOf(info[7], 0)), static_cast<float>(NumberOf(info[8], 0))}, wanted, *sterna::BestKernels().dots_s8, cosines, out);
  return Napi::Number::New(env, static_cast<double>(found));
}

}  // namespace

void RegisterNearest(Napi::Object exports) {
  SetFunction(exports, "nearestCandidates", NearestCandidates);
}

}  // namespace sterna_node
