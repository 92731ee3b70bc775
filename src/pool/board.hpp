// SPDX-License-Identifier: Apache-2.0
// pool/board: the memory that a pool's parent and its workers share.
//
// Per worker a ring of calls and a ring of results, each with one writer and one reader, so that a
// worker that is killed at any line can hurt only the task it holds.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "os/cpu.hpp"
#include "os/futex.hpp"
#include "os/memfd.hpp"
#include "pool/last_words.hpp"
#include "pool/records.hpp"
#include "shm/ring.hpp"

namespace procession::pool {

// What a message of so many bytes weighs until the parent's front door has dealt with it. A worker that
// is ahead by more than kMostUnheard waits.
inline constexpr std::uint32_t kMostUnheard = 1 << 20;
constexpr std::uint32_t weight_of_message(std::size_t size) noexcept {
  return static_cast<std::uint32_t>(std::min<std::size_t>(size + 64, kMostUnheard));
}

// How the parent takes calls back that a worker hasn't begun. The worker says that it begins one, by a
// plain store, and then looks whether the parent has asked: then it waits for what the parent has
// decided. The parent asks, has a barrier on every CPU, and then sees which calls were begun.
//
//   worker:  claimed = n + 1;  asked? ── no ──► call n is its own
//   parent:  asked += 1;  barrier everywhere;  from = claimed, up_to = sent;  decided = asked
//
// The parent asks again only when the worker has heard of what was taken back, and is past it.
struct Revocation {
  std::atomic<std::uint64_t> asked{0};
  std::atomic<std::uint64_t> decided{0};
  std::atomic<std::uint64_t> from{0};   // the first of the calls that are to be skipped
  std::atomic<std::uint64_t> up_to{0};  // the first behind them
  std::atomic<std::uint64_t> heard{0};  // the last that the worker knows of
};

// That a call of a function took so many ns, in one word.
struct Sample {
  FunctionId function = 0;
  std::uint32_t ns = 0;  // 0: nothing has been measured

  std::uint64_t word() const noexcept { return std::uint64_t{function} << 32 | ns; }
  static Sample of(std::uint64_t word) noexcept {
    return {static_cast<FunctionId>(word >> 32), static_cast<std::uint32_t>(word)};
  }
};

// What a worker and the parent tell each other beside the rings.
struct WorkerBoard {
  bool has_results() const noexcept {
    return results.tail.load(std::memory_order_acquire) !=
               results.head.load(std::memory_order_acquire) ||
           ended.load(std::memory_order_acquire) != ended_seen.load(std::memory_order_relaxed);
  }

  shm::RingControl calls;
  shm::RingControl results;
  // 1: the worker sleeps on it, for a call or for room for a result.
  alignas(64) os::FutexWord asleep{0};
  // Between a call and a look at `asleep` the parent has to have a barrier. Otherwise the worker has
  // one everywhere between saying that it sleeps and looking for calls.
  std::atomic<std::uint32_t> fence_first{1};
  // The CPU on which the worker went to sleep or gave way, until it goes on; else -1.
  std::atomic<int> left_cpu{-1};
  std::atomic<int> woken_from{-1};     // the CPU of who woke it last
  std::atomic<int> goes_first_on{-1};  // on which that one waits until it has done its call
  alignas(64) std::atomic<std::uint64_t> claimed{0};  // calls begun, or skipped, so far
  // Calls up to here that have no record among the results have ended, and gave nothing.
  std::atomic<std::uint64_t> ended{0};
  std::atomic<std::uint64_t> sample{0};                  // of how long these take: see Sample
  alignas(64) std::atomic<std::uint64_t> ended_seen{0};  // of these, by the parent
  alignas(64) Revocation revocation;
  alignas(64) std::atomic<std::uint64_t> ring_after{~0ULL};  // calls done after which to ring
  std::atomic<std::uint32_t> wants_room{0};                  // the worker waits for room
  std::atomic<std::uint32_t> calls_full{0};  // the parent waits for room: ring before sleeping
  std::atomic<std::uint32_t> has_told{0};    // there may be messages among the results
  os::FutexWord room{0};  // changes when results were taken that something waited for
  // Of what the worker has told, by weight and modulo 2^32: what the parent's front door has dealt with.
  os::FutexWord heard{0};
  std::atomic<std::uint32_t> waits_to_be_heard{0};
};

// How the parent sleeps: the thread that waits for a result at the front, else one at the back.
struct ParentBoard {
  alignas(64) std::atomic<std::uint32_t> front_present{0};  // it will look by itself
  std::atomic<std::uint32_t> front_asleep{0};
  std::atomic<TaskId> awaited{kNoTask};  // whose result to ring for
  // The CPU that who sleeps at the front was on, if there are more than work in flight needs; or -1.
  std::atomic<int> front_cpu{-1};
  // Which the front is to leave, if it wakes there; or kNoCpu; or kCantLeave: it may use one CPU only.
  std::atomic<int> crowded_cpu{kNoCpu};
  static constexpr int kNoCpu = -1;
  static constexpr int kCantLeave = -2;
  alignas(64) std::atomic<std::uint32_t> back_asleep{0};
  std::atomic<std::uint32_t> back_wants_all{0};  // ring for each result
  std::atomic<std::uint32_t> wants_times{0};     // of each call: when it began, how long it took
  // Workers have a barrier between a result and a look at who sleeps. Otherwise the front has one
  // everywhere before it sleeps.
  std::atomic<std::uint32_t> fence_results{1};
};

struct BoardHead {
  std::uint64_t magic = 0;
  std::uint32_t workers = 0;
  std::uint32_t ring_size = 0;     // bytes of each ring, a power of two
  std::uint64_t max_rss = 0;       // bytes above which a worker asks to be replaced; 0: never
  std::uint32_t has_barriers = 0;  // os::barrier_everywhere reaches the parent
};

// The layout of it all in one shared memory.
class Board {
 public:
  // Makes one. `ring_size` is a power of two.
  Board(std::uint32_t workers, std::uint32_t ring_size, std::uint64_t max_rss = 0);

  // Maps one that another process made. std::runtime_error if it is none.
  explicit Board(os::Fd memory);

  const os::Fd& fd() const noexcept { return fd_; }
  std::uint32_t workers() const noexcept { return head_.workers; }
  std::uint64_t max_rss() const noexcept { return head_.max_rss; }
  bool has_barriers() const noexcept { return head_.has_barriers != 0; }
  ParentBoard& parent() const noexcept;
  WorkerBoard& worker(std::uint32_t index) const noexcept;
  shm::RingMemory calls(std::uint32_t index) const noexcept;
  shm::RingMemory results(std::uint32_t index) const noexcept;
  LastWords& words(std::uint32_t index) const noexcept;
  std::uint64_t offset_of(const void* part) const noexcept;  // in the file

  // Makes a worker's place as new, for its next holder.
  void reset(std::uint32_t index) noexcept;

 private:
  std::byte* ring(std::uint32_t index, std::uint32_t which) const noexcept;

  os::Fd fd_;
  os::SharedMapping memory_;
  BoardHead head_;  // as in the memory, which anybody could overwrite
};

// A spinning wait looks so often between two breaths.
inline constexpr int kLooks = 4;

using os::pause;

}  // namespace procession::pool
