// notifySystemd(message): Node itself cannot send to an AF_UNIX datagram socket.
#include "sterna/sd_notify.h"

#include <cstdlib>

#include "node/errors.h"
#include "node/register.h"

namespace sterna_node {
namespace {

Napi::Value NotifySystemd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) {
    ThrowArgument(env, "Expected a string for the notification");
    return env.Undefined();
  }
  const std::string message = info[0].As<Napi::String>().Utf8Value();
  const char* path = std::getenv("NOTIFY_SOCKET");
  return Napi::Boolean::New(env, path != nullptr && sterna::SendNotification(path, message.data(), message.size()));
}

}  // namespace

void RegisterSystemd(Napi::Object exports) { SetFunction(exports, "notifySystemd", NotifySystemd); }

}  // namespace sterna_node
