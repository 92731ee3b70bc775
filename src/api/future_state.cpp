// SPDX-License-Identifier: Apache-2.0
#include "api/future_state.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "procession/error.hpp"

namespace procession::detail {

class FutureState::Lock {
 public:
  explicit Lock(FutureState& state) noexcept : flag_(state.locked) {
    while (flag_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  ~Lock() { flag_.clear(std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  std::atomic_flag& flag_;
};

FutureState::FutureState(std::shared_ptr<api::PoolCore> owner)
    : born(api::PoolCore::forks()), core(std::move(owner)) {}

FutureState::~FutureState() {
  if (!core) return;
  if (born != api::PoolCore::forks()) {
    api::PoolCore::abandon(std::move(core));
    return;
  }
  if (!more) return;
  for (shm::Block block : more->blocks) core->drop(block);
}

FutureState::More& FutureState::more_to_write() {
  if (!more) more = std::make_unique<More>();
  return *more;
}

std::shared_ptr<api::PoolCore> FutureState::pool() {
  Lock lock(*this);
  return core;
}

Hook* FutureState::end(Phase how, bool keep_core) {
  std::shared_ptr<api::PoolCore> dropped;
  Hook* taken = nullptr;
  {
    Lock lock(*this);
    phase.store(how, std::memory_order_release);
    taken = std::exchange(hooks, nullptr);
    if (!keep_core) dropped = std::move(core);
  }
  Hook* in_order = nullptr;
  while (taken) in_order = std::exchange(taken, std::exchange(taken->next, in_order));
  return in_order;
}

Hook* FutureState::settle(pool::Outcome&& outcome, base::BytesView bytes) {
  kind = outcome.kind;
  spilled = outcome.spilled;
  bool keep_core = !outcome.blocks.empty();
  if (keep_core) more_to_write().blocks = std::move(outcome.blocks);
  if (!spilled && bytes.size() <= kSmall) {
    small_size = static_cast<std::uint8_t>(bytes.size());
    if (!bytes.empty()) std::memcpy(small, bytes.data(), bytes.size());
  } else if (!spilled) {
    more_to_write().payload.assign(bytes.begin(), bytes.end());
  }
  return end(Phase::kEnded, keep_core);
}

Hook* FutureState::settle_cancelled() { return end(Phase::kCancelled, false); }

bool FutureState::try_add(Hook& hook) {
  std::shared_ptr<api::PoolCore> told;
  {
    Lock lock(*this);
    if (done()) return false;
    hook.next = std::exchange(hooks, &hook);
    if (!hook.at_once && ++later == 1) told = core;
  }
  if (told) told->want(1);
  return true;
}

bool FutureState::remove(Hook& hook) {
  Lock lock(*this);
  for (Hook** at = &hooks; *at; at = &(*at)->next) {
    if (*at != &hook) continue;
    *at = hook.next;
    return true;
  }
  return false;
}

base::BytesView FutureState::payload() const {
  if (spilled) return core->content(more->blocks.front());
  return more && !more->payload.empty() ? base::BytesView(more->payload)
                                        : base::BytesView(small, small_size);
}

Incoming FutureState::read() const {
  auto in = std::make_unique<Incoming::State>();
  std::vector<base::BytesView> contents;
  for (std::size_t i = spilled ? 1 : 0; more && i < more->blocks.size(); ++i) {
    contents.push_back(core->content(more->blocks[i]));
  }
  in->show(payload(), contents);
  return Incoming(std::move(in));
}

std::exception_ptr FutureState::failure() const {
  if (phase.load(std::memory_order_acquire) == Phase::kCancelled) {
    return std::make_exception_ptr(CancelledError());
  }
  if (kind == pool::OutcomeKind::kResult) return nullptr;
  if (kind == pool::OutcomeKind::kFailure) return api::decode_failure(payload());
  return api::make_exception(kind, *more->ending);
}

// --- the handle

AnyFuture::AnyFuture(const AnyFuture& other) noexcept : state_(other.state_) {
  if (state_) state_->ref();
}

AnyFuture::~AnyFuture() {
  if (state_) state_->unref();
}

namespace {

FutureState& checked(FutureState* state) {
  if (!state)
    throw std::logic_error("this future is of no task: it was moved from, or default-made");
  return *state;
}

// The pool of a task that hasn't ended, or null.
std::shared_ptr<api::PoolCore> pool_of(FutureState* state) {
  if (checked(state).done()) return nullptr;
  if (state->born != api::PoolCore::forks()) {
    throw std::runtime_error(
        "this future's task was pending when its process was forked: only the process that "
        "submitted it hears of its end");
  }
  std::shared_ptr<api::PoolCore> core = state->pool();
  return state->done() ? nullptr : core;
}

bool wait_until(FutureState* state, base::Deadline deadline) {
  std::shared_ptr<api::PoolCore> core = pool_of(state);
  return !core || core->wait(*state, deadline);
}

}  // namespace

void AnyFuture::wait() const { wait_until(state_, base::Deadline::never()); }

bool AnyFuture::wait_for(Seconds timeout) const {
  return wait_until(state_, base::Deadline::after(timeout));
}

bool AnyFuture::done() const {
  if (checked(state_).done()) return true;
  if (auto core = pool_of(state_)) core->look();
  return state_->done();
}

bool AnyFuture::running() const {
  auto core = pool_of(state_);
  return core && core->is_running(state_->task) && !state_->done();
}

bool AnyFuture::cancel(bool even_running) const {
  if (auto core = pool_of(state_)) core->cancel(*state_, even_running);
  return cancelled();
}

bool AnyFuture::cancelled() const {
  return checked(state_).phase.load(std::memory_order_acquire) == FutureState::Phase::kCancelled;
}

std::exception_ptr AnyFuture::exception() const {
  wait();
  return state_->failure();
}

Incoming AnyFuture::result() const {
  wait();
  if (std::exception_ptr thrown = state_->failure()) std::rethrow_exception(std::move(thrown));
  return state_->read();
}

void AnyFuture::read_result(void* data, std::size_t size) const {
  wait();
  if (std::exception_ptr thrown = state_->failure()) std::rethrow_exception(std::move(thrown));
  base::BytesView payload = state_->payload();
  if (payload.size() < size) throw std::runtime_error("procession: a message ends early");
  if (size > 0) std::memcpy(data, payload.data(), size);
}

void AnyFuture::add(Hook& hook) const {
  if (!try_add(hook)) hook.run(&hook);
}

bool AnyFuture::try_add(Hook& hook) const {
  pool_of(state_);
  return state_->try_add(hook);
}

bool AnyFuture::remove(Hook& hook) const { return checked(state_).remove(hook); }

void add_callback(const AnyFuture& future, std::function<void()> function) {
  struct Callback : Hook {
    std::function<void()> function;
  };
  auto callback = std::make_unique<Callback>();
  callback->function = std::move(function);
  callback->run = [](Hook* hook) noexcept {
    std::unique_ptr<Callback> own(static_cast<Callback*>(hook));
    try {
      own->function();
    } catch (...) {
      std::string line =
          "procession: a future's callback threw " + api::describe(std::current_exception()) + "\n";
      std::fputs(line.c_str(), stderr);
    }
  };
  // If it has ended the callback runs here; either way it deletes itself.
  Hook& hook = *callback;
  pool_of(future.state());
  static_cast<void>(callback.release());
  future.add(hook);
}  // NOLINT(clang-analyzer-cplusplus.NewDeleteLeaks): the hook's `run` deletes it

}  // namespace procession::detail
