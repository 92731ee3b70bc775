// SPDX-License-Identifier: Apache-2.0
#include "api/future_state.hpp"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

#include "api/bytes.hpp"
#include "api/failure.hpp"
#include "os/cpu.hpp"
#include "procession/error.hpp"

namespace procession::detail {

class FutureState::Lock {
 public:
  explicit Lock(FutureState& state) noexcept : word_(state.word) {
    while (word_.fetch_or(kLocked, std::memory_order_acquire) & kLocked) std::this_thread::yield();
  }
  ~Lock() { word_.fetch_and(~kLocked, std::memory_order_release); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  std::atomic<std::uint32_t>& word_;
};

// --- where they lie

// Chunks that have gone stay for the next ones, 16 MiB of them at most and until there is no pool: to have
// a page made anew costs as much as three tasks.
namespace {

constexpr std::size_t kMostSpares = base::kUnderAsan ? 0 : 4096;
constinit std::mutex mutex_of_spares;
constinit FutureState::Chunk* spares = nullptr;
constinit std::size_t spares_kept = 0;

}  // namespace

FutureState::Chunk* FutureState::Chunk::make() {
  {
    std::lock_guard lock(mutex_of_spares);
    if (Chunk* spare = spares) {
      spares = spare->next;
      --spares_kept;
      return new (spare) Chunk;
    }
  }
  return new Chunk;
}

void FutureState::Chunk::let_go(std::uint32_t count) noexcept {
  if (left.fetch_sub(count, std::memory_order_acq_rel) != count) return;
  {
    std::lock_guard lock(mutex_of_spares);
    if (spares_kept < kMostSpares) {
      next = std::exchange(spares, this);
      ++spares_kept;
      return;
    }
  }
  delete this;
}

void FutureState::let_spares_go() noexcept {
  std::unique_lock lock(mutex_of_spares);
  Chunk* spare = std::exchange(spares, nullptr);
  spares_kept = 0;
  lock.unlock();
  while (spare) delete std::exchange(spare, spare->next);
}
std::mutex& FutureState::spares_mutex() noexcept { return mutex_of_spares; }

thread_local constinit FutureState::Maker FutureState::Maker::of_this_thread;

FutureState* FutureState::make(api::PoolCore& owner) {
  Maker& maker = Maker::of_this_thread;
  if (maker.born != api::PoolCore::forks()) maker.give_up();
  if (!maker.is_ready()) {
    // Once that has been, what a thread still makes keeps its last chunk for good.
    struct GiveUp {
      void operator()(Maker* of_thread) const noexcept { of_thread->give_up(); }
    };
    thread_local std::unique_ptr<Maker, GiveUp> at_end(&maker);
    static_cast<void>(at_end.get());
    maker.get_ready();
  }
  return maker.make(owner);
}

void FutureState::Maker::get_ready() {
  born = api::PoolCore::forks();
  if (used < kInChunk) {
    next = Chunk::make();
    ahead = next->states[0];
    ready = kInChunk;
    return;
  }
  bool is_fetched = next != nullptr;
  chunk = is_fetched ? std::exchange(next, nullptr) : Chunk::make();
  states = chunk->states[0];
  if (!is_fetched) ahead = states + kAhead * sizeof(FutureState);
  used = 0;
  ready = kInChunk - kAhead;
}

void FutureState::Maker::give_up() noexcept {
  if (used < kInChunk) chunk->let_go(kInChunk - used);
  if (next) next->let_go(kInChunk);
  *this = {};
}

void FutureState::destroy() noexcept {
  Chunk& chunk = Chunk::of(*this);
  this->~FutureState();
  chunk.let_go(1);
}

FutureState::~FutureState() {
  if (!has_more) return;
  std::unique_ptr<More> more(aside().more);
  if (!more->core) return;
  if (is_before_fork()) {
    api::PoolCore::abandon(std::move(more->core));
    return;
  }
  for (shm::Block block : more->blocks) more->core->drop(block);
}

FutureState::More& FutureState::more_to_write() {
  if (!has_more) aside().more = new More;
  has_more = true;
  return *aside().more;
}

std::shared_ptr<api::PoolCore> FutureState::pool() {
  Lock lock(*this);
  return done() ? nullptr : core->shared_from_this();
}

Hook* FutureState::end(std::uint32_t how) noexcept {
  std::uint32_t seen = word.load(std::memory_order_relaxed);
  while ((seen & (kLocked | kHooked)) == 0) {
    if (!word.compare_exchange_weak(seen, (seen | how) - kReference, std::memory_order_acq_rel)) {
      continue;
    }
    if (seen / kReference == 1) destroy();
    return nullptr;
  }
  Hook* taken = nullptr;
  {
    Lock lock(*this);
    seen = word.fetch_or(how, std::memory_order_release);
    if ((seen & kHooked) != 0) taken = std::exchange(aside().hooks, nullptr);
  }
  unref();
  Hook* in_order = nullptr;
  while (taken) in_order = std::exchange(taken, std::exchange(taken->next, in_order));
  return in_order;
}

Hook* FutureState::settle(pool::Outcome&& outcome, base::BytesView bytes) {
  kind = outcome.kind;
  spilled = outcome.spilled;
  if (!outcome.blocks().empty()) {
    More& more = more_to_write();
    more.blocks = std::move(outcome.more->blocks);
    more.core = core->shared_from_this();
  }
  if (!spilled && bytes.size() <= kSmall) {
    small_size = 0;
    if (!bytes.empty()) keep_small(bytes);
  } else if (!spilled) {
    more_to_write().payload.assign(bytes.begin(), bytes.end());
  }
  return end(kEnded);
}

bool FutureState::try_add(Hook& hook) {
  std::shared_ptr<api::PoolCore> told;
  {
    Lock lock(*this);
    if (done()) return false;
    std::uint32_t bits = hook.at_once ? kHooked : kHooked | kWanted;
    std::uint32_t seen = word.fetch_or(bits, std::memory_order_relaxed);
    Hook*& hooks = aside().hooks;
    hook.next = (seen & kHooked) != 0 ? hooks : nullptr;
    hooks = &hook;
    if (!hook.at_once && (seen & kWanted) == 0) told = core->shared_from_this();
  }
  if (told) told->want(1);
  return true;
}

bool FutureState::remove(Hook& hook) {
  Lock lock(*this);
  if ((word.load(std::memory_order_relaxed) & kHooked) == 0) return false;
  for (Hook** each = &aside().hooks; *each; each = &(*each)->next) {
    if (*each != &hook) continue;
    *each = hook.next;
    return true;
  }
  return false;
}

base::BytesView FutureState::payload() const {
  const Aside& rest = aside();
  if (spilled) return rest.more->core->content(rest.more->blocks.front());
  return has_more && !rest.more->payload.empty() ? base::BytesView(rest.more->payload)
                                                 : base::BytesView(rest.small, small_size);
}

Incoming FutureState::read() const {
  auto in = std::make_unique<Incoming::State>();
  std::vector<base::BytesView> contents;
  const More* more = has_more ? aside().more : nullptr;
  for (std::size_t i = spilled ? 1 : 0; more && i < more->blocks.size(); ++i) {
    contents.push_back(more->core->content(more->blocks[i]));
  }
  in->show(payload(), contents);
  return Incoming(std::move(in));
}

std::exception_ptr FutureState::failure() const {
  if (is_cancelled()) return std::make_exception_ptr(CancelledError());
  if (kind == pool::OutcomeKind::kResult) return nullptr;
  if (kind == pool::OutcomeKind::kFailure) return api::decode_failure(payload());
  return api::make_exception(kind, *aside().more->ending);
}

// --- the handle

AnyFuture::AnyFuture(const AnyFuture& other) noexcept : state_(other.state_) {
  if (state_) state_->ref();
}

void AnyFuture::let_go(FutureState* state) noexcept { state->unref(); }

namespace {

FutureState& checked(FutureState* state) {
  if (!state)
    throw std::logic_error("this future is of no task: it was moved from, or default-made");
  return *state;
}

// The pool of a task that hasn't ended, or null.
std::shared_ptr<api::PoolCore> pool_of(FutureState* state) {
  if (checked(state).done()) return nullptr;
  if (state->is_before_fork()) {
    throw std::runtime_error(
        "this future's task was pending when its process was forked: only the process that "
        "submitted it hears of its end");
  }
  return state->pool();
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

bool AnyFuture::cancelled() const { return checked(state_).is_cancelled(); }

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
  if (!checked(state_).has_result()) {
    wait();
    if (std::exception_ptr thrown = state_->failure()) std::rethrow_exception(std::move(thrown));
  }
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
