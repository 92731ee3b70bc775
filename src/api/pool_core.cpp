// SPDX-License-Identifier: Apache-2.0
#include "api/pool_core.hpp"

#include <climits>
#include <sstream>
#include <stdexcept>
#include <typeinfo>
#include <utility>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "api/family.hpp"
#include "api/favourite.hpp"
#include "api/future_state.hpp"
#include "base/error.hpp"
#include "os/cpu.hpp"
#include "os/module.hpp"
#include "os/process.hpp"
#include "os/signals.hpp"
#include "procession/error.hpp"

namespace procession::api {

using detail::FutureState;
using detail::Hook;
using detail::TaskName;

namespace {

constexpr const char* kClosed = "cannot schedule new futures after shutdown";

std::uint64_t next_serial() {
  static std::atomic<std::uint64_t> serial{0};
  return ++serial;
}

// The symbol of a function, or the type of a functor.
std::string readable(const TaskName& name) {
  if (name.words[0] == 0) return readable_name(name.type->name());
  return readable_name(os::symbol_of(reinterpret_cast<const void*>(name.words[0])));
}

std::string ended_how(const pool::Death& death) {
  std::string worker = "worker " + std::to_string(death.pid);
  int code = death.status.value();
  return code < 0 ? worker + " was killed by " + os::signal_name(-code)
                  : worker + " exited with code " + std::to_string(code);
}

}  // namespace

std::exception_ptr make_exception(pool::OutcomeKind kind, const Ending& ending) {
  if (ending.start) {
    return std::make_exception_ptr(
        BrokenProcessPool("no worker could be started: " + describe(ending.start), ending.start));
  }
  if (!ending.death) {
    std::exception_ptr cause = decode_failure(base::BytesView(ending.initializer));
    return std::make_exception_ptr(
        BrokenProcessPool("the initializer of a worker process failed: " + describe(cause), cause));
  }
  std::string what = ending.function.empty() ? "a task" : ending.function;
  if (kind == pool::OutcomeKind::kTimedOut) {
    std::ostringstream message;
    message << what << " ran for longer than "
            << std::chrono::duration<double>(ending.death->timeout).count() << " s in worker "
            << ending.death->pid << ", which was stopped";
    return std::make_exception_ptr(TimeoutError(message.str()));
  }
  std::string how = ended_how(*ending.death);
  bool broken = kind == pool::OutcomeKind::kBroken;
  auto died = std::make_exception_ptr(WorkerDied(broken ? how : how + " while it ran " + what,
                                                 ending.death->pid, ending.death->status.value(),
                                                 ending.function));
  if (!broken) return died;
  return std::make_exception_ptr(BrokenProcessPool(
      "a process of the pool ended abruptly while the task was running or pending: " + how, died));
}

namespace {

pool::Options with_settle(pool::Options options) {
  options.settle = [](std::span<void* const> futures, base::BytesView payload) noexcept {
    constexpr std::size_t kAhead = 24;
    for (std::size_t i = 0; i < futures.size(); ++i) {
      if (i + kAhead < futures.size()) os::prefetch_to_write(futures[i + kAhead]);
      if (!static_cast<FutureState*>(futures[i])->try_settle(payload)) return i;
    }
    return futures.size();
  };
  return options;
}

}  // namespace

PoolCore::PoolCore(const PoolSetup& setup)
    : setup_(setup),
      born_(forks()),
      pid_(os::current_pid()),
      serial_(next_serial()),
      favourite_(std::make_unique<Favourite>()),
      pool_(with_settle(setup.options)) {
  if (!setup.trace.empty()) pool_.trace_to(setup.trace);
  ++core_count;
}

void PoolCore::refuse_copy(const char* what) const {
  throw std::runtime_error("this " + std::string(what) + " belongs to process " +
                           std::to_string(pid_) + ", from which this one was forked");
}

// --- submit

std::size_t PoolCore::NameHash::operator()(const TaskName& name) const noexcept {
  auto load = reinterpret_cast<std::uintptr_t>(name.load);
  return (load * 31 + name.words[0]) * 31 + name.words[1];
}

// Most threads submit one function again and again.
struct PoolCore::LastFunction {
  std::uint64_t serial = 0;  // of its pool
  TaskName name;
  pool::FunctionId id = 0;

  bool is(std::uint64_t of_serial, const TaskName& of_name) const noexcept {
    return serial == of_serial && name == of_name;
  }

