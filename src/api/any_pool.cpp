// SPDX-License-Identifier: Apache-2.0
#include "procession/detail/any_pool.hpp"

#include <stdexcept>
#include <string>
#include <utility>

#include "api/bytes.hpp"
#include "api/family.hpp"
#include "api/pool_core.hpp"
#include "base/error.hpp"
#include "os/cpu.hpp"
#include "procession/error.hpp"

namespace procession::detail {

TaskFunction::~TaskFunction() = default;

// --- drafts

// Where a thread writes its tasks. A serialize() that itself submits gets another one.
struct TaskDraft::Desk {
  Desk() { out.state().be_for_task(writer); }
  Desk(const Desk&) = delete;
  Desk& operator=(const Desk&) = delete;
  ~Desk() {
    if (is_threads) is_gone = true;
  }

  // Null at the end of a thread, when others of its destructors have run: they may submit, too.
  static Desk* of_this_thread() {
    if (is_gone) return nullptr;
    thread_local Desk desk;
    desk.is_threads = true;
    return &desk;
  }
  inline static thread_local constinit bool is_gone = false;

  Outgoing out;
  api::TaskWriter writer;
  bool taken = false;
  bool only_once = false;
  bool is_threads = false;
};

TaskDraft::TaskDraft(api::PoolCore& core) : core_(core), desk_(Desk::of_this_thread()) {
  core.check_here("executor");
  if (!desk_ || desk_->taken) {
    desk_ = new Desk;
    desk_->only_once = true;
  }
  desk_->taken = true;
  desk_->writer.begin(core);
  out_ = &desk_->out;
}

TaskDraft::~TaskDraft() {
  desk_->writer.clear();
  desk_->taken = false;
  if (desk_->only_once) delete desk_;
}

// --- pools

namespace {

std::chrono::nanoseconds span_of(const std::optional<AnyFuture::Seconds>& seconds,
                                 const char* what) {
  constexpr AnyFuture::Seconds kLongest(1e9);
  if (!seconds || *seconds >= kLongest) return pool::kForever;
  if (!(seconds->count() > 0)) throw std::invalid_argument(std::string(what) + " must be positive");
  return std::chrono::duration_cast<std::chrono::nanoseconds>(*seconds);
}

pool::OnDeath on_death_of(OnWorkerDeath on_death) {
  switch (on_death) {
    case OnWorkerDeath::kBreak:
      return pool::OnDeath::kBreak;
    case OnWorkerDeath::kFailTask:
      return pool::OnDeath::kFailTask;
    case OnWorkerDeath::kRetry:
      return pool::OnDeath::kRetry;
  }
  throw std::invalid_argument("no such OnWorkerDeath");
}

std::uint32_t retries_of(int retries) {
  if (retries < 0) throw std::invalid_argument("retries must not be negative");
  return static_cast<std::uint32_t>(retries);
}

pool::TaskOptions options_of(const TaskOptions& given) {
  pool::TaskOptions options;
  options.priority = given.priority;
  if (given.timeout) options.timeout = span_of(given.timeout, "timeout");
  if (given.on_worker_death) options.on_death = on_death_of(*given.on_worker_death);
  if (given.retries) options.retries = retries_of(*given.retries);
  return options;
}

api::PoolSetup setup_of(const PoolSettings& settings, StartMethod method,
                        std::optional<StartMethod> asked) {
  api::PoolSetup setup;
  int workers = settings.max_workers ? *settings.max_workers : os::usable_cpus();
  if (workers <= 0) throw std::invalid_argument("max_workers must be greater than 0");
  if (workers >= shm::Arena::kParties) {
    throw std::invalid_argument("max_workers must be less than " +
                                std::to_string(shm::Arena::kParties));
  }
  if (settings.max_tasks_per_child) {
    if (*settings.max_tasks_per_child <= 0) {
      throw std::invalid_argument("max_tasks_per_child must be >= 1");
    }
    if (method == StartMethod::kFork) {
      throw std::invalid_argument(
          "max_tasks_per_child is incompatible with the start method fork; give another "
          "mp_context");
    }
    setup.options.tasks_per_worker = static_cast<std::uint64_t>(*settings.max_tasks_per_child);
  }
  setup.options.max_workers = static_cast<std::uint32_t>(workers);
  setup.options.retries = retries_of(settings.retries);
  setup.options.on_death = on_death_of(settings.on_worker_death);
  setup.options.timeout = span_of(settings.timeout, "timeout");
  setup.options.idle_timeout = span_of(settings.idle_timeout, "idle_timeout");
  if (settings.max_pending && *settings.max_pending <= 0) {
    throw std::invalid_argument("max_pending must be greater than 0");
  }
  if (settings.max_rss && *settings.max_rss == 0) {
    throw std::invalid_argument("max_rss must be greater than 0");
  }
  setup.max_pending = static_cast<std::size_t>(settings.max_pending.value_or(0));
  setup.options.max_rss = settings.max_rss.value_or(0);
  setup.method = method;
  setup.asked = asked;
  setup.initializer = settings.initializer;
  setup.trace = settings.trace;
  return setup;
}

}  // namespace

AnyPool::AnyPool(const PoolSettings& settings) {
  std::optional<StartMethod> asked = settings.mp_context.method_;
  StartMethod method = asked ? *asked : api::Family::instance().default_method();
  try {
    core_ = api::PoolCore::make(setup_of(settings, method, asked));
  } catch (const base::OsError& error) {
    throw OsError(error.error_number(), "can't make a pool: " + error.attempted());
  }
}

AnyPool::AnyPool(const AnyPool& other) noexcept = default;
AnyPool::AnyPool(AnyPool&& other) noexcept = default;

AnyPool::~AnyPool() {
  if (core_ && !core_->is_here()) api::PoolCore::abandon(std::move(core_));
}

api::PoolCore& AnyPool::core() const {
  if (!core_) throw std::logic_error("this executor was moved from");
  return *core_;
}

std::size_t AnyPool::max_pending() const noexcept { return core_ ? core_->max_pending() : 0; }
int AnyPool::max_workers() const noexcept { return core_ ? core_->max_workers() : 0; }

AnyFuture AnyPool::submit(const TaskTarget& target, TaskDraft& draft,
                          const TaskOptions* options) const {
  if (!options) return core().submit(target, draft.desk_->writer, nullptr);
  pool::TaskOptions given = options_of(*options);
  return core().submit(target, draft.desk_->writer, &given);
}

AnyFuture AnyPool::submit(const TaskTarget& target, std::span<const std::byte> arguments,
                          const TaskOptions* options) const {
  if (options) return submit_with(target, arguments, *options);
  return core().submit(target, arguments);
}

AnyFuture AnyPool::submit_with(const TaskTarget& target, std::span<const std::byte> arguments,
                               const TaskOptions& options) const {
  pool::TaskOptions given = options_of(options);
  return core().submit(target, arguments, given);
}

void AnyPool::shutdown(bool wait, bool cancel_futures) const {
  core().shutdown(wait, cancel_futures);
}
bool AnyPool::is_closed() const { return core().is_closed(); }
void AnyPool::end() const noexcept {
  if (core_) core_->end();
}
void AnyPool::terminate_workers() const { core().stop_workers(false); }
void AnyPool::kill_workers() const { core().stop_workers(true); }
void AnyPool::terminate() const { core().terminate(); }

}  // namespace procession::detail
