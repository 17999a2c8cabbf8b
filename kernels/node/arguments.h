// What JavaScript passes to a call, read without coercing it. In an environment that ends (a worker is being terminated), what could not be read
// is an empty value: asking it for its type is safe, but coercing it, or asking anything else of it, ends the process.
#pragma once
#include <napi.h>

namespace sterna_node {

// What is absent, or could not be read, is no true.
inline bool IsTrue(const Napi::Value& value) { return value.IsBoolean() && value.As<Napi::Boolean>().Value(); }

}  // namespace sterna_node
