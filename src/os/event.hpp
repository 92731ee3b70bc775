// SPDX-License-Identifier: Apache-2.0
// os/event: a descriptor that another process or thread rings, and waiting for many at once.
#pragma once

#include <cstdint>
#include <vector>

#include "base/deadline.hpp"
#include "os/fd.hpp"

namespace procession::os {

// An eventfd(2): readable from the first ring on until it is answered.
Fd create_event();
void ring(const Fd& event) noexcept;
void answer(const Fd& event) noexcept;

// An epoll(7) set. Thread-safe.
class WaitSet {
 public:
  WaitSet();

  // `key` is what `wait` gives for it.
  void add(int fd, std::uint64_t key);
  void remove(int fd) noexcept;

  // The keys of those that are readable, at most 64 at a time, or none.
  base::Waited wait(base::Deadline deadline, std::vector<std::uint64_t>& ready);

 private:
  Fd fd_;
};

}  // namespace procession::os
