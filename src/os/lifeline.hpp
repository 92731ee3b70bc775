// SPDX-License-Identifier: Apache-2.0
// os/lifeline: ends a child some moments after its parent is gone, SIGKILLed or not.
//
// The child's end of its socket to the parent raises a signal when the other end closes (O_ASYNC,
// F_SETSIG); the handler arms a kernel timer that sends SIGKILL after a grace. No thread, no
// polling, and nothing that the child's code does keeps it alive, short of blocking the signal in
// every thread. A child that is stopped then goes on (PR_SET_PDEATHSIG with SIGCONT; with SIGKILL it would
// not do: it fires when the parent's *thread* ends, see prctl(2)).
#pragma once

#include "os/fd.hpp"

namespace procession::os {

// Runs once, in the child. `socket` must stay open; `grace_ms` is what a child has to notice and
// to finish. The parent must be the only holder of the other end.
void arm_lifeline(const Fd& socket, int grace_ms);

// For a process that reads `socket` anyway: no more signals for it.
void disarm_lifeline(const Fd& socket);

}  // namespace procession::os
