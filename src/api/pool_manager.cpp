// SPDX-License-Identifier: Apache-2.0
// api/pool_manager: the workers of a pool, from their start to their end, and the thread that sees to
// them; and all pools of this process, which its end waits for.
#include <cstdio>
#include <stdexcept>
#include <utility>

#include "api/family.hpp"
#include "api/favourite.hpp"
#include "api/future_state.hpp"
#include "api/pool_core.hpp"
#include "api/pool_worker.hpp"
#include "api/start.hpp"
#include "base/error.hpp"
#include "os/pidfd.hpp"
#include "os/process.hpp"
#include "procession/error.hpp"

namespace procession::api {

using detail::FutureState;

namespace {

constexpr std::chrono::seconds kGrace{1};  // between SIGTERM and SIGKILL

// The pools that this process made.
struct Pools {
  std::mutex mutex;
  std::vector<std::weak_ptr<PoolCore>> alive;
  std::vector<std::shared_ptr<PoolCore>> abandoned;

  static Pools& instance();

  void add(const std::shared_ptr<PoolCore>& core) {
    std::lock_guard lock(mutex);
    std::erase_if(alive, [](const auto& other) { return other.expired(); });
    alive.push_back(core);
  }

  void finish() {
    std::vector<std::weak_ptr<PoolCore>> pools;
    {
      std::lock_guard lock(mutex);
      pools = alive;
    }
    for (const auto& pool : pools) {
      if (std::shared_ptr<PoolCore> core = pool.lock()) core->end();
    }
  }
};

Pools& Pools::instance() {
  // Never destroyed: pools are used by static destructors, too.
  static auto* pools = [] {
    auto* made = new Pools;
    Family::instance().before_finish([] { instance().finish(); });
    os::at_fork(
        [] {
          instance().mutex.lock();
          FutureState::spares_mutex().lock();
        },
        [] {
          FutureState::spares_mutex().unlock();
          instance().mutex.unlock();
        },
        [] {
          FutureState::spares_mutex().unlock();
          PoolCore::note_fork();
          instance().alive.clear();
          instance().mutex.unlock();
        });
    return made;
  }();
  return *pools;
}

}  // namespace

void PoolCore::abandon(std::shared_ptr<PoolCore> core) {
  Pools& pools = Pools::instance();
  std::lock_guard lock(pools.mutex);
  pools.abandoned.push_back(std::move(core));
}

std::shared_ptr<PoolCore> PoolCore::make(const PoolSetup& setup) {
  auto core = std::make_shared<PoolCore>(setup);
  Pools::instance().add(core);
  return core;
}

PoolCore::~PoolCore() {
  if (manager_ && manager_->joinable()) manager_->detach();  // it is the manager that lets go last
  if (--core_count == 0) FutureState::let_spares_go();
}

// --- workers come

void PoolCore::grow(FutureState& state) {
  std::lock_guard lock(crew_mutex_);
  bool begins = !managed_;
  try {
    // With threads about, forking is over.
    grow_locked(begins && setup_.method == detail::StartMethod::kFork);
  } catch (...) {
    if (workers_.empty() && cancel(state, false)) throw;
    // Other workers do it, sooner or later.
  }
  if (begins && !workers_.empty()) begin_managing();
}

void PoolCore::grow_locked(bool all) {
  while (std::optional<std::uint32_t> place = pool_.worker_wanted(all)) start_worker(*place);
  may_grow_ = workers_.size() < setup_.options.max_workers;
}

void PoolCore::start_worker(std::uint32_t place) {
  std::shared_ptr<detail::ProcessState> worker;
  try {
    worker = Family::instance().conceive(class_name(setup_.asked));
    worker->call = make_worker_call(*this, place);
    start(worker, setup_.method);
    std::shared_ptr<launch::Child> child = worker->started_child();
    os::Fd pidfd = os::duplicate(child->sentinel());
    workers_[child->pid()] = worker;
    pool_.add_worker(place, child->pid(), std::move(pidfd));
  } catch (...) {
    pool_.no_worker(place);
    if (worker) worker->send_signal(os::kKill);
    if (worker && worker->started_child()) workers_.erase(worker->started_child()->pid());
    throw;
  }
}

// Whoever joins meanwhile manages by himself, and may want what the caller holds.
void PoolCore::begin_managing() {
  std::unique_lock lock(join_mutex_, std::try_to_lock);
  if (!lock) return;
  try {
    manager_ = std::make_unique<std::thread>([self = shared_from_this()] { self->manage(); });
    managed_ = true;
  } catch (const std::system_error&) {  // the next submit tries again, or who waits for the end
  }
}

// --- the thread

bool PoolCore::on_manager_thread() const noexcept {
  return manager_id_.load(std::memory_order_relaxed) == std::this_thread::get_id();
}

void PoolCore::manage() {
  manager_id_ = std::this_thread::get_id();
  pool::Outcomes outcomes;
  do {
    pool_.collect(outcomes);
    settle(outcomes, Where::kBack);
    run_deferred();
    tend();
    if (!is_over()) pool_.wait_back(kill_at_);
    write_trace();
  } while (!leave());
  pool_.end_events();
  write_trace();
  manager_id_ = std::thread::id();
}

void PoolCore::write_trace() {
  std::string failure = pool_.write_trace();
  if (!failure.empty()) std::fprintf(stderr, "procession: %s\n", failure.c_str());
}

// Whether all has ended that there will be. What comes later is for whoever brings it.
bool PoolCore::leave() {
  // Another thread may have seen the last workers' ends; they are still to be collected, then.
  if (!is_over() || pool_.has_losses()) return false;
  std::lock_guard lock(back_mutex_);
  manager_gone_ = deferred_.empty() && losses_.empty();
  return manager_gone_;
}

bool PoolCore::is_over() {
  return (pool_.is_finishing() || pool_.is_broken()) && pool_.unfinished() == 0 &&
         pool_.workers() == 0;
}

void PoolCore::run_deferred() {
  std::vector<detail::Hook*> hooks;
  {
    std::lock_guard lock(back_mutex_);
    hooks = std::exchange(deferred_, {});
  }
  for (detail::Hook* hook : hooks) hook->run(hook);
}

// Reaps workers that have ended and starts others; has those killed that don't end when told.
void PoolCore::tend() {
  reap_all();
  if (kill_soon_ || pool_.is_broken()) {
    if (kill_at_.passed()) signal_all(os::kKill);
    if (kill_at_.is_never() || kill_at_.passed()) kill_at_ = base::Deadline::after(kGrace);
  }
  if (may_grow_ && !pool_.is_broken() && pool_.unfinished() > 0) replace();
}

void PoolCore::reap_all() {
  std::vector<pool::Loss> losses;
  {
    std::lock_guard lock(back_mutex_);
    losses = std::exchange(losses_, {});
  }
  for (const pool::Loss& loss : losses) reap(loss);
}

void PoolCore::reap(const pool::Loss& loss) {
  std::shared_ptr<detail::ProcessState> worker;
  {
    std::lock_guard lock(crew_mutex_);
    auto found = workers_.find(loss.death.pid);
    if (found == workers_.end()) return;
    worker = std::move(found->second);
    workers_.erase(found);
    may_grow_ = true;
  }
  worker->wait_until(base::Deadline::never());  // it has ended
  Family::instance().remove(worker);
}

void PoolCore::replace() {
  try {
    std::lock_guard lock(crew_mutex_);
    grow_locked(false);
  } catch (...) {
    if (pool_.workers() == 0) fail_all(std::current_exception());
  }
}

// No worker can be started, and there is none: the tasks end.
void PoolCore::fail_all(const std::exception_ptr& why) {
  for (void* future : pool_.cancel_all()) {
    auto& state = *static_cast<FutureState*>(future);
    auto ending = std::make_unique<Ending>();
    ending->start = why;
    state.more_to_write().ending = std::move(ending);
    pool::Outcome outcome;
    outcome.kind = pool::OutcomeKind::kBroken;
    if (detail::Hook* hooks = state.settle(std::move(outcome), {})) run_hooks(hooks);
  }
  pool_.ring_front();
  wake_behind();
}

// --- workers go

void PoolCore::signal_all(int signal) {
  std::lock_guard lock(crew_mutex_);
  for (auto& [pid, worker] : workers_) worker->send_signal(signal);
}

void PoolCore::stop_workers(bool kill) {
  check_here("executor");
  pool_.stop_now();
  close(true);
  signal_all(kill ? os::kKill : os::kTerminate);
}

void PoolCore::terminate() {
  if (!is_here()) return;
  kill_soon_ = true;
  stop_workers(false);
  pool_.ring_back();
}

void PoolCore::join() {
  std::lock_guard lock(join_mutex_);
  if (!manager_) {
    manage();  // no thread could be had, or there was nothing to do
  } else if (manager_->joinable()) {
    manager_->join();
  }
}

}  // namespace procession::api
