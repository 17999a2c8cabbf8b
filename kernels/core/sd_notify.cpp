#include "sterna/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>

namespace sterna {
namespace {

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

}  // namespace

bool SendNotification(const char* path, const char* message, size_t size) {
  sockaddr_un address;
  socklen_t length;
  if (!AddressOf(path, &address, &length)) return false;
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const ssize_t sent = sendto(fd, message, size, MSG_NOSIGNAL, reinterpret_cast<const sockaddr*>(&address), length);
  close(fd);
  return sent == static_cast<ssize_t>(size);
}

}  // namespace sterna
