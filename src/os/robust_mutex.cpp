// SPDX-License-Identifier: Apache-2.0
#include "os/robust_mutex.hpp"

#include <linux/futex.h>

#include <cerrno>

#include "base/check.hpp"
#include "base/error.hpp"
#include "os/cpu.hpp"

namespace procession::os {

static_assert(RobustMutex::kOwnerDied == FUTEX_OWNER_DIED);

namespace {

void check(int error_number, const char* call) {
  if (error_number != 0) base::throw_os_error(error_number, call);
}

}  // namespace

void RobustMutex::init() {
  pthread_mutexattr_t attributes;
  check(::pthread_mutexattr_init(&attributes), "pthread_mutexattr_init()");
  ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  int error = ::pthread_mutex_init(&mutex_, &attributes);
  ::pthread_mutexattr_destroy(&attributes);
  check(error, "pthread_mutex_init()");
}

bool RobustMutex::lock() noexcept {
  // It is held for moments: to sleep, and to be woken, would take longer.
  constexpr int kLooks = 200;
  int error = ::pthread_mutex_trylock(&mutex_);
  for (int i = 0; error == EBUSY && i < kLooks; ++i) {
    pause();
    if (word().load(std::memory_order_relaxed) == 0) error = ::pthread_mutex_trylock(&mutex_);
  }
  if (error == EBUSY) error = ::pthread_mutex_lock(&mutex_);
  if (error == EOWNERDEAD) {
    ::pthread_mutex_consistent(&mutex_);
    return true;
  }
  PROCESSION_CHECK(error == 0);
  return false;
}

void RobustMutex::unlock() noexcept { ::pthread_mutex_unlock(&mutex_); }

void RobustMutex::hold_for_life() noexcept {
  lock();
  // The first field of pthread_mutex_t is the futex word (glibc, all versions). The kernel wakes
  // nobody at a death unless it says that somebody waits.
  word().fetch_or(FUTEX_WAITERS);
}

}  // namespace procession::os
