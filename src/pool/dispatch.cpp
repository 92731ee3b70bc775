// SPDX-License-Identifier: Apache-2.0
// pool/dispatch: which task goes to which worker, when; and what is taken back.
#include <algorithm>
#include <chrono>
#include <limits>
#include <new>
#include <utility>

#include "os/barrier.hpp"
#include "pool/pool.hpp"

namespace procession::pool {

namespace {

// Work that a worker is given ahead: enough to hide the way there and back, little enough that a
// slow task holds up few others.
constexpr std::uint64_t kAheadNs = 1'000'000;
constexpr std::uint64_t kGrantNs = 20'000;  // of that, decided at once where there are several
constexpr std::size_t kMostAhead = 16384;   // calls: their results are to find room

}  // namespace

bool Pool::can_take(Place& place, const Task& task) noexcept {
  if (place.state != State::kThere) return false;
  // A task's time begins when it is given, so its worker must be waiting for it; and it may be
  // stopped, so nothing is to wait behind it.
  if (task.timeout != kForever) return place.ready && place.assigned.empty();
  if (place.timed) return false;
  if (place.assigned.empty()) return true;
  // It hasn't come to what was taken back from it: what it got now couldn't be taken back.
  if (place.revoked) {
    if (has_revoked(place)) return false;
    place.revoked = false;
  }
  std::uint64_t average = functions_[task.function].average;
  if (average == 0) return false;  // how long it takes is not yet known
  // One that was full gets more when a quarter is done: many at a time, not one by one.
  std::size_t quarters = place.full ? 3 : 4;
  place.full = place.expected + average > kAheadNs * quarters / 4 ||
               place.assigned.size() >= kMostAhead * quarters / 4;
  return !place.full;
}

// Of those that can take more: the idle one that worked last, else the one with the least to do.
Pool::Place* Pool::place_for(const Task& task) noexcept {
  Place* best = nullptr;
  for (std::uint32_t i = 0; i < present_; ++i) {
    Place& place = places_[i];
    if (!can_take(place, task)) continue;
    bool idle = place.assigned.empty();
    bool better = !best || (idle && !best->assigned.empty()) ||
                  (idle == best->assigned.empty() &&
                   (idle ? place.used > best->used : place.expected < best->expected));
    if (better) best = &place;
  }
  return best;
}

void Pool::pump_locked() {
  unpumped_.store(0, std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < present_; ++i) {
    if (places_[i].state != State::kThere && places_[i].state != State::kEnding) continue;
    take_results(i);
    if (recorder_) note_start(places_[i]);
  }
  if (endings_.load(std::memory_order_acquire) > 0) {
    for (std::uint32_t i = 0; i < present_; ++i) {
      if (!ended_[i].exchange(false)) continue;
      --endings_;
      supervise(i);
    }
  }
  if (act_at_.load(std::memory_order_relaxed) != kNever) keep_time();
  if (!doomed_.empty()) look_after_doomed();
  dispatch();
  count_busy();
  choose_fences();
  has_outcomes_.store(!outcomes_.empty(), std::memory_order_release);
  has_unsettled_.store(outcomes_.has_unsettled(), std::memory_order_release);
  has_losses_.store(!outcomes_.losses.empty() || !outcomes_.messages.empty(),
                    std::memory_order_release);
}

// By who doesn't collect: whoever sleeps may have looked for results in the moment in which they were
// neither in their ring any more nor among the outcomes.
void Pool::pump_for_others() {
  pump_locked();
  if (!has_outcomes_.load(std::memory_order_relaxed)) return;
  ring_front_if_asleep();
  if (wants_all()) ring_back();
}

std::deque<TaskId>& Pool::queue_of(const Task& task) {
  return task.priority == 0 ? ready_ : ranked_[task.priority];
}

// The queue whose front goes next, which is a task that waits; or null.
std::deque<TaskId>* Pool::next_queue() noexcept {
  auto has_task = [this](std::deque<TaskId>& queue) {
    for (; !queue.empty(); queue.pop_front()) {
      Task* task = find(queue.front());
      if (task && !task->assigned) return true;
    }
    return false;
  };
  auto ranked = ranked_.begin();
  for (; ranked != ranked_.end() && ranked->first > 0; ranked = ranked_.erase(ranked)) {
    if (has_task(ranked->second)) return &ranked->second;
  }
  if (has_task(ready_)) return &ready_;
  for (; ranked != ranked_.end(); ranked = ranked_.erase(ranked)) {
    if (has_task(ranked->second)) return &ranked->second;
  }
  return nullptr;
}

// In order: as long as there is no worker for a task, those behind it wait.
void Pool::give_out() {
  while (std::deque<TaskId>* queue = next_queue()) {
    TaskId id = queue->front();
    Place* place = place_for(tasks_[slot_of(id)]);
    if (!place || !assign(*place, id)) return;
    queue->pop_front();
  }
}

// A task that nothing waits ahead of. False if no worker can take it now.
bool Pool::give_at_once(TaskId id) {
  Place* place = place_for(tasks_[slot_of(id)]);
  if (!place || !assign(*place, id)) return false;
  if (place->assigned.size() == 1) busy_.fetch_add(1, std::memory_order_relaxed);
  if (place->assigned.size() == 2) dispatch();  // others are to ring when they have run dry
  return true;
}

// Where nobody idles who could have its calls, and none of the busy ones has much less to do after them.
void Pool::begin_run(Place& place, FunctionId function, std::uint16_t form,
                     std::size_t payload) noexcept {
  std::uint64_t average = functions_[function].average;
  if (average == 0 || recorder_ || options_.tasks_per_worker > 0 || options_.timeout != kForever ||
      place.state != State::kThere || place.timed || place.revoked || !nothing_ready()) {
    return;
  }
  for (std::uint32_t i = 0; i < present_; ++i) {
    if (places_[i].state == State::kThere && places_[i].assigned.empty()) return;
  }
  std::uint64_t most = present_ > 1 ? kGrantNs : kAheadNs;
  if (place.expected >= kAheadNs) return;
  quick_.most = static_cast<std::uint32_t>(std::min<std::uint64_t>(
      {std::min(most, kAheadNs - place.expected) / average,
       kMostAhead - std::min(kMostAhead, place.assigned.size()), kLongestRun}));
  if (quick_.most == 0) return;
  Run* run = nullptr;
  try {
    run = &place.assigned.begin_run(payload);
  } catch (const std::bad_alloc&) {  // it goes without
    return;
  }
  run->first_index = place.sent;
  run->first_number = submits_;
  run->expected = average;
  run->function = function;
  run->form = form;
  quick_.place = &place;
  quick_.worker = &board_.worker(index_of(place));
  quick_.run = run;
}

// From now on its calls count.
void Pool::end_run() noexcept {
  std::uint32_t calls = std::exchange(quick_.run, nullptr)->count;
  Place& place = *quick_.place;
  place.expected += calls * place.assigned.end_run();
  place.sent += calls;
  submits_ += calls;
  unfinished_ += calls;
}

// The place that has a call in a run, or null.
Pool::Place* Pool::place_with(TaskId task) noexcept {
  for (std::uint32_t i = 0; i < present_; ++i) {
    if (places_[i].assigned.run_of(task)) return &places_[i];
  }
  return nullptr;
}

// Puts the calls of its runs into the ledger, all or none.
void Pool::unfold(Place& place) {
  if (!place.assigned.has_runs()) return;
  std::vector<std::uint32_t> made;
  made.reserve(place.assigned.size());
  auto make = [&](const Run& run, std::uint32_t call, base::BytesView payload) {
    std::uint32_t slot = tasks_.add_of_run(run.first_number + call);
    made.push_back(slot);
    Task& task = tasks_[slot];
    task.assigned = true;
    task.future = run.futures[call];
    task.function = run.function;
    task.form = run.form;
    task.place = index_of(place);
    task.index = run.first_index + call;
    task.expected = run.expected;
    task.payload.assign(payload.begin(), payload.end());
    return slot;
  };
  try {
    place.assigned.unfold(make);
  } catch (...) {
    for (std::uint32_t slot : made) tasks_.remove(slot);
    throw;
  }
}

void Pool::dispatch() {
  give_out();
  take_back_unbegun();
  tell_when_to_ring();
  bool stop = finishing_ && unfinished_ == 0;
  for (std::uint32_t i = 0; i < present_; ++i) {
    Place& place = places_[i];
    if (place.owes_stop || (stop && place.state == State::kThere)) send_stop(place);
  }
}

// If there's no room, the worker rings when it has made some and has nothing left to do.
bool Pool::send(Place& place, const CallHeader& header, std::span<const shm::Block> blocks,
                base::BytesView payload) noexcept {
  if (write_record(place.calls, header, blocks, payload)) return true;
  board_.worker(index_of(place)).calls_full.store(1, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return write_record(place.calls, header, blocks, payload);
}

void Pool::send_stop(Place& place) noexcept {
  CallHeader stop{kNoTask, CallKind::kStop};
  place.state = State::kEnding;
  place.owes_stop = !send(place, stop, {}, {});
  if (!place.owes_stop) wake(index_of(place));
}

bool Pool::assign(Place& place, TaskId id) {
  std::uint32_t slot = slot_of(id);
  Task& task = tasks_[slot];
  Function& function = functions_[task.function];
  if (place.knows.size() <= task.function) place.knows.resize(functions_.size());
  if (!place.knows[task.function]) {
    CallHeader header{kNoTask, CallKind::kFunction, task.function};
    if (!send(place, header, {}, function.bytes)) return false;
    place.knows[task.function] = true;
  }
  std::int64_t now = recorder_ ? now_ns() : 0;  // ahead of all that the worker does with it
  CallHeader header{id, CallKind::kCall, task.function, task.form, 0, task.spilled ? 1U : 0U};
  if (!send(place, header, task.blocks, task.payload)) {
    wake(index_of(place));  // it may have a function to take, which makes room
    return false;
  }
  task.assigned = true;
  task.expected = function.average ? function.average : kAheadNs / 2;
  place.expected += task.expected;
  task.place = index_of(place);
  task.index = place.sent;
  place.assigned.add(slot, place.sent++);
  place.used = ++uses_;
  if (task.timeout != kForever) {
    place.timed = true;
    place.act_at = Clock::now() + task.timeout;
    act_by(place.act_at);
  }
  if (recorder_) {
    recorder_->given(slot, index_of(place), place.pid, now);
    note_start(place);
  }
  if (options_.tasks_per_worker && place.sent == options_.tasks_per_worker) {
    send_stop(place);
  }
  wake(index_of(place));
  return true;
}

// While there is more to do, a worker rings when it has done three quarters of what it was given; if
// another has work that it could be given, when it has run dry.
void Pool::tell_when_to_ring() noexcept {
  // Of what was sent, some may have been taken back, which it comes to later.
  auto up_to = [](const Place& place, std::size_t count) {
    if (count == 0) return place.sent;
    return place.revoked ? place.assigned.front_index() + count
                         : place.sent - (place.assigned.size() - count);
  };
  auto waits = [](const Place& place) { return place.assigned.size() >= 2; };
  auto queues = std::count_if(places_.begin(), places_.end(), waits);
  bool changed = false;
  for (std::uint32_t i = 0; i < present_; ++i) {
    Place& place = places_[i];
    if (place.state != State::kThere) continue;
    std::uint64_t after = std::numeric_limits<std::uint64_t>::max();
    if (!nothing_ready() || (finishing_ && unfinished_ > 0)) {
      after = up_to(place, place.assigned.size() - place.assigned.size() / 4);
    } else if (queues > (waits(place) ? 1 : 0)) {
      after = up_to(place, place.assigned.size());
    }
    auto& told = board_.worker(i).ring_after;
    if (told.load(std::memory_order_relaxed) == after) continue;
    told.store(after, std::memory_order_relaxed);
    changed = true;
  }
  if (!changed) return;
  // It may have got there before it was told.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (low_water()) ring_sleeper();
}

// Work that one worker hasn't begun goes to another that idles, if the one makes no progress.
void Pool::take_back_unbegun() {
  bool idle = std::any_of(places_.begin(), places_.end(), [](const Place& place) {
    return place.state == State::kThere && place.assigned.empty();
  });
  bool stalled = false;
  for (std::uint32_t i = 0; i < present_ && idle && nothing_ready(); ++i) {
    Place& place = places_[i];
    if (place.assigned.size() < 2 || place.state == State::kNone) continue;
    stalled = true;
    bool progress = std::exchange(place.done_at_last_look, place.done) != place.done;
    auto now = base::Deadline::Clock::now();
    if (progress) place.looked = now;
    if (progress || now - place.looked < kStall) continue;
    revoke(place);
  }
  if (stalled_.exchange(stalled, std::memory_order_relaxed) < stalled) {
    os::ring(back_);  // who sleeps there is to look again soon
    ring_front_if_asleep();
  }
  if (stalled) give_out();  // what was taken back goes out again in this same round
}

// Whether it hasn't come to all that was taken back from it.
bool Pool::has_revoked(const Place& place) noexcept {
  WorkerBoard& worker = board_.worker(index_of(place));
  const Revocation& revocation = worker.revocation;
  std::uint64_t up_to = revocation.up_to.load(std::memory_order_relaxed);
  if (worker.claimed.load(std::memory_order_acquire) < up_to) return true;
  return revocation.from.load(std::memory_order_relaxed) < up_to &&
         revocation.heard.load(std::memory_order_acquire) !=
             revocation.asked.load(std::memory_order_relaxed);
}

// Takes back what a worker hasn't begun. Not if it hasn't come to what was taken back before: then it
// has one task at most that it hasn't begun.
void Pool::revoke(Place& place) {
  if (has_revoked(place)) return;
  WorkerBoard& worker = board_.worker(index_of(place));
  Revocation& revocation = worker.revocation;
  std::uint64_t asked = revocation.asked.load(std::memory_order_relaxed) + 1;
  revocation.asked.store(asked, std::memory_order_seq_cst);
  bool is_seen = worker.fence_first.load(std::memory_order_seq_cst) || os::barrier_everywhere();
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // Without a barrier nothing can be taken back, from now on.
  std::uint64_t begun = is_seen ? worker.claimed.load(std::memory_order_acquire) : place.sent;
  revocation.from.store(begun, std::memory_order_release);
  revocation.up_to.store(place.sent, std::memory_order_release);
  revocation.decided.store(asked, std::memory_order_release);
  place.revoked = true;
  unfold(place);
  std::size_t keep = 0;
  while (keep < place.assigned.size() && place.assigned.index_of(keep) < begun) ++keep;
  requeue(place, keep);
}

// Puts all but the first `keep` calls of a place, which has no runs, back at the front of the queue.
void Pool::requeue(Place& place, std::size_t keep) {
  while (place.assigned.size() > keep) {
    std::uint32_t slot = place.assigned.pop_back();
    Task& task = tasks_[slot];
    task.assigned = false;
    if (place.timed) place.act_at = kNever;
    place.timed = false;
    place.expected -= task.expected;
    queue_of(task).push_front(id_of(slot));
    if (recorder_) recorder_->requeued(slot);
  }
}
}  // namespace procession::pool
