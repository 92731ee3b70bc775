// SPDX-License-Identifier: Apache-2.0
// api/pool_core: pool/pool as C++ sees it: functions and bytes in, futures out; who makes workers.
//
//   front: a thread in Future::get() takes in results itself, for all
//   back:  the manager thread sees to deaths, replaces workers, runs callbacks
//
// Owned by the executor and, while there is work, by its manager thread and its futures. Thread-safe.
// In a forked copy of the process nobody works for it: `is_here` tells.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "api/process_state.hpp"
#include "api/task_bytes.hpp"
#include "pool/pool.hpp"
#include "procession/detail/any_pool.hpp"

namespace procession::detail {
struct FutureState;
}

namespace procession::api {

// How a task ended that has neither a result nor a failure of its own.
struct Ending {
  std::optional<pool::Death> death;
  std::string function;
  base::Bytes initializer;   // the failure of one, if that is the reason
  std::exception_ptr start;  // why no worker could be started
};

std::exception_ptr make_exception(pool::OutcomeKind kind, const Ending& ending);

struct PoolSetup {
  pool::Options options;
  detail::StartMethod method = detail::StartMethod::kForkserver;
  std::optional<detail::StartMethod> asked;  // nothing: the default
  std::shared_ptr<const detail::Call> initializer;
  std::size_t max_pending = 0;  // tasks without an outcome, above which submits wait; 0: any
  std::string trace;
};

class PoolCore : public std::enable_shared_from_this<PoolCore>, public BlockSource {
 public:
  explicit PoolCore(const PoolSetup& setup);
  PoolCore(const PoolCore&) = delete;
  PoolCore& operator=(const PoolCore&) = delete;
  virtual ~PoolCore();
  static std::shared_ptr<PoolCore> make(const PoolSetup& setup);

  // Whether this is the process that made it.
  bool is_here() const noexcept { return born_ == forks(); }
  void check_here(const char* what) const {
    if (!is_here()) refuse_copy(what);
  }

  // Forks of this process since it began to count.
  static std::uint32_t forks() noexcept { return fork_count.load(std::memory_order_relaxed); }
  static void note_fork() noexcept { fork_count.fetch_add(1, std::memory_order_relaxed); }  // here

  // In a forked copy: lets it be for ever, since other threads may have been at work in it.
  static void abandon(std::shared_ptr<PoolCore> core);

  std::size_t max_pending() const noexcept { return setup_.max_pending; }
  int max_workers() const noexcept { return static_cast<int>(setup_.options.max_workers); }

  // Options, or null.
  detail::AnyFuture submit(const detail::TaskTarget& target, TaskWriter& writer,
                           const pool::TaskOptions* options);
  // Of a payload up to pool::kLargestInline.
  detail::AnyFuture submit(const detail::TaskTarget& target, base::BytesView payload);
  detail::AnyFuture submit(const detail::TaskTarget& target, base::BytesView payload,
                           const pool::TaskOptions& options);

  void shutdown(bool wait, bool cancel_futures);
  bool is_closed() const noexcept { return pool_.is_closed(); }
  void end() noexcept;
  void stop_workers(bool kill);
  void terminate();

  // Of blocks, for drafts and futures.
  shm::Block put(base::BytesView bytes) override;
  void drop(shm::Block block) noexcept override { pool_.release(block); }
  base::BytesView content(shm::Block block) const { return pool_.content(block); }

  // For futures.
  bool wait(detail::FutureState& state, base::Deadline deadline);
  bool wait_ready(const std::function<bool()>& ready, base::Deadline deadline);
  bool cancel(detail::FutureState& state, bool running);
  bool is_running(pool::TaskId task) { return pool_.is_assigned(task); }
  void look();
  void want(int more);  // futures whose end somebody is to be told of

  std::vector<int> worker_fds() const { return pool_.worker_fds(); }
  const std::shared_ptr<const detail::Call>& initializer() const { return setup_.initializer; }

 private:
  // Counted from the first pool on.
  inline static std::atomic<std::uint32_t> fork_count{0};
  inline static std::atomic<std::uint32_t> core_count{0};  // that there are

