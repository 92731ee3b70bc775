// SPDX-License-Identifier: Apache-2.0
// os/descendants: a signal to a process with all that comes of it, of which none is missed.
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

// Sends `signal` to a process and to its children, their children and so on, which are returned, parents
// first; without any whose own parent has ended, for nothing leads to them. `pid` must not have been reaped.
//
// A process that runs may have another child as soon as its children were listed. So each is stopped before
// (SIGSTOP), and goes on (SIGCONT) once all have the signal. One that can't be stopped within 50 ms, as when
// it waits for a device, or may not be signalled, is listed as it stands. Nothing that fails is reported.
std::vector<Descendant> signal_tree(pid_t pid, const Fd& pidfd, int signal);

}  // namespace procession::os
