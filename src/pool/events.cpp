// SPDX-License-Identifier: Apache-2.0
#include "pool/events.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#include "pool/trace.hpp"

namespace procession::pool {

std::int64_t now_ns() noexcept {
  auto since = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(since).count();
}

// --- EventStream

void EventStream::add(const Event& event) {
  {
    std::lock_guard lock(mutex_);
    if (events_.size() >= limit_) {
      lost_at_ = events_.front().time;
      events_.pop_front();
      ++lost_;
    }
    events_.push_back(event);
  }
  wake();
}

void EventStream::wake() noexcept {
  changes_.fetch_add(1);
  if (sleepers_.load() > 0) os::futex_wake(changes_, 1 << 20);
}

void EventStream::end() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  wake();
}

base::Waited EventStream::next(std::optional<Event>& event, base::Deadline deadline) {
  event.reset();
  while (true) {
    std::uint32_t seen = changes_.load();
    {
      std::lock_guard lock(mutex_);
      if (lost_ > 0) {
        event.emplace();
        event->kind = EventKind::kLost;
        event->time = lost_at_;
        event->amount = std::exchange(lost_, 0);
        return base::Waited::kReady;
      }
      if (!events_.empty()) {
        event = events_.front();
        events_.pop_front();
        return base::Waited::kReady;
      }
      if (ended_) return base::Waited::kReady;
    }
    sleepers_.fetch_add(1);
    base::Waited waited = os::futex_wait(changes_, seen, deadline);
    sleepers_.fetch_sub(1);
    if (waited == base::Waited::kInterrupted) return waited;
    if (waited == base::Waited::kTimedOut && deadline.passed()) return waited;
  }
}

// --- Recorder

Recorder::Recorder() = default;
Recorder::~Recorder() = default;

std::shared_ptr<EventStream> Recorder::listen(std::size_t limit) {
  auto stream = std::make_shared<EventStream>(limit);
  std::erase_if(streams_, [](const auto& one) { return one.expired(); });
  if (ended_) {
    stream->end();
  } else {
    streams_.push_back(stream);
  }
  return stream;
}

void Recorder::trace_to(std::unique_ptr<TraceFile> trace) { trace_ = std::move(trace); }

Recorder::Progress& Recorder::progress(std::uint32_t slot) {
  if (tasks_.size() <= slot) tasks_.resize(slot + std::size_t{1});
  return tasks_[slot];
}

std::int64_t& Recorder::wanted(std::uint32_t place) {
  if (wanted_.size() <= place) wanted_.resize(place + std::size_t{1});
  return wanted_[place];
}

Event Recorder::event(EventKind kind, const Progress& of) {
  Event event;
  event.kind = kind;
  event.time = now_ns();
  event.task = of.task;
  event.function = of.function;
  event.place = of.place;
  event.worker = of.started ? of.worker : 0;
  event.queued = of.queued;
  event.started = of.started;
  return event;
}

Event Recorder::event(EventKind kind, std::uint32_t place, int pid) {
  Event event;
  event.kind = kind;
  event.time = now_ns();
  event.place = place;
  event.worker = pid;
  return event;
}

void Recorder::tell(const Event& event) {
  for (const auto& one : streams_) {
    if (auto stream = one.lock()) stream->add(event);
  }
  if (trace_) trace_->add(event);
}

void Recorder::queued(std::uint32_t slot, std::uint64_t task, FunctionId function) {
  Progress& of = progress(slot);
  of = {};
  of.task = task;
  of.function = function;
  of.queued = now_ns();
  Event made = event(EventKind::kQueued, of);
  made.time = of.queued;
  tell(made);
}

void Recorder::adopted(std::uint32_t slot, std::uint64_t task, FunctionId function) {
  Progress& of = progress(slot);
  of = {};
  of.task = task;
  of.function = function;
}

void Recorder::given(std::uint32_t slot, std::uint32_t place, int worker, std::int64_t time) {
  Progress& of = progress(slot);
  of.place = place;
  of.worker = worker;
  of.given = time;
}

void Recorder::started(std::uint32_t slot, std::int64_t since) {
  Progress& of = progress(slot);
  if (of.started || of.task == kNoNumber) return;
  of.started = std::max(of.given, since);
  Event made = event(EventKind::kStarted, of);
  made.time = of.started;
  tell(made);
}

void Recorder::requeued(std::uint32_t slot) {
  Progress& of = progress(slot);
  if (!std::exchange(of.given, 0) || of.started == 0) return;
  Event made = event(EventKind::kQueued, of);
  of.started = 0;
  of.queued = made.time;
  tell(made);
}

void Recorder::answered(std::uint32_t slot, bool failed, std::int64_t began, std::int64_t took) {
  Progress& of = progress(slot);
  if (of.task == kNoNumber) return;
  started(slot, began);
  Event made = event(failed ? EventKind::kFailed : EventKind::kDone, of);
  made.time = began + took;
  made.amount = took;
  tell(made);
  of = {};
}

void Recorder::ended(std::uint32_t slot, EventKind kind, int status) {
  Progress& of = progress(slot);
  if (of.task == kNoNumber) return;
  if (kind == EventKind::kDied || kind == EventKind::kTimedOut) started(slot, of.given);
  Event made = event(kind, of);
  made.amount = status;
  tell(made);
  of = {};
}

void Recorder::worker_wanted(std::uint32_t place) { wanted(place) = now_ns(); }

void Recorder::worker_started(std::uint32_t place, int pid) {
  Event made = event(EventKind::kWorkerStarted, place, pid);
  made.started = wanted(place) ? wanted(place) : made.time;
  tell(made);
}

void Recorder::worker_ready(std::uint32_t place, int pid, std::int64_t time) {
  Event made = event(EventKind::kWorkerReady, place, pid);
  made.time = time;
  made.started = wanted(place) ? wanted(place) : time;
  tell(made);
}

void Recorder::worker_ended(std::uint32_t place, int pid, int status) {
  Event made = event(EventKind::kWorkerEnded, place, pid);
  made.started = std::exchange(wanted(place), 0);
  made.amount = status;
  tell(made);
}

void Recorder::end() {
  ended_ = true;
  for (const auto& one : streams_) {
    if (auto stream = one.lock()) stream->end();
  }
  streams_.clear();
}

}  // namespace procession::pool
