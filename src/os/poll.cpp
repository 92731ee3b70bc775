// SPDX-License-Identifier: Apache-2.0
#include "os/poll.hpp"

#include <poll.h>

#include "base/error.hpp"

namespace procession::os {

base::Waited wait_readable(int fd, base::Deadline deadline) {
  pollfd entry{fd, POLLIN, 0};
  while (true) {
    int ready = ::poll(&entry, 1, deadline.remaining_ms());
    if (ready > 0) return base::Waited::kReady;
    if (ready < 0 && errno == EINTR) return base::Waited::kInterrupted;
    if (ready < 0) base::throw_os_error(errno, "poll");
    if (deadline.passed()) return base::Waited::kTimedOut;
  }
}

bool reader_is_gone(int fd) noexcept {
  pollfd entry{fd, POLLOUT, 0};
  return ::poll(&entry, 1, 0) == 1 && (entry.revents & (POLLERR | POLLHUP | POLLNVAL));
}

}  // namespace procession::os
