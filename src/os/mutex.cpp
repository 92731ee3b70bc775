// SPDX-License-Identifier: Apache-2.0
#include "os/mutex.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/sanitizers.hpp"
#include "os/barrier.hpp"

namespace procession::os {

namespace {

// Takes about as long as it costs to give the favour away once.
constexpr std::uint32_t kMostPatience = 1 << 12;

// TSan doesn't see a barrier that another CPU does.
constexpr bool kFavours = !base::kUnderTsan;

}  // namespace

void Mutex::wait() noexcept {
  while (word_.exchange(kAwaited, std::memory_order_acquire) != kFree) {
    futex_wait(word_, kAwaited, base::Deadline::never());
  }
}

// Of who holds word_, and is another one than last time or has been patient.
void Mutex::look_at_favour() noexcept {
  std::uintptr_t favourite = favourite_.load(std::memory_order_relaxed);
  if (favourite != 0) take_favour_from(favourite);
  bool is_patient = last_ == this_thread() && in_row_ >= patience_;
  last_ = this_thread();
  in_row_ = 0;
  if (!kFavours || !is_patient) return;
  auto* place = std::find_if(threads_.begin(), threads_.end(), [](std::uintptr_t thread) {
    return thread == 0 || thread == this_thread();
  });
  if (place == threads_.end()) return;
  *place = this_thread();
  if (register_for_barriers() && barrier_everywhere()) {
    auto number = static_cast<std::uintptr_t>(place - threads_.begin());
    favourite_.store(this_thread() + number, std::memory_order_release);
  } else {
    patience_ = kMostPatience;
  }
}

void Mutex::take_favour_from(std::uintptr_t favourite) noexcept {
  favourite_.store(0);
  patience_ = std::min(kMostPatience, patience_ * 2);
  // Where the kernel won't have that any more, a store is seen by itself in much less time.
  if (!barrier_everywhere()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const std::atomic<std::uint32_t>& inside = inside_[favourite % kPlaces];
  for (int looks = 1; inside.load(std::memory_order_acquire) != 0; ++looks) {
    pause();
    if (looks % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
}

}  // namespace procession::os
