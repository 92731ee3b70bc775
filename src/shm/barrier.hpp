// SPDX-License-Identifier: Apache-2.0
// shm/barrier: where a number of threads of any processes wait for each other.
//
// A phase ends when the last party arrives, or fails: when a process that waits in it has ended, when
// a wait runs into its deadline, by abort() or reset(). Who waits is written down under the phase's
// number, so one store ends a phase for all of them, and no death leaves it half ended.
// Thread-safe.
#pragma once

#include <cstdint>
#include <memory>

#include "base/deadline.hpp"
#include "shm/commons.hpp"

namespace procession::shm {

class Barrier {
 public:
  static constexpr std::uint32_t kMostParties = 2048;

  explicit Barrier(std::uint32_t parties);  // 1 to kMostParties
  explicit Barrier(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return cell_; }
  std::uint32_t parties() const noexcept;

  enum class Passed { kYes, kBroken, kInterrupted };
  struct Arrival {
    Passed passed = Passed::kBroken;
    std::uint32_t index = 0;  // how many had arrived before
    std::uint32_t phase = 0;  // for wait_on
  };

  // Arrives, and waits for the others. A deadline that passes breaks the barrier. kInterrupted: it has
  // arrived; wait_on() goes on.
  Arrival wait(base::Deadline deadline);
  Arrival wait_on(Arrival arrival, base::Deadline deadline);

  void abort();  // breaks it: whoever waits now, and whoever comes, is told, until a reset()
  void reset();  // to the beginning; a phase in which somebody waits fails
  bool is_broken() const noexcept;
  std::uint32_t waiting();

 private:
  struct Record;

  Record& record() const noexcept;
  std::uint32_t arrived(Record& barrier) const noexcept;
  bool has_lost_one(Record& barrier);
  void end_phase(Record& barrier, bool in_vain, bool broken) noexcept;
  Passed outcome(Record& barrier, std::uint32_t phase) const noexcept;

  std::shared_ptr<Cell> cell_;
};

}  // namespace procession::shm
