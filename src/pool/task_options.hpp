// SPDX-License-Identifier: Apache-2.0
// pool/task_options: what a task may ask for that others of its pool don't.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace procession::pool {

enum class OnDeath : std::uint8_t {
  kBreak,     // every unfinished task ends, the pool is broken
  kFailTask,  // the task that the worker held ends, the pool goes on
  kRetry,     // that task is tried again, up to `retries` times
};

inline constexpr std::chrono::nanoseconds kForever = std::chrono::nanoseconds::max();

struct TaskOptions {
  std::int32_t priority = 0;  // higher goes first, in the order of submission within one

  // Instead of the pool's own:
  std::optional<std::chrono::nanoseconds> timeout;  // for how long it may run, or kForever
  std::optional<OnDeath> on_death;
  std::optional<std::uint32_t> retries;
};

}  // namespace procession::pool
