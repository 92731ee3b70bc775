// SPDX-License-Identifier: Apache-2.0
// launch/fork: the "fork" start method: the child goes on in a copy of its parent.
#pragma once

#include <functional>
#include <optional>

#include "launch/child.hpp"

namespace procession::launch {

// What fork_child gives: in the parent the child, in the child its ends of what connects the two.
struct Forked {
  std::optional<Child> child;
  os::Fd socket;        // for ToParent; must stay open while the child lives
  os::Fd parent_pidfd;  // readable once the parent is gone

  bool in_child() const noexcept { return !child; }
};

// Calls `fork`, which returns as fork(2) does. The child is set to die after its parent.
Forked fork_child(const std::function<pid_t()>& fork);

}  // namespace procession::launch
