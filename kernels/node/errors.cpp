#include "node/errors.h"

#include "node/register.h"

namespace sterna_node {
namespace {

// Per environment: the function (code, message, op) -> Error.
struct Instance {
  Napi::FunctionReference error_factory;
};

void SetErrorFactory(const Napi::CallbackInfo& info) {
  if (!info[0].IsFunction()) return ThrowArgument(info.Env(), "Expected a function for the error factory");
  info.Env().GetInstanceData<Instance>()->error_factory = Napi::Persistent(info[0].As<Napi::Function>());
}

Napi::Value PlainError(Napi::Env env, const char* code, const std::string& message) {
  const Napi::Error error = Napi::Error::New(env, message);
  error.Value().Set("code", code);
  return error.Value();
}

}  // namespace

void RegisterErrors(Napi::Object exports) {
  exports.Env().SetInstanceData(new Instance());
  SetFunction(exports, "setErrorFactory", SetErrorFactory);
}

Napi::Value MakeError(Napi::Env env, const char* code, const std::string& message, int32_t op) {
  const Instance* instance = env.GetInstanceData<Instance>();
  if (instance == nullptr || instance->error_factory.IsEmpty()) return PlainError(env, code, message);
  return instance->error_factory.Call({Napi::String::New(env, code), Napi::String::New(env, message), Napi::Number::New(env, op)});
}

void ThrowError(Napi::Env env, const char* code, const std::string& message, int32_t op) {
  const Napi::Value error = MakeError(env, code, message, op);
  if (!env.IsExceptionPending()) napi_throw(env, error);
}

std::string TextOf(const Napi::Value& value) {
  const Napi::String text = value.IsEmpty() ? Napi::String() : value.ToString();
  if (!text.IsEmpty()) return text.Utf8Value();
  if (!value.IsEmpty() && value.Env().IsExceptionPending()) value.Env().GetAndClearPendingException();
  return "a value without text";
}

const char* CodeOf(const sterna::Status& status) {
  using sterna::StatusCode;
  switch (status.code) {
    case StatusCode::kUnsupportedVersion: return "E_PROGRAM_VERSION";
    case StatusCode::kUnsupportedOp: return "E_PROGRAM_OP";
    case StatusCode::kShapeMismatch: return "E_PROGRAM_SHAPE";
    case StatusCode::kLimitExceeded: return "E_PROGRAM_LIMIT";
    case StatusCode::kUnsupportedIsa: return "E_ISA";
    case StatusCode::kOutOfMemory: return "E_OUT_OF_MEMORY";
    case StatusCode::kInvalidArgument: return "E_ARGUMENT";
    case StatusCode::kDamagedFile: return "E_PROGRAM_FILE";
    case StatusCode::kMalformedProgram:
    case StatusCode::kOk: break;
  }
  return "E_PROGRAM_MALFORMED";
}

std::string MessageOf(const sterna::Status& status) {
  if (status.op < 0) return status.message;
  return "op " + std::to_string(status.op) + " of the program: " + status.message;
}

}  // namespace sterna_node
