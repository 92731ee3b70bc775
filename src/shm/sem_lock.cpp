// SPDX-License-Identifier: Apache-2.0
#include "shm/sem_lock.hpp"

#include <algorithm>
#include <array>

namespace procession::shm {

namespace {

constexpr std::uint32_t kWaiters = 1U << 31;   // somebody sleeps, or has slept, for it
constexpr std::uint32_t kHandedOn = 1U << 30;  // whoever holds it may leave it to others

// What no two live threads share. (The address of something thread_local would take a call.)
std::uintptr_t this_thread() noexcept {
  return reinterpret_cast<std::uintptr_t>(__builtin_thread_pointer());
}

base::Deadline bounded(base::Deadline deadline) {
  return base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
}

}  // namespace

// What a process holds of a semaphore.
struct SemLock::Holder {
  std::uint32_t ticket;
  std::uint32_t count;  // 0: free
};

struct SemLock::Record {
  // Mutexes. 0, or the ticket of the owner with the two bits above.
  os::FutexWord word;
  Kind kind;
  std::uint32_t max_value;
  std::atomic<std::uint32_t> handed_on;
  // Semaphores, under the cell's mutex.
  std::atomic<std::uint32_t> value;
  os::FutexWord changes;
  std::uint32_t anybody_asleep;
  // Where a change in progress began, in case it is never finished.
  std::uint32_t changing;  // 1 + the holder's index
  Holder old_holder;
  std::uint32_t old_value;
  std::uint32_t unused;
  std::array<Holder, 24> holders;
};

SemLock::SemLock(Kind kind, std::uint32_t value, std::uint32_t max_value)
    : cell_(Commons::instance().make_cell(CellKind::kSemLock, sizeof(Record))) {
  record().kind = kind;
  record().max_value = max_value;
  record().value = value;
}

SemLock::SemLock(const CellName& name)
    : cell_(Commons::instance().find_cell(name, CellKind::kSemLock)) {}

SemLock::Record& SemLock::record() const noexcept { return cell_->as<Record>(); }
SemLock::Kind SemLock::kind() const noexcept { return record().kind; }
std::uint32_t SemLock::max_value() const noexcept { return record().max_value; }

bool SemLock::is_mine() const noexcept {
  return count() > 0 && cell_->hold().thread.load(std::memory_order_relaxed) == this_thread();
}

std::uint32_t SemLock::value() const noexcept {
  if (kind() == Kind::kSemaphore) return record().value;
  return (record().word & kTicketMask) == 0;
}

pid_t SemLock::owner() const noexcept {
  std::uint32_t word = record().word;
  return (word & kTicketMask) ? cell_->commons().pid_of(word) : 0;
}

int SemLock::count() const noexcept {
  bool is_own = cell_->hold().by.load(std::memory_order_relaxed) == cell_->commons().own_ticket();
  return is_own ? cell_->hold().count.load(std::memory_order_relaxed) : 0;
}

void SemLock::note_acquired() noexcept {
  cell_->hold().count.store(count() + 1, std::memory_order_relaxed);
  cell_->hold().by.store(cell_->commons().own_ticket(), std::memory_order_relaxed);
  cell_->hold().thread.store(this_thread(), std::memory_order_relaxed);
}

// What another process acquired isn't in this one's count.
void SemLock::note_released() noexcept {
  cell_->hold().count.store(std::max(0, count() - 1), std::memory_order_relaxed);
}

Acquired SemLock::acquire(base::Deadline deadline) {
  if (kind() == Kind::kRecursive && is_mine()) {
    note_acquired();
    return Acquired::kYes;
  }
  Acquired acquired =
      kind() == Kind::kSemaphore ? acquire_semaphore(deadline) : acquire_mutex(deadline);
  if (acquired == Acquired::kYes || acquired == Acquired::kOwnerDied) note_acquired();
  return acquired;
}

bool SemLock::release() {
  if (kind() == Kind::kRecursive) {
    if (!is_mine()) return false;
    note_released();
    return count() > 0 || release_mutex();
  }
  // Ahead of it: another thread may have it at once.
  int before = count();
  note_released();
  if (kind() == Kind::kMutex ? release_mutex() : release_semaphore()) return true;
  cell_->hold().count.store(before, std::memory_order_relaxed);
  return false;
}

// Mutexes: one word, which says who holds it from the very moment on that it is held.

Acquired SemLock::acquire_mutex(base::Deadline deadline) {
  Commons& commons = cell_->commons();
  Record& lock = record();
  std::uint32_t mine =
      commons.ticket() | (lock.handed_on.load(std::memory_order_relaxed) ? kHandedOn : 0);
  std::uint32_t seen = 0;
  if (lock.word.compare_exchange_strong(seen, mine, std::memory_order_acquire)) {
    return Acquired::kYes;
  }
  // Others may sleep by now, and this one takes the place of all that were woken.
  std::uint32_t waiters = 0;
  while (true) {
    if ((seen & kTicketMask) == 0) {
      if (lock.word.compare_exchange_weak(seen, mine | waiters, std::memory_order_acquire)) {
        return Acquired::kYes;
      }
      continue;
    }
    if (!(seen & kHandedOn) && commons.is_dead(seen)) {
      if (lock.word.compare_exchange_weak(seen, mine | kWaiters, std::memory_order_acquire)) {
        return Acquired::kOwnerDied;
      }
      continue;
    }
    if (deadline.passed()) return Acquired::kTimedOut;
    if (!(seen & kWaiters)) {
      if (!lock.word.compare_exchange_weak(seen, seen | kWaiters)) continue;
      seen |= kWaiters;
    }
    waiters = kWaiters;
    std::array<os::FutexWait, 2> waits{{{&lock.word, seen}, {}}};
    std::size_t count = 1;
    base::Deadline until = bounded(deadline);
    if (!(seen & kHandedOn)) {
      if (std::optional<os::FutexWait> life = commons.life_of(seen)) {
        waits[count++] = *life;
      } else {
        until = base::Deadline::earlier(until, base::Deadline::after(kLookSoon));
      }
    }
    if (os::futex_wait_any({waits.data(), count}, until) == base::Waited::kInterrupted) {
      return Acquired::kInterrupted;
    }
    seen = lock.word.load(std::memory_order_relaxed);
  }
}

bool SemLock::release_mutex() {
  Record& lock = record();
  std::uint32_t seen = lock.word.load(std::memory_order_relaxed);
  do {
    if ((seen & kTicketMask) == 0) return false;
    if ((seen & kTicketMask) != cell_->commons().ticket() && !(seen & kHandedOn)) {
      lock.handed_on = 1;
    }
  } while (!lock.word.compare_exchange_weak(seen, 0, std::memory_order_release));
  // Two, in case one of them is killed as it wakes.
  if (seen & kWaiters) os::futex_wake(lock.word, 2);
  return true;
}

// Semaphores: a number and who holds how much of it, under the cell's mutex.

void SemLock::repair(Record& lock) noexcept {
  if (lock.changing == 0) return;
  lock.holders[lock.changing - 1] = lock.old_holder;
  lock.value = lock.old_value;
  lock.changing = 0;
}

namespace {

template <class Record, class Change>
void change(Record& lock, std::size_t holder, Change apply) {
  lock.old_holder = lock.holders[holder];
  lock.old_value = lock.value;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  lock.changing = static_cast<std::uint32_t>(holder) + 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  apply(lock.holders[holder]);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  lock.changing = 0;
}

}  // namespace

// Under the mutex.
bool SemLock::try_take(Record& lock, Ticket me) {
  if (lock.value == 0) return false;
  if (!lock.handed_on) {
    std::size_t free = lock.holders.size();
    std::size_t index = 0;
    for (; index < lock.holders.size(); ++index) {
      if (lock.holders[index].count == 0) {
        free = std::min(free, index);
      } else if (lock.holders[index].ticket == me) {
        break;
      }
    }
    if (index == lock.holders.size()) index = free;
    if (index < lock.holders.size()) {
      change(lock, index, [&](Holder& holder) {
        holder.ticket = me;
        ++holder.count;
        lock.value.fetch_sub(1);
      });
      return true;
    }
    lock.handed_on = 1;  // too many to know
  }
  lock.value.fetch_sub(1);
  return true;
}

// Under the mutex. Whether somebody who held a part of it has died; that part is free again.
bool SemLock::recover(Record& lock) {
  if (lock.handed_on) return false;
  bool any = false;
  for (std::size_t index = 0; index < lock.holders.size(); ++index) {
    if (lock.holders[index].count == 0 || !cell_->commons().is_dead(lock.holders[index].ticket)) {
      continue;
    }
    any = true;
    change(lock, index, [&](Holder& holder) {
      lock.value.fetch_add(holder.count);
      holder.count = 0;
    });
  }
  return any;
}

Acquired SemLock::acquire_semaphore(base::Deadline deadline) {
  Commons& commons = cell_->commons();
  Record& lock = record();
  Ticket me = commons.ticket();
  Acquired told = Acquired::kYes;
  while (true) {
    std::array<os::FutexWait, 1 + std::tuple_size_v<decltype(lock.holders)>> waits;
    std::size_t count = 0;
    base::Deadline until = bounded(deadline);
    {
      os::RobustLock held(cell_->header().mutex);
      if (held.owner_died) repair(lock);
      if (try_take(lock, me)) return told;
      if (recover(lock)) {
        told = Acquired::kOwnerDied;
        continue;
      }
      if (deadline.passed()) return Acquired::kTimedOut;
      lock.anybody_asleep = 1;
      waits[count++] = {&lock.changes, lock.changes.load()};
      for (const Holder& holder : lock.holders) {
        if (holder.count == 0 || lock.handed_on || holder.ticket == me) continue;
        if (std::optional<os::FutexWait> life = commons.life_of(holder.ticket)) {
          waits[count++] = *life;
        } else {
          until = base::Deadline::earlier(until, base::Deadline::after(kLookSoon));
        }
      }
    }
    if (os::futex_wait_any({waits.data(), count}, until) == base::Waited::kInterrupted) {
      return Acquired::kInterrupted;
    }
  }
}

bool SemLock::release_semaphore() {
  Record& lock = record();
  Ticket me = cell_->commons().ticket();
  bool wake = false;
  {
    os::RobustLock held(cell_->header().mutex);
    if (held.owner_died) repair(lock);
    if (lock.value >= lock.max_value) return false;
    std::size_t index = 0;
    while (index < lock.holders.size() &&
           (lock.holders[index].count == 0 || lock.holders[index].ticket != me)) {
      ++index;
    }
    if (index == lock.holders.size() || lock.handed_on) {
      lock.handed_on = 1;
      lock.value.fetch_add(1);
    } else {
      change(lock, index, [&](Holder& holder) {
        --holder.count;
        lock.value.fetch_add(1);
      });
    }
    if (lock.anybody_asleep) {
      lock.changes.fetch_add(1);
      wake = true;
    }
  }
  if (wake && os::futex_wake(lock.changes, 2) == 0) {
    os::RobustLock held(cell_->header().mutex);
    if (held.owner_died) repair(lock);
    // Nobody slept then; who has come to sleep since has seen the value.
    if (lock.value > 0) lock.anybody_asleep = 0;
  }
  return true;
}

}  // namespace procession::shm
