// SPDX-License-Identifier: Apache-2.0
#include "pool_view.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "os/process.hpp"
#include "pool_core.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

// By EventKind and WorkerState.
constexpr const char* kKinds[] = {"queued",         "started",      "done",         "failed",
                                  "died",           "broken",       "cancelled",    "timed_out",
                                  "worker_started", "worker_ready", "worker_ended", "lost"};
constexpr const char* kStates[] = {"starting", "idle", "busy", "ending"};

double seconds(std::int64_t ns) { return static_cast<double>(ns) * 1e-9; }

nb::object name_of(pool::Pool& pool, pool::FunctionId function) {
  std::string name = pool.name_of(function);
  return name.empty() ? nb::none() : nb::object(nb::str(name.c_str(), name.size()));
}

nb::object pid_of(int pid) { return pid ? nb::object(nb::int_(pid)) : nb::none(); }

// What happens in a pool, as it is waited for; its results are looked at as they come meanwhile.
class EventIterator {
 public:
  EventIterator(nb::object core, pool::Pool& pool, std::size_t limit)
      : core_(std::move(core)), pool_(pool), stream_(pool.listen(limit)) {
    nb::cast<PoolCore&>(core_).want_results(true);
  }
  EventIterator(const EventIterator&) = delete;
  EventIterator& operator=(const EventIterator&) = delete;
  ~EventIterator() {
    stream_.reset();
    // What the pool is told in a forked copy of this process, its workers would hear.
    if (os::current_pid() == pid_) nb::cast<PoolCore&>(core_).want_results(false);
  }

  nb::tuple next() {
    std::optional<pool::Event> event;
    while (true) {
      base::Waited waited = base::Waited::kReady;
      {
        nb::gil_scoped_release unlocked;
        waited = stream_->next(event, base::Deadline::never());
      }
      if (event) return tuple_of(*event);
      if (waited == base::Waited::kReady) throw nb::stop_iteration();
      if (PyErr_CheckSignals() != 0) throw nb::python_error();
    }
  }

 private:
  nb::tuple tuple_of(const pool::Event& event) {
    nb::object detail = nb::none();
    switch (event.kind) {
      case pool::EventKind::kDone:
      case pool::EventKind::kFailed:
        detail = nb::float_(seconds(event.amount));
        break;
      case pool::EventKind::kDied:
      case pool::EventKind::kWorkerEnded:
      case pool::EventKind::kLost:
        detail = nb::int_(event.amount);
        break;
      default:
        break;
    }
    bool is_task = event.task != pool::kNoNumber;
    bool has_worker = event.kind != pool::EventKind::kQueued;
    return nb::make_tuple(kKinds[static_cast<std::size_t>(event.kind)], seconds(event.time),
                          is_task ? nb::object(nb::int_(event.task)) : nb::none(),
                          is_task ? name_of(pool_, event.function) : nb::none(),
                          has_worker ? pid_of(event.worker) : nb::none(), detail);
  }

  const int pid_ = os::current_pid();
  nb::object core_;  // keeps `pool_`
  pool::Pool& pool_;
  std::shared_ptr<pool::EventStream> stream_;
};

}  // namespace

nb::tuple stats_of(pool::Pool& pool) {
  pool::Stats stats = pool.stats();
  nb::list workers;
  for (const pool::WorkerStats& worker : stats.workers) {
    workers.append(nb::make_tuple(pid_of(worker.pid),
                                  kStates[static_cast<std::size_t>(worker.state)], worker.done,
                                  seconds(static_cast<std::int64_t>(worker.ns)),
                                  worker.has_begun ? name_of(pool, worker.function) : nb::none()));
  }
  const pool::Counters& counters = stats.counters;
  return nb::make_tuple(nb::tuple(workers), stats.queued, stats.running, counters.done,
                        counters.failed, counters.died, counters.broken, counters.cancelled,
                        counters.timed_out, counters.workers_started, counters.workers_died,
                        stats.arena_in_use, stats.arena_mapped);
}

nb::object events_of(nb::object core, pool::Pool& pool, std::size_t limit) {
  return nb::cast(new EventIterator(std::move(core), pool, limit), nb::rv_policy::take_ownership);
}

void bind_pool_view(nb::module_& module) {
  nb::class_<EventIterator>(module, "EventIterator", "What happens in a pool, as it happens.")
      .def("__iter__", [](nb::handle self) { return nb::borrow(self); })
      .def("__next__", &EventIterator::next);
}

}  // namespace procession::bindings
