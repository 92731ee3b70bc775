// SPDX-License-Identifier: Apache-2.0
// shm/biased_mutex: a robust mutex that costs next to nothing to a thread that is the only one to use it.
//
// A thread that has had it kPatience times in a row becomes its favourite: from then on it says by a
// plain store that it is inside. Another one that wants the mutex takes the favour away, has a barrier
// done on every CPU (os/barrier), and waits until the favourite, which holds it for moments only, is
// out or dead. Each time that happens, the next favour takes twice as long to come by.
//
//   favourite:  inside = 1;  is it me still? ── yes ──► holds it ──► inside = 0
//   another:    mutex.lock();  favourite = nobody;  barrier everywhere;  wait for inside == 0 ──► holds it
//
// In memory that processes share, for those of one session. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/sanitizers.hpp"
#include "os/cpu.hpp"
#include "os/robust_mutex.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

class alignas(64) BiasedMutex {
 public:
  // Of zeroed memory. See os::RobustMutex.
  void init();

  // Held in a scope.
  class Lock {
   public:
    Lock(BiasedMutex& mutex, Commons& commons) : guarded_by_(mutex) {
      inside_ = mutex.enter_as_favourite(commons.own_ticket());
      if (!inside_) owner_died_ = mutex.lock(commons);
    }
    ~Lock() {
      if (inside_) {
        inside_->store(0, std::memory_order_release);
      } else {
        guarded_by_.mutex_.unlock();
      }
    }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

    // Whether its last holder died with it: what it guards may be half changed.
    bool owner_died() const noexcept { return owner_died_; }

   private:
    BiasedMutex& guarded_by_;
    std::atomic<std::uint32_t>* inside_;  // the favourite's, or null
    bool owner_died_ = false;
  };

 private:
  static constexpr std::uint32_t kPatience = 256;
  // A process whose place is a higher one can't be the favourite.
  static constexpr std::uint32_t kPlacesWithFavour = 128;

  // TSan doesn't see a barrier that another CPU does.
  static constexpr bool kFavours = !base::kUnderTsan;

  // The one thread of this process that may become a favourite: the first that asks. A copy of the
  // process has a thread of the same address, and another ticket.
  inline static std::atomic<std::uintptr_t> its_thread{0};
  static bool is_this_thread_its() noexcept {
    return its_thread.load(std::memory_order_relaxed) == os::this_thread();
  }
  static bool this_thread_may() noexcept;

  // What to set to 0 afterwards, or null: somebody else is the favourite, or nobody.
  std::atomic<std::uint32_t>* enter_as_favourite(Ticket me) noexcept {
    if (!kFavours || me == 0 || favourite_.load(std::memory_order_relaxed) != me ||
        !is_this_thread_its()) {
      return nullptr;
    }
    std::atomic<std::uint32_t>& inside = inside_[me & kPlaceMask];
    inside.store(1, std::memory_order_relaxed);
    // SYNC POINT with take_favour_away, which has the barrier.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (favourite_.load(std::memory_order_acquire) == me) return &inside;
    inside.store(0, std::memory_order_release);
    return nullptr;
  }

  bool lock(Commons& commons);
  bool take_favour_away(Commons& commons);
  void consider(Commons& commons);

  std::atomic<Ticket> favourite_;  // its process: each has one thread that can be it; 0: nobody
  // Under mutex_, by those who aren't the favourite:
  Ticket leaving_;        // whose favour was taken away, until it is known to be outside
  Ticket last_;           // who had it last,
  std::uint32_t in_row_;  // so many times in a row
  std::uint32_t patience_;
  os::RobustMutex mutex_;
  // Of each place, written by the one thread of its process that is or was the favourite.
  std::array<std::atomic<std::uint32_t>, kPlacesWithFavour> inside_;
};

}  // namespace procession::shm
