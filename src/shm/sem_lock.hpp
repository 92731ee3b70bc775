// SPDX-License-Identifier: Apache-2.0
// shm/sem_lock: locks and semaphores between processes that know who holds them.
//
// What the names of Python's manual come down to: Lock (kMutex), RLock (kRecursive), Semaphore and
// BoundedSemaphore (kSemaphore). When a process dies, the next one to acquire gets what it held, and is
// told. As in Python, anybody may release: a lock that was once released by another process than the
// one that acquired it, or a semaphore by one that holds nothing of it, is handed from process to
// process on purpose, and nobody's death changes it from then on.
// Thread-safe. After fork, the copy's RLock is held by the parent's thread, not by its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "base/deadline.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

enum class Acquired {
  kYes,
  kOwnerDied,  // yes, and whoever held it was killed or ended without a release
  kTimedOut,
  kInterrupted,
};

class SemLock {
 public:
  enum class Kind : std::uint32_t { kMutex, kRecursive, kSemaphore };

  // `value` of `max_value` can be acquired. For mutexes both are 1.
  SemLock(Kind kind, std::uint32_t value, std::uint32_t max_value);
  explicit SemLock(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }
  Kind kind() const noexcept;
  std::uint32_t max_value() const noexcept;

  Acquired acquire(base::Deadline deadline);

  // False: it was not acquired, or more often released than that.
  bool release();

  // How often this process's threads hold it; whether the calling thread was the last to acquire it
  // and holds it still.
  int count() const noexcept;
  bool is_mine() const noexcept;

  // How much could be acquired now.
  std::uint32_t value() const noexcept;

  // The process that holds a mutex now, or held it when it died; 0 if nobody does.
  pid_t owner() const noexcept;

 private:
  struct Record;
  struct Semaphore;
  class Holder;

  Record& record() const noexcept;
  Semaphore& semaphore() const noexcept;
  std::uint32_t own_word(const Record& lock);
  Acquired wait_for_mutex(Record& lock, std::uint32_t mine, std::uint32_t seen,
                          base::Deadline deadline);
  bool try_semaphore();
  Acquired wait_for_semaphore(base::Deadline deadline);
  static bool release_mutex(Record& lock, Ticket me);
  bool release_semaphore();

  void note_acquired(int count) noexcept;
  void note_released() noexcept;

  std::shared_ptr<Cell> cell_;
};

}  // namespace procession::shm
