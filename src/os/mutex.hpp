// SPDX-License-Identifier: Apache-2.0
// os/mutex: a mutex for moments, of one process's threads, that costs next to nothing to a thread that is
// the only one to use it.
//
// A locked instruction waits until all that was stored before is to be seen: on a thread that fills rings
// for other processes, for as long as several short tasks of a pool take. So a thread that has had the
// mutex `patience` times in a row becomes its favourite, which takes it by a plain store; another one that
// wants it takes the favour away, has a barrier done on every CPU (os/barrier), and waits until the
// favourite is out. To come by it again takes twice as long, up to a bound. One that lost the favour long
// ago may still be about to store, so each has a place of its own to do so: there are a few, for the first
// threads that come by the favour. (shm/biased_mutex is the same between processes, which may die.)
//
//   favourite:  inside = 1;  is it me still? ── yes ──► holds it ──► inside = 0
//   another:    has word;  favourite = nobody;  barrier everywhere;  waits for inside == 0 ──► holds it
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
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
    if (held_) {
      unlock_as_favourite();
    } else if (word_.exchange(kFree, std::memory_order_release) == kAwaited) {
      futex_wake(word_, 1);
    }
  }

  // For who does without it unless it is the favourite.
  bool try_lock_as_favourite() noexcept {
    std::uintptr_t place = favourite_.load(std::memory_order_relaxed) - this_thread();
    return place < kPlaces && enter_as_favourite(place);
  }
  void unlock_as_favourite() noexcept {
    std::atomic<std::uint32_t>& inside = *held_;
    held_ = nullptr;
    inside.store(0, std::memory_order_release);
  }

 private:
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kHeld = 1;
  static constexpr std::uint32_t kAwaited = 2;  // held, and somebody may sleep
  static constexpr std::size_t kPlaces = 4;     // less than this_thread() is aligned to

  bool enter_as_favourite(std::uintptr_t place) noexcept {
    std::atomic<std::uint32_t>& inside = inside_[place];
    inside.store(1, std::memory_order_relaxed);
    // SYNC POINT with take_favour_from, which has the barrier.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (favourite_.load(std::memory_order_acquire) == this_thread() + place) {
      held_ = &inside;
      return true;
    }
    inside.store(0, std::memory_order_release);
    return false;
  }

  void wait() noexcept;
  void look_at_favour() noexcept;
  void take_favour_from(std::uintptr_t favourite) noexcept;

  std::atomic<std::uintptr_t> favourite_{0};  // a thread, plus its place; 0: none
  // Each is written by the thread of that place alone.
  std::array<std::atomic<std::uint32_t>, kPlaces> inside_{};
  std::atomic<std::uint32_t>* held_ = nullptr;  // by who holds it: as the favourite, there
  FutexWord word_{kFree};
  // Under word_:
  std::array<std::uintptr_t, kPlaces> threads_{};  // whose places these are; 0: nobody's yet
  std::uintptr_t last_ = 0;                        // who had it last,
  std::uint32_t in_row_ = 0;                       // so many times in a row
  std::uint32_t patience_ = 256;
};

}  // namespace procession::os
