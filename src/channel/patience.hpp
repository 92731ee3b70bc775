// SPDX-License-Identifier: Apache-2.0
// channel/patience: how long one who waits for a peer looks again before it sleeps.
//
// To be woken on another CPU costs 45 us, a look 0.3. So it is looked for about the price of a sleep,
// as long as that helps: each time in vain halves it, down to nothing; now and then it is tried anew.
// Not thread-safe in what it learns, and nothing worse than that.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "os/cpu.hpp"

namespace procession::channel {

class Patience {
 public:
  // Looks as long as is worth it. Whether `look` came true.
  template <class Look>
  bool look(Look look);

  // Then it slept for so long until the peer woke it. Whoever wakes somebody tends to have him beside
  // himself, on the same CPU: there the two take turns and never meet, though another CPU idles. After
  // many short sleeps this one moves, and hesitates longer the next time.
  void slept(std::chrono::nanoseconds duration) noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::nanoseconds kMost{50'000};
  static constexpr std::chrono::nanoseconds kFewest{2'000};
  // Longer, since a peer that sleeps has to wake first.
  static constexpr std::chrono::nanoseconds kTrial{100'000};
  static constexpr std::uint32_t kProbe = 32;
  static constexpr std::chrono::nanoseconds kShortSleep{40'000};

  std::chrono::nanoseconds budget_ = kMost;
  std::uint32_t vain_ = 0;
  std::uint32_t cramped_ = 0;
  std::uint32_t most_cramped_ = 32;
};

template <class Look>
bool Patience::look(Look look) {
  static const bool is_alone = os::affine_cpus() < 2;
  if (is_alone) return false;
  bool is_trial = budget_ < kFewest;
  if (is_trial && ++vain_ % kProbe != 0) return false;
  Clock::time_point begin = Clock::now();
  Clock::time_point now = begin;
  Clock::time_point end = begin + (is_trial ? kTrial : budget_);
  do {
    os::pause();
    if (look()) {
      budget_ = std::clamp(budget_ * 2,
                           std::min<std::chrono::nanoseconds>(now - begin + kFewest, kMost), kMost);
      cramped_ = 0;
      return true;
    }
    now = Clock::now();
  } while (now < end);
  if (!is_trial) budget_ /= 2;
  return false;
}

inline void Patience::slept(std::chrono::nanoseconds duration) noexcept {
  cramped_ = duration < kShortSleep ? cramped_ + 1 : 0;
  if (cramped_ < most_cramped_) return;
  cramped_ = 0;
  most_cramped_ = std::min(most_cramped_ * 2, std::uint32_t{1} << 20);
  budget_ = kMost;
  os::move_to_another_cpu();
}

}  // namespace procession::channel
