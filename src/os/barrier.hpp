// SPDX-License-Identifier: Apache-2.0
// os/barrier: a full memory barrier of which one side, between two processes, does nothing.
//
// Of two who each write a word and then read the other's, at least one has to see the other's write;
// so each has a barrier between the two. Where one does that often and the other seldom, the seldom
// one can have it done on every CPU by membarrier(2) (Linux 4.16), and the other gets along without.
#pragma once

namespace procession::os {

// Has other processes' `barrier_everywhere` be barriers in all threads of this one, from now on and
// for as long as the program runs. False if the kernel, or a filter of system calls, won't have it.
bool register_for_barriers() noexcept;

// A full barrier in this thread and in all threads of registered processes. False as above.
bool barrier_everywhere() noexcept;

}  // namespace procession::os
