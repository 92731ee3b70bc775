// SPDX-License-Identifier: Apache-2.0
// os/robust_mutex: a mutex in memory that processes share, which outlives whoever holds it.
//
// It belongs to a thread. The kernel notes the death of a thread that holds it, by exit, SIGKILL or
// exec, and the next one to lock it is told. See pthread_mutexattr_setrobust(3). For moments, not for
// waits: a few instructions on data that is repaired after a death.
#pragma once

#include <pthread.h>

#include <atomic>

#include "os/futex.hpp"

namespace procession::os {

class RobustMutex {
 public:
  // Of memory that nobody uses: makes it a mutex that nobody holds. All zeros is not one.
  void init();

  // True: its last holder died with it, what it guards may be half changed. The mutex is whole again.
  bool lock() noexcept;
  void unlock() noexcept;

  // Marks the life of the calling thread: lock it and never unlock. Afterwards `word` has kOwnerDied
  // set when the thread has ended, and all who wait for the word to change are to be woken by whoever
  // sees it first: the kernel wakes one.
  void hold_for_life() noexcept;
  FutexWord& word() noexcept { return *reinterpret_cast<FutexWord*>(&mutex_); }
  static constexpr std::uint32_t kOwnerDied = 0x40000000;  // FUTEX_OWNER_DIED

 private:
  pthread_mutex_t mutex_;
};

// A full barrier behind an unlock, which is one itself on x86: a locked instruction.
inline void fence_after_unlock() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  std::atomic_signal_fence(std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// Locks in a scope. `owner_died` is what lock() said.
class RobustLock {
 public:
  explicit RobustLock(RobustMutex& mutex) noexcept : mutex_(mutex), owner_died(mutex.lock()) {}
  ~RobustLock() { mutex_.unlock(); }
  RobustLock(const RobustLock&) = delete;
  RobustLock& operator=(const RobustLock&) = delete;

 private:
  RobustMutex& mutex_;

 public:
  const bool owner_died;
};

}  // namespace procession::os
