// SPDX-License-Identifier: Apache-2.0
// shm/shared_counter: a number of 64 bits that processes change at once. No lock: nobody can be killed
// while he holds it. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "shm/shared_bytes.hpp"

namespace procession::shm {

class SharedCounter {
 public:
  explicit SharedCounter(std::int64_t value = 0);  // OsError (ENOMEM)
  explicit SharedCounter(const CellName& name);

  const std::shared_ptr<Cell>& cell() const noexcept { return bytes_.cell(); }

  std::int64_t value() const noexcept { return number().load(); }
  void set(std::int64_t value) noexcept { number().store(value); }
  std::int64_t exchange(std::int64_t value) noexcept { return number().exchange(value); }

  // False, and it is as it was, if the sum would have more than 64 bits.
  bool add(std::int64_t amount, std::int64_t& sum) noexcept;

 private:
  std::atomic<std::int64_t>& number() const noexcept;

  SharedBytes bytes_;
};

}  // namespace procession::shm
