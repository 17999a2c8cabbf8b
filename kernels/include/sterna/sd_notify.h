// sd_notify(3) without libsystemd: one datagram to the socket of the service manager.
#pragma once
#include <cstddef>

namespace sterna {

// `path` is the value of NOTIFY_SOCKET: an absolute path, or an abstract name that starts with '@'. False when it is neither, is too
// long, or nobody listens.
bool SendNotification(const char* path, const char* message, size_t size);

}  // namespace sterna
