// The bytes behind a TypedArray, Buffer or DataView.
#pragma once
#include <napi.h>

#include <optional>

namespace sterna_node {

struct Bytes {
  uint8_t* data;
  size_t size;
};

// Nothing when the value is not a view, or its buffer is detached.
std::optional<Bytes> BytesOf(const Napi::Value& value);

}  // namespace sterna_node
