// SPDX-License-Identifier: Apache-2.0
// shm/event: a flag that processes set, clear and wait for. One word, so nobody's death can harm it.
// Thread-safe.
#pragma once

#include <memory>

#include "base/deadline.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

class Event {
 public:
  Event();
  explicit Event(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }

  bool is_set() const noexcept;
  void set() noexcept;
  void clear() noexcept;

  // kReady: it is set, or was set and cleared since the wait began.
  base::Waited wait(base::Deadline deadline);

 private:
  // Bit 0: it is set. The others count how often it was.
  os::FutexWord& word() const noexcept { return cell_->as<os::FutexWord>(); }

  std::shared_ptr<Cell> cell_;
};

}  // namespace procession::shm
