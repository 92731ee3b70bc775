// SPDX-License-Identifier: Apache-2.0
// os/descendants: the processes that come of a process, each by a descriptor that can be nobody else's.
//
// Read from /proc/PID/task/TID/children, which is there since Linux 4.2 (CONFIG_PROC_CHILDREN).
#pragma once

#include <sys/types.h>

#include <vector>

#include "os/fd.hpp"

namespace procession::os {

struct Descendant {
  pid_t pid = 0;
  Fd pidfd;
};

// The children of `pid`, their children and so on, parents first; without any whose own parent has
// ended, for nothing leads to them. `pid` must not have been reaped. What can't be read is left out.
std::vector<Descendant> descendants_of(pid_t pid);

}  // namespace procession::os
