// SPDX-License-Identifier: Apache-2.0
// pool/waiting: how the parent sleeps, at the front and at the back, and what wakes it.
#include <chrono>
#include <thread>

#include "os/barrier.hpp"
#include "os/cpu.hpp"
#include "pool/pool.hpp"
#include "pool/trace.hpp"

namespace procession::pool {

namespace {

// Whether a worker that is awake is likely to wait for this CPU, as the one that it left.
bool waits_for(int cpu, const WorkerBoard& worker) noexcept {
  return worker.left_cpu.load(std::memory_order_relaxed) == cpu &&
         worker.asleep.load(std::memory_order_relaxed) == 0;
}

}  // namespace

bool Pool::any_results() const noexcept {
  std::uint32_t present = present_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < present; ++i) {
    if (board_.worker(i).has_results()) return true;
  }
  return false;
}

// Whether a worker waits for room, or results are there that it would have rung for, had there been
// somebody to ring for.
bool Pool::low_water() const noexcept {
  std::uint32_t present = present_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < present; ++i) {
    const WorkerBoard& worker = board_.worker(i);
    // Also if its results have just been taken: it may have missed that, and rung a front that has left.
    if (worker.wants_room.load(std::memory_order_relaxed)) return true;
    if (!worker.has_results()) continue;
    std::uint64_t begun = worker.claimed.load(std::memory_order_relaxed);
    if (begun >= worker.ring_after.load(std::memory_order_relaxed) ||
        worker.has_told.load(std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool Pool::back_is_needed() const noexcept {
  return endings_.load(std::memory_order_acquire) > 0 || has_losses() ||
         (wants_all() && has_news());
}

// As a worker does.
void Pool::ring_sleeper() noexcept {
  ParentBoard& parent = board_.parent();
  if (parent.front_asleep.load(std::memory_order_relaxed)) {
    if (parent.front_asleep.exchange(0, std::memory_order_relaxed)) os::ring(front_);
  } else if (!parent.front_present.load(std::memory_order_relaxed) &&
             parent.back_asleep.exchange(0, std::memory_order_relaxed)) {
    ring_back();
  }
}

bool Pool::has_news() const noexcept {
  return has_outcomes_.load(std::memory_order_acquire) ||
         endings_.load(std::memory_order_acquire) > 0 || any_results();
}

void Pool::pump() {
  Hold hold(*this);
  pump_locked();
}

void Pool::collect(Outcomes& outcomes) {
  outcomes.clear();
  Hold hold(*this);
  pump_locked();
  std::swap(outcomes, outcomes_);
  has_outcomes_.store(false, std::memory_order_release);
  has_unsettled_.store(false, std::memory_order_release);
  has_losses_.store(false, std::memory_order_release);
  if (recorder_ && recorder_->trace() && recorder_->trace()->is_full()) ring_back();
}

base::Deadline Pool::bounded(base::Deadline deadline, bool with_others) const noexcept {
  Clock::time_point act_at = act_at_.load(std::memory_order_relaxed);
  if (act_at != kNever) deadline = base::Deadline::earlier(deadline, base::Deadline::at(act_at));
  if (!with_others && !stalled_.load(std::memory_order_relaxed)) return deadline;
  auto longest = with_others ? kWithOthers : kStall;
  int left = deadline.remaining_ms();
  return left >= 0 && left < longest.count() ? deadline : base::Deadline::after(longest);
}

void Pool::count_busy() noexcept {
  std::uint32_t busy = 0;
  for (std::uint32_t i = 0; i < present_; ++i) busy += places_[i].assigned.empty() ? 0 : 1;
  busy_.store(busy, std::memory_order_relaxed);
}

bool Pool::keeps_a_worker_off() const noexcept {
  int cpu = os::current_cpu();
  std::uint32_t present = present_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < present; ++i) {
    if (waits_for(cpu, board_.worker(i))) return true;
  }
  return false;
}

// A worker that sleeps is mostly woken on the CPU of who wakes it, and begins when that one sleeps. Where
// each call was waited for so far it may as well begin at once: then it is done when it is asked for.
bool Pool::goes_first(const Place& place, FunctionId function) const noexcept {
  std::uint64_t average = functions_[function].average;
  if (place.assigned.size() != 1 || average == 0 || average > kGoesFirstNs) return false;
  return waits_for(os::current_cpu(), board_.worker(index_of(place)));
}

void Pool::give_way_to(WorkerBoard& worker) noexcept {
  worker.goes_first_on.store(os::current_cpu(), std::memory_order_relaxed);
  os::yield();
  worker.goes_first_on.store(-1, std::memory_order_relaxed);
}

bool Pool::comes_with_others(TaskId awaited) {
  if (wants_all()) return false;
  Hold hold(*this);
  if (const Place* place = place_with(awaited)) {
    return place->sent > place->assigned.run_of(awaited)->index_of(awaited) + kInLine;
  }
  const Task* task = find(awaited);
  return task && task->assigned && places_[task->place].sent > task->index + kInLine;
}

void Pool::enter_front() noexcept {
  was_waited_for_.store(true, std::memory_order_relaxed);
  board_.parent().front_present.store(1, std::memory_order_seq_cst);
}

base::Waited Pool::sleep_front(base::Deadline deadline, bool with_others) {
  std::vector<std::uint64_t> ready;
  base::Waited waited = front_set_.wait(bounded(deadline, with_others), ready);
  if (board_.parent().crowded_cpu.load(std::memory_order_relaxed) == os::current_cpu()) {
    os::move_to_another_cpu();
    front_can_leave_ = os::affine_cpus() > 1;
    front_spins_ = kMostSpins;  // who rings it would bring it back
  }
  note_ends(ready);
  if (waited == base::Waited::kTimedOut && !deadline.passed()) {
    pump();
    return base::Waited::kReady;
  }
  return waited;
}

void Pool::leave_front() {
  board_.parent().front_present.store(0, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // What came meanwhile was not rung for at the back.
  if (back_is_needed() || low_water() || (stalled_ && !back_looks_)) ring_back();
}

base::Waited Pool::wait_back(base::Deadline deadline) {
  ParentBoard& parent = board_.parent();
  parent.back_asleep.store(1, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  base::Waited waited = base::Waited::kReady;
  std::vector<std::uint64_t> ready;
  bool is_front = parent.front_present.load(std::memory_order_relaxed) != 0;
  if (!back_is_needed() && (is_front || !low_water())) {
    back_looks_ = stalled_.load();
    waited = back_set_.wait(bounded(deadline, false), ready);
    back_looks_ = false;
  }
  parent.back_asleep.store(0, std::memory_order_relaxed);
  note_ends(ready);
  if (waited == base::Waited::kTimedOut && !deadline.passed()) {
    pump();
    return base::Waited::kReady;
  }
  return waited;
}

// Of the front, which has just said that it sleeps: has workers' results be seen by the next look, or
// their looks see it. False if that can't be: then workers do it, from now on.
bool Pool::see_results() noexcept {
  std::atomic<std::uint32_t>& workers_do = board_.parent().fence_results;
  std::uint64_t results = results_.load(std::memory_order_relaxed);
  bool many = results - results_at_sleep_.exchange(results) >= kManyResults;
  if (workers_do.load(std::memory_order_acquire)) return true;
  if (!many) workers_do.store(1, std::memory_order_seq_cst);
  if (os::barrier_everywhere()) return true;
  workers_do.store(1, std::memory_order_seq_cst);
  return false;
}

// Under the mutex. A worker that sees this change sees, too, whether the front had said before that it
// sleeps; else the front sees the change.
void Pool::choose_fences() noexcept {
  std::atomic<std::uint32_t>& workers_do = board_.parent().fence_results;
  if (!workers_do.load(std::memory_order_relaxed) || !board_.has_barriers() || wants_all()) return;
  std::uint64_t since =
      results_.load(std::memory_order_relaxed) - results_at_sleep_.load(std::memory_order_relaxed);
  if (since >= kManyResults) workers_do.store(0, std::memory_order_release);
}

void Pool::want_all(bool on) noexcept {
  {
    std::lock_guard lock(mutex_);
    wants_all_.store(on, std::memory_order_relaxed);
    std::atomic<std::uint32_t>& workers_do = board_.parent().fence_results;
    // Where the kernel won't have a barrier any more, a store is seen by itself in much less time.
    if (on && workers_do.exchange(1) == 0 && !os::barrier_everywhere()) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  board_.parent().back_wants_all.store(on ? 1 : 0, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (on) {
    board_.parent().awaited.store(kAnyTask, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (has_news()) ring_back();
  }
}

void Pool::ring_front_if_asleep() noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  std::atomic<std::uint32_t>& asleep = board_.parent().front_asleep;  // which workers look at, too
  if (asleep.load(std::memory_order_relaxed) && asleep.exchange(0, std::memory_order_relaxed)) {
    os::ring(front_);
  }
}
}  // namespace procession::pool
