// SPDX-License-Identifier: Apache-2.0
// detail/any_pool: a pool of workers without its types: the compiled half's hold on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "procession/context.hpp"
#include "procession/detail/any_future.hpp"
#include "procession/detail/export.hpp"
#include "procession/detail/task.hpp"

namespace procession {

// What the death of a worker ends.
enum class OnWorkerDeath : unsigned char {
  kBreak,     // all tasks, with BrokenProcessPool, and the pool
  kFailTask,  // the task that it had begun, with WorkerDied; another worker takes its place
  kRetry,     // not even that one: it is tried again, `retries` times
};

// What a task may have of its own.
struct TaskOptions {
  // How long it may run, instead of the executor's: TimeoutError, and its worker is replaced.
  std::optional<std::chrono::duration<double>> timeout = {};
  int priority = 0;  // higher goes first, in the order of submission within one
  std::optional<OnWorkerDeath> on_worker_death = {};
  std::optional<int> retries = {};
};

}  // namespace procession

namespace procession::api {
class PoolCore;
}

namespace procession::detail {

struct PoolSettings {
  std::optional<int> max_workers;
  Context mp_context;
  std::shared_ptr<const Call> initializer;
  std::optional<int> max_tasks_per_child;
  OnWorkerDeath on_worker_death = OnWorkerDeath::kBreak;
  int retries = 1;
  std::optional<AnyFuture::Seconds> timeout;
  std::optional<AnyFuture::Seconds> idle_timeout;
  std::optional<int> max_pending;
  std::optional<std::uint64_t> max_rss;  // bytes
  std::string trace;                     // a file's path, or nothing
};

// A task that is being written. Dropped without a submit, it leaves nothing behind.
class PROCESSION_EXPORT TaskDraft {
 public:
  explicit TaskDraft(api::PoolCore& core);
  ~TaskDraft();
  TaskDraft(const TaskDraft&) = delete;
  TaskDraft& operator=(const TaskDraft&) = delete;

  Outgoing& out() noexcept { return *out_; }

 private:
  friend class AnyPool;
  struct Desk;

  api::PoolCore& core_;
  Desk* desk_;
  Outgoing* out_ = nullptr;
};

// A handle: its copies name the same pool, and dropping it leaves the pool alone.
class PROCESSION_EXPORT AnyPool {
 public:
  explicit AnyPool(const PoolSettings& settings);
  AnyPool(const AnyPool& other) noexcept;
  AnyPool(AnyPool&& other) noexcept;
  AnyPool& operator=(const AnyPool& other) noexcept {
    AnyPool copy(other);
    std::swap(core_, copy.core_);
    return *this;
  }
  AnyPool& operator=(AnyPool&& other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~AnyPool();

  bool valid() const noexcept { return core_ != nullptr; }
  int max_workers() const noexcept;
  std::size_t max_pending() const noexcept;  // 0: any

  // Options, or null.
  AnyFuture submit(const TaskTarget& target, TaskDraft& draft,
                   const TaskOptions* options = nullptr) const;
  // Of one whose arguments are these bytes.
  AnyFuture submit(const TaskTarget& target, std::span<const std::byte> arguments,
                   const TaskOptions* options) const;

  void shutdown(bool wait, bool cancel_futures) const;
  bool is_closed() const;     // after a shutdown
  void end() const noexcept;  // shutdown(true), as well as it can be done: never throws
  void terminate_workers() const;
  void kill_workers() const;
  void terminate() const;  // all tasks end: SIGTERM, a moment later SIGKILL

  api::PoolCore& core() const;

 private:
  AnyFuture submit_with(const TaskTarget& target, std::span<const std::byte> arguments,
                        const TaskOptions& options) const;

  std::shared_ptr<api::PoolCore> core_;
};

template <class Target, class... Arguments>
AnyFuture submit(const AnyPool& pool, const TaskOptions* options, Target&& target,
                 Arguments&&... arguments) {
  using Task = TaskOf<Target, Arguments...>;
  using F = typename Task::F;
  using KeptArguments = typename Task::KeptArguments;
  const F& kept_target = target;
  TaskTarget named = target_of<F>(&SingleTask<F, KeptArguments>::load, kept_target);
  if constexpr (kIsDirectCall<F, KeptArguments>) {
    auto direct = [&]<class... Types>(std::type_identity<std::tuple<Types...>>) {
      return DirectBytes<Types...>(arguments...);
    };
    auto written = direct(std::type_identity<KeptArguments>());
    return pool.submit(named, written.bytes, options);
  } else {
    TaskDraft draft(pool.core());
    write_each<F>(draft.out(), kept_target);
    if constexpr (sizeof...(Arguments) > 0) {
      write_as(draft.out(), std::type_identity<KeptArguments>(),
               std::forward<Arguments>(arguments)...);
    }
    return pool.submit(named, draft, options);
  }
}

}  // namespace procession::detail
