#include "sterna/sd_notify.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "harness.h"

namespace sterna_test {
namespace {

// Binds a datagram socket, as a service manager does, sends to it, and returns what arrived.
std::string Roundtrip(const std::string& path, const std::string& message) {
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (path[0] == '@') address.sun_path[0] = '\0';
  const socklen_t length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  EXPECT(bind(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0);
  EXPECT(sterna::SendNotification(path.c_str(), message.data(), message.size()));
  char text[256] = {};
  const ssize_t received = recv(fd, text, sizeof(text), MSG_DONTWAIT);
  close(fd);
  if (path[0] == '/') unlink(path.c_str());
  return received < 0 ? "" : std::string(text, static_cast<size_t>(received));
}

}  // namespace

STERNA_TEST(notifications_reach_a_path_and_an_abstract_name) {
  char folder[] = "/tmp/sterna-notify-XXXXXX";
  EXPECT(mkdtemp(folder) != nullptr);
  EXPECT(Roundtrip(std::string(folder) + "/socket", "READY=1\nSTATUS=up") == "READY=1\nSTATUS=up");
  rmdir(folder);
  EXPECT(Roundtrip("@sterna-notify-" + std::to_string(getpid()), "WATCHDOG=1") == "WATCHDOG=1");
}

STERNA_TEST(notifications_to_nobody_fail_softly) {
  EXPECT(!sterna::SendNotification("/no/such/socket", "READY=1", 7));
  EXPECT(!sterna::SendNotification("relative", "READY=1", 7));
  EXPECT(!sterna::SendNotification("", "READY=1", 7));
  EXPECT(!sterna::SendNotification(("/" + std::string(200, 'x')).c_str(), "READY=1", 7));
}

}  // namespace sterna_test
