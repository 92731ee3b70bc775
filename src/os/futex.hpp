// SPDX-License-Identifier: Apache-2.0
// os/futex: waiting for a word to change, between processes. See futex(2).
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/deadline.hpp"

namespace procession::os {

using FutexWord = std::atomic<std::uint32_t>;
static_assert(sizeof(FutexWord) == 4 && FutexWord::is_always_lock_free);

// Waits while `word` is `expected`. May return kReady without a cause: look again. The word may lie in
// memory that processes share.
base::Waited futex_wait(FutexWord& word, std::uint32_t expected, base::Deadline deadline);

// A word and what it is expected to be.
struct FutexWait {
  FutexWord* word = nullptr;
  std::uint32_t expected = 0;
};

// Waits while all of the words, at most kMostFutexes, are what is expected of them. Where the kernel
// can't do that (before 5.16, some sandboxes), for the first one only, and no longer than 20 ms.
inline constexpr int kMostFutexes = 128;  // FUTEX_WAITV_MAX
base::Waited futex_wait_any(std::span<const FutexWait> waits, base::Deadline deadline);

// Wakes at most `count` waiters.
int futex_wake(FutexWord& word, int count) noexcept;  // how many it woke

}  // namespace procession::os
