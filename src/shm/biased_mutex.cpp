// SPDX-License-Identifier: Apache-2.0
#include "shm/biased_mutex.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "os/barrier.hpp"
#include "os/cpu.hpp"

namespace procession::shm {

namespace {

constexpr std::uint32_t kMostPatience = 1 << 20;

#ifdef __SANITIZE_THREAD__  // which doesn't see a barrier that another CPU does
constexpr bool kFavours = false;
#else
constexpr bool kFavours = true;
#endif

// The one thread of this process that may become a favourite: the first that asks. A copy of the
// process has a thread of the same address, and another ticket.
std::atomic<std::uintptr_t> may_be_favourite{0};

bool this_thread_may() noexcept {
  static thread_local char mark;
  auto me = reinterpret_cast<std::uintptr_t>(&mark);
  std::uintptr_t who = may_be_favourite.load(std::memory_order_relaxed);
  return who == me || (who == 0 && may_be_favourite.compare_exchange_strong(who, me));
}

}  // namespace

void BiasedMutex::init() {
  mutex_.init();
  patience_ = kPatience;
}

BiasedMutex::Lock::Lock(BiasedMutex& mutex, Commons& commons) : guarded_by_(mutex) {
  Ticket me = commons.own_ticket();
  if (kFavours && me != 0 && mutex.favourite_.load(std::memory_order_relaxed) == me &&
      this_thread_may()) {
    std::atomic<std::uint32_t>& inside = mutex.inside_[me & kPlaceMask];
    inside.store(1, std::memory_order_relaxed);
    // SYNC POINT with take_favour_away, which has the barrier.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (mutex.favourite_.load(std::memory_order_acquire) == me) {
      inside_ = &inside;
      return;
    }
    inside.store(0, std::memory_order_release);
  }
  owner_died_ = mutex.mutex_.lock();
  if (mutex.favourite_.load(std::memory_order_relaxed) != 0 || mutex.leaving_ != 0) {
    owner_died_ |= mutex.take_favour_away(commons);
  } else if (kFavours) {
    mutex.consider(commons);
  }
}

BiasedMutex::Lock::~Lock() {
  if (inside_) {
    inside_->store(0, std::memory_order_release);
  } else {
    guarded_by_.mutex_.unlock();
  }
}

// Under mutex_. Whether the favourite was killed inside. Whoever is killed while it waits leaves word
// for the next one, which waits in its place.
bool BiasedMutex::take_favour_away(Commons& commons) {
  if (Ticket favourite = favourite_.load()) leaving_ = favourite;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  favourite_.store(0);
  Ticket favourite = leaving_;
  in_row_ = 0;
  patience_ = std::min(kMostPatience, patience_ * 2);
  std::atomic<std::uint32_t>& inside = inside_[(favourite & kPlaceMask) % kPlacesWithFavour];
  // Where the kernel won't have that, a store is seen by itself in much less time.
  if (!os::barrier_everywhere()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  for (int looks = 1; inside.load(std::memory_order_acquire) != 0; ++looks) {
    os::pause();
    if (looks % 1000 != 0) continue;
    if (commons.is_dead(favourite)) {
      leaving_ = 0;
      return true;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  leaving_ = 0;
  return false;
}

// Under mutex_, without a favourite.
void BiasedMutex::consider(Commons& commons) {
  Ticket me = commons.ticket();
  if (last_ != me) {
    last_ = me;
    in_row_ = 0;
    return;
  }
  if (++in_row_ < patience_) return;
  in_row_ = 0;
  bool can_be = (me & kPlaceMask) < kPlacesWithFavour && this_thread_may();
  if (!can_be || !os::register_for_barriers() || !os::barrier_everywhere()) return;
  inside_[me & kPlaceMask].store(0, std::memory_order_relaxed);
  favourite_.store(me, std::memory_order_release);
}

}  // namespace procession::shm
