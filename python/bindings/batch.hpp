// SPDX-License-Identifier: Apache-2.0
// bindings/batch: the results of one map(), which go straight into its list: no future for each.
//
// Lives until its caller has let go of it and each of its calls that the pool has taken has ended.
// All methods are called with the GIL held, but for `Slot::is_settled` and `is_interrupted`.
#pragma once

#include <nanobind/nanobind.h>

#include <atomic>
#include <cstdint>
#include <deque>

#include "pool/board.hpp"

namespace procession::bindings {

class Batch {
 public:
  // Of one call. What the pool has as its future is `Slot::future()`.
  class Slot {
   public:
    Slot(Batch* batch, std::size_t index) : batch_(batch), index_(index) {}

    void* future() noexcept;
    pool::TaskId task() const noexcept { return task_; }
    void set_task(pool::TaskId task) noexcept { task_ = task; }
    bool is_settled() const noexcept { return settled_.load(std::memory_order_acquire); }

    // The call's end, once. The slot may be gone after it.
    void settle(nanobind::object value, bool failed);
    const nanobind::object& core() const noexcept { return batch_->core_; }

   private:
    Batch* batch_;
    std::size_t index_;
    pool::TaskId task_ = pool::kNoTask;
    std::atomic<bool> settled_ = false;
  };

  // `core` is kept as long as there are calls.
  explicit Batch(nanobind::object core);
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  // The slot that a task's future is, or null if it is a FutureObject.
  static Slot* slot_of(void* future) noexcept;

  // One more call, for which there will be a result.
  Slot& add();
  std::deque<Slot>& slots() noexcept { return slots_; }

  // Whether a call raised what is no Exception, as KeyboardInterrupt: it isn't for waiting longer.
  bool is_interrupted() const noexcept { return is_interrupted_.load(std::memory_order_acquire); }

  // Once all have ended: the list, or what the first call raised that failed; or what interrupted.
  nanobind::object take();
  // The caller needs it no more.
  void let_go();

 private:
  ~Batch() = default;

  nanobind::object core_;
  nanobind::list results_;
  std::deque<Slot> slots_;
  std::size_t open_ = 0;  // calls that have not ended
  bool held_ = true;      // by the caller
  nanobind::object error_;
  std::size_t error_index_ = 0;
  std::atomic<bool> is_interrupted_ = false;
};

}  // namespace procession::bindings
