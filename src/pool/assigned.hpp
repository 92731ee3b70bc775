// SPDX-License-Identifier: Apache-2.0
// pool/assigned: the calls that a worker has been given and hasn't answered, in their order.
//
//   entry:  a task of the ledger   or   a run: calls given in a row, of one function, with nothing that
//                                       isn't as usual; what they share is kept once, and of each a
//                                       future and, if there is one, a small payload
//
// The calls of a run are not in the ledger, which they join (`unfold`) where one of them is to be looked
// at alone. Not thread-safe.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "pool/records.hpp"

namespace procession::pool {

inline constexpr std::uint32_t kLongestRun = 256;

struct Run {
  static constexpr std::size_t kLargest = 256;  // bytes of a payload

  std::uint64_t first_index = 0;   // of its calls, among all that the worker was sent
  std::uint64_t first_number = 0;  // in the order of submits
  std::uint64_t expected = 0;      // ns of each
  FunctionId function = 0;
  std::uint16_t form = 0;
  std::uint32_t count = 0;
  std::uint32_t answered = 0;  // the first of them
  std::array<void*, kLongestRun> futures;
  std::array<std::uint16_t, kLongestRun> sizes;  // of payloads
  std::unique_ptr<std::byte[]> payloads;         // one after the other
  std::size_t used = 0;                          // bytes of them
  std::size_t room = 0;

  std::uint32_t left() const noexcept { return count - answered; }
  std::uint64_t next_index() const noexcept { return first_index + answered; }
  std::uint64_t next_number() const noexcept { return first_number + answered; }
  TaskId next_id() const noexcept { return kOfRun | next_number(); }
  bool has(TaskId task) const noexcept { return task - next_id() < left(); }
  // Of a call that it has.
  std::uint64_t index_of(TaskId task) const noexcept { return next_index() + (task - next_id()); }
  // For payloads, of which it has none.
  void make_room(std::size_t bytes) {
    if (room < bytes) payloads = std::make_unique_for_overwrite<std::byte[]>(room = bytes);
    used = 0;
  }
  // For another call, of which there are fewer than kLongestRun.
  bool has_room(base::BytesView payload) const noexcept {
    return payload.size() <= std::min(kLargest, room - used);
  }
  TaskId add(void* future, base::BytesView payload) noexcept {
    base::copy(payloads.get() + used, payload);
    used += payload.size();
    sizes[count] = static_cast<std::uint16_t>(payload.size());
    futures[count] = future;
    return kOfRun | (first_number + count++);
  }
};

class Assigned {
 public:
  struct Entry {
    Entry(std::uint32_t task, std::uint64_t call) noexcept : slot(task), index(call) {}
    explicit Entry(std::unique_ptr<Run> calls) noexcept : run(std::move(calls)) {}

    std::uint32_t slot = 0;    // in the ledger
    std::uint64_t index = 0;   // of the call, among all that the worker was sent
    std::unique_ptr<Run> run;  // instead
  };

  bool empty() const noexcept { return size_ == 0; }
  std::size_t size() const noexcept { return size_; }  // calls
  // Of the first call.
  std::uint64_t front_index() const noexcept {
    const Entry& front = entries_.front();
    return front.run ? front.run->next_index() : front.index;
  }
  // The first entry's, or null.
  const Run* front_run() const noexcept { return empty() ? nullptr : entries_.front().run.get(); }

  // A call, the next one.
  void add(std::uint32_t slot, std::uint64_t index) {
    entries_.emplace_back(slot, index);
    ++size_;
  }

  // A run, the last entry until `end_run`; its calls are not counted before. Payloads are likely to be of
  // that size.
  Run& begin_run(std::size_t payload) {
    spares_.reserve(kMostSpares);
    std::unique_ptr<Run> run;
    if (spares_.empty()) {
      run = std::make_unique<Run>();
    } else {
      run = std::move(spares_.back());
      spares_.pop_back();
    }
    run->count = run->answered = 0;
    run->make_room(std::min(payload, Run::kLargest) * kLongestRun);
    Run& begun = *entries_.emplace_back(std::move(run)).run;
    ++runs_;
    return begun;
  }
  // Gives the ns that each of its calls is expected to take.
  std::uint64_t end_run() noexcept {
    std::unique_ptr<Run>& run = entries_.back().run;
    std::uint64_t expected = run->expected;
    size_ += run->count;
    if (run->count == 0) {
      keep_spare(std::move(run));
      entries_.pop_back();
    }
    return expected;
  }

  // The first calls, which are one of the ledger, or some of a run.
  void pop_front(std::uint32_t calls = 1) {
    size_ -= calls;
    Entry& front = entries_.front();
    if (front.run) {
      front.run->answered += calls;
      if (front.run->left() > 0) return;
      keep_spare(std::move(front.run));
    }
    entries_.pop_front();
  }

  // The run that a call is of, or null.
  const Run* run_of(TaskId task) const noexcept {
    if (runs_ == 0 || (task & kOfRun) == 0) return nullptr;
    for (const Entry& entry : entries_) {
      if (entry.run && entry.run->has(task)) return entry.run.get();
    }
    return nullptr;
  }

  bool has_runs() const noexcept { return runs_ > 0; }

  // Makes a task of each call of a run: `make(run, i, payload)` puts call i into the ledger and gives its
  // slot. If it throws, nothing has changed here.
  template <class Make>
  void unfold(Make make) {
    std::deque<Entry> unfolded;
    for (const Entry& entry : entries_) {
      if (!entry.run) {
        unfolded.emplace_back(entry.slot, entry.index);
        continue;
      }
      const Run& run = *entry.run;
      base::BytesView payloads(run.payloads.get(), run.used);
      for (std::uint32_t i = 0; i < run.count; ++i) {
        base::BytesView payload = payloads.first(run.sizes[i]);
        payloads = payloads.subspan(run.sizes[i]);
        if (i < run.answered) continue;
        unfolded.emplace_back(make(run, i, payload), run.first_index + i);
      }
    }
    entries_ = std::move(unfolded);
    runs_ = 0;
  }

  // Where there is no run:
  std::uint32_t front_slot() const noexcept { return entries_.front().slot; }
  std::uint64_t index_of(std::size_t call) const noexcept { return entries_[call].index; }
  std::uint32_t pop_back() {
    std::uint32_t slot = entries_.back().slot;
    entries_.pop_back();
    --size_;
    return slot;
  }
  const std::deque<Entry>& entries() const noexcept { return entries_; }

  void clear() noexcept {
    entries_.clear();
    size_ = 0;
    runs_ = 0;
  }

 private:
  static constexpr std::size_t kMostSpares = 4;

  void keep_spare(std::unique_ptr<Run> run) {
    --runs_;
    if (spares_.size() < kMostSpares) spares_.push_back(std::move(run));
  }

  std::deque<Entry> entries_;
  std::size_t size_ = 0;
  std::size_t runs_ = 0;
  std::vector<std::unique_ptr<Run>> spares_;
};

}  // namespace procession::pool