  static thread_local constinit LastFunction of_this_thread;
};
thread_local constinit PoolCore::LastFunction PoolCore::LastFunction::of_this_thread;

inline pool::FunctionId PoolCore::id_of(const detail::TaskTarget& target) {
  const LastFunction& last = LastFunction::of_this_thread;
  return last.is(serial_, target.name) ? last.id : look_up(target);
}

pool::FunctionId PoolCore::look_up(const detail::TaskTarget& target) {
  std::lock_guard lock(functions_mutex_);
  auto known = functions_.find(target.name);
  if (known == functions_.end()) {
    detail::Outgoing out;
    TaskWriter writer;
    writer.begin(*this);
    out.state().be_for_task(writer);
    out.function(reinterpret_cast<detail::AnyFunction>(target.name.load));
    target.write_once(out, target.target);
    std::string shown = setup_.trace.empty() ? std::string() : readable(target.name);
    pool::FunctionId id = pool_.add_function(writer.payload(), std::move(shown));
    names_.push_back(target.name);
    known = functions_.emplace(target.name, id).first;
  }
  LastFunction::of_this_thread = {serial_, target.name, known->second};
  return known->second;
}

std::string PoolCore::show_function(pool::FunctionId id) {
  std::lock_guard lock(functions_mutex_);
  if (id >= names_.size()) return {};
  return readable(names_[id]);
}

void PoolCore::refuse_if_closed() {
  if (is_closed()) throw std::runtime_error(kClosed);
  std::shared_ptr<Ending> reason;
  {
    std::lock_guard lock(back_mutex_);
    reason = broken_by_;
  }
  if (!reason) return;  // the task itself will tell
  try {
    std::rethrow_exception(make_exception(pool::OutcomeKind::kBroken, *reason));
  } catch (const BrokenProcessPool& error) {
    throw BrokenProcessPool(
        "the pool is broken, it takes no more tasks: " + std::string(error.what()), error.cause());
  }
}

// Not on the manager thread, without which deaths would not be seen to.
void PoolCore::wait_for_room() {
  auto has_room = [this] {
    return pool_.unfinished() < setup_.max_pending || is_closed() || pool_.is_broken();
  };
  if (!has_room() && !on_manager_thread()) wait_ready(has_room, base::Deadline::never());
}

inline pool::FunctionId PoolCore::admit(const detail::TaskTarget& target) {
  check_here("executor");
  if (setup_.max_pending > 0) wait_for_room();
  check_open();
  return id_of(target);
}

// What the pool says of it: kNoTask if it was refused.
inline void PoolCore::see_to(FutureState& state, pool::TaskId task) {
  if (task == pool::kNoTask) {
    state.unref();  // the pool's
    throw std::runtime_error(kClosed);
  }
  state.task = task;
  look_after(state);
}

void PoolCore::look_after(FutureState& state) {
  if (may_grow_.load(std::memory_order_relaxed)) grow(state);
  if (!pool_.has_unsettled()) return;
  try {
    look();        // while they, and their futures, are in the cache
  } catch (...) {  // of others, which are no reason to lose this one
  }
}

// Most take this way, so it makes no call, and keeps next to nothing on the stack.
detail::AnyFuture PoolCore::submit(const detail::TaskTarget& target, base::BytesView payload) {
  bool is_usual = payload.size() <= base::kFew && setup_.max_pending == 0 && is_here();
  if (!is_usual) return submit_any(target, payload, nullptr);
  Favourite& own = *favourite_;
  pool::Pool::Given given = pool_.submit_at_once(0, payload, [&]() -> pool::Pool::Made {
    if (!own.maker.is_ready() || !(own.name == target.name)) return {};
    return {own.function, own.maker.make(*this)};
  });
  auto* state = static_cast<FutureState*>(given.future);
  if (given.task == pool::kNoTask) return submit_any(target, payload, state);
  state->task = given.task;
  bool needs_more = pool::Pool::needs_waking(*given.worker) || pool_.has_unsettled() ||
                    may_grow_.load(std::memory_order_relaxed);
  return needs_more ? submitted(*state, *given.worker) : detail::AnyFuture(state);
}

[[gnu::noinline]] detail::AnyFuture PoolCore::submitted(FutureState& state,
                                                        pool::WorkerBoard& worker) {
  detail::AnyFuture future(&state);
  pool::Pool::wake(worker);
  look_after(state);
  return future;
}

// For this thread's next ones, if it is the favourite.
void PoolCore::get_ready(const detail::TaskTarget& target, pool::FunctionId function) noexcept {
  pool_.as_favourite([&] {
    favourite_->name = target.name;
    favourite_->function = function;
    try {
      if (!favourite_->maker.is_ready()) favourite_->maker.get_ready();
    } catch (const std::bad_alloc&) {  // it goes without
    }
  });
}

// `state`: its future's, or null. `give` gives a task of the function to the pool.
template <class Give>
detail::AnyFuture PoolCore::submit_by(const detail::TaskTarget& target, FutureState* state,
                                      Give give) {
  detail::AnyFuture future(state);
  pool::TaskId task = pool::kNoTask;
  try {
    pool::FunctionId id = admit(target);
    if (!state) future = detail::AnyFuture(state = FutureState::make(*this));
    task = give(id, state);
    get_ready(target, id);
  } catch (...) {
    if (state) state->unref();  // the pool's
    throw;
  }
  see_to(*state, task);
  return future;
}

[[gnu::noinline]] detail::AnyFuture PoolCore::submit_any(const detail::TaskTarget& target,
                                                         base::BytesView payload,
                                                         FutureState* state) {
  return submit_by(target, state, [&](pool::FunctionId function, FutureState* future) {
    return pool_.submit(function, 0, payload, future);
  });
}

detail::AnyFuture PoolCore::submit(const detail::TaskTarget& target, base::BytesView payload,
                                   const pool::TaskOptions& options) {
  return submit_by(target, nullptr, [&](pool::FunctionId function, FutureState* future) {
    return pool_.submit(function, 0, payload, future, {}, options);
  });
}

detail::AnyFuture PoolCore::submit(const detail::TaskTarget& target, TaskWriter& writer,
                                   const pool::TaskOptions* options) {
  const base::Bytes& payload = writer.payload();
  if (writer.is_small()) {
    return options ? submit(target, payload, *options) : submit(target, payload);
  }
  std::vector<shm::Block> blocks = writer.take_blocks();
  pool::TaskId task = pool::kNoTask;
  auto give = [&](pool::FunctionId function, FutureState* future) {
    pool::TaskOptions given = options ? *options : pool::TaskOptions();
    task = pool_.submit(function, 0, payload, future, blocks, given);
    return task;
  };
  auto release_all = [&] {
    if (task != pool::kNoTask) return;
    for (shm::Block block : blocks) pool_.release(block);
  };
  try {
    return submit_by(target, nullptr, give);
  } catch (const base::OsError& error) {
    release_all();
    throw OsError(error.error_number(), "can't submit a task: " + error.attempted());
  } catch (...) {
    release_all();
    throw;
  }
}

shm::Block PoolCore::put(base::BytesView bytes) {
  check_here("executor");
  try {
    return pool_.put(bytes);
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), "can't submit a task: " + error.attempted());
  }
}

