// SPDX-License-Identifier: Apache-2.0
// pool/ledger: every task of a pool from its submit to its outcome, but for those of a run
// (pool/assigned), which may join it on the way.
//
// Tasks stay where they are; the memory of one that has ended is the next one's. Not thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/bytes.hpp"
#include "pool/board.hpp"
#include "pool/task_options.hpp"
#include "shm/arena.hpp"

namespace procession::pool {

// What most tasks need is in the first cache line.
struct alignas(64) Task {
  std::uint32_t generation = 0;
  bool live = false;
  bool assigned = false;
  bool has_more = false;  // than that, or what isn't the default
  OnDeath on_death = OnDeath::kBreak;
  void* future = nullptr;
  std::uint64_t number = 0;  // in the order of submits
  FunctionId function = 0;
  std::uint16_t form = 0;
  std::uint8_t deaths = 0;
  bool of_run = false;      // it was submitted as the call of one, and keeps its id
  std::uint32_t place = 0;  // if assigned,
  std::uint32_t retries = 0;
  std::uint64_t index = 0;     // of its call, among all that its worker was sent,
  std::uint64_t expected = 0;  // ns, added to its worker's
  std::int32_t priority = 0;

  alignas(64) bool spilled = false;  // the payload is in the first block
  std::chrono::nanoseconds timeout = kForever;
  base::Bytes payload;
  std::vector<shm::Block> blocks;
};
static_assert(sizeof(Task) == 128);

class Ledger {
 public:
  // What tasks have by default.
  Ledger(OnDeath on_death, std::uint32_t retries) : on_death_(on_death), retries_(retries) {}

  Task& operator[](std::uint32_t slot) noexcept { return chunks_[slot / kChunk][slot % kChunk]; }

  // Slots above this have never been used.
  std::uint32_t size() const noexcept { return size_; }

  TaskId id_of(std::uint32_t slot) noexcept {
    const Task& task = (*this)[slot];
    return task.of_run ? kOfRun | task.number : TaskId{task.generation} << 32 | slot;
  }

  // kNoSlot if it has ended, or isn't here.
  static constexpr std::uint32_t kNoSlot = ~std::uint32_t{0};
  std::uint32_t slot_of(TaskId task) noexcept {
    if ((task & kOfRun) != 0) {
      auto found = of_runs_.find(task);
      return found == of_runs_.end() ? kNoSlot : found->second;
    }
    auto slot = static_cast<std::uint32_t>(task);
    if (slot >= size_) return kNoSlot;
    const Task& found = (*this)[slot];
    return found.live && !found.of_run && found.generation == task >> 32 ? slot : kNoSlot;
  }
  // Null likewise.
  Task* find(TaskId task) noexcept {
    std::uint32_t slot = slot_of(task);
    return slot == kNoSlot ? nullptr : &(*this)[slot];
  }

  // A slot for another one, which is live. What goes with `has_more` is as by default.
  std::uint32_t add() {
    std::uint32_t slot = size_;
    if (!free_.empty()) {
      slot = free_.back();
      free_.pop_back();
    } else {
      if (slot % kChunk == 0) grow();
      ++size_;
    }
    (*this)[slot].live = true;
    return slot;
  }

  // The same for a call of a run.
  std::uint32_t add_of_run(std::uint64_t number) {
    std::uint32_t slot = add();
    try {
      of_runs_.emplace(kOfRun | number, slot);
    } catch (...) {
      remove(slot);
      throw;
    }
    Task& task = (*this)[slot];
    task.number = number;
    task.of_run = task.has_more = true;
    return slot;
  }

  // Its blocks are the caller's to see to.
  void remove(std::uint32_t slot) noexcept {
    Task& task = (*this)[slot];
    if (task.has_more) {
      if (task.of_run) of_runs_.erase(kOfRun | task.number);
      task.of_run = false;
      task.on_death = on_death_;
      task.retries = retries_;
      task.deaths = 0;
      task.priority = 0;
      task.spilled = false;
      task.timeout = kForever;
      task.payload.clear();
      if (task.payload.capacity() > kLargestKept) task.payload = {};
      task.has_more = false;
    }
    task.live = false;
    task.generation = (task.generation + 1) & kGenerations;
    free_.push_back(slot);
  }

 private:
  static constexpr std::uint32_t kChunk = 256;
  static constexpr std::uint32_t kGenerations = 0x7fffffff;  // kOfRun is no part of them
  // Bytes of a payload's memory that stay for the next task in its slot.
  static constexpr std::size_t kLargestKept = 256;

  void grow() {
    Task* made = chunks_.emplace_back(std::make_unique<Task[]>(kChunk)).get();
    for (Task& task : std::span(made, kChunk)) {
      task.on_death = on_death_;
      task.retries = retries_;
    }
  }

  const OnDeath on_death_;
  const std::uint32_t retries_;
  std::vector<std::unique_ptr<Task[]>> chunks_;
  std::uint32_t size_ = 0;
  std::vector<std::uint32_t> free_;
  std::unordered_map<TaskId, std::uint32_t> of_runs_;  // their slots
};

}  // namespace procession::pool
