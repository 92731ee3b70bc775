// SPDX-License-Identifier: Apache-2.0
// pool/stats: the pool as those see it who look at it: figures, events, the trace.
#include "pool/stats.hpp"

#include <utility>

#include "pool/pool.hpp"
#include "pool/trace.hpp"

namespace procession::pool {

Stats Pool::stats() {
  Hold hold(*this);
  Stats stats;
  stats.counters = counters_;
  for (std::uint32_t i = 0; i < places_.size(); ++i) {
    const Place& place = places_[i];
    if (place.state == State::kNone) continue;
    WorkerStats worker;
    worker.place = i;
    worker.pid = place.pid;
    worker.done = place.done;
    worker.ns = place.busy;
    std::uint64_t claimed = board_.worker(i).claimed.load(std::memory_order_acquire);
    if (!place.assigned.empty() && place.assigned.front_index() < claimed) {
      worker.has_begun = true;
      const Run* run = place.assigned.front_run();
      worker.function = run ? run->function : tasks_[place.assigned.front_slot()].function;
      ++stats.running;
    }
    worker.state = place.state == State::kEnding && !worker.has_begun ? WorkerState::kEnding
                   : !place.ready                                     ? WorkerState::kStarting
                   : worker.has_begun                                 ? WorkerState::kBusy
                                                                      : WorkerState::kIdle;
    stats.workers.push_back(worker);
  }
  stats.queued = unfinished_ - stats.running;
  std::lock_guard arena_lock(arena_mutex_);
  shm::Arena::Usage usage = arena_.usage();
  stats.arena_in_use = usage.in_use;
  stats.arena_mapped = usage.in_use + usage.warm;
  return stats;
}

std::string Pool::name_of(FunctionId function) {
  Hold hold(*this);
  return function < functions_.size() ? functions_[function].name : std::string();
}

// --- events

Recorder& Pool::recorder() {
  if (recorder_) return *recorder_;
  recorder_ = std::make_unique<Recorder>();
  board_.parent().wants_times.store(1, std::memory_order_relaxed);
  for (Place& place : places_) unfold(place);
  for (std::uint32_t slot = 0; slot < tasks_.size(); ++slot) {
    if (tasks_[slot].live) recorder_->adopted(slot, tasks_[slot].number, tasks_[slot].function);
  }
  for (const Place& place : places_) {
    for (const Assigned::Entry& given : place.assigned.entries()) {
      recorder_->given(given.slot, index_of(place), place.pid, now_ns());
    }
  }
  return *recorder_;
}

std::shared_ptr<EventStream> Pool::listen(std::size_t limit) {
  Hold hold(*this);
  std::shared_ptr<EventStream> stream = recorder().listen(limit);
  if (has_ended_) stream->end();
  return stream;
}

void Pool::trace_to(const std::string& path) {
  auto name_of = [this](FunctionId id) {  // asked by the recorder, under the mutex
    return id < functions_.size() ? std::string_view(functions_[id].name) : std::string_view();
  };
  auto trace = std::make_unique<TraceFile>(path, name_of);
  Hold hold(*this);
  recorder().trace_to(std::move(trace));
}

std::string Pool::write_trace() {
  TraceFile* trace = nullptr;
  bool has_ended = false;
  {
    Hold hold(*this);
    trace = recorder_ ? recorder_->trace() : nullptr;  // stays from now on
    has_ended = has_ended_;
  }
  if (!trace) return {};
  if (has_ended) {
    trace->close();
  } else if (trace->is_full()) {
    trace->write_out();
  }
  return trace->take_error();
}

void Pool::end_events() {
  Hold hold(*this);
  has_ended_ = true;
  if (recorder_) recorder_->end();
}

void Pool::note_start(const Place& place) {
  if (!place.ready || place.corrupted || place.assigned.empty()) return;
  recorder_->started(place.assigned.front_slot(), place.free_since);
}

}  // namespace procession::pool
