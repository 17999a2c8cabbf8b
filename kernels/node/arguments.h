// What JavaScript passes to a call, read without coercing it. In an environment that ends (a worker is being terminated), what could not be read
// is an empty value: asking it for its type is safe, but coercing it, or asking anything else of it, ends the process.
#pragma once
#include <napi.h>

#include <cmath>
#include <cstdint>

namespace sterna_node {

// What is absent, or could not be read, is no true.
inline bool IsTrue(const Napi::Value& value) { return value.IsBoolean() && value.As<Napi::Boolean>().Value(); }

// `otherwise`: what is no number.
inline double NumberOf(const Napi::Value& value, double otherwise) { return value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : otherwise; }

// A number of 0 and more without its fraction; SIZE_MAX for anything else.
inline size_t SizeOf(const Napi::Value& value) {
  const int64_t number = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : -1;
  return number >= 0 ? static_cast<size_t>(number) : SIZE_MAX;
}

// Whether it is an integer of least..most.
inline bool IsWhole(double value, double least, double most) { return value >= least && value <= most && std::floor(value) == value; }

}  // namespace sterna_node
