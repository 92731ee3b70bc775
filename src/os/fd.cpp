// SPDX-License-Identifier: Apache-2.0
#include "os/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/error.hpp"

namespace procession::os {

void Fd::reset(int fd) noexcept {
  // Forgotten first: a copy of the process that another thread forks now must not close what that thread
  // has got the number for.
  int old = std::exchange(fd_, fd);
  if (old >= 0) ::close(old);
}

Fd duplicate(int fd) { return Fd(PROCESSION_SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, 3))); }

Fd open_null() { return Fd(PROCESSION_SYSCALL(::open("/dev/null", O_RDWR | O_CLOEXEC))); }

bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) >= 0; }

void replace_fd(int from, int to) { PROCESSION_SYSCALL(::dup2(from, to)); }

}  // namespace procession::os
