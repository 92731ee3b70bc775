// SPDX-License-Identifier: Apache-2.0
#include "shm/event.hpp"

#include <climits>

namespace procession::shm {

Event::Event() : cell_(Commons::instance().make_cell(CellKind::kEvent, sizeof(os::FutexWord))) {}

Event::Event(const CellName& name) : cell_(Commons::instance().find_cell(name, CellKind::kEvent)) {}

bool Event::is_set() const noexcept { return word().load(std::memory_order_acquire) & 1; }

void Event::set() noexcept {
  std::uint32_t seen = word().load();
  while (!(seen & 1)) {
    if (!word().compare_exchange_weak(seen, seen + 3)) continue;
    os::futex_wake(word(), INT_MAX);
    return;
  }
}

void Event::clear() noexcept { word().fetch_and(~1U); }

base::Waited Event::wait(base::Deadline deadline) {
  std::uint32_t first = word().load(std::memory_order_acquire);
  std::uint32_t seen = first;
  while (!(seen & 1) && seen >> 1 == first >> 1) {
    if (deadline.passed()) return base::Waited::kTimedOut;
    base::Deadline until = base::Deadline::earlier(deadline, base::Deadline::after(kLookAgain));
    if (os::futex_wait(word(), seen, until) == base::Waited::kInterrupted) {
      return base::Waited::kInterrupted;
    }
    seen = word().load(std::memory_order_acquire);
  }
  return base::Waited::kReady;
}

}  // namespace procession::shm
