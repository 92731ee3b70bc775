// SPDX-License-Identifier: Apache-2.0
// os/mutex: a mutex for moments, of one process's threads, that costs next to nothing to a thread that is
// the only one to use it.
//
// A locked instruction waits until all that was stored before is to be seen: on a thread that fills rings
// for other processes, for as long as several short tasks of a pool take. So a thread that has had the
// mutex `patience` times in a row becomes its favourite, which takes it by a plain store; another one that
// wants it takes the favour away, has a barrier done on every CPU (os/barrier), and waits until the
// favourite is out. To come by it again takes twice as long, up to a bound. No other thread is ever the
// favourite: one that lost the favour long ago may still be about to store. (shm/biased_mutex is the same
// between processes, which may die.)
//
//   favourite:  inside = 1;  is it me still? ── yes ──► holds it ──► inside = 0
//   another:    has word;  favourite = nobody;  barrier everywhere;  waits for inside == 0 ──► holds it
#pragma once

#include <atomic>
#include <cstdint>

#include "os/cpu.hpp"
#include "os/futex.hpp"

namespace procession::os {

class Mutex {
 public:
  void lock() noexcept {
    if (try_lock_as_favourite()) return;
    std::uint32_t free = kFree;
    if (!word_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) wait();
    if (last_ == this_thread() && ++in_row_ < patience_) return;
    look_at_favour();
  }
  void unlock() noexcept {
    if (favourite_holds_) {
      unlock_as_favourite();
    } else if (word_.exchange(kFree, std::memory_order_release) == kAwaited) {
      futex_wake(word_, 1);
    }
  }

  // For who does without it unless it is the favourite.
  bool try_lock_as_favourite() noexcept {
    return favourite_.load(std::memory_order_relaxed) == this_thread() && enter_as_favourite();
  }
  void unlock_as_favourite() noexcept {
    favourite_holds_ = false;
    inside_.store(0, std::memory_order_release);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kAwaited = 2;  // held, and somebody may sleep

  bool enter_as_favourite() noexcept {
    inside_.store(1, std::memory_order_relaxed);
    // SYNC POINT with take_favour_away, which has the barrier.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (favourite_.load(std::memory_order_acquire) == this_thread()) {
      favourite_holds_ = true;
      return true;
    }
    inside_.store(0, std::memory_order_release);
    return false;
  }

  void wait() noexcept;
  void look_at_favour() noexcept;
  void take_favour_away() noexcept;

  std::atomic<std::uintptr_t> favourite_{0};  // a thread; 0: none
  std::atomic<std::uint32_t> inside_{0};      // written by who is or was the favourite
  bool favourite_holds_ = false;              // by who holds it
  FutexWord word_{kFree};
  // Under word_:
  std::uintptr_t candidate_ = 0;  // the one thread that can be the favourite; 0: any
  std::uintptr_t last_ = 0;       // who had it last,
  std::uint32_t in_row_ = 0;      // so many times in a row
  std::uint32_t patience_ = 256;
};

}  // namespace procession::os
