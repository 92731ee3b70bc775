// SPDX-License-Identifier: Apache-2.0
#include "shm/condition.hpp"

#include <array>
#include <cerrno>
#include <climits>

#include "base/error.hpp"

namespace procession::shm {

namespace {

enum State : std::uint32_t { kFree, kWaiting, kNotified };

}  // namespace

// Changed under the cell's mutex, each by one store at last.
struct Condition::Seat {
  os::FutexWord state;
  std::atomic<Ticket> ticket;
  std::uint64_t order;
  std::uint64_t unused;
};

struct Condition::Record {
  std::uint64_t next_order;
  std::uint32_t used;  // seats above have never been taken
  std::uint32_t unused;
  std::array<Seat, kSeats> seats;
};

Condition::Condition()
    : cell_(Commons::instance().make_cell(CellKind::kCondition, CellHeader::kRoomFor<Record>)) {}

Condition::Condition(const CellName& name)
    : cell_(Commons::instance().find_cell(name, CellKind::kCondition)) {}

Condition::Record& Condition::record() const noexcept { return cell_->as<Record>(); }

int Condition::enter() {
  Ticket me = cell_->commons().ticket();
  Record& condition = record();
  os::RobustLock held(cell_->header().mutex);
  for (bool again : {false, true}) {
    for (std::uint32_t i = 0; i < kSeats; ++i) {
      Seat& seat = condition.seats[i];
      if (again && seat.state != kFree && cell_->commons().is_dead(seat.ticket)) seat.state = kFree;
      if (seat.state != kFree) continue;
      seat.ticket = me;
      seat.order = ++condition.next_order;
      if (i >= condition.used) condition.used = i + 1;
      seat.state = kWaiting;
      return static_cast<int>(i);
    }
  }
  throw base::OsError(
      EAGAIN, "procession: " + std::to_string(kSeats) + " threads wait for one Condition already");
}

Condition::Told Condition::wait(int index, base::Deadline deadline, bool with_peers) {
  Commons& commons = cell_->commons();
  Record& condition = record();
  Seat& seat = condition.seats[static_cast<std::size_t>(index)];
  while (true) {
    std::array<os::FutexWait, os::kMostFutexes> waits;
    std::size_t count = 0;
    waits[count++] = {&seat.state, kWaiting};
    base::Deadline until = base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
    if (with_peers) {
      os::RobustLock held(cell_->header().mutex);
      for (std::uint32_t i = 0; i < condition.used && count < waits.size(); ++i) {
        Seat& peer = condition.seats[i];
        if (peer.state != kWaiting || peer.ticket == seat.ticket) continue;
        if (commons.is_dead(peer.ticket)) {
          peer.state = kFree;
          return Told::kPeerDied;
        }
        if (std::optional<os::FutexWait> life = commons.life_of(peer.ticket)) {
          waits[count++] = *life;
        } else {
          until = base::Deadline::earlier(until, base::Deadline::after(kLookSoon));
        }
      }
    }
    base::Waited waited = base::Waited::kReady;
    if (seat.state == kWaiting) waited = os::futex_wait_any({waits.data(), count}, until);
    os::RobustLock held(cell_->header().mutex);
    if (seat.state == kNotified) {
      seat.state = kFree;
      return Told::kYes;
    }
    if (waited == base::Waited::kInterrupted) return Told::kInterrupted;
    if (deadline.passed()) {
      seat.state = kFree;
      return Told::kTimedOut;
    }
  }
}

void Condition::leave(int index) {
  os::RobustLock held(cell_->header().mutex);
  Seat& seat = record().seats[static_cast<std::size_t>(index)];
  bool was_told = seat.state == kNotified;
  seat.state = kFree;
  if (was_told) notify_locked(1);
}

int Condition::notify(int count) {
  os::RobustLock held(cell_->header().mutex);
  return notify_locked(count);
}

int Condition::notify_locked(int count) {
  Commons& commons = cell_->commons();
  Record& condition = record();
  int told = 0;
  // What a waiter was told that died before it could take notice is told to another one.
  std::int64_t left = count;
  for (std::uint32_t i = 0; i < condition.used; ++i) {
    Seat& seat = condition.seats[i];
    if (seat.state == kFree || !commons.is_dead(seat.ticket)) continue;
    if (seat.state == kNotified) ++left;
    seat.state = kFree;
  }
  while (left > 0) {
    Seat* oldest = nullptr;
    for (std::uint32_t i = 0; i < condition.used; ++i) {
      Seat& seat = condition.seats[i];
      if (seat.state == kWaiting && (!oldest || seat.order < oldest->order)) oldest = &seat;
    }
    if (!oldest) break;
    oldest->state = kNotified;
    os::futex_wake(oldest->state, INT_MAX);
    ++told;
    --left;
  }
  return told;
}

int Condition::waiting() {
  os::RobustLock held(cell_->header().mutex);
  Record& condition = record();
  int count = 0;
  for (std::uint32_t i = 0; i < condition.used; ++i) {
    Seat& seat = condition.seats[i];
    if (seat.state != kFree && cell_->commons().is_dead(seat.ticket)) seat.state = kFree;
    count += seat.state == kWaiting;
  }
  return count;
}

}  // namespace procession::shm
