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

  // `key`, which is not ~0, is what `wait` gives for it.
  void add(int fd, std::uint64_t key);
  // One whose rings end one wait, the present or the next, which gives nothing for it; they need no answer.
  void add_event(const Fd& event);
  void remove(int fd) noexcept;

  // The keys of those that are readable, at most 64 at a time, or none. kReady also without any: an event
  // was rung.
  base::Waited wait(base::Deadline deadline, std::vector<std::uint64_t>& ready);

 private:
  void add(int fd, std::uint32_t events, std::uint64_t key);

  Fd fd_;
};

}  // namespace procession::os
