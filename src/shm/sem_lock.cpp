// SPDX-License-Identifier: Apache-2.0
#include "shm/sem_lock.hpp"

#include <algorithm>
#include <array>

#include "os/cpu.hpp"
#include "shm/biased_mutex.hpp"

namespace procession::shm {

namespace {

constexpr std::uint32_t kWaiters = 1U << 31;   // somebody sleeps, or has slept, for it
constexpr std::uint32_t kHandedOn = 1U << 30;  // whoever holds it may leave it to others

bool has_it(Acquired acquired) noexcept {
  return acquired == Acquired::kYes || acquired == Acquired::kOwnerDied;
}

base::Deadline bounded(base::Deadline deadline) {
  return base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
}

}  // namespace

// What a process holds of a semaphore. One word: a CPU is slow to load as one what was stored as two.
class SemLock::Holder {
 public:
  Holder(Ticket ticket, std::uint32_t count) noexcept
      : word_(std::uint64_t{ticket} << 32 | count) {}

  Ticket ticket() const noexcept { return static_cast<Ticket>(word_ >> 32); }
  std::uint32_t count() const noexcept { return static_cast<std::uint32_t>(word_); }  // 0: free

 private:
  std::uint64_t word_;
};

struct alignas(64) SemLock::Record {
  // Mutexes. 0, or the ticket of the owner with the two bits above.
  os::FutexWord word;
  Kind kind;
  std::uint32_t max_value;
  std::atomic<std::uint32_t> handed_on;
};

// Under its mutex, but for a look at the value.
struct SemLock::Semaphore : Record {
  BiasedMutex mutex;
  // What nobody holds of `total`. Once it is handed on, nobody knows who holds what.
  std::atomic<std::uint32_t> value;
  std::uint32_t total;
  os::FutexWord changes;
  std::uint32_t anybody_asleep;
  // A process may have two.
  std::array<Holder, 32> holders;

  // The one that a process looks at first.
  std::size_t place_of(Ticket ticket) const noexcept { return ticket % holders.size(); }

