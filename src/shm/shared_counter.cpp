// SPDX-License-Identifier: Apache-2.0
#include "shm/shared_counter.hpp"

namespace procession::shm {

SharedCounter::SharedCounter(std::int64_t value) : bytes_(sizeof(std::int64_t)) { set(value); }
SharedCounter::SharedCounter(const CellName& name) : bytes_(name) {}

std::atomic<std::int64_t>& SharedCounter::number() const noexcept {
  static_assert(std::atomic<std::int64_t>::is_always_lock_free);
  return *reinterpret_cast<std::atomic<std::int64_t>*>(bytes_.bytes().data());
}

bool SharedCounter::add(std::int64_t amount, std::int64_t& sum) noexcept {
  std::int64_t value = number().load(std::memory_order_relaxed);
  do {
    if (__builtin_add_overflow(value, amount, &sum)) return false;
  } while (!number().compare_exchange_weak(value, sum));
  return true;
}

}  // namespace procession::shm
