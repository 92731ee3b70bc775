// SPDX-License-Identifier: Apache-2.0
// os/clone: forks of the calling process.
//
// Runs in the process that is copied: a parent (fork_process) or a zygote (clone_sibling,
// fork_orphan). All return 0 in the child, as fork(2) does.
#pragma once

#include <sys/types.h>

namespace procession::os {

// fork(3) with its pthread_atfork handlers.
pid_t fork_process();

// Whether clone_sibling is safe here: one thread only, and glibc's record of its thread id found.
bool can_clone_sibling() noexcept;

// A copy of this process as a child of this process's *parent*: clone3(CLONE_PARENT). No
// pthread_atfork handler runs, so only a process with one thread may call it.
pid_t clone_sibling();

// A copy of this process that the nearest ancestor with become_subreaper(true) inherits as its own
// child: fork(3), twice. For processes with threads. Returns in the copy only once the ancestor is
// its parent; returns the pid of the reaped go-between, which is of no use, in the caller.
pid_t fork_orphan();

// Whether orphaned descendants become children of this process (PR_SET_CHILD_SUBREAPER).
// Returns the previous setting.
bool become_subreaper(bool on);

}  // namespace procession::os