  bool try_take(Ticket me) noexcept;
  bool give_back(Ticket me) noexcept;
  bool recover(Commons& commons);
  void repair() noexcept;
  void change(std::size_t index, Holder holder, std::uint32_t value_then) noexcept {
    holders[index] = holder;
    value.store(value_then, std::memory_order_relaxed);
  }
};

SemLock::SemLock(Kind kind, std::uint32_t value, std::uint32_t max_value)
    : cell_(Commons::instance().make_cell(CellKind::kSemLock, kind == Kind::kSemaphore
                                                                  ? CellHeader::kRoomFor<Semaphore>
                                                                  : CellHeader::kRoomFor<Record>)) {
  record().kind = kind;
  record().max_value = max_value;
  if (kind != Kind::kSemaphore) return;
  semaphore().mutex.init();
  semaphore().value = semaphore().total = value;
}

SemLock::SemLock(const CellName& name)
    : cell_(Commons::instance().find_cell(name, CellKind::kSemLock)) {}

SemLock::Record& SemLock::record() const noexcept { return cell_->as<Record>(); }
SemLock::Semaphore& SemLock::semaphore() const noexcept { return cell_->as<Semaphore>(); }
SemLock::Kind SemLock::kind() const noexcept { return record().kind; }
std::uint32_t SemLock::max_value() const noexcept { return record().max_value; }

bool SemLock::is_mine() const noexcept {
  return count() > 0 && cell_->hold().thread.load(std::memory_order_relaxed) == os::this_thread();
}

std::uint32_t SemLock::value() const noexcept {
  if (kind() == Kind::kSemaphore) return semaphore().value;
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

void SemLock::note_acquired(int count) noexcept {
  cell_->hold().count.store(count, std::memory_order_relaxed);
  cell_->hold().by.store(cell_->commons().own_ticket(), std::memory_order_relaxed);
  cell_->hold().thread.store(os::this_thread(), std::memory_order_relaxed);
}

// What another process acquired isn't in this one's count.
void SemLock::note_released() noexcept {
  cell_->hold().count.store(std::max(0, count() - 1), std::memory_order_relaxed);
}

Acquired SemLock::acquire(base::Deadline deadline) {
  Record& lock = record();
  if (lock.kind == Kind::kSemaphore) {
    Acquired acquired = try_semaphore() ? Acquired::kYes : wait_for_semaphore(deadline);
    if (has_it(acquired)) note_acquired(count() + 1);
    return acquired;
  }
  if (lock.kind == Kind::kRecursive && is_mine()) {
    note_acquired(count() + 1);
    return Acquired::kYes;
  }
  std::uint32_t mine = own_word(lock);
  std::uint32_t seen = 0;
  Acquired acquired = Acquired::kYes;
  if (!lock.word.compare_exchange_strong(seen, mine, std::memory_order_acquire)) {
    acquired = wait_for_mutex(lock, mine, seen, deadline);
    if (!has_it(acquired)) return acquired;
  }
  note_acquired(1);
  return acquired;
}

bool SemLock::release() {
  Record& lock = record();
  if (lock.kind == Kind::kSemaphore) {
    // Ahead of it, here and below: another thread may have it at once.
    int before = count();
    note_released();
    if (release_semaphore()) return true;
    cell_->hold().count.store(before, std::memory_order_relaxed);
    return false;
  }
  if (lock.kind == Kind::kRecursive) {
    if (!is_mine()) return false;
    note_released();
    if (count() > 0) return true;
  } else {
    cell_->hold().count.store(0, std::memory_order_relaxed);
  }
  return release_mutex(lock, cell_->commons().ticket());
}

// Mutexes: one word, which says who holds it from the very moment on that it is held.

std::uint32_t SemLock::own_word(const Record& lock) {
  return cell_->commons().ticket() |
         (lock.handed_on.load(std::memory_order_relaxed) ? kHandedOn : 0);
}

// `seen`: what was in the word in place of 0.
Acquired SemLock::wait_for_mutex(Record& lock, std::uint32_t mine, std::uint32_t seen,
                                 base::Deadline deadline) {
  Commons& commons = cell_->commons();
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

bool SemLock::release_mutex(Record& lock, Ticket me) {
  std::uint32_t seen = lock.word.load(std::memory_order_relaxed);
  do {
    if ((seen & kTicketMask) == 0) return false;
    if ((seen & kTicketMask) != me && !(seen & kHandedOn)) {
      lock.handed_on = 1;
    }
  } while (!lock.word.compare_exchange_weak(seen, 0, std::memory_order_release));
  // Two, in case one of them is killed as it wakes.
  if (seen & kWaiters) os::futex_wake(lock.word, 2);
  return true;
}

// Semaphores: a number and who holds how much of it.

// After a death in the midst of a change.
void SemLock::Semaphore::repair() noexcept {
  if (handed_on) return;
  value = total;
  for (const Holder& holder : holders) value.fetch_sub(holder.count());
}

bool SemLock::Semaphore::try_take(Ticket me) noexcept {
  if (value == 0) return false;
  auto may_be_mine = [&](const Holder& holder) {
    return holder.count() == 0 || holder.ticket() == me;
  };
  std::size_t index = place_of(me);
  if (!may_be_mine(holders[index])) {
    index = static_cast<std::size_t>(std::ranges::find_if(holders, may_be_mine) - holders.begin());
  }
  if (index == holders.size()) handed_on = 1;  // too many to know
  if (handed_on) {
    value.fetch_sub(1);
    return true;
  }
  change(index, {me, holders[index].count() + 1}, value - 1);
  return true;
}

bool SemLock::Semaphore::give_back(Ticket me) noexcept {
  if (value >= max_value) return false;
  auto is_mine = [&](const Holder& holder) { return holder.count() > 0 && holder.ticket() == me; };
  std::size_t index = place_of(me);
  if (!is_mine(holders[index])) {
    index = static_cast<std::size_t>(std::ranges::find_if(holders, is_mine) - holders.begin());
  }
  if (index == holders.size()) handed_on = 1;
  if (handed_on) {
    value.fetch_add(1);
    return true;
  }
  change(index, {me, holders[index].count() - 1}, value + 1);
  return true;
}

// Whether somebody who held a part of it has died; that part is free again.
bool SemLock::Semaphore::recover(Commons& commons) {
  if (handed_on) return false;
  bool any = false;
  for (std::size_t index = 0; index < holders.size(); ++index) {
    if (holders[index].count() == 0 || !commons.is_dead(holders[index].ticket())) continue;
    any = true;
    change(index, {0, 0}, value + holders[index].count());
  }
  return any;
}

bool SemLock::try_semaphore() {
  Commons& commons = cell_->commons();
  Semaphore& semaphore = this->semaphore();
  Ticket me = commons.ticket();
  BiasedMutex::Lock held(semaphore.mutex, commons);
  if (held.owner_died()) semaphore.repair();
  return semaphore.try_take(me);
}

Acquired SemLock::wait_for_semaphore(base::Deadline deadline) {
  Commons& commons = cell_->commons();
  Semaphore& semaphore = this->semaphore();
  Ticket me = commons.ticket();
  Acquired told = Acquired::kYes;
  while (true) {
    std::array<os::FutexWait, 1 + std::tuple_size_v<decltype(semaphore.holders)>> waits;
    std::size_t count = 0;
    base::Deadline until = base::Deadline::never();
    {
      BiasedMutex::Lock held(semaphore.mutex, commons);
      if (held.owner_died()) semaphore.repair();
      if (semaphore.try_take(me)) return told;
      if (semaphore.recover(commons)) {
        told = Acquired::kOwnerDied;
        continue;
      }
      if (deadline.passed()) return Acquired::kTimedOut;
      until = bounded(deadline);
      semaphore.anybody_asleep = 1;
      waits[count++] = {&semaphore.changes, semaphore.changes.load()};
      for (const Holder& holder : semaphore.holders) {
        if (holder.count() == 0 || semaphore.handed_on || holder.ticket() == me) continue;
        if (std::optional<os::FutexWait> life = commons.life_of(holder.ticket())) {
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
  Commons& commons = cell_->commons();
  Semaphore& semaphore = this->semaphore();
  {
    BiasedMutex::Lock held(semaphore.mutex, commons);
    if (held.owner_died()) semaphore.repair();
    if (!semaphore.give_back(commons.ticket())) return false;
    if (!semaphore.anybody_asleep) return true;
    semaphore.changes.fetch_add(1);
  }
  if (os::futex_wake(semaphore.changes, 2) == 0) {
    BiasedMutex::Lock held(semaphore.mutex, commons);
    if (held.owner_died()) semaphore.repair();
    // Nobody slept then; who has come to sleep since has seen the value.
    if (semaphore.value > 0) semaphore.anybody_asleep = 0;
  }
  return true;
}

}  // namespace procession::shm