// --- settle

std::unique_ptr<Ending> PoolCore::ending_of(const pool::Outcome& outcome, base::BytesView payload) {
  auto ending = std::make_unique<Ending>();
  if (outcome.death()) ending->death = *outcome.death();
  if (!outcome.death()) {
    ending->initializer.assign(payload.begin(), payload.end());
    return ending;
  }
  if (outcome.kind != pool::OutcomeKind::kBroken) {
    ending->function = show_function(outcome.function);
  }
  if (outcome.kind != pool::OutcomeKind::kTimedOut &&
      outcome.death()->status == os::kStatusLost) {  // somebody reaped it first, by its Process
    std::lock_guard lock(crew_mutex_);
    auto worker = workers_.find(outcome.death()->pid);
    std::optional<int> code;
    if (worker != workers_.end()) code = worker->second->poll();
    if (code) ending->death->status = *code < 0 ? os::ExitStatus{0, -*code} : os::ExitStatus{*code};
  }
  return ending;
}

void PoolCore::run_hooks(Hook* hooks) {
  bool later = false;
  while (hooks) {
    Hook* hook = std::exchange(hooks, hooks->next);
    if (hook->at_once) {
      hook->run(hook);
      continue;
    }
    if (!std::exchange(later, true)) want(-1);
    std::unique_lock lock(back_mutex_);
    if (!manager_gone_ && managed_) {
      deferred_.push_back(hook);
      continue;
    }
    lock.unlock();
    hook->run(hook);
  }
  if (later) pool_.ring_back();
}

void PoolCore::settle_one(FutureState& state, pool::Outcome& outcome, base::BytesView payload) {
  if (outcome.kind != pool::OutcomeKind::kResult && outcome.kind != pool::OutcomeKind::kFailure) {
    std::unique_ptr<Ending>& ending = state.more_to_write().ending;
    ending = ending_of(outcome, payload);
    if (outcome.kind == pool::OutcomeKind::kBroken) {
      std::lock_guard lock(back_mutex_);
      if (!broken_by_) broken_by_ = std::make_shared<Ending>(*ending);
    }
    payload = {};
  }
  Hook* hooks = state.settle(std::move(outcome), payload);
  if (hooks) run_hooks(hooks);
}

void PoolCore::settle(pool::Outcomes& outcomes, Where where) {
  for (pool::Outcome& outcome : outcomes.ended) {
    auto payload = base::BytesView(outcomes.bytes).subspan(outcome.begin, outcome.size);
    settle_one(*static_cast<FutureState*>(outcome.future), outcome, payload);
  }
  if (!outcomes.losses.empty()) {
    bool alone = false;
    {
      std::lock_guard lock(back_mutex_);
      losses_.insert(losses_.end(), outcomes.losses.begin(), outcomes.losses.end());
      alone = manager_gone_;
    }
    if (alone) reap_all();  // the last ones: the pool had ended before they were told here
    if (where != Where::kBack) pool_.ring_back();
  }
  if (outcomes.empty()) return;
  if (where != Where::kFront) pool_.ring_front_if_asleep();
  if (waiting_behind_.load() > 0) wake_behind();
}

