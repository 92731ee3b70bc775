// SPDX-License-Identifier: Apache-2.0
#include "os/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "base/error.hpp"

namespace procession::os {

base::Waited futex_wait(FutexWord& word, std::uint32_t expected, base::Deadline deadline) {
  timespec left{};
  timespec* timeout = nullptr;
  if (!deadline.is_never()) {
    int milliseconds = deadline.remaining_ms();
    left = {milliseconds / 1000, (milliseconds % 1000) * 1'000'000L};
    timeout = &left;
  }
  if (::syscall(SYS_futex, &word, FUTEX_WAIT, expected, timeout, nullptr, 0) == 0) {
    return base::Waited::kReady;
  }
  if (errno == EAGAIN) return base::Waited::kReady;
  if (errno == EINTR) return base::Waited::kInterrupted;
  if (errno == ETIMEDOUT) return base::Waited::kTimedOut;
  base::throw_os_error(errno, "futex(FUTEX_WAIT)");
}

void futex_wake(FutexWord& word, int count) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
}

}  // namespace procession::os
