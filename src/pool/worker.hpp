// SPDX-License-Identifier: Apache-2.0
// pool/worker: the work stage, in a worker process: calls in, results out, one after the other.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "base/bytes.hpp"
#include "base/deadline.hpp"
#include "os/event.hpp"
#include "os/memory_use.hpp"
#include "pool/board.hpp"
#include "shm/arena.hpp"

namespace procession::pool {

struct Call {
  CallHeader header;
  base::BytesView payload;         // in place, up to the next call of `next`
  std::vector<shm::Block> blocks;  // that came with it, without one that is the payload
};

// As of ResultHeader.
struct CallTimes {
  std::int64_t began = 0;
  std::int64_t nanoseconds = 0;
};

class Worker {
 public:
  // `memory` is the pool's board, `place` this worker's in it; `front` and `back` are the events
  // that the parent sleeps on; `arena` is where large data lies.
  Worker(os::Fd memory, std::uint32_t place, os::Fd front, os::Fd back, os::Fd arena);

  // Tells the parent that calls may come.
  void say_ready();

  // The next call, or nothing after kStop or when `on_interrupt` throws. Blocks; `on_sleep` runs
  // around a sleep (true before, false after), never around the short spin before it.
  std::optional<Call> next(const std::function<void(bool)>& on_sleep,
                           const std::function<void()>& on_interrupt);

  // Answers a call, with blocks of the arena that are the parent's from now on. A payload that is
  // larger than kLargestInline goes through a block of its own. Blocks while the parent has no room.
  // OsError (ENOMEM) if memory is full.
  void reply(ResultHeader header, base::BytesView payload, std::vector<shm::Block> blocks = {});

  // The same of what a function returned, without blocks.
  void reply(TaskId task, CallTimes times, std::uint16_t form, base::BytesView payload);

  // Tells the parent's front door something, within the call `header.task` or without one. By any
  // thread, but none at the same time as another or as one in `reply`. Blocks, and fails, as `reply`;
  // also while the front door there is far behind with what it was told, unless that stands still for a
  // second: it may be waiting for this worker.
  void tell(ResultHeader header, base::BytesView payload);

  // Whether the parent wants to know of each call when it began and how long it took.
  bool wants_times() const noexcept {
    return board_.parent().wants_times.load(std::memory_order_relaxed) != 0;
  }

  // For the case of this process's death: what it writes for people, and a file that it may write to
  // when it crashes, or an invalid one. What a copy of the process says is not kept.
  void say(base::BytesView text) noexcept;
  os::Fd crash_file() const;
  // To be called again when this process may have been put into another cgroup.
  void note_oom_counter() { pool::note_oom_counter(words_); }

  // This worker's door to the arena. Blocks of a call are the parent's until `keep`.
  shm::Arena& arena() noexcept { return arena_; }
  void keep(shm::Block block) { arena_.hand_over(block, arena_.party()); }

 private:
  void rest() noexcept;
  void give_way() noexcept;
  void wait_to_be_heard(std::uint32_t weight);
  bool claim() noexcept;
  void hear_revocation() noexcept;
  bool barrier() noexcept;
  bool is_cramped() noexcept;
  void sleep(const std::function<void(bool)>& on_sleep, const std::function<void()>& on_interrupt);
  bool parent_is_at_front() const noexcept;
  void ring_parent(TaskId task) noexcept;
  void ring_if_wanted(TaskId task) noexcept;
  bool has_grown() noexcept;

  Board board_;
  WorkerBoard& own_;
  LastWords& words_;
  shm::RingReader calls_;
  shm::RingWriter results_;
  shm::Arena arena_;
  os::Fd front_;
  os::Fd back_;
  std::uint64_t taken_ = 0;        // calls begun or skipped so far
  std::uint64_t revocations_ = 0;  // heard of
  std::uint64_t skip_from_ = 0;    // calls that were taken back
  std::uint64_t skip_up_to_ = 0;
  bool fences_ = true;         // the parent can't have it barriered, so it has barriers of its own
  bool looked_early_ = false;  // for who sleeps, after the last result: without a barrier
  bool has_call_ = false;      // the record at the ring's front is begun
  std::uint32_t told_ = 0;     // by weight, modulo 2^32
  // What had been heard when more of it was waited for in vain.
  std::optional<std::uint32_t> stood_still_at_;
  int spins_ = 2000 * kLooks;
  std::uint32_t vain_spins_ = 0;
  int lull_ = 0;              // breaths between the last call and a look for the next one
  int in_row_ = 0;            // calls since the last time that there was none
  bool rang_beside_ = false;  // the front, which had gone to sleep on this CPU
  int cramped_ = 0;           // turns in a row with the parent's front on the same CPU
  std::int64_t cramped_since_ = 0;
  int most_cramped_ = 32;
  bool front_leaves_ = false;  // it is to, as soon as it wakes
  const pid_t pid_;
  std::optional<os::ResidentSet> resident_;  // if there's a max_rss
  base::Deadline next_look_ = base::Deadline::now();
};

}  // namespace procession::pool
