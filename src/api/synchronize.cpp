// SPDX-License-Identifier: Apache-2.0
#include "procession/synchronize.hpp"

#include <atomic>
#include <stdexcept>
#include <string>

#include "api/shared.hpp"
#include "procession/error.hpp"
#include "shm/barrier.hpp"
#include "shm/condition.hpp"
#include "shm/event.hpp"
#include "shm/sem_lock.hpp"

namespace procession {

namespace detail {

struct LockState : api::Shared<shm::SemLock> {
  std::atomic<bool> owner_died = false;
};
struct ConditionState : api::Shared<shm::Condition> {};
struct EventState : api::Shared<shm::Event> {};
struct BarrierState : api::Shared<shm::Barrier> {};

template struct Travel<LockState>;
template struct Travel<ConditionState>;
template struct Travel<EventState>;
template struct Travel<BarrierState>;

// --- locks

namespace {

std::shared_ptr<LockState> make_lock(LockKind kind, int value, int most) {
  if (value < 0) throw std::invalid_argument("a semaphore's value can't be negative");
  return LockState::make_new<LockState>([=](auto& slot) {
    slot.emplace(static_cast<shm::SemLock::Kind>(kind), static_cast<std::uint32_t>(value),
                 static_cast<std::uint32_t>(most));
  });
}

}  // namespace

AnyLock::AnyLock(LockKind kind, int value, int most) : SharedHandle(make_lock(kind, value, most)) {}

bool AnyLock::try_acquire_for(Seconds timeout) {
  LockState& lock = state();
  base::Deadline deadline = api::deadline_after(timeout);
  shm::SemLock& engine = lock.engine();
  // The thread that has an RLock keeps what it was told of it.
  bool again = engine.kind() == shm::SemLock::Kind::kRecursive && engine.is_mine();
  shm::Acquired acquired = shm::Acquired::kInterrupted;
  while (acquired == shm::Acquired::kInterrupted) acquired = engine.acquire(deadline);
  if (acquired == shm::Acquired::kTimedOut) return false;
  if (!again) {
    lock.owner_died.store(acquired == shm::Acquired::kOwnerDied, std::memory_order_relaxed);
  }
  return true;
}

void AnyLock::release() {
  shm::SemLock& engine = state().engine();
  if (engine.release()) return;
  throw std::logic_error(engine.kind() == shm::SemLock::Kind::kRecursive
                             ? "attempt to release recursive lock not owned by thread"
                             : "semaphore or lock released too many times");
}

bool AnyLock::owner_died() const { return state().owner_died.load(std::memory_order_relaxed); }

int AnyLock::value() const { return static_cast<int>(state().engine().value()); }

std::optional<int> AnyLock::holder() const {
  pid_t pid = state().engine().owner();
  return pid ? std::optional<int>(pid) : std::nullopt;
}

}  // namespace detail

using detail::BarrierState;
using detail::ConditionState;
using detail::EventState;

// --- conditions

Condition::Condition()
    : SharedHandle(ConditionState::make_new<ConditionState>([](auto& slot) { slot.emplace(); })) {}

int Condition::enter() {
  return api::with_api_errors("can't wait", [&] { return state().engine().enter(); });
}

bool Condition::wait_told(int seat, Seconds timeout) {
  base::Deadline deadline = api::deadline_after(timeout);
  auto told = shm::Condition::Told::kInterrupted;
  while (told == shm::Condition::Told::kInterrupted) told = state().engine().wait(seat, deadline);
  return told == shm::Condition::Told::kYes;
}

void Condition::notify(int count) {
  if (count > 0) state().engine().notify(count);
}

// --- events

Event::Event()
    : SharedHandle(EventState::make_new<EventState>([](auto& slot) { slot.emplace(); })) {}

bool Event::is_set() const { return state().engine().is_set(); }
void Event::set() { state().engine().set(); }
void Event::clear() { state().engine().clear(); }

bool Event::wait_for(Seconds timeout) const {
  base::Deadline deadline = api::deadline_after(timeout);
  base::Waited waited = base::Waited::kInterrupted;
  while (waited == base::Waited::kInterrupted) waited = state().engine().wait(deadline);
  return waited == base::Waited::kReady;
}

// --- barriers

namespace {

std::shared_ptr<BarrierState> make_barrier(int parties) {
  if (parties < 1 || parties > static_cast<int>(shm::Barrier::kMostParties)) {
    throw std::invalid_argument("a barrier has 1 to " + std::to_string(shm::Barrier::kMostParties) +
                                " parties");
  }
  return BarrierState::make_new<BarrierState>(
      [parties](auto& slot) { slot.emplace(static_cast<std::uint32_t>(parties)); });
}

}  // namespace

Barrier::Barrier(int parties) : SharedHandle(make_barrier(parties)) {}

int Barrier::wait(Seconds timeout) {
  shm::Barrier& barrier = state().engine();
  base::Deadline deadline = api::deadline_after(timeout);
  shm::Barrier::Arrival arrival = barrier.wait(deadline);
  while (arrival.passed == shm::Barrier::Passed::kInterrupted) {
    arrival = barrier.wait_on(arrival, deadline);
  }
  if (arrival.passed == shm::Barrier::Passed::kBroken) {
    throw BrokenBarrierError(
        "the barrier is broken: a process that waited at it has ended, a wait took too long, or it "
        "was aborted or reset");
  }
  return static_cast<int>(arrival.index);
}

void Barrier::abort() { state().engine().abort(); }
void Barrier::reset() { state().engine().reset(); }
bool Barrier::broken() const { return state().engine().is_broken(); }
int Barrier::parties() const { return static_cast<int>(state().engine().parties()); }
int Barrier::n_waiting() const { return static_cast<int>(state().engine().waiting()); }

}  // namespace procession
