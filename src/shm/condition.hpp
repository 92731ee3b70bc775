// SPDX-License-Identifier: Apache-2.0
// shm/condition: waiting for another process to say that something has changed.
//
// The waiters of a condition variable, in the order of their coming; the lock that belongs to it is the
// front door's. Each waiter has a seat with a word of its own, so exactly those are woken that are told.
// A waiter that was killed is passed over, and what it had been told goes to the next one.
// Thread-safe. At most kSeats threads wait at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "base/deadline.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

class Condition {
 public:
  static constexpr int kSeats = 330;

  Condition();
  explicit Condition(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }

  // Takes a seat: from now on this thread is one of those that notify() tells. To be called with the
  // lock held, wait() without it. OsError (EAGAIN) if all seats are taken.
  int enter();

  // Waits until it is told. kInterrupted: it has its seat still, and waits on or leaves.
  enum class Told { kYes, kTimedOut, kInterrupted, kPeerDied };
  // `with_peers`: also until the process of another waiter has ended, whose seat is free then.
  Told wait(int seat, base::Deadline deadline, bool with_peers = false);

  // Gives up the seat. What it has been told meanwhile goes to the next one.
  void leave(int seat);

  // Tells the `count` that have waited longest; returns how many there were.
  int notify(int count);

  // How many wait and haven't been told.
  int waiting();

 private:
  struct Record;
  struct Seat;

  Record& record() const noexcept;
  int notify_locked(int count);

  std::shared_ptr<Cell> cell_;
};

}  // namespace procession::shm
