// SPDX-License-Identifier: Apache-2.0
#include "os/poll.hpp"

#include <poll.h>

#include "base/error.hpp"

namespace procession::os {

namespace {

base::Waited wait(int fd, short events, base::Deadline deadline) {
  pollfd entry{fd, events, 0};
  while (true) {
    int ready = ::poll(&entry, 1, deadline.remaining_ms());
    if (ready > 0) return base::Waited::kReady;
    if (ready < 0 && errno == EINTR) return base::Waited::kInterrupted;
    if (ready < 0) base::throw_os_error(errno, "poll");
    if (deadline.passed()) return base::Waited::kTimedOut;
  }
}

}  // namespace

base::Waited wait_readable(int fd, base::Deadline deadline) { return wait(fd, POLLIN, deadline); }

base::Waited wait_writable(int fd, base::Deadline deadline) { return wait(fd, POLLOUT, deadline); }

bool is_readable(int fd) noexcept {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

bool reader_is_gone(int fd) noexcept {
  pollfd entry{fd, POLLOUT, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLERR | POLLHUP | POLLNVAL));
}

}  // namespace procession::os
