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

  // Puts the next call into `call`; false after kStop. Blocks; `on_sleep` runs around a sleep (true
  // before, false after), never around the short spin before it. What `on_interrupt` throws comes out.
  bool next(Call& call, const std::function<void(bool)>& on_sleep,
            const std::function<void()>& on_interrupt) {
    if (has_call_) {
      calls_.pop();
      has_call_ = false;
    }
    if (!rang_beside_) {
      std::optional<base::BytesView> record = calls_.peek();
      if (record && read_plain(*record)) {
        if (claim()) {
          begin_plain(call, *record);
          return true;
        }
        calls_.pop();
      }
    }
    return next_slowly(call, on_sleep, on_interrupt);
  }

  // Answers a call, with blocks of the arena that are the parent's from now on. A payload that is
  // larger than kLargestInline goes through a block of its own. Blocks while the parent has no room.
  // OsError (ENOMEM) if memory is full.
  void reply(ResultHeader header, base::BytesView payload, std::vector<shm::Block> blocks = {});

  // The same of what a function returned, without blocks.
  void reply(TaskId task, CallTimes times, std::uint16_t form, base::BytesView payload) {
    if (times.nanoseconds < kShortNs && form == 0 && payload.empty() && is_as_usual()) {
      if (times.nanoseconds > 0) {
        Sample sample{function_, static_cast<std::uint32_t>(times.nanoseconds)};
        own_.sample.store(sample.word(), std::memory_order_relaxed);
      }
      own_.ended.store(taken_, std::memory_order_release);
      ring_parent(task);
    } else {
      reply_with(task, times, form, payload);
    }
  }

  // Tells the parent's front door something, within the call `header.task` or without one. By any
  // thread, but none at the same time as another or as one in `reply`. Blocks, and fails, as `reply`;
  // also while the front door there is far behind with what it was told, unless that stands still for a
  // second: it may be waiting for this worker.
  void tell(ResultHeader header, base::BytesView payload);

  // Whether the parent wants to know of each call when it began and how long it took.
  bool wants_times() const noexcept {
    return parent_.wants_times.load(std::memory_order_relaxed) != 0;
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
  bool next_slowly(Call& call, const std::function<void(bool)>& on_sleep,
                   const std::function<void()>& on_interrupt);
  // Has the head of the record just peeked at be in `plain_`, once; false if it is no call that is as usual.
  bool read_plain(base::BytesView record) noexcept {
    if (calls_.mark() == kNextOfRun) {
      ++plain_.task;
      return true;
    }
    std::optional<wire::Short> head = plain_head(record, CallKind::kCall);
    if (head) plain_ = *head;
    return head.has_value();
  }
  void begin_plain(Call& call, base::BytesView record) noexcept {
    call.header = {plain_.task, CallKind::kCall, plain_.word, plain_.form, 0, 0};
    call.payload = calls_.mark() == kNextOfRun ? record : record.subspan(sizeof plain_);
    call.blocks.clear();
    function_ = plain_.word;
    has_call_ = true;
    ++in_row_;
  }
  // Whether the next call is still this worker's to do. See Revocation.
  bool claim() noexcept {
    if (taken_ >= skip_up_to_) {
      own_.claimed.store(taken_ + 1, std::memory_order_release);
      if (fences_) {
        std::atomic_thread_fence(std::memory_order_seq_cst);
      } else {
        std::atomic_signal_fence(std::memory_order_seq_cst);
      }
      if (own_.revocation.asked.load(std::memory_order_acquire) != revocations_) hear_revocation();
    }
    bool is_skipped = skip_from_ <= taken_ && taken_ < skip_up_to_;
    ++taken_;
    if (is_skipped) own_.claimed.store(taken_, std::memory_order_release);
    return !is_skipped;
  }
  void hear_revocation() noexcept;
  bool barrier() noexcept;
  bool is_cramped() noexcept;
  void sleep(const std::function<void(bool)>& on_sleep, const std::function<void()>& on_interrupt);
  bool parent_is_at_front() const noexcept;
  void reply_with(TaskId task, CallTimes times, std::uint16_t form, base::BytesView payload);
  // Whether nobody asks for more than the result.
  bool is_as_usual() const noexcept { return !resident_ && !wants_times(); }
  void ring_parent(TaskId task) noexcept {
    // SYNC POINT with Pool::see_results, which has the barrier if this has none.
    bool fences =
        fences_ || task == kNoTask || parent_.fence_results.load(std::memory_order_acquire) != 0;
    if (fences) {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    } else {
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    looked_early_ = !fences;
    if (parent_.front_asleep.load(std::memory_order_relaxed) ||
        parent_.back_asleep.load(std::memory_order_relaxed)) {
      ring_if_wanted(task);
    }
  }
  void ring_if_wanted(TaskId task) noexcept;
  bool has_grown() noexcept;

  Board board_;
  ParentBoard& parent_;
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
  FunctionId function_ = 0;    // its
  wire::Short plain_{};        // the head of the last call that was as usual
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
  bool one_leaves_ = false;    // this CPU: the front, as soon as it wakes, or this one has
  bool went_first_ = false;    // a submitter gave way to it, on this CPU, since it slept last
  bool woken_beside_ = false;  // on the CPU of who woke it, as it was last
  const bool has_own_cpu_;     // there are enough for all workers and the parent
  const pid_t pid_;
  std::optional<os::ResidentSet> resident_;  // if there's a max_rss
  base::Deadline next_look_ = base::Deadline::now();
};

}  // namespace procession::pool
