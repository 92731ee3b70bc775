// SPDX-License-Identifier: Apache-2.0
#include "os/futex.hpp"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
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

namespace {

// As <linux/futex.h> has it from 5.16 on.
struct Waiter {
  std::uint64_t value;
  std::uint64_t address;
  std::uint32_t flags;
  std::uint32_t reserved;
};
constexpr long kFutexWaitv = 449;
constexpr std::uint32_t kSize32 = 2;

std::atomic<bool> waitv_is_there{true};

constexpr std::chrono::milliseconds kLookAgain{20};

timespec absolute(base::Deadline deadline) {
  auto since = deadline.point().time_since_epoch();
  auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
  return {seconds.count(), std::chrono::nanoseconds(since - seconds).count()};
}

}  // namespace

base::Waited futex_wait_any(std::span<const FutexWait> waits, base::Deadline deadline) {
  if (waits.size() == 1) return futex_wait(*waits[0].word, waits[0].expected, deadline);
  if (waitv_is_there.load(std::memory_order_relaxed)) {
    std::array<Waiter, kMostFutexes> waiters;
    for (std::size_t i = 0; i < waits.size(); ++i) {
      waiters[i] = {waits[i].expected, reinterpret_cast<std::uintptr_t>(waits[i].word), kSize32, 0};
    }
    timespec until{};
    timespec* timeout = nullptr;
    if (!deadline.is_never()) {
      until = absolute(deadline);
      timeout = &until;
    }
    if (::syscall(kFutexWaitv, waiters.data(), waits.size(), 0, timeout, CLOCK_MONOTONIC) >= 0 ||
        errno == EAGAIN) {
      return base::Waited::kReady;
    }
    if (errno == EINTR) return base::Waited::kInterrupted;
    if (errno == ETIMEDOUT) return base::Waited::kTimedOut;
    if (errno != ENOSYS && errno != EPERM) base::throw_os_error(errno, "futex_waitv()");
    waitv_is_there.store(false, std::memory_order_relaxed);
  }
  base::Deadline look = base::Deadline::after(kLookAgain);
  base::Waited waited =
      futex_wait(*waits[0].word, waits[0].expected, base::Deadline::earlier(deadline, look));
  return waited == base::Waited::kTimedOut && !deadline.passed() ? base::Waited::kReady : waited;
}

int futex_wake(FutexWord& word, int count) noexcept {
  return static_cast<int>(::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0));
}

}  // namespace procession::os
