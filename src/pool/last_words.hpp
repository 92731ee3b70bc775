// SPDX-License-Identifier: Apache-2.0
// pool/last_words: what a worker leaves in the board for the case of its death, and what is made of it.
//
// Written by the worker alone, read by the parent once it is dead. Nothing in it is to be trusted.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

#include "base/bytes.hpp"
#include "os/pidfd.hpp"

namespace procession::pool {

// A worker's region of the board, zero at first. It has no pages before something is written.
//
//   0           8             16          512          4096 + 512                       64 KiB
//   ├───────────┼─────────────┼───────────┼────────────┼────────────────────────────────┤
//   │ said_size │ oom_kills   │ oom_path  │ said, ring │ crash, up to the first zero    │
//   └───────────┴─────────────┴───────────┴────────────┴────────────────────────────────┘
//
// `crash` is written through a descriptor of the board's memory by who can't be given a limit; what
// is too long runs into the region of the next worker, or is refused at the end of the memory.
struct LastWords {
  std::atomic<std::uint64_t> said_size;  // bytes ever written
  std::uint64_t oom_kills;               // of that counter, when the worker began
  std::array<char, 496> oom_path;        // os::OomCounter::path
  std::array<char, 4096> said;           // the last of them, at their number modulo its size
  std::array<char, (64 << 10) - 4096 - 512> crash;
};
static_assert(sizeof(LastWords) == 64 << 10 && offsetof(LastWords, crash) == 4096 + 512);

enum class OutOfMemory : std::uint8_t { kNo, kMostLikely, kYes };

// What is known of a death beside its status.
struct Circumstances {
  os::Usage usage;
  std::string last_words;  // at most 4 KiB: of `said` the end, of `crash` the beginning
  OutOfMemory out_of_memory = OutOfMemory::kNo;
};

// The worker's side.
void say(LastWords& words, base::BytesView text) noexcept;
void note_oom_counter(LastWords& words);

// The parent's.
Circumstances circumstances_of(const LastWords& words, const os::Exit& exit);
void clear(LastWords& words) noexcept;

}  // namespace procession::pool
