// SPDX-License-Identifier: Apache-2.0
// pool/events: what happens in a pool, told while it happens: to streams, and to a trace file.
//
//   Pool --> Recorder --> EventStream, one for each who listens, bounded
//                    `--> TraceFile (pool/trace)
//
// A pool has a Recorder once somebody listens. It is the parent's, called under the pool's mutex.
// A task goes  queued -> started -> an end,  and back to queued if its worker ended, or lost it,
// before it answered.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/deadline.hpp"
#include "os/futex.hpp"
#include "pool/board.hpp"

namespace procession::pool {

class TraceFile;

// Nanoseconds of CLOCK_MONOTONIC, which is the same in all processes.
std::int64_t now_ns() noexcept;

enum class EventKind : std::uint8_t {
  kQueued,
  kStarted,
  kDone,    // it returned
  kFailed,  // it raised
  kDied,    // with the worker that had begun it
  kBroken,  // with the pool, though its own worker had not died
  kCancelled,
  kTimedOut,
  kWorkerStarted,
  kWorkerReady,
  kWorkerEnded,
  kLost,  // in place of events that a stream had no room for
};

inline constexpr std::uint64_t kNoNumber = ~std::uint64_t{0};

struct Event {
  EventKind kind = EventKind::kQueued;
  std::int64_t time = 0;           // ns
  std::uint64_t task = kNoNumber;  // counted in the order of submits
  FunctionId function = 0;
  std::uint32_t place = 0;   // of the worker
  int worker = 0;            // its pid, or 0
  std::int64_t queued = 0;   // of a task: when
  std::int64_t started = 0;  // of a task: when, or 0; of a worker: when its place was taken
  std::int64_t amount = 0;   // ends: ns at work; deaths: the exit code; lost: how many
};

// Events on their way to one listener. Thread-safe. Bounded: the oldest make room for new ones.
class EventStream {
 public:
  explicit EventStream(std::size_t limit) : limit_(limit) {}

  void add(const Event& event);
  void end();  // nothing more will come

  // Waits for the next one; nothing is left in `event` after the last.
  base::Waited next(std::optional<Event>& event, base::Deadline deadline);

 private:
  void wake() noexcept;

  const std::size_t limit_;
  std::mutex mutex_;
  std::deque<Event> events_;
  std::int64_t lost_ = 0;
  std::int64_t lost_at_ = 0;
  bool ended_ = false;
  os::FutexWord changes_{0};
  std::atomic<std::uint32_t> sleepers_{0};
};

class Recorder {
 public:
  Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;
  ~Recorder();

  // Has all that happens from now on told to a new stream.
  std::shared_ptr<EventStream> listen(std::size_t limit);
  void trace_to(std::unique_ptr<TraceFile> trace);
  TraceFile* trace() noexcept { return trace_.get(); }

  void queued(std::uint32_t slot, std::uint64_t task, FunctionId function);
  // The same of a task that was there before anybody listened; tells nothing.
  void adopted(std::uint32_t slot, std::uint64_t task, FunctionId function);
  // A worker has been given it, and comes to it at some time.
  void given(std::uint32_t slot, std::uint32_t place, int worker, std::int64_t time);
  // The worker is at it, and has been free for it since `since`.
  void started(std::uint32_t slot, std::int64_t since);
  // It was taken from its worker: it waits again, if it did not all the time.
  void requeued(std::uint32_t slot);
  void answered(std::uint32_t slot, bool failed, std::int64_t began, std::int64_t took);
  // Without an answer. `status`: of the worker that it died with.
  void ended(std::uint32_t slot, EventKind kind, int status);

  void worker_wanted(std::uint32_t place);
  void worker_started(std::uint32_t place, int pid);
  void worker_ready(std::uint32_t place, int pid, std::int64_t time);
  void worker_ended(std::uint32_t place, int pid, int status);

  // The pool has ended. Streams end after what they hold.
  void end();

 private:
  struct Progress {  // of the task in a slot
    std::uint64_t task = kNoNumber;
    FunctionId function = 0;
    std::uint32_t place = 0;
    int worker = 0;
    std::int64_t queued = 0;
    std::int64_t given = 0;
    std::int64_t started = 0;
  };

  Progress& progress(std::uint32_t slot);
  std::int64_t& wanted(std::uint32_t place);
  static Event event(EventKind kind, std::uint32_t place, int pid);
  static Event event(EventKind kind, const Progress& of);
  void tell(const Event& event);

  std::vector<Progress> tasks_;
  std::vector<std::int64_t> wanted_;  // by place: when it was taken
  std::vector<std::weak_ptr<EventStream>> streams_;
  std::unique_ptr<TraceFile> trace_;
  bool ended_ = false;
};

}  // namespace procession::pool
