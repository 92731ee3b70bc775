// SPDX-License-Identifier: Apache-2.0
// What Python sees of PoolCore.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "pool_core.hpp"

namespace nb = nanobind;
using namespace nb::literals;

namespace procession::bindings {

namespace {

// Seconds as Python gives them; None and what no clock reaches is for ever.
std::chrono::nanoseconds span_of(std::optional<double> seconds) {
  constexpr double kLongest = 1e9;
  if (!seconds || !(*seconds < kLongest)) return pool::kForever;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
      std::chrono::duration<double>(*seconds));
}

pool::OnDeath on_death_of(const std::string& word) {
  if (word == "retry") return pool::OnDeath::kRetry;
  return word == "fail_task" ? pool::OnDeath::kFailTask : pool::OnDeath::kBreak;
}

void bind_task_options(nb::module_& module) {
  nb::class_<pool::TaskOptions>(module, "TaskOptions", "What a task is to have of its own.")
      .def(
          "__init__",
          [](pool::TaskOptions* self, std::optional<double> timeout, std::int32_t priority,
             const std::optional<std::string>& on_death, std::optional<std::uint32_t> retries) {
            new (self) pool::TaskOptions;
            self->priority = priority;
            if (timeout) self->timeout = span_of(timeout);
            if (on_death) self->on_death = on_death_of(*on_death);
            self->retries = retries;
          },
          "timeout"_a.none(), "priority"_a, "on_death"_a.none(), "retries"_a.none());
}

}  // namespace

void bind_pool_core(nb::module_& module) {
  bind_task_options(module);
  nb::class_<MapCall>(module, "MapCall", "A call of a map() that was taken back.")
      .def("done", [](const MapCall& call) { return call.slot->is_settled(); })
      .def("set_exception", [](const MapCall& call, nb::object error) {
        call.slot->settle(std::move(error), true);
      });
  nb::class_<PoolCore>(module, "PoolCore", "A pool of workers: calls in, futures out.")
      .def(
          "__init__",
          [](PoolCore* self, std::uint32_t max_workers, std::uint64_t tasks_per_worker,
             const std::string& on_death, std::uint32_t retries, nb::object support,
             nb::object future, nb::dict processes, std::optional<double> timeout,
             std::optional<double> idle_timeout, std::size_t max_pending, std::uint64_t max_rss) {
            pool::Options options;
            options.max_workers = max_workers;
            options.tasks_per_worker = tasks_per_worker;
            options.retries = retries;
            options.on_death = on_death_of(on_death);
            options.max_rss = max_rss;
            options.timeout = span_of(timeout);
            options.idle_timeout = span_of(idle_timeout);
            new (self) PoolCore(options, std::move(support), std::move(future),
                                std::move(processes), max_pending);
          },
          "max_workers"_a, "tasks_per_worker"_a, "on_death"_a, "retries"_a, "support"_a, "future"_a,
          "processes"_a, "timeout"_a = nb::none(), "idle_timeout"_a = nb::none(),
          "max_pending"_a = 0, "max_rss"_a = 0)
      .def("worker_fds", &PoolCore::worker_fds, "What a worker process needs.")
      .def(
          "submit",
          [](nb::handle self, nb::handle function, nb::tuple args, nb::dict keywords) {
            return nb::cast<PoolCore&>(self).submit(self, function, args, keywords);
          },
          "function"_a, "args"_a, "keywords"_a,
          "The future of a call, or None if it takes more than plain pickling.")
      .def(
          "submit_with",
          [](nb::handle self, const pool::TaskOptions& options, nb::handle function, nb::tuple args,
             nb::dict keywords) {
            return nb::cast<PoolCore&>(self).submit(self, function, args, keywords, options);
          },
          "options"_a, "function"_a, "args"_a, "keywords"_a, "As submit, with options.")
      .def(
          "submit_pickled",
          [](nb::handle self, nb::bytes payload, nb::list buffers, const std::string& name,
             const pool::TaskOptions* options) {
            return nb::cast<PoolCore&>(self).submit_pickled(
                self, payload, buffers, name, options ? *options : pool::TaskOptions());
          },
          "payload"_a, "buffers"_a, "name"_a = "", "options"_a.none() = nb::none(),
          "The future of a pickled (function, args, keywords).")
      .def(
          "map",
          [](nb::object self, nb::handle function, nb::handle items, bool star,
             nb::callable by_rule) {
            return nb::cast<PoolCore&>(self).map(self, function, items, star, std::move(by_rule));
          },
          "function"_a, "items"_a, "star"_a, "by_rule"_a,
          "The results of a call for each item, when all have ended.")
      .def("wait_for_room", &PoolCore::wait_for_room,
           "Wait while max_pending tasks are unfinished.")
      .def("add_function", &PoolCore::add_function, "function"_a, "payload"_a,
           "Have later submits name `function` by an id.")
      .def("knows", &PoolCore::knows, "function"_a)
      .def("forget", &PoolCore::forget, "Let go of all there is: the pool has ended.")
      .def("stats", &PoolCore::stats, "The fields of procession.events.PoolStats.")
      .def(
          "events",
          [](nb::object self, std::size_t limit) {
            return nb::cast<PoolCore&>(self).events(self, limit);
          },
          "limit"_a, "An iterator over the fields of procession.events.Event.")
      .def("trace_to", &PoolCore::trace_to, "path"_a, "Write a trace, from now on.")
      .def("worker_wanted", &PoolCore::worker_wanted, "all"_a = false,
           "A place for which a worker should be started now, or None.")
      .def("add_worker", &PoolCore::add_worker, "place"_a, "pid"_a, "pidfd"_a)
      .def("no_worker", &PoolCore::no_worker, "place"_a)
      .def("finish", &PoolCore::finish, "Workers end when all tasks have ended.")
      .def("stop_now", &PoolCore::stop_now, "From now on a worker's death breaks the pool.")
      .def("cancel_all", &PoolCore::cancel_all, "Take back what no worker has been given.")
      .def("look_after", &PoolCore::look_after, "seconds"_a,
           "Wait and settle; the pids of workers that ended.")
      .def("wake_all", &PoolCore::wake_all, "Have waiting threads look at their futures again.")
      .def("ring_back", &PoolCore::ring_back, "Wake the thread in look_after.")
      .def_prop_ro("unfinished", &PoolCore::unfinished)
      .def_prop_ro("workers", &PoolCore::workers)
      .def_prop_ro("broken_by", &PoolCore::broken_by, "What the tasks raise that broke with it.")
      .def_prop_ro("is_broken", &PoolCore::is_broken)
      .def_prop_ro("is_finishing", &PoolCore::is_finishing);
}

}  // namespace procession::bindings
