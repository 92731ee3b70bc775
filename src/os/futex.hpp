// SPDX-License-Identifier: Apache-2.0
// os/futex: waiting for a word to change, between processes. See futex(2).
#pragma once

#include <atomic>
#include <cstdint>

#include "base/deadline.hpp"

namespace procession::os {

using FutexWord = std::atomic<std::uint32_t>;
static_assert(sizeof(FutexWord) == 4 && FutexWord::is_always_lock_free);

// Waits while `word` is `expected`. May return kReady without a cause: look again. The word may lie in
// memory that processes share.
base::Waited futex_wait(FutexWord& word, std::uint32_t expected, base::Deadline deadline);

// Wakes at most `count` waiters.
void futex_wake(FutexWord& word, int count) noexcept;

}  // namespace procession::os