  [[noreturn]] void refuse_copy(const char* what) const;

  struct NameHash {
    std::size_t operator()(const detail::TaskName& name) const noexcept;
  };

  detail::AnyFuture submit_any(const detail::TaskTarget& target, base::BytesView payload,
                               detail::FutureState* state);
  template <class Give>
  detail::AnyFuture submit_by(const detail::TaskTarget& target, detail::FutureState* state,
                              Give give);
  void get_ready(const detail::TaskTarget& target, pool::FunctionId function) noexcept;
  detail::AnyFuture submitted(detail::FutureState& state, pool::WorkerBoard& worker);
  void look_after(detail::FutureState& state);
  pool::FunctionId admit(const detail::TaskTarget& target);
  void see_to(detail::FutureState& state, pool::TaskId task);
  struct LastFunction;
  pool::FunctionId id_of(const detail::TaskTarget& target);
  pool::FunctionId look_up(const detail::TaskTarget& target);
  std::string show_function(pool::FunctionId id);
  void check_open() {
    if (is_closed() || pool_.is_broken()) refuse_if_closed();
  }
  void refuse_if_closed();
  void wait_for_room();
  enum class Where { kFront, kBack, kAside };

  template <class Ready>
  bool wait_at_front(pool::TaskId awaited, base::Deadline deadline, Ready ready);
  template <class Ready>
  base::Waited be_at_front(pool::TaskId awaited, base::Deadline deadline, Ready ready);
  void settle(pool::Outcomes& outcomes, Where where);
  void settle_one(detail::FutureState& state, pool::Outcome& outcome, base::BytesView payload);
  std::unique_ptr<Ending> ending_of(const pool::Outcome& outcome, base::BytesView payload);
  void run_hooks(detail::Hook* hooks);
  void wake_behind();
  void cancelled(void* future);
  void cancel_all();
  void close(bool cancel_futures);
  void join();

  // pool_manager.cpp
  void grow(detail::FutureState& state);
  void grow_locked(bool all);
  void start_worker(std::uint32_t place);
  void begin_managing();
  void manage();
  void write_trace();
  void tend();
  void replace();
  void reap_all();
  void reap(const pool::Loss& loss);
  void signal_all(int signal);
  void fail_all(const std::exception_ptr& why);
  bool is_over();
  bool on_manager_thread() const noexcept;
  void run_deferred();
  bool leave();

  const PoolSetup setup_;
  const std::uint32_t born_;
  const int pid_;
  const std::uint64_t serial_;  // no other pool of this process has had it
  struct Favourite;
  const std::unique_ptr<Favourite> favourite_;
  pool::Pool pool_;

  std::mutex functions_mutex_;
  std::unordered_map<detail::TaskName, pool::FunctionId, NameHash> functions_;
  std::vector<detail::TaskName> names_;  // by id

  std::atomic<bool> front_taken_{false};
  std::atomic<std::uint32_t> waiting_behind_{0};
  os::FutexWord turns_{0};
  pool::Outcomes front_outcomes_;  // of who is at the front
  std::atomic<bool> aside_taken_{false};
  pool::Outcomes aside_outcomes_;  // of who only looks

  std::mutex want_mutex_;
  int wanting_ = 0;

  std::mutex crew_mutex_;  // of the starting of workers
  std::map<pid_t, std::shared_ptr<detail::ProcessState>> workers_;
  std::atomic<bool> may_grow_{true};
  std::atomic<bool> managed_{false};
  std::atomic<std::thread::id> manager_id_{};
  std::mutex join_mutex_;
  std::unique_ptr<std::thread> manager_;

  std::mutex back_mutex_;
  std::vector<detail::Hook*> deferred_;
  std::vector<pool::Loss> losses_;
  bool manager_gone_ = false;
  std::shared_ptr<Ending> broken_by_;
  std::atomic<bool> kill_soon_{false};
  base::Deadline kill_at_ = base::Deadline::never();  // the manager thread's
};

}  // namespace procession::api
