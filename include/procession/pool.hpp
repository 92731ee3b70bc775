// SPDX-License-Identifier: Apache-2.0
// procession/pool: Python's multiprocessing.Pool for ordinary functions.
//
// As an executor, but a worker's death fails only the task that it had begun, with WorkerDied, and
// the destructor terminates. Thread-safe.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "procession/context.hpp"
#include "procession/executor.hpp"

namespace procession {

struct PoolOptions {
  std::optional<int> processes = {};  // not given: cpu_count()
  Initializer initializer = {};
  std::optional<int> maxtasksperchild = {};  // a worker is replaced after so many. Not under fork
  Context mp_context = {};
  std::string trace = {};  // a file that shows in ui.perfetto.dev what ran where and when
};

class Pool {
 public:
  explicit Pool(const PoolOptions& options = {})
      : pool_({options.processes,
               options.mp_context,
               options.initializer.any(),
               options.maxtasksperchild,
               OnWorkerDeath::kFailTask,
               0,
               {},
               {},
               {},
               {},
               options.trace}) {}
  explicit Pool(int processes) : Pool(PoolOptions{.processes = processes}) {}

  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;
  Pool(Pool&&) noexcept = default;
  Pool& operator=(Pool&& other) noexcept {
    if (this != &other) {
      drop();
      pool_ = std::move(other.pool_);
    }
    return *this;
  }

  // terminate() and join().
  ~Pool() { drop(); }

  // The result of target(arguments...), called in a worker. See ProcessPoolExecutor::submit.
  template <class Target, class... Arguments>
  auto apply(Target&& target, Arguments&&... arguments) {
    return apply_async(std::forward<Target>(target), std::forward<Arguments>(arguments)...).get();
  }
  template <class Target, class... Arguments>
  auto apply_async(Target&& target, Arguments&&... arguments) {
    using Task = detail::TaskOf<Target, Arguments...>;
    return Future<typename Task::Type>(detail::submit(pool_, nullptr, std::forward<Target>(target),
                                                      std::forward<Arguments>(arguments)...));
  }

  // The results of target(element), in order. By default each worker gets four chunks. If one fails,
  // its exception comes out and what hasn't begun is cancelled.
  template <class Target, std::ranges::input_range Range>
  auto map(Target&& target, Range&& range, std::size_t chunksize = 0) {
    return all_of(map_async(std::forward<Target>(target), std::forward<Range>(range), chunksize));
  }
  template <class Target, std::ranges::input_range Range>
  auto map_async(Target&& target, Range&& range, std::size_t chunksize = 0) {
    return detail::make_async_map<detail::Spread::kNo>(
        pool_, chunksize, std::forward<Target>(target), std::forward<Range>(range));
  }

  // The same with elements that are tuples of arguments.
  template <class Target, std::ranges::input_range Range>
  auto starmap(Target&& target, Range&& range, std::size_t chunksize = 0) {
    return all_of(
        starmap_async(std::forward<Target>(target), std::forward<Range>(range), chunksize));
  }
  template <class Target, std::ranges::input_range Range>
  auto starmap_async(Target&& target, Range&& range, std::size_t chunksize = 0) {
    return detail::make_async_map<detail::Spread::kYes>(
        pool_, chunksize, std::forward<Target>(target), std::forward<Range>(range));
  }

  // The results as a range that reads elements as they are needed; see ProcessPoolExecutor::map.
  // imap_unordered: as they come.
  template <class Target, std::ranges::input_range Range>
  auto imap(Target&& target, Range&& range, MapOptions options = {}) {
    return detail::make_map<detail::Spread::kNo>(pool_, options, std::forward<Target>(target),
                                                 std::forward<Range>(range));
  }
  template <class Target, std::ranges::input_range Range>
  auto imap_unordered(Target&& target, Range&& range, MapOptions options = {}) {
    return detail::make_map<detail::Spread::kNo, detail::AsTheyEnd>(
        pool_, options, std::forward<Target>(target), std::forward<Range>(range));
  }

  // No more tasks are taken; workers end when all have ended.
  void close() { pool_.shutdown(false, false); }

  // Ends the workers (SIGTERM; SIGKILL a second later). Tasks that had begun end with
  // BrokenProcessPool, the others are cancelled.
  void terminate() { pool_.terminate(); }

  // Waits for the end of the workers, after close() or terminate(): else std::logic_error.
  void join() {
    if (!pool_.is_closed()) throw std::logic_error("Pool is still running");
    pool_.shutdown(true, false);
  }

 private:
  template <class Type>
  static auto all_of(AsyncMap<Type> tasks) {
    try {
      return tasks.get();
    } catch (...) {
      tasks.cancel();
      throw;
    }
  }

  void drop() noexcept {
    if (!pool_.valid()) return;
    pool_.terminate();
    pool_.end();
  }

  detail::AnyPool pool_;
};

}  // namespace procession
