// SPDX-License-Identifier: Apache-2.0
// detail/any_lock: what the four kinds of locks have in common.
#pragma once

#include <chrono>
#include <optional>

#include "procession/detail/shared.hpp"

namespace procession::detail {

enum class LockKind : unsigned char { kMutex, kRecursive, kSemaphore };

// Each has Python's names and those that std::unique_lock and std::scoped_lock want.
class PROCESSION_EXPORT AnyLock : public SharedHandle<LockState> {
 public:
  using Seconds = detail::Seconds;

  // Waits for it. Also when whoever held it has died: owner_died() tells then.
  void acquire() { try_acquire_for(Seconds::max()); }

  // False if it can't be had now, or within that time.
  bool try_acquire() { return try_acquire_for(Seconds(0)); }
  bool try_acquire_for(Seconds timeout);

  // std::logic_error if it is not acquired, in Python's words.
  void release();

  // Of what this process acquired last, while it holds it: whether a process that held it before was
  // killed or ended without releasing it, so that what the lock guards may be half changed. It is
  // told once: who acquires it next is not told again, unless this process dies, too.
  bool owner_died() const;

  void lock() { acquire(); }
  bool try_lock() { return try_acquire(); }
  bool try_lock_for(Seconds timeout) { return try_acquire_for(timeout); }
  template <class Clock, class Duration>
  bool try_lock_until(const std::chrono::time_point<Clock, Duration>& until) {
    return try_acquire_for(until - Clock::now());
  }
  void unlock() { release(); }

 protected:
  AnyLock(LockKind kind, int value, int most);

  int value() const;
  std::optional<int> holder() const;
};

}  // namespace procession::detail
