// SPDX-License-Identifier: Apache-2.0
// launch/written_pages: which pages of a zygote every child writes, and how a fork makes them cheap.
//
// A child of an interpreter copies some 290 pages, nearly the same in each of them, by a page fault each.
// A copy of the zygote that is of no other use goes through a start that does nothing, and tells which
// those were. From then on a fork copies them at once, and shares the rest in large folios. Only a
// convenience: where something of it is forbidden or fails, children copy what they write. Runs in zygotes.
#pragma once

#include "launch/life.hpp"
#include "os/fd.hpp"

namespace procession::launch {

class WrittenPages {
 public:
  // Before each fork. Learns before the sixth: a program that starts three processes needn't wait for it.
  void before_fork(Entry& entry) noexcept;

  void after_fork_in_child() noexcept { pinned_.reset(); }

 private:
  void learn(Entry& entry);

  int forks_ = 0;
  os::Fd pinned_;
};

}  // namespace procession::launch
