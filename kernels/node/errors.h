// Errors with a code, built by kernels/binding/load.ts so that they are KernelError (kernels/binding/errors.ts).
#pragma once
#include <napi.h>

#include <string>

#include "sterna/status.h"

namespace sterna_node {

// A KernelError with this code, or a plain Error with a `code` before setErrorFactory was called. `op` < 0: none.
Napi::Value MakeError(Napi::Env env, const char* code, const std::string& message, int32_t op = -1);

// Leaves the exception pending; return to JavaScript at once.
void ThrowError(Napi::Env env, const char* code, const std::string& message, int32_t op = -1);
inline void ThrowArgument(Napi::Env env, const std::string& message) { ThrowError(env, "E_ARGUMENT", message); }

// The value as text, for messages. What has none (a symbol, a `toString` that throws, a value of an environment that ends) is said so.
std::string TextOf(const Napi::Value& value);

// The code and message of a failed status.
const char* CodeOf(const sterna::Status& status);
std::string MessageOf(const sterna::Status& status);

}  // namespace sterna_node
