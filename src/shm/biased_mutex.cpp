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

}  // namespace

bool BiasedMutex::this_thread_may() noexcept {
  std::uintptr_t who = 0;
  return is_this_thread_its() || its_thread.compare_exchange_strong(who, os::this_thread());
}

void BiasedMutex::init() {
  mutex_.init();
  patience_ = kPatience;
}

// As one of many. Whether its last holder died with it.
bool BiasedMutex::lock(Commons& commons) {
  bool owner_died = mutex_.lock();
  if (favourite_.load(std::memory_order_relaxed) != 0 || leaving_ != 0) {
    owner_died |= take_favour_away(commons);
  } else if (kFavours) {
    consider(commons);
  }
  return owner_died;
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
