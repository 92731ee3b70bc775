// SPDX-License-Identifier: Apache-2.0
#include "shm/barrier.hpp"

#include <array>
#include <climits>

#include "base/check.hpp"

namespace procession::shm {

namespace {

constexpr std::uint32_t kBroken = 1;  // in the phase's word; the others count phases
constexpr std::uint32_t kPhase = 2;

}  // namespace

// Changed under the cell's mutex.
struct Barrier::Record {
  os::FutexWord phase;
  std::uint32_t parties;
  // A bit for each of the last 64 phases, set if it ended in vain.
  std::atomic<std::uint64_t> in_vain;
  // Who has arrived: the first ones that are of the current phase.
  struct Seat {
    std::atomic<std::uint32_t> phase;  // that it arrived in, with kBroken set so that 0 is none
    Ticket ticket;
  };
  std::array<Seat, kMostParties> seats;

  std::uint64_t bit_of(std::uint32_t of_phase) const noexcept {
    return std::uint64_t{1} << (of_phase / kPhase) % 64;
  }
};

Barrier::Barrier(std::uint32_t parties)
    : cell_(Commons::instance().make_cell(
          CellKind::kBarrier,
          offsetof(Record, seats) + std::size_t{parties} * sizeof(Record::Seat))) {
  PROCESSION_CHECK(parties >= 1 && parties <= kMostParties);
  record().parties = parties;
}

Barrier::Barrier(const CellName& name)
    : cell_(Commons::instance().find_cell(name, CellKind::kBarrier)) {}

Barrier::Record& Barrier::record() const noexcept { return cell_->as<Record>(); }
std::uint32_t Barrier::parties() const noexcept { return record().parties; }
bool Barrier::is_broken() const noexcept { return record().phase.load() & kBroken; }

// Under the mutex.
std::uint32_t Barrier::arrived(Record& barrier) const noexcept {
  std::uint32_t now = barrier.phase | kBroken;
  std::uint32_t count = 0;
  while (count < barrier.parties && barrier.seats[count].phase == now) ++count;
  return count;
}

// Under the mutex. Whether the process of one that waits has ended.
bool Barrier::has_lost_one(Record& barrier) {
  std::uint32_t count = arrived(barrier);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (cell_->commons().is_dead(barrier.seats[i].ticket)) return true;
  }
  return false;
}

// Under the mutex. Killed after the store: whoever waits looks again by itself.
void Barrier::end_phase(Record& barrier, bool in_vain, bool broken) noexcept {
  std::uint32_t phase = barrier.phase & ~kBroken;
  std::uint64_t bit = barrier.bit_of(phase);
  if (in_vain) {
    barrier.in_vain.fetch_or(bit);
  } else {
    barrier.in_vain.fetch_and(~bit);
  }
  barrier.phase.store((phase + kPhase) | (broken ? kBroken : 0));
  os::futex_wake(barrier.phase, INT_MAX);
}

Barrier::Passed Barrier::outcome(Record& barrier, std::uint32_t phase) const noexcept {
  return barrier.in_vain.load() & barrier.bit_of(phase) ? Passed::kBroken : Passed::kYes;
}

Barrier::Arrival Barrier::wait(base::Deadline deadline) {
  Ticket me = cell_->commons().ticket();
  Record& barrier = record();
  Arrival arrival;
  {
    os::RobustLock held(cell_->header().mutex);
    if (!(barrier.phase & kBroken) && has_lost_one(barrier)) end_phase(barrier, true, true);
    if (barrier.phase & kBroken) return arrival;
    arrival.phase = barrier.phase;
    arrival.index = arrived(barrier);
    if (arrival.index + 1 == barrier.parties) {
      end_phase(barrier, false, false);
      arrival.passed = Passed::kYes;
      return arrival;
    }
    Record::Seat& seat = barrier.seats[arrival.index];
    seat.ticket = me;
    seat.phase.store(arrival.phase | kBroken);
  }
  return wait_on(arrival, deadline);
}

Barrier::Arrival Barrier::wait_on(Arrival arrival, base::Deadline deadline) {
  Commons& commons = cell_->commons();
  Record& barrier = record();
  while (true) {
    std::array<os::FutexWait, os::kMostFutexes> waits;
    std::size_t count = 0;
    waits[count++] = {&barrier.phase, arrival.phase};
    base::Deadline until = base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
    {
      os::RobustLock held(cell_->header().mutex);
      if (barrier.phase == arrival.phase && (deadline.passed() || has_lost_one(barrier))) {
        end_phase(barrier, true, true);
      }
      if (barrier.phase != arrival.phase) {
        arrival.passed = outcome(barrier, arrival.phase);
        return arrival;
      }
      std::uint32_t others = arrived(barrier);
      for (std::uint32_t i = 0; i < others && count < waits.size(); ++i) {
        Ticket ticket = barrier.seats[i].ticket;
        if (ticket == commons.own_ticket()) continue;
        if (std::optional<os::FutexWait> life = commons.life_of(ticket)) {
          waits[count++] = *life;
        } else {
          until = base::Deadline::earlier(until, base::Deadline::after(kLookSoon));
        }
      }
    }
    if (os::futex_wait_any({waits.data(), count}, until) == base::Waited::kInterrupted) {
      arrival.passed = Passed::kInterrupted;
      return arrival;
    }
  }
}

void Barrier::abort() {
  os::RobustLock held(cell_->header().mutex);
  if (!is_broken()) end_phase(record(), true, true);
}

void Barrier::reset() {
  os::RobustLock held(cell_->header().mutex);
  if (is_broken() || arrived(record()) > 0) end_phase(record(), true, false);
}

std::uint32_t Barrier::waiting() {
  os::RobustLock held(cell_->header().mutex);
  return is_broken() ? 0 : arrived(record());
}

}  // namespace procession::shm
