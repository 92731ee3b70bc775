// SPDX-License-Identifier: Apache-2.0
// os/mutex: a mutex for moments, of one process's threads.
//
// As std::mutex, which takes two calls and fifty instructions where nobody else wants it: a tenth of what
// a task of a pool costs that does nothing.
#pragma once

#include "os/futex.hpp"

namespace procession::os {

class Mutex {
 public:
  void lock() noexcept {
    std::uint32_t free = kFree;
    if (!word_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) wait();
  }
  void unlock() noexcept {
    if (word_.exchange(kFree, std::memory_order_release) == kAwaited) futex_wake(word_, 1);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kAwaited = 2;  // held, and somebody may sleep

  void wait() noexcept;

  FutexWord word_{kFree};
};

}  // namespace procession::os
