// SPDX-License-Identifier: Apache-2.0
// procession/executor: ordinary functions, called in a pool of worker processes.
//
//   mp::ProcessPoolExecutor pool({.max_workers = 4});
//   mp::Future<int> f = pool.submit(fib, 30);
//   for (int n : pool.map(fib, std::views::iota(0, 30))) ...
//
// Workers start when tasks ask for them and stay until the pool's end. Thread-safe. In a forked copy of
// the process the pool takes no tasks, and its destructor does nothing.
#pragma once

#include <chrono>
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "procession/context.hpp"
#include "procession/detail/any_pool.hpp"
#include "procession/detail/export.hpp"
#include "procession/future.hpp"
#include "procession/map.hpp"

namespace procession {

// What each worker calls before its first task. Made of a callable or, with arguments, by call().
class Initializer {
 public:
  Initializer() = default;
  template <class Target>
  requires(!std::is_same_v<std::decay_t<Target>, Initializer> &&
           std::is_invocable_v<std::decay_t<Target>&>)
      // NOLINTNEXTLINE(google-explicit-constructor,bugprone-forwarding-reference-overload)
      Initializer(Target&& target)  // implicit, for `.initializer = prepare`
      : call_(detail::make_call<false>(std::forward<Target>(target))) {}

  explicit Initializer(std::unique_ptr<detail::Call> call) : call_(std::move(call)) {}

  const std::shared_ptr<const detail::Call>& any() const noexcept { return call_; }

 private:
  std::shared_ptr<const detail::Call> call_;
};

// An initializer that calls `target(arguments...)`, which travel as those of a Process; connections,
// too, of which each worker gets a duplicate.
template <class Target, class... Arguments>
Initializer call(Target&& target, Arguments&&... arguments) {
  return Initializer(detail::make_call<false>(std::forward<Target>(target),
                                              std::forward<Arguments>(arguments)...));
}

struct ExecutorOptions {
  std::optional<int> max_workers = {};  // not given: cpu_count()
  Context mp_context = {};
  // If it throws, the pool is broken: BrokenProcessPool, which says why.
  Initializer initializer = {};
  // A worker is replaced after so many. Not under fork.
  std::optional<int> max_tasks_per_child = {};
  OnWorkerDeath on_worker_death = OnWorkerDeath::kBreak;
  int retries = 1;  // of a task whose worker dies, under kRetry
  // How long a task may run: TimeoutError, and its worker is replaced.
  std::optional<std::chrono::duration<double>> timeout = {};
  // A worker without a task for so long ends.
  std::optional<std::chrono::duration<double>> idle_timeout = {};
  // submit() waits while so many tasks have no outcome; in a callback of the pool itself it doesn't. Of
  // several threads that wait, each gets one through. map() has no more than so many chunks under way.
  std::optional<int> max_pending = {};
  // A worker whose resident set is larger than so many bytes after a task is replaced.
  std::optional<std::uint64_t> max_rss = {};
  // A file that shows in ui.perfetto.dev what ran where and when.
  std::string trace = {};
};

class ProcessPoolExecutor {
 public:
  // std::invalid_argument for numbers that make no sense; OsError if there is no memory.
  explicit ProcessPoolExecutor(const ExecutorOptions& options = {})
      : pool_({options.max_workers, options.mp_context, options.initializer.any(),
               options.max_tasks_per_child, options.on_worker_death, options.retries,
               options.timeout, options.idle_timeout, options.max_pending, options.max_rss,
               options.trace}) {}

  ProcessPoolExecutor(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor& operator=(const ProcessPoolExecutor&) = delete;
  ProcessPoolExecutor(ProcessPoolExecutor&&) noexcept = default;
  ProcessPoolExecutor& operator=(ProcessPoolExecutor&& other) noexcept {
    if (this != &other) {
      pool_.end();
      pool_ = std::move(other.pool_);
    }
    return *this;
  }

  // shutdown(true); in a callback of the pool itself without the wait.
  ~ProcessPoolExecutor() { pool_.end(); }

  // Has `target(arguments...)` called in a worker. Targets are functions, lambdas without captures,
  // and functors that can be serialised or are plain aggregates. Arguments travel as for a Process,
  // but connections don't; they are written before this returns. std::runtime_error after shutdown(),
  // BrokenProcessPool, OsError if memory is full or no worker can be started; what serialising throws
  // comes out here.
  template <class Target, class... Arguments>
  requires(!std::same_as<std::decay_t<Target>, TaskOptions>) auto submit(Target&& target,
                                                                         Arguments&&... arguments) {
    using Task = detail::TaskOf<Target, Arguments...>;
    return Future<typename Task::Type>(detail::submit(pool_, nullptr, std::forward<Target>(target),
                                                      std::forward<Arguments>(arguments)...));
  }
  template <class Target, class... Arguments>
  auto submit(TaskOptions options, Target&& target, Arguments&&... arguments) {
    using Task = detail::TaskOf<Target, Arguments...>;
    return Future<typename Task::Type>(detail::submit(pool_, &options, std::forward<Target>(target),
                                                      std::forward<Arguments>(arguments)...));
  }

  // The results of target(element), or of target(element, element2, ...) over several ranges up to
  // the end of the shortest, in order: an input range, to be gone through once. Elements are read as
  // they are needed (MapOptions). Where the function gives nothing, std::monostate. A failed task's
  // exception comes out where its result would. Dropping the range cancels what hasn't begun.
  template <class Target, std::ranges::input_range... Ranges>
  auto map(Target&& target, Ranges&&... ranges) {
    return map(MapOptions{}, std::forward<Target>(target), std::forward<Ranges>(ranges)...);
  }
  template <class Target, std::ranges::input_range... Ranges>
  auto map(MapOptions options, Target&& target, Ranges&&... ranges) {
    return detail::make_map<detail::Spread::kNo>(pool_, options, std::forward<Target>(target),
                                                 std::forward<Ranges>(ranges)...);
  }

  // No more tasks are taken; workers end when all have ended. `wait` for that: std::logic_error in a
  // callback of this pool. `cancel_futures`: those that no worker has been given.
  void shutdown(bool wait = true, bool cancel_futures = false) {
    pool_.shutdown(wait, cancel_futures);
  }

  // Sends SIGTERM, SIGKILL to all workers; no more tasks are taken. Those that had begun end with
  // BrokenProcessPool, the others are cancelled.
  void terminate_workers() { pool_.terminate_workers(); }
  void kill_workers() { pool_.kill_workers(); }

  int max_workers() const noexcept { return pool_.max_workers(); }

 private:
  detail::AnyPool pool_;
};

}  // namespace procession
