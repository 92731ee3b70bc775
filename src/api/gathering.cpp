// SPDX-License-Identifier: Apache-2.0
// api/gathering: waiting for many futures, of one pool or of several.
#include <algorithm>
#include <deque>
#include <map>
#include <mutex>
#include <thread>

#include "api/future_state.hpp"

namespace procession::detail {

struct Gathering::State {
  struct Member : Hook {
    State* gathering = nullptr;
    AnyFuture future;
    std::size_t number = 0;
    std::shared_ptr<api::PoolCore> core;
  };

  // Of a task that has ended.
  void tell(std::size_t number) {
    std::lock_guard lock(mutex);
    ended.push_back(number);
    word.fetch_add(1, std::memory_order_release);
    has_ended.store(true, std::memory_order_release);
    os::futex_wake(word, 1);
    running.fetch_sub(1, std::memory_order_release);  // the last that touches the gathering
  }

  std::map<std::size_t, Member> members;        // by number: those that have not been told
  std::map<api::PoolCore*, std::size_t> pools;  // with members each
  std::atomic<int> running{0};                  // hooks that were not run or removed yet
  std::mutex mutex;
  std::deque<std::size_t> ended;
  std::atomic<bool> has_ended{false};
  os::FutexWord word{0};
};

Gathering::Gathering() : state_(std::make_unique<State>()) {}

Gathering::~Gathering() {
  for (auto& [number, member] : state_->members) {
    if (member.core && member.future.remove(member)) state_->running.fetch_sub(1);
  }
  // One that could not be taken out runs on another thread, for a moment.
  while (state_->running.load(std::memory_order_acquire) > 0) std::this_thread::yield();
  std::lock_guard lock(state_->mutex);
}

void Gathering::add(AnyFuture future, std::size_t number) {
  State::Member& member = state_->members[number];
  member.gathering = state_.get();
  member.future = std::move(future);
  member.number = number;
  member.at_once = true;
  member.run = [](Hook* hook) noexcept {
    auto* told = static_cast<State::Member*>(hook);
    told->gathering->tell(told->number);
  };
  if (!member.future.done()) member.core = member.future.state()->pool();
  if (member.core) ++state_->pools[member.core.get()];
  state_->running.fetch_add(1);  // only now: what throws above has no hook
  if (!member.core || !member.future.try_add(member)) member.run(&member);
}

std::size_t Gathering::left() const noexcept { return state_->members.size(); }

std::optional<std::size_t> Gathering::next(std::optional<AnyFuture::Seconds> timeout) {
  if (state_->members.empty()) return std::nullopt;
  base::Deadline deadline = timeout ? base::Deadline::after(*timeout) : base::Deadline::never();
  State& state = *state_;
  auto ready = [&] { return state.has_ended.load(std::memory_order_acquire); };
  if (!ready() && state.pools.size() == 1) {
    state.pools.begin()->first->wait_ready(ready, deadline);
  } else if (!ready()) {
    for (auto& [core, members] : state.pools) core->want(1);
    while (true) {
      std::uint32_t seen = state.word.load(std::memory_order_acquire);
      if (ready() || deadline.passed()) break;
      os::futex_wait(state.word, seen, deadline);
    }
    for (auto& [core, members] : state.pools) core->want(-1);
  }
  std::size_t number = 0;
  {
    std::lock_guard lock(state.mutex);
    if (state.ended.empty()) return std::nullopt;
    number = state.ended.front();
    state.ended.pop_front();
    state.has_ended.store(!state.ended.empty(), std::memory_order_release);
  }
  auto told = state.members.find(number);
  if (api::PoolCore* core = told->second.core.get(); core && --state.pools[core] == 0) {
    state.pools.erase(core);
  }
  state.members.erase(told);
  return number;
}

}  // namespace procession::detail
