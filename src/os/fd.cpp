// SPDX-License-Identifier: Apache-2.0
#include "os/fd.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "base/error.hpp"

namespace procession::os {

void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

Fd duplicate(int fd) { return Fd(PROCESSION_SYSCALL(::fcntl(fd, F_DUPFD_CLOEXEC, 3))); }

Fd open_null() { return Fd(PROCESSION_SYSCALL(::open("/dev/null", O_RDWR | O_CLOEXEC))); }

bool is_open(int fd) noexcept { return ::fcntl(fd, F_GETFD) >= 0; }

void replace_fd(int from, int to) { PROCESSION_SYSCALL(::dup2(from, to)); }

}  // namespace procession::os
