// notifySystemd(message): sd_notify(3) without libsystemd. One datagram to the socket that the service manager names; Node itself
// cannot send to an AF_UNIX datagram socket.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "node/errors.h"
#include "node/register.h"

namespace sterna_node {
namespace {

// False when the path is neither absolute nor abstract ("@name"), or too long.
bool AddressOf(const char* path, sockaddr_un* address, socklen_t* length) {
  const size_t n = std::strlen(path);
  if ((path[0] != '/' && path[0] != '@') || n < 2 || n >= sizeof(address->sun_path)) return false;
  *address = {};
  address->sun_family = AF_UNIX;
  std::memcpy(address->sun_path, path, n);
  if (path[0] == '@') address->sun_path[0] = '\0';
  *length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + n);
  return true;
}

bool Send(const char* path, const std::string& message) {
  sockaddr_un address;
  socklen_t length;
  if (!AddressOf(path, &address, &length)) return false;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const ssize_t sent = sendto(fd, message.data(), message.size(), MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  close(fd);
  return sent == static_cast<ssize_t>(message.size());
}

Napi::Value NotifySystemd(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsString()) {
    ThrowArgument(env, "Expected a string for the notification");
    return env.Undefined();
  }
  const char* path = std::getenv("NOTIFY_SOCKET");
  return Napi::Boolean::New(env, path != nullptr && Send(path, info[0].As<Napi::String>().Utf8Value()));
}

}  // namespace

void RegisterSystemd(Napi::Env env, Napi::Object exports) { exports.Set("notifySystemd", Napi::Function::New(env, NotifySystemd, "notifySystemd")); }

}  // namespace sterna_node