void PoolCore::wake_behind() {
  turns_.fetch_add(1);
  os::futex_wake(turns_, INT_MAX);
}

void PoolCore::want(int more) {
  std::lock_guard lock(want_mutex_);
  bool before = wanting_ > 0;
  wanting_ += more;
  if ((wanting_ > 0) != before) pool_.want_all(wanting_ > 0);
}

void PoolCore::look() {
  if (!pool_.has_news()) return;
  if (aside_taken_.exchange(true)) return;  // somebody does; also what is settled by that may ask
  struct Leaving {
    explicit Leaving(std::atomic<bool>& of) : taken(of) {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() { taken.store(false); }
    std::atomic<bool>& taken;
  } leaving(aside_taken_);
  pool_.collect(aside_outcomes_);
  settle(aside_outcomes_, Where::kAside);
}

// --- wait

// For the one thread at the front, until it is ready or the deadline passes.
template <class Ready>
base::Waited PoolCore::be_at_front(pool::TaskId awaited, base::Deadline deadline, Ready ready) {
  struct Leaving {
    explicit Leaving(PoolCore& pool) : core(pool) {}
    Leaving(const Leaving&) = delete;
    Leaving& operator=(const Leaving&) = delete;
    ~Leaving() {
      core.pool_.leave_front();
      core.front_taken_.store(false);
      if (core.waiting_behind_.load() > 0) core.wake_behind();
    }
    PoolCore& core;
  } leaving(*this);
  pool_.enter_front();
  base::Waited waited = base::Waited::kReady;
  while (true) {
    pool_.collect(front_outcomes_);
    settle(front_outcomes_, Where::kFront);
    if (ready() || waited == base::Waited::kTimedOut) return waited;
    if (on_manager_thread()) tend();
    pool::TaskId whose = waiting_behind_.load() > 0 ? pool::kAnyTask : awaited;
    waited = pool_.wait_front(whose, deadline, ready);
  }
}

template <class Ready>
bool PoolCore::wait_at_front(pool::TaskId awaited, base::Deadline deadline, Ready ready) {
  base::Waited waited = base::Waited::kReady;
  while (!ready() && (waited != base::Waited::kTimedOut || !deadline.passed())) {
    if (!front_taken_.exchange(true)) {
      waited = be_at_front(awaited, deadline, ready);
      continue;
    }
    if (on_manager_thread()) tend();
    ++waiting_behind_;
    std::uint32_t turn = turns_.load();
    if (!ready() && front_taken_.load()) {
      pool_.ring_front();  // so that it waits for this one's result, too
      waited = os::futex_wait(turns_, turn, deadline);
    }
    --waiting_behind_;
  }
  return ready();
}

bool PoolCore::wait(FutureState& state, base::Deadline deadline) {
  return wait_at_front(state.task, deadline, [&] { return state.done(); });
}

bool PoolCore::wait_ready(const std::function<bool()>& ready, base::Deadline deadline) {
  return wait_at_front(pool::kAnyTask, deadline, [&] { return ready(); });
}

// --- cancel, end

void PoolCore::cancelled(void* future) {
  auto& state = *static_cast<FutureState*>(future);
  if (Hook* hooks = state.settle_cancelled()) run_hooks(hooks);
}

bool PoolCore::cancel(FutureState& state, bool running) {
  void* given = pool_.cancel(state.task, running);
  if (!given) return false;
  cancelled(given);
  pool_.ring_front();
  wake_behind();
  pool_.ring_back();  // it may have been the last that a shutdown waits for
  return true;
}

void PoolCore::cancel_all() {
  for (void* future : pool_.cancel_all()) cancelled(future);
  pool_.ring_front();
  wake_behind();
}

void PoolCore::close(bool cancel_futures) {
  pool_.close();
  if (cancel_futures) cancel_all();
  pool_.finish();
  pool_.ring_front();  // a submit may wait there for room
  wake_behind();
  pool_.ring_back();
}

void PoolCore::shutdown(bool wait, bool cancel_futures) {
  if (!is_here()) return;  // in a forked copy nobody works for it
  close(cancel_futures);
  if (!wait) return;
  if (on_manager_thread()) {
    throw std::logic_error(
        "a callback can't wait for the end of its own pool: it runs on the thread that the end "
        "waits for");
  }
  join();
}

void PoolCore::end() noexcept {
  if (!is_here()) return;
  close(false);
  if (!on_manager_thread()) join();
}

}  // namespace procession::api
