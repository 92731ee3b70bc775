// SPDX-License-Identifier: Apache-2.0
// procession/synchronize: locks, conditions, events and barriers between processes.
//
//   mp::Lock lock;
//   mp::Process p(work, lock);        // the same lock, under every start method
//   std::scoped_lock held(lock);
//
// Handles: a copy names the same thing, and travels to other processes through anything that carries
// values. They know who holds them: the death of a process leaves nobody waiting. Thread-safe.
#pragma once

#include <chrono>
#include <limits>
#include <optional>

#include "procession/detail/any_lock.hpp"
#include "procession/detail/export.hpp"
#include "procession/detail/shared.hpp"

namespace procession {

// One holder at a time. As in Python, anybody may release it; one that was once released by another
// process than the one that acquired it is handed on on purpose, and nobody's death frees it any more.
class Lock : public detail::AnyLock {
 public:
  Lock() : AnyLock(detail::LockKind::kMutex, 1, 1) {}

  bool locked() const { return value() == 0; }
  std::optional<int> owner() const { return holder(); }  // its pid
};

// A lock that the thread that holds it may acquire again, and that nobody else may release.
class RLock : public detail::AnyLock {
 public:
  RLock() : AnyLock(detail::LockKind::kRecursive, 1, 1) {}

  bool locked() const { return value() == 0; }
  std::optional<int> owner() const { return holder(); }
};

// A number of things that are acquired and released one by one. std::invalid_argument for a negative
// number.
class Semaphore : public detail::AnyLock {
 public:
  Semaphore() : Semaphore(1) {}
  explicit Semaphore(int value)
      : AnyLock(detail::LockKind::kSemaphore, value, std::numeric_limits<int>::max()) {}

  int get_value() const { return value(); }
};

// The same, where release() refuses to make more of them than there were at first.
class BoundedSemaphore : public detail::AnyLock {
 public:
  BoundedSemaphore() : BoundedSemaphore(1) {}
  explicit BoundedSemaphore(int value) : AnyLock(detail::LockKind::kSemaphore, value, value) {}

  int get_value() const { return value(); }
};

// A condition variable, used as std::condition_variable_any with whatever lock guards what is waited
// for: a std::unique_lock of a Lock or an RLock (which is to be held once), or one of these itself.
// A waiter that was killed is passed over. At most 330 threads wait for one at a time.
class PROCESSION_EXPORT Condition : public detail::SharedHandle<detail::ConditionState> {
 public:
  using Seconds = detail::Seconds;

  Condition();

  // Releases the lock, waits to be notified, acquires it again. Where a process may die before it
  // notifies, wait for a predicate: that is looked at now and then, whether somebody notifies or not.
  template <class Held>
  void wait(Held& held) {
    sleep(held, Seconds::max());
  }
  template <class Held, class Predicate>
  void wait(Held& held, Predicate predicate) {
    wait_for(held, Seconds::max(), predicate);
  }

  // Whether it was notified.
  template <class Held>
  bool wait_for(Held& held, Seconds timeout) {
    return sleep(held, timeout);
  }
  // What the predicate says at last.
  template <class Held, class Predicate>
  bool wait_for(Held& held, Seconds timeout, Predicate predicate) {
    auto begin = std::chrono::steady_clock::now();
    while (!predicate()) {
      Seconds left = timeout - (std::chrono::steady_clock::now() - begin);
      if (left <= Seconds(0)) return false;
      sleep(held, left < kLookAgain ? left : kLookAgain);
    }
    return true;
  }

  // Those that have waited longest. The lock may be held, but need not be.
  void notify(int count = 1);
  void notify_one() { notify(1); }
  void notify_all() { notify(std::numeric_limits<int>::max()); }

 private:
  static constexpr Seconds kLookAgain{0.5};

  template <class Held>
  struct Released {
    explicit Released(Held& lock) : held(lock) { held.unlock(); }
    ~Released() { held.lock(); }
    Released(const Released&) = delete;
    Released& operator=(const Released&) = delete;
    Held& held;
  };

  template <class Held>
  bool sleep(Held& held, Seconds timeout) {
    int seat = enter();
    Released<Held> released(held);
    return wait_told(seat, timeout);
  }

  int enter();
  bool wait_told(int seat, Seconds timeout);
};

// A flag. Nobody's death changes it.
class PROCESSION_EXPORT Event : public detail::SharedHandle<detail::EventState> {
 public:
  using Seconds = detail::Seconds;

  Event();

  bool is_set() const;
  void set();
  void clear();

  // Until it is set. wait_for: whether it was.
  void wait() const { wait_for(Seconds::max()); }
  bool wait_for(Seconds timeout) const;
};

// Where `parties` threads, of any processes, wait for each other, again and again. The death of a
// process that waits breaks it: BrokenBarrierError for all who wait, and all who come, until a reset().
class PROCESSION_EXPORT Barrier : public detail::SharedHandle<detail::BarrierState> {
 public:
  using Seconds = detail::Seconds;

  Barrier() : Barrier(1) {}
  explicit Barrier(int parties);  // 1 to 2048, else std::invalid_argument

  // How many had arrived before: 0 to parties - 1. A timeout breaks the barrier, too.
  int wait() { return wait(Seconds::max()); }
  int wait(Seconds timeout);

  void abort();  // breaks it
  void reset();  // whoever waits gets BrokenBarrierError
  bool broken() const;
  int parties() const;
  int n_waiting() const;
};

}  // namespace procession
