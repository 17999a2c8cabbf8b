#include "node/views.h"

namespace sterna_node {
namespace {

bool Detached(const Napi::Env& env, napi_value buffer) {
  bool is_buffer = false, detached = false;
  if (napi_is_arraybuffer(env, buffer, &is_buffer) != napi_ok || !is_buffer) return false;  // a SharedArrayBuffer never detaches
  return napi_is_detached_arraybuffer(env, buffer, &detached) != napi_ok || detached;
}

size_t ElementSize(napi_typedarray_type type) {
  switch (type) {
    case napi_int16_array:
    case napi_uint16_array: return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array: return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: return 8;
    default: return 1;
  }
}

}  // namespace

std::optional<Bytes> BytesOf(const Napi::Value& value) {
  const Napi::Env env = value.Env();
  void* data = nullptr;
  napi_value buffer = nullptr;
  size_t size = 0, offset = 0;
  bool is_typed_array = false, is_data_view = false;
  napi_is_typedarray(env, value, &is_typed_array);
  if (is_typed_array) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(env, value, &type, &size, &data, &buffer, &offset) != napi_ok) return std::nullopt;
    size *= ElementSize(type);
  } else {
    napi_is_dataview(env, value, &is_data_view);
    if (!is_data_view || napi_get_dataview_info(env, value, &size, &data, &buffer, &offset) != napi_ok) return std::nullopt;
  }
  if (Detached(env, buffer)) return std::nullopt;
  return Bytes{static_cast<uint8_t*>(data), size};
}

}  // namespace sterna_node
