// SPDX-License-Identifier: Apache-2.0
// base/deadline: a point on the monotonic clock up to which a wait may last, or never.
//
// A value type. Waits take a Deadline rather than a duration, so that an interrupted wait can go on
// with the same one.
#pragma once

#include <chrono>
#include <limits>
#include <optional>

namespace procession::base {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline never() noexcept { return Deadline(); }
  static Deadline now() noexcept { return Deadline(Clock::now()); }

  // A negative duration is "now"; one too large for the clock is "never".
  static Deadline after(std::chrono::duration<double> duration) noexcept {
    if (duration.count() <= 0) return now();
    if (duration > kLongest) return never();
    return Deadline(Clock::now() + std::chrono::duration_cast<Clock::duration>(duration));
  }

  static Deadline at(Clock::time_point point) noexcept { return Deadline(point); }
  static Deadline earlier(Deadline one, Deadline other) noexcept {
    return !one.at_ || (other.at_ && *other.at_ < *one.at_) ? other : one;
  }

  Clock::time_point point() const noexcept { return *at_; }  // unless it is never
  bool is_never() const noexcept { return !at_; }
  bool passed() const noexcept { return at_ && Clock::now() >= *at_; }

  // Milliseconds left, rounded up, as poll(2) takes them: -1 for never.
  int remaining_ms() const noexcept {
    if (!at_) return -1;
    auto left = std::chrono::ceil<std::chrono::milliseconds>(*at_ - Clock::now()).count();
    if (left <= 0) return 0;
    return left > std::numeric_limits<int>::max() ? std::numeric_limits<int>::max()
                                                  : static_cast<int>(left);
  }

 private:
  static constexpr std::chrono::hours kLongest{24 * 365 * 100};

  Deadline() = default;
  explicit Deadline(Clock::time_point at) : at_(at) {}

  std::optional<Clock::time_point> at_;
};

// How a wait ended. "interrupted" hands EINTR up, so that a front door can run its signal handlers
// and wait on (PEP 475).
enum class Waited { kReady, kTimedOut, kInterrupted };

}  // namespace procession::base
